"""The write-ahead log's one writer. The formats are in `wal_format`, the start and reading back in `wal_recovery`.

Owns the current file's descriptor for that file's whole life (no error is lost by opening it again), the head, and the LSN known
to be durable. What a return of `append` promises: the frame, every frame before it, and the names of the files they lie in are
on stable storage. After any failed write or sync nothing is promised ever again: the writer refuses, and never repeats a sync,
because the kernel reports a failed write-back once and then calls the pages clean.

A new file is written under `NAME.tmp`, synced, renamed and its folder synced before its first frame, and after every frame of
the file before it is durable. Space is allocated before a frame is written, in steps, so a full disk refuses a batch whole.
It removes log files only when it is told what a logged entry has given up, never skips a bad frame, and knows nothing of what an
entry means.
"""

import os
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, NoReturn

from fasterstore.errors import InvariantError, StorageFull, VolumeSuspect
from fasterstore.storage import wal_format
from fasterstore.storage.disk import NO_SPACE, Disk
from fasterstore.storage.wal_format import FILE_HEADER_BYTES, FileHeader, Frame

ROTATE_BYTES = 32 << 20
STEP_BYTES = 16 << 20
BLOCK_BYTES = 4096
PAYLOAD_MAX_BYTES = 1 << 30


def list_files(disk: Disk, folder: str) -> list[int]:
    """The first LSNs of the log files in `folder`, ascending; their names are `wal_format.file_name(lsn)`."""
    return sorted(lsn for name in disk.listdir(folder) if (lsn := wal_format.parse_file_name(name)) is not None)


class LogFile(NamedTuple):
    """One file of the log: the LSN it begins with, and its length in bytes, preallocated space included."""

    first_lsn: int
    size_bytes: int


def log_files(disk: Disk, folder: str) -> list[LogFile]:
    """The log's files, oldest first. Raises OSError. Safe beside the writer: a file that goes meanwhile is left out."""
    found = []
    for first_lsn in list_files(disk, folder):
        try:
            fd = disk.open(os.path.join(folder, wal_format.file_name(first_lsn)), read_only=True)
        except FileNotFoundError:
            continue
        try:
            found.append(LogFile(first_lsn, disk.size(fd)))
        finally:
            disk.close(fd)
    return found


class Tail(NamedTuple):
    """Where a writer takes up: an open file, the offset behind its last frame, its length, and what the next frame follows."""

    fd: int
    header: FileHeader
    end: int
    allocated: int
    head_lsn: int
    previous_hash: bytes


