"""The one interface through which the engine writes. `RealDisk` is the kernel; `memory_disk.MemoryDisk` is the second
implementation, which forgets what was not synced.

Owns nothing but open descriptors that its callers close. It never retries a failed sync, never hides a short write and never
decides where something is written. Everything here blocks; the caller chooses the thread. Every failure is an OSError with errno.

What is promised after a power cut: bytes of a file once `fdatasync` or `fsync` of it returned, and their length; a name
(created, renamed, removed) once `fsync_dir` of its folder returned. Nothing else, in no order (Pillai et al., OSDI'14).
"""

import contextlib
import ctypes
import errno
import os
import posix
from collections.abc import Sequence
from typing import Protocol

Buffer = bytes | bytearray | memoryview

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errnos that mean a full disk and not a failing one, where they come before anything was written."""
BAD_MEDIUM = frozenset({errno.EIO, errno.EILSEQ, errno.EBADMSG, errno.ENODATA})
"""The errnos of a read that a bad block gives (ext4, XFS and device mapper use the last three for checksums of their own)."""
FOLDER_MODE = 0o700
FILE_MODE = 0o600
IOV_MAX = os.sysconf("SC_IOV_MAX")
_SYNC_FILE_RANGE_WRITE = 2
_PUNCH_HOLE_KEEP_SIZE = 0x03
_STAT_BLOCK_BYTES = 512
_ZEROS = bytes(1 << 20)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Disk(Protocol):
    """What the engine needs of a file system. Offsets and lengths are bytes; `fd` is an int that `open` gave."""

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> int:
        """Open `path` for reading and writing (`read_only`: reading); `exclusive` with `create`: fail if it exists."""
        ...

    def close(self, fd: int) -> None: ...

    def pwrite(self, fd: int, data: Buffer, offset: int) -> None:
        """Write all of `data` at `offset`, or raise; after a failure any part of it may have been written."""
        ...

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all buffers one after another from `offset`, or raise."""
        ...

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """The `length` bytes at `offset`; fewer only at the end of the file."""
        ...

    def fdatasync(self, fd: int) -> None:
        """On return the bytes written so far, and the length needed to read them, are on stable storage."""
        ...

    def fsync(self, fd: int) -> None:
        """As fdatasync, and the file's times and mode as well; not its name."""
        ...

    def size(self, fd: int) -> int: ...

    def link_count(self, fd: int) -> int:
        """How many names the open file has; 0 once it is unlinked everywhere."""
        ...

    def truncate(self, fd: int, length: int) -> None: ...

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        """Allocate that range so that writes into it need no more space; a longer file reads zeros there. ENOSPC raises."""
        ...

    def punch(self, fd: int, offset: int, length: int) -> bool:
        """Give those blocks back; they read zeros from then on, the file stays as long. Return False where that is not possible."""
        ...

    def start_writeback(self, fd: int, offset: int, length: int) -> None:
        """Start writing those pages out, without waiting: a hint that paces a later sync and promises nothing."""
        ...

    def forget(self, fd: int, offset: int, length: int) -> None:
        """Drop those bytes from the page cache, as far as they are clean, and read nothing ahead through `fd` from now on.

        A hint: the next read comes from the medium.
        """
        ...

    def rename(self, src: str, dst: str) -> None:
        """Replace `dst` by `src` in one step for observers; durable after `fsync_dir`."""
        ...

    def unlink(self, path: str) -> None: ...

    def fsync_dir(self, path: str) -> None:
        """On return every name made, renamed or removed in that folder so far is on stable storage."""
        ...

    def mkdir(self, path: str) -> None:
        """Make one folder, mode 0700; its parent must exist."""
        ...

    def listdir(self, path: str) -> list[str]:
        """The names in the folder, sorted."""
        ...

    def exists(self, path: str) -> bool: ...

    def allocated_bytes(self, path: str) -> int:
        """Bytes of blocks that the file takes: less than its length by what was punched out of it."""
        ...

    def free_bytes(self, path: str) -> int:
        """Bytes that an unprivileged process may still allocate on the file system of `path`."""
        ...


