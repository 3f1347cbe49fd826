"""The reserve file: space set aside so that the index can commit what the WAL already holds when the disk is full.

Owns `reserve` in the data dir's index folder. It is given back when SQLite reports a full disk, and made again at the next start
that finds room; it holds no data.
"""

import contextlib
import os

from fasterstore.errors import StorageFull
from fasterstore.storage.disk import Disk

RESERVE_BYTES = 40 << 20
"""Room for a commit of the index, and for the copy of the last WAL file (at most 32 MiB) that a start makes."""

SHARE = 4
"""It is not taken where it would be more than a quarter of what is free: a small disk is for objects."""

COMMIT_BYTES = 1 << 20
COMMIT_BYTES_PER_FRAME_BYTE = 32
"""What the index's own log may take for a frame: each entry of some 300 bytes changes pages of 4 KiB, mostly the same ones."""


class Reserve:
    """One preallocated file."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._path = os.path.join(folder, "reserve")
        self._held = False

    def take(self, size_bytes: int = RESERVE_BYTES) -> bool:
        """Allocate the file if it is not there; return whether it is. Failing is not an error: the node then starts without."""
        with contextlib.suppress(OSError):
            fd = self._disk.open(self._path, create=True)
            try:
                self._held = self._fill(fd, size_bytes)
            finally:
                self._disk.close(fd)
        return self._held

    def _fill(self, fd: int, size_bytes: int) -> bool:
        held_bytes = self._disk.size(fd)
        if held_bytes >= size_bytes:
            return True
        if self._disk.free_bytes(os.path.dirname(self._path)) < SHARE * size_bytes:
            return False
        try:
            self._disk.fallocate(fd, held_bytes, size_bytes - held_bytes)
        except OSError:
            self._disk.truncate(fd, 0)  # a refused allocation may have taken what was left of the disk
            return False
        return True

    def give_back(self) -> bool:
        """Free its bytes; return False if there were none (any more)."""
        if not self._held:
            return False
        self._held = False
        fd = self._disk.open(self._path)
        try:
            self._disk.truncate(fd, 0)
        finally:
            self._disk.close(fd)
        return True

    def remove(self) -> bool:
        """Free its bytes and its inode, which may be the last one that a start can have; return False if there is no such file."""
        self._held = False
        try:
            self._disk.unlink(self._path)
        except OSError:
            return False
        return True

    def need_room(self, frame_bytes: int) -> None:
        """Raises StorageFull unless the index can commit what a WAL frame of that size changes: by the reserve, or by what is free.

        Asked before the frame is written: without room a batch is refused, and the node goes on, whoever has filled the disk.
        """
        if self._held:
            return
        try:
            free_bytes = self._disk.free_bytes(os.path.dirname(self._path))
        except OSError:
            return  # whatever that is, it is not for want of room
        if free_bytes < COMMIT_BYTES + COMMIT_BYTES_PER_FRAME_BYTE * frame_bytes:
            raise StorageFull(f"{free_bytes >> 10} KiB are free, the index may need more, and its reserve was given back before")
