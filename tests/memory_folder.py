"""A folder in memory, where there is room for one: for tests of which none is about the disk, so that none waits for it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_MEMORY = "/dev/shm"
_FREE_MIN_BYTES = 1 << 30
"""A container may have 64 MB of it, and a node preallocates as much."""


@contextmanager
def memory_folder() -> Iterator[str]:
    """A new folder that is removed at the end; on disk if there is no memory to be had."""
    has_room = os.path.isdir(_MEMORY) and shutil.disk_usage(_MEMORY).free >= _FREE_MIN_BYTES
    path = tempfile.mkdtemp(prefix="fasterstore-tests-", dir=_MEMORY if has_room else None)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
