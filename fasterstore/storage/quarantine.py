"""Bytes that failed verification, copied aside for people: `quarantine/` in the data dir.

A bad record stays where it is (it is given back only by a logged entry once nothing names it); its copy is what an operator or a later
tool can look at after a repair. A copy is named SEGMENT-OFFSET-BLOB.record: segment as 16 hex digits, offset and blob number in decimal.
Blocks that cannot be read are zeros in it.

Owns those copies, counts them, and stops at a cap. It never deletes one, and never takes the space that is kept for writes.
"""

import contextlib
import itertools
import os
import re
from typing import NamedTuple

from fasterstore.model import BlobRow
from fasterstore.storage.disk import Disk
from fasterstore.storage.record import record_bytes

CAP_BYTES = 1 << 30
"""Of copies in all: a dying disk must not be filled with what is bad on it."""
_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 4096
_NAME = re.compile(r"[0-9a-f]{16}-[0-9]+-[0-9]+\.record\Z")


class Kept(NamedTuple):
    """What lies in quarantine: copies of records and their bytes."""

    copies: int
    size_bytes: int


class Quarantine:
    """The folder `folder`. Blocking; one caller at a time."""

    def __init__(self, disk: Disk, folder: str, *, min_free_bytes: int, cap_bytes: int = CAP_BYTES) -> None:
        """Below `min_free_bytes` of free space, and above `cap_bytes` of copies, nothing is copied."""
        self._disk = disk
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._cap_bytes = cap_bytes

    def kept(self) -> Kept:
        """Count the copies. Raises OSError."""
        sizes = []
        for name in self._disk.listdir(self._folder):
            if _NAME.match(name):
                fd = self._disk.open(os.path.join(self._folder, name), read_only=True)
                try:
                    sizes.append(self._disk.size(fd))
                finally:
                    self._disk.close(fd)
        return Kept(len(sizes), sum(sizes))

    def copy(self, fd: int, row: BlobRow) -> str:
        """Copy a record from the segment open as `fd`; return "" or why there is no copy. On return a copy is on stable storage.

        A copy that is there already stays as it is. Raises OSError as the disk does.
        """
        place = row.location
        path = os.path.join(self._folder, f"{place.segment_id:016x}-{place.offset}-{row.number}.record")
        length = record_bytes(place.stored_bytes)
        if self._disk.exists(path):
            return ""
        if self.kept().size_bytes + length > self._cap_bytes:
            return f"quarantine holds {self._cap_bytes} bytes or would"
        if self._disk.free_bytes(self._folder) < self._min_free_bytes + length:
            return "there is no room beside the reserve"
        temporary = path + ".tmp"
        copy_fd = self._disk.open(temporary, create=True)
        try:
            self._disk.truncate(copy_fd, 0)
            for start in range(0, length, _PIECE_BYTES):
                self._disk.pwrite(copy_fd, self._read(fd, min(_PIECE_BYTES, length - start), place.offset + start), start)
            self._disk.fsync(copy_fd)
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.unlink(temporary)
            raise
        finally:
            self._disk.close(copy_fd)
        self._disk.rename(temporary, path)
        self._disk.fsync_dir(self._folder)
        return ""

    def _read(self, fd: int, length: int, offset: int) -> bytes:
        try:
            return self._disk.pread(fd, length, offset)
        except OSError:
            edges = [offset, *range(offset // _BLOCK_BYTES * _BLOCK_BYTES + _BLOCK_BYTES, offset + length, _BLOCK_BYTES), offset + length]
            return b"".join(self._read_block(fd, end - start, start) for start, end in itertools.pairwise(edges))

    def _read_block(self, fd: int, length: int, offset: int) -> bytes:
        try:
            return self._disk.pread(fd, length, offset)
        except OSError:
            return bytes(length)
