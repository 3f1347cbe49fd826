"""Copy a file to another disk and read it back: the copy is only done once the medium has given the same bytes again.

Blocking. Owns nothing; the name of the new file is synced by the caller, with its folder.
"""

import os
from collections.abc import Iterator

from blake3 import blake3

from fasterstore.errors import VolumeSuspect
from fasterstore.storage.disk import Disk

PIECE_BYTES = 1 << 20


def copy_verified(disk: Disk, source: str, target: str) -> Iterator[int]:
    """Copy `source` to the new file `target`, sync it, read it back; yields how many bytes each step dealt with, twice the length in all.

    Raises VolumeSuspect: what comes back differs; OSError.
    """
    reading = disk.open(source, read_only=True)
    try:
        writing = disk.open(target, create=True, exclusive=True)
        try:
            written = blake3()
            done = 0
            while data := disk.pread(reading, PIECE_BYTES, done):
                written.update(data)
                disk.pwrite(writing, data, done)
                done += len(data)
                yield len(data)
            disk.fsync(writing)
            # Otherwise the page cache would answer, which knows nothing of the medium.
            os.posix_fadvise(writing, 0, 0, os.POSIX_FADV_DONTNEED)
            found = blake3()
            done = 0
            while data := disk.pread(writing, PIECE_BYTES, done):
                found.update(data)
                done += len(data)
                yield len(data)
        finally:
            disk.close(writing)
    finally:
        disk.close(reading)
    if found.digest() != written.digest():
        raise VolumeSuspect(f"{target}: what was written does not come back")
