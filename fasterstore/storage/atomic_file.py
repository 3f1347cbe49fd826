"""Small files that are replaced as a whole, and the JSON in them. Owns no name."""

import json
import os
from typing import Any

from fasterstore.errors import UnsupportedFormat
from fasterstore.storage.disk import Disk


def write_atomically(disk: Disk, path: str, data: bytes) -> None:
    """Make `path` hold `data`: on return it does so after a power cut too; cut short, it holds what it held before.

    Raises OSError; then either content may be there, and a `.tmp` beside it.
    """
    temporary = path + ".tmp"
    fd = disk.open(temporary, create=True)
    try:
        disk.truncate(fd, 0)
        disk.pwrite(fd, data, 0)
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.rename(temporary, path)
    disk.fsync_dir(os.path.dirname(path))


def read_json(disk: Disk, path: str) -> dict[str, Any]:
    """The JSON object in a file. Raises UnsupportedFormat if it holds anything else, OSError."""
    fd = disk.open(path, read_only=True)
    try:
        data = disk.pread(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)
    try:
        document = json.loads(data)
    except ValueError as error:
        raise UnsupportedFormat(f"{path}: not readable as JSON") from error
    if not isinstance(document, dict):
        raise UnsupportedFormat(f"{path}: not a JSON object")
    return document
