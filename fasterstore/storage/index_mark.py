"""The mark `index/damaged`: whoever finds damage in the index leaves it, and the next start rebuilds the index instead of opening it.

One line of text: what was found, for people. The start that has put a whole index in place removes it, last of all.
Owns that file; never touches the index itself.
"""

import os

from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk

MARK_NAME = "damaged"
REASON_MAX_BYTES = 1000


def mark_index_damaged(disk: Disk, datadir: DataDir, reason: str) -> None:
    """Make the next start rebuild the index; on return that holds after a power cut too. Raises OSError."""
    line = " ".join(reason.split()).encode()[:REASON_MAX_BYTES] or b"no reason was given"
    write_atomically(disk, _path(datadir), line + b"\n")


def index_damage(disk: Disk, datadir: DataDir) -> str:
    """What the mark says, or "" if there is none. Raises OSError."""
    path = _path(datadir)
    if not disk.exists(path):
        return ""
    fd = disk.open(path, read_only=True)
    try:
        text = disk.pread(fd, REASON_MAX_BYTES, 0)
    finally:
        disk.close(fd)
    return " ".join(text.decode(errors="replace").split()) or "the mark is empty"


def clear_index_mark(disk: Disk, datadir: DataDir) -> None:
    """Remove the mark, durably; only once a whole index is in place. Raises OSError."""
    path = _path(datadir)
    if disk.exists(path):
        disk.unlink(path)
        disk.fsync_dir(os.path.dirname(path))


def _path(datadir: DataDir) -> str:
    return os.path.join(os.path.dirname(datadir.index_path), MARK_NAME)