def advance(buffers: Sequence[Buffer], written: int) -> list[Buffer]:
    """The rest of `buffers` after their first `written` bytes."""
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []


class RealDisk:
    """The kernel's files. Holds no state: one object serves every thread."""

    __slots__ = ()

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> int:
        flags = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
        if create:
            flags |= os.O_CREAT
        if exclusive:
            flags |= os.O_EXCL
        return os.open(path, flags, FILE_MODE)

    def close(self, fd: int) -> None:
        posix.close(fd)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> None:
        written = os.pwrite(fd, data, offset)
        if written != len(data):
            self._write_rest(fd, [data], offset, written)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        for start in range(0, len(buffers), IOV_MAX):
            part = buffers[start : start + IOV_MAX]
            length = sum(map(len, part))
            written = os.pwritev(fd, part, offset)
            if written != length:
                self._write_rest(fd, part, offset, written)
            offset += length

    def _write_rest(self, fd: int, buffers: Sequence[Buffer], offset: int, written: int) -> None:
        # A short write is usually a full disk; the next call says so with an errno, or the rest goes through.
        while written:
            offset += written
            buffers = advance(buffers, written)
            if not buffers:
                return
            written = os.pwritev(fd, buffers, offset)
        if buffers:
            raise OSError(errno.EIO, "the kernel took no byte of a write")

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        data = os.pread(fd, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        missing = length - len(data)
        while missing:
            data = os.pread(fd, missing, offset + length - missing)
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def link_count(self, fd: int) -> int:
        return os.fstat(fd).st_nlink

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        # By ctypes: glibc's posix_fallocate writes into every block where the file system cannot allocate, and races with writers.
        while _libc.fallocate(fd, 0, offset, length):
            number = ctypes.get_errno()
            if number == errno.EINTR:
                continue
            if number in {errno.EOPNOTSUPP, errno.ENOSYS}:
                self._write_zeros(fd, offset, length)
                return
            raise OSError(number, os.strerror(number))

    def _write_zeros(self, fd: int, offset: int, length: int) -> None:
        # Only past the end: zeros must never be written over bytes that are there.
        position = max(offset, os.fstat(fd).st_size)
        while position < offset + length:
            piece = _ZEROS[: offset + length - position]
            self.pwrite(fd, piece, position)
            position += len(piece)

    def punch(self, fd: int, offset: int, length: int) -> bool:
        while _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, offset, length):
            number = ctypes.get_errno()
            if number == errno.EINTR:
                continue
            if number in {errno.EOPNOTSUPP, errno.ENOSYS}:
                return False
            raise OSError(number, os.strerror(number))
        return True

    def start_writeback(self, fd: int, offset: int, length: int) -> None:
        if _libc.sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE):
            number = ctypes.get_errno()
            if number not in {errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE, errno.EINVAL, errno.EINTR}:
                raise OSError(number, os.strerror(number))

    def forget(self, fd: int, offset: int, length: int) -> None:
        # Whole pages: the kernel keeps one that the range only touches.
        start = offset // _PAGE_BYTES * _PAGE_BYTES
        end = -(-(offset + length) // _PAGE_BYTES) * _PAGE_BYTES
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_DONTNEED)

    def rename(self, src: str, dst: str) -> None:
        os.rename(src, dst)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def fsync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            posix.close(fd)

    def mkdir(self, path: str) -> None:
        os.mkdir(path, FOLDER_MODE)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def allocated_bytes(self, path: str) -> int:
        return os.stat(path).st_blocks * _STAT_BLOCK_BYTES

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


def read_file(disk: Disk, path: str) -> bytes:
    """The whole file. Raises OSError."""
    fd = disk.open(path, read_only=True)
    try:
        return disk.pread(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)
