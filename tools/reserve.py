"""The reserve file: space set aside so that the index can commit what the WAL already holds when the disk is full.

Owns `reserve` in the data dir's index folder. It is given back when SQLite reports a full disk, and made again at the next start
that finds room; it holds no data.
"""

import contextlib
import os

from fasterstore.storage.disk import Disk

RESERVE_BYTES = 40 << 20
"""Room for a commit of the index, and for the copy of the last WAL file (at most 32 MiB) that a start makes."""

SHARE = 4
"""It is not taken where it would be more than a quarter of what is free: a small disk is for objects."""


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
