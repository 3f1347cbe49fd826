"""How long this machine takes to make 4 KiB durable: the yardstick beside every figure about writes.

Writes a temporary file of its own and nothing else; the file has no name left when the probe ends.
"""

import os
import tempfile
from time import perf_counter

WRITE_BYTES = 4096


def measure(folder: str, rounds: int = 200, *, preallocated: bool = False) -> list[float]:
    """Write 4 KiB at the end of a file and fdatasync it, again and again.

    Args:
        folder: where; its file system and disk are what is measured.
        rounds: how often, at least 1.
        preallocated: reserve the file's space before the first write, as a journal does; else each write makes the file longer.

    Returns:
        Seconds for each write with its fdatasync, ascending.

    Raises:
        OSError: the folder cannot be written to.
    """
    block = os.urandom(WRITE_BYTES)
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        fd = file.fileno()
        if preallocated:
            os.posix_fallocate(fd, 0, rounds * WRITE_BYTES)
            os.fsync(fd)
        for index in range(rounds):
            started = perf_counter()
            os.pwrite(fd, block, index * WRITE_BYTES)
            os.fdatasync(fd)
            times.append(perf_counter() - started)
    return sorted(times)