class WalWriter:
    """Appends frames to the log; `wal_recovery.recover` makes it. Blocking; used by one thread at a time.

    `head_lsn` is the last entry written, `durable_lsn` the last known to be on stable storage.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        log_uuid: bytes,
        random_bytes: Callable[[int], bytes],
        tail: Tail,
        *,
        rotate_bytes: int = ROTATE_BYTES,
        step_bytes: int = STEP_BYTES,
    ) -> None:
        self.log_uuid = log_uuid
        self.head_lsn = tail.head_lsn
        self.durable_lsn = tail.head_lsn
        self._disk = disk
        self._folder = folder
        self._random_bytes = random_bytes
        self._rotate_bytes = rotate_bytes
        self._step_bytes = step_bytes
        self._fd = tail.fd
        self._header = tail.header
        self._end = tail.end
        self._allocated = tail.allocated
        self._previous_hash = tail.previous_hash
        self._next_salt = random_bytes(wal_format.SALT_BYTES)
        self._fault = ""

    def build(self, entries: list[bytes], first_lsn: int) -> Frame:
        """The next frame, holding `entries` from `first_lsn` on; changes nothing and touches no file.

        Raises InvariantError: no entries, or `first_lsn` is not head_lsn + 1.
        """
        if not entries or first_lsn != self.head_lsn + 1:
            raise InvariantError(f"a frame of {len(entries)} entries from LSN {first_lsn}; the head is {self.head_lsn}")
        length = wal_format.frame_bytes(entries)
        if length > PAYLOAD_MAX_BYTES:
            raise InvariantError(f"a frame of {length} bytes")
        header = self._next_header() if self._must_rotate(length) else self._header
        return wal_format.build_frame(header, entries, first_lsn, self.durable_lsn, self._previous_hash)

    def append(self, frame: Frame) -> None:
        """Reserve, write and sync: on return the frame is durable. Raises as `reserve`, `write` and `sync` do."""
        self.reserve(len(frame.data))
        self.write(frame)
        self.sync()

    def reserve(self, length: int) -> None:
        """Make room for a frame of `length` bytes, in a new file if this one is full.

        Raises StorageFull: no room; nothing has changed and a later call may succeed. Raises VolumeSuspect.
        """
        self._require_sound()
        if self._must_rotate(length):
            if self.head_lsn != self.durable_lsn:
                self.sync()
            self._rotate(length)
        elif self._end + length > self._allocated:
            self._extend(length)

    def write(self, frame: Frame) -> None:
        """Write a frame into room that `reserve` made; it is not durable yet.

        Raises VolumeSuspect; InvariantError: the frame was built for another place, or there is no room.
        """
        self._require_sound()
        if frame.first_lsn != self.head_lsn + 1 or frame.file_first_lsn != self._header.first_lsn:
            raise InvariantError(f"frame {frame.first_lsn} of file {frame.file_first_lsn} does not belong behind {self.head_lsn}")
        if self._end + len(frame.data) > self._allocated:
            raise InvariantError(f"frame {frame.first_lsn} has no reserved room")
        self._fault = "a write was interrupted"
        try:
            self._disk.pwrite(self._fd, frame.data, self._end)
        except OSError as error:
            self._suspect(error)
        self._end += len(frame.data)
        self.head_lsn = frame.last_lsn
        self._previous_hash = frame.digest
        self._fault = ""

    def sync(self) -> None:
        """On return every frame written so far is on stable storage. Raises VolumeSuspect, then and at every call after that."""
        self._require_sound()
        head_lsn = self.head_lsn
        self._fault = "a sync was interrupted"
        try:
            self._disk.fdatasync(self._fd)
        except OSError as error:
            self._suspect(error)
        self.durable_lsn = head_lsn
        self._fault = ""

    def files(self) -> list[LogFile]:
        """The log's files, oldest first. Raises OSError."""
        return log_files(self._disk, self._folder)

    def remove_below(self, lsn: int) -> int:
        """Remove the files all of whose entries are below `lsn`, oldest first; return how many. Never the current one.

        Each removal is durable before the next, so that what is left never has a hole. Raises VolumeSuspect.
        """
        self._require_sound()
        removed = 0
        try:
            firsts = [first for first in list_files(self._disk, self._folder) if first <= self._header.first_lsn]
            for first, following in pairwise(firsts):
                if following > lsn:
                    break
                self._disk.unlink(os.path.join(self._folder, wal_format.file_name(first)))
                self._disk.fsync_dir(self._folder)
                removed += 1
        except OSError as error:
            self._suspect(error)
        return removed

    def close(self) -> None:
        """Close the file; the writer refuses from then on."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
            self._fault = self._fault or "the writer is closed"

    def _require_sound(self) -> None:
        if self._fault:
            raise VolumeSuspect(f"{self._folder}: {self._fault}")

    def _suspect(self, error: OSError) -> NoReturn:
        self._fault = str(error)
        raise VolumeSuspect(f"{self._folder}: {error}") from error

    def _must_rotate(self, length: int) -> bool:
        return self._end + length > self._rotate_bytes and self._end > FILE_HEADER_BYTES

    def _next_header(self) -> FileHeader:
        return wal_format.make_file_header(
            self.log_uuid, self._next_salt, self.head_lsn + 1, self._previous_hash, self._header.first_lsn
        )

    def _extend(self, length: int) -> None:
        needed = self._end + length
        self._allocated = self._allocate(self._fd, self._allocated, needed)

    def _allocate(self, fd: int, allocated: int, needed: int) -> int:
        """Allocate up to `needed` and, if there is room, the rest of a step; returns the file's new length."""
        wished = max(needed, min(allocated + self._step_bytes, self._rotate_bytes))
        exact = -(-needed // BLOCK_BYTES) * BLOCK_BYTES
        try:
            try:
                return self._allocate_steps(fd, allocated, wished)
            except OSError as error:
                if error.errno not in NO_SPACE or exact >= wished:
                    raise
                return self._allocate_steps(fd, allocated, exact)
        except OSError as error:
            if error.errno not in NO_SPACE:
                self._suspect(error)
            self._give_back(fd, allocated)
            raise StorageFull(f"{self._folder}: {error}") from error

    def _allocate_steps(self, fd: int, allocated: int, upto: int) -> int:
        while allocated < upto:
            step = min(self._step_bytes, upto - allocated)
            self._disk.fallocate(fd, allocated, step)
            allocated += step
        return allocated

    def _give_back(self, fd: int, allocated: int) -> None:
        # A refused allocation may have taken what was left of the disk.
        try:
            if self._disk.size(fd) > allocated:
                self._disk.truncate(fd, allocated)
        except OSError as error:
            self._suspect(error)

    def _rotate(self, length: int) -> None:
        header = self._next_header()
        path = os.path.join(self._folder, wal_format.file_name(header.first_lsn))
        fd, allocated = self._make_file(path, header, length)
        old_fd, self._fd = self._fd, fd
        self._header = header
        self._end = FILE_HEADER_BYTES
        self._allocated = allocated
        self._next_salt = self._random_bytes(wal_format.SALT_BYTES)
        try:
            self._disk.close(old_fd)
        except OSError as error:
            self._suspect(error)

    def _make_file(self, path: str, header: FileHeader, length: int) -> tuple[int, int]:
        """A new, durable file at `path` with room for a frame of `length`: its descriptor and its length."""
        temporary = path + ".tmp"
        fd = -1
        try:
            fd = self._disk.open(temporary, create=True)
            self._disk.truncate(fd, 0)
            allocated = self._allocate(fd, 0, FILE_HEADER_BYTES + length)
            self._disk.pwrite(fd, wal_format.pack_file_header(header), 0)
            self._sync_new(fd)
            self._disk.rename(temporary, path)
        except OSError as error:
            if error.errno not in NO_SPACE:
                self._suspect(error)
            self._discard(fd, temporary)
            raise StorageFull(f"{temporary}: {error}") from error
        except StorageFull:
            self._discard(fd, temporary)
            raise
        try:
            self._disk.fsync_dir(self._folder)
        except OSError as error:
            self._suspect(error)
        return fd, allocated

    def _sync_new(self, fd: int) -> None:
        # Apart, because ENOSPC from a sync means lost writes, not a refused one.
        try:
            self._disk.fsync(fd)
        except OSError as error:
            self._suspect(error)

    def _discard(self, fd: int, temporary: str) -> None:
        # The name needs no sync: recovery removes what is left under it.
        try:
            if fd >= 0:
                self._disk.close(fd)
            if self._disk.exists(temporary):
                self._disk.unlink(temporary)
        except OSError as error:
            self._suspect(error)
