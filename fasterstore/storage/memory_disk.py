"""A disk in memory that forgets what was not synced: the second implementation of `Disk`, for tests.

It records every change as an op. `crash_states` yields disks as a power cut may leave them, harsher than any one file system:

- a write that no later sync of its file covers is kept, dropped, torn into 512-byte pieces of which any may be missing, or
  turned into zeros of the same length (the file grew, its bytes did not arrive), each write by itself and in no order;
- the same for truncate, fallocate and punch (kept or dropped);
- names (create, mkdir, rename, unlink) that no later `fsync_dir` of their folder covers are kept up to some point of that
  folder's order and dropped from there on; syncing a new file does not keep its name;
- a sync that failed lets go of the writes before it for good: a second sync that succeeds does not bring them back.

Renames stay within one folder (EXDEV otherwise): across two, a file system promises too little to model.
Owns its files; it never touches the real disk.
"""

import errno
import os
import posixpath
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fasterstore.storage.disk import Buffer

SECTOR_BYTES = 512


class Op(NamedTuple):
    """One recorded change. `kind` says which of the other fields count; `inode` is the file's number, `path` a name.

    kinds: write, truncate, fallocate, punch, sync, failed_sync (of a file); create, mkdir, rename, unlink, sync_dir (of names); mark.
    """

    kind: str
    inode: int = 0
    path: str = ""
    target: str = ""
    offset: int = 0
    length: int = 0
    data: bytes = b""


_BLOCK_BYTES = 4096
_DATA_KINDS = frozenset({"write", "truncate", "fallocate", "punch"})
_NAME_KINDS = frozenset({"create", "mkdir", "rename", "unlink"})
KEEP, DROP, TEAR, ZERO = "keep", "drop", "tear", "zero"


class MemoryDisk:
    """Files in memory. `capacity_bytes` is the sum of file lengths at which ENOSPC begins (None: never)."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.ops: list[Op] = []
        self.capacity_bytes = capacity_bytes
        self._inodes: dict[int, bytearray] = {}
        self._files: dict[str, int] = {}
        self._folders: set[str] = {"/"}
        self._handles: dict[int, tuple[int, bool]] = {}
        self._next_inode = 1
        self._next_fd = 1000
        self._faults: dict[str, tuple[int, int]] = {}
        # What the disk held at the first op: crash states are replayed from here.
        self._base: tuple[dict[str, int], set[str], dict[int, bytes]] = ({}, {"/"}, {})

    # ---- for tests

    def mark(self, label: str) -> int:
        """Note in the op log that something was acknowledged here; returns its place, to give to `crash_states`."""
        self.ops.append(Op("mark", path=label))
        return len(self.ops)

    def fail_next(self, operation: str, error: int = errno.EIO, after: int = 0) -> None:
        """Make one call of that method fail with errno `error`, after `after` more that succeed."""
        self._faults[operation] = (after, error)

    def contents(self, path: str) -> bytes:
        """The whole file."""
        return bytes(self._inodes[self._inode_of(path)])

    def replace(self, path: str, data: bytes) -> None:
        """Make the file hold `data` as if it had rotted: durably."""
        inode = self._inode_of(path)
        self._inodes[inode][:] = data
        self.ops += (Op("truncate", inode=inode), Op("write", inode=inode, data=data), Op("sync", inode=inode))

    def snapshot(self) -> "MemoryDisk":
        """A copy as the next process finds it after kill -9: the page cache lives on, and a power cut may still lose what is only there."""
        disk = MemoryDisk(self.capacity_bytes)
        disk.ops = list(self.ops)
        disk._inodes = {inode: bytearray(data) for inode, data in self._inodes.items()}
        disk._files, disk._folders = dict(self._files), set(self._folders)
        disk._next_inode, disk._next_fd = self._next_inode, self._next_fd
        disk._base = self._base
        return disk

    def crash_states(self, upto_op: int, rng: random.Random, count: int, sample: int | None = None) -> Iterator["MemoryDisk"]:
        """Disks as a power cut after the first `upto_op` ops may leave them.

        First the extremes (all kept, none kept, each unsynced op dropped alone, the last of them among these), then `count` at
        random. Choices that were made before are left out, so fewer may come. `sample`: only so many of all these, picked at
        random, in random order; the others are not even made.
        """
        ops = self.ops[:upto_op]
        data_ops, folder_ops = _unsynced(ops)
        everything: dict[int, str] = dict.fromkeys(data_ops, KEEP) | {index: KEEP for part in folder_ops for index in part}
        plans = [everything, dict.fromkeys(everything, DROP)]
        plans += [everything | {index: fate} for index in data_ops for fate in _fates(ops[index])]
        plans += [everything | dict.fromkeys(part[kept:], DROP) for part in folder_ops for kept in range(len(part))]
        plans += [_random_plan(ops, data_ops, folder_ops, rng) for _ in range(count)]
        chosen: list[dict[int, str]] = []
        seen = set()
        for plan in plans:
            fingerprint = tuple(plan.items())
            if fingerprint not in seen or TEAR in plan.values():
                chosen.append(plan)
            seen.add(fingerprint)
        if sample is not None:
            chosen = rng.sample(chosen, min(sample, len(chosen)))
        for plan in chosen:
            yield self._after_crash(ops, plan, rng)

    # ---- Disk

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> int:
        self._fault("open")
        path = posixpath.normpath(path)
        if path in self._folders:
            raise _error(errno.EISDIR, path)
        if path in self._files:
            if create and exclusive:
                raise _error(errno.EEXIST, path)
        elif not create:
            raise _error(errno.ENOENT, path)
        else:
            self._require_folder(posixpath.dirname(path))
            inode = self._next_inode
            self._next_inode += 1
            self._inodes[inode] = bytearray()
            self._files[path] = inode
            self.ops.append(Op("create", inode=inode, path=path))
        fd = self._next_fd
        self._next_fd += 1
        self._handles[fd] = (self._files[path], read_only)
        return fd

    def close(self, fd: int) -> None:
        self._handle(fd)
        del self._handles[fd]
        self._fault("close")

    def pwrite(self, fd: int, data: Buffer, offset: int) -> None:
        inode = self._handle(fd, writing=True)
        self._fault("pwrite")
        self._grow(inode, offset + len(data))
        self._inodes[inode][offset : offset + len(data)] = data
        self.ops.append(Op("write", inode=inode, offset=offset, data=bytes(data)))

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        self._fault("pwritev")
        self.pwrite(fd, b"".join(buffers), offset)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        inode = self._handle(fd)
        self._fault("pread")
        return bytes(self._inodes[inode][offset : offset + length])

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def size(self, fd: int) -> int:
        return len(self._inodes[self._handle(fd)])

    def link_count(self, fd: int) -> int:
        self._fault("link_count")
        return list(self._files.values()).count(self._handle(fd))

    def truncate(self, fd: int, length: int) -> None:
        inode = self._handle(fd, writing=True)
        self._fault("truncate")
        if length == len(self._inodes[inode]):
            return
        self._grow(inode, length)
        del self._inodes[inode][length:]
        self.ops.append(Op("truncate", inode=inode, length=length))

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        inode = self._handle(fd, writing=True)
        self._fault("fallocate")
        self._grow(inode, offset + length)
        self.ops.append(Op("fallocate", inode=inode, length=offset + length))

    def punch(self, fd: int, offset: int, length: int) -> bool:
        inode = self._handle(fd, writing=True)
        self._fault("punch")
        _clear(self._inodes[inode], offset, length)
        self.ops.append(Op("punch", inode=inode, offset=offset, length=length))
        return True

    def start_writeback(self, fd: int, offset: int, length: int) -> None:
        self._handle(fd)
        self._fault("start_writeback")

    def forget(self, fd: int, offset: int, length: int) -> None:
        self._handle(fd)

    def rename(self, src: str, dst: str) -> None:
        self._fault("rename")
        src, dst = posixpath.normpath(src), posixpath.normpath(dst)
        if posixpath.dirname(src) != posixpath.dirname(dst):
            raise _error(errno.EXDEV, dst)
        self._files[dst] = self._inode_of(src)
        del self._files[src]
        self.ops.append(Op("rename", path=src, target=dst))

    def unlink(self, path: str) -> None:
        self._fault("unlink")
        path = posixpath.normpath(path)
        self._inode_of(path)
        del self._files[path]
        self.ops.append(Op("unlink", path=path))

    def fsync_dir(self, path: str) -> None:
        path = posixpath.normpath(path)
        self._require_folder(path)
        self._fault("fsync_dir")
        self.ops.append(Op("sync_dir", path=path))

    def mkdir(self, path: str) -> None:
        self._fault("mkdir")
        path = posixpath.normpath(path)
        self._require_folder(posixpath.dirname(path))
        if path in self._folders or path in self._files:
            raise _error(errno.EEXIST, path)
        self._folders.add(path)
        self.ops.append(Op("mkdir", path=path))

    def listdir(self, path: str) -> list[str]:
        path = posixpath.normpath(path)
        self._require_folder(path)
        names = [*self._files, *self._folders]
        return sorted(posixpath.basename(name) for name in names if name != "/" and posixpath.dirname(name) == path)

    def exists(self, path: str) -> bool:
        path = posixpath.normpath(path)
        return path in self._files or path in self._folders

    def allocated_bytes(self, path: str) -> int:
        """As the ops say: a disk that comes after a crash has all that there is of its files."""
        inode = self._inode_of(posixpath.normpath(path))
        holes: set[int] = set()
        for op in self.ops:
            if op.inode == inode and op.kind == "punch":
                holes.update(range(-(-op.offset // _BLOCK_BYTES), (op.offset + op.length) // _BLOCK_BYTES))
            elif op.inode == inode and op.kind == "write":
                holes.difference_update(range(op.offset // _BLOCK_BYTES, -(-(op.offset + len(op.data)) // _BLOCK_BYTES)))
        return len(self._inodes[inode]) - len(holes) * _BLOCK_BYTES

    def free_bytes(self, path: str) -> int:
        self._require_folder(posixpath.normpath(path))
        return 1 << 50 if self.capacity_bytes is None else max(0, self.capacity_bytes - self._used_bytes())

    # ---- within

    def _fault(self, operation: str) -> None:
        if operation in self._faults:
            after, error = self._faults[operation]
            if after:
                self._faults[operation] = (after - 1, error)
            else:
                del self._faults[operation]
                raise _error(error, operation)

    def _handle(self, fd: int, *, writing: bool = False) -> int:
        if fd not in self._handles or (writing and self._handles[fd][1]):
            raise _error(errno.EBADF, str(fd))
        return self._handles[fd][0]

    def _inode_of(self, path: str) -> int:
        path = posixpath.normpath(path)
        if path not in self._files:
            raise _error(errno.ENOENT, path)
        return self._files[path]

    def _require_folder(self, path: str) -> None:
        if path not in self._folders:
            raise _error(errno.ENOENT, path)

    def _used_bytes(self) -> int:
        held = {*self._files.values(), *(inode for inode, _ in self._handles.values())}
        return sum(len(self._inodes[inode]) for inode in held)

    def _grow(self, inode: int, length: int) -> None:
        missing = length - len(self._inodes[inode])
        if missing <= 0:
            return
        if self.capacity_bytes is not None and self._used_bytes() + missing > self.capacity_bytes:
            raise _error(errno.ENOSPC, str(inode))
        self._inodes[inode].extend(bytes(missing))

    def _sync(self, operation: str, fd: int) -> None:
        inode = self._handle(fd)
        try:
            self._fault(operation)
        except OSError:
            self.ops.append(Op("failed_sync", inode=inode))
            raise
        self.ops.append(Op("sync", inode=inode))

    @classmethod
    def _from_state(cls, folders: set[str], files: dict[str, int], inodes: dict[int, bytes]) -> "MemoryDisk":
        disk = cls()
        disk._folders = folders
        disk._files = dict(files)
        disk._inodes = {inode: bytearray(data) for inode, data in inodes.items()}
        disk._next_inode = max(inodes, default=0) + 1
        disk._base = (dict(files), set(folders), dict(inodes))
        return disk

    def _after_crash(self, ops: list[Op], plan: dict[int, str], rng: random.Random) -> "MemoryDisk":
        files, folders = dict(self._base[0]), set(self._base[1])
        inodes = {inode: bytearray(data) for inode, data in self._base[2].items()}
        for index, op in enumerate(ops):
            fate = plan.get(index, KEEP)
            if op.kind in _NAME_KINDS:
                if fate == KEEP:
                    _apply_name(op, files, folders)
            elif op.kind in _DATA_KINDS and fate != DROP:
                _apply_data(op, inodes.setdefault(op.inode, bytearray()), fate, rng)
        folders = {path for path in folders if all(parent in folders for parent in _parents(path))}
        files = {path: inode for path, inode in files.items() if posixpath.dirname(path) in folders}
        return self._from_state(folders, files, {inode: bytes(inodes.get(inode, b"")) for inode in files.values()})


def _error(number: int, what: str) -> OSError:
    return OSError(number, os.strerror(number), what)


def _parents(path: str) -> list[str]:
    parents = []
    while path != "/":
        path = posixpath.dirname(path)
        parents.append(path)
    return parents


def _unsynced(ops: list[Op]) -> tuple[list[int], list[list[int]]]:
    """The places of the data ops that a power cut may undo, and those of the name ops, for each folder in order."""
    data: dict[int, list[int]] = {}
    lost: list[int] = []
    names: dict[str, list[int]] = {}
    for index, op in enumerate(ops):
        if op.kind in _DATA_KINDS:
            data.setdefault(op.inode, []).append(index)
        elif op.kind == "sync":
            data.pop(op.inode, None)
        elif op.kind == "failed_sync":
            lost += data.pop(op.inode, [])
        elif op.kind in _NAME_KINDS:
            names.setdefault(posixpath.dirname(op.path), []).append(index)
        elif op.kind == "sync_dir":
            names.pop(op.path, None)
    return sorted(lost + [index for part in data.values() for index in part]), list(names.values())


def _fates(op: Op) -> tuple[str, ...]:
    return (DROP, TEAR, ZERO) if op.kind == "write" else (DROP,)


def _random_plan(ops: list[Op], data_ops: list[int], folder_ops: list[list[int]], rng: random.Random) -> dict[int, str]:
    plan = {index: rng.choice((KEEP, *_fates(ops[index]))) for index in data_ops}
    for part in folder_ops:
        kept = rng.randint(0, len(part))
        plan |= dict.fromkeys(part[:kept], KEEP) | dict.fromkeys(part[kept:], DROP)
    return plan


def _apply_name(op: Op, files: dict[str, int], folders: set[str]) -> None:
    if op.kind == "create":
        files[op.path] = op.inode
    elif op.kind == "mkdir":
        folders.add(op.path)
    elif op.kind == "rename" and op.path in files:
        files[op.target] = files.pop(op.path)
    elif op.kind == "unlink":
        files.pop(op.path, None)


def _apply_data(op: Op, content: bytearray, fate: str, rng: random.Random) -> None:
    if op.kind == "truncate":
        content.extend(bytes(max(0, op.length - len(content))))
        del content[op.length :]
        return
    if op.kind == "punch":
        _clear(content, op.offset, op.length)
        return
    end = op.length if op.kind == "fallocate" else op.offset + len(op.data)
    start = op.offset
    pieces: list[tuple[int, int]] = []
    if op.kind == "write" and fate == KEEP:
        pieces = [(start, end)]
    elif op.kind == "write" and fate == TEAR:
        # Pieces end at sector boundaries of the file, not of the write.
        edges = [start, *range(start // SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES, end, SECTOR_BYTES), end]
        pieces = [piece for piece in zip(edges, edges[1:], strict=False) if rng.getrandbits(1)]
        if rng.getrandbits(1):
            end = pieces[-1][1] if pieces else 0
    content.extend(bytes(max(0, end - len(content))))
    for first, last in pieces:
        content[first:last] = op.data[first - start : last - start]


def _clear(content: bytearray, offset: int, length: int) -> None:
    end = min(offset + length, len(content))
    if end > offset:
        content[offset:end] = bytes(end - offset)
