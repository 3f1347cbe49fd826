"""Small files that are replaced as a whole, and the JSON in them. Owns no name.

The JSON object has one field of its own: `crc32`, 8 hex digits, the CRC-32 of the object without it, as JSON with sorted keys and no
spaces. A file without the field is believed: versions before it wrote none. The standard library's CRC: the supervisor reads such
files before it imports anything else.
"""

import json
import os
import zlib
from typing import Any

from fasterstore.errors import UnsupportedFormat
from fasterstore.storage.disk import Disk, read_file

CHECKSUM_FIELD = "crc32"


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
    """The JSON object in a file, without its checksum. Raises UnsupportedFormat: it holds anything else, or fails its checksum. OSError."""
    try:
        document = json.loads(read_file(disk, path))
    except ValueError as error:
        raise UnsupportedFormat(f"{path}: not readable as JSON") from error
    if not isinstance(document, dict):
        raise UnsupportedFormat(f"{path}: not a JSON object")
    if document.pop(CHECKSUM_FIELD, checksum := _checksum(document)) != checksum:
        raise UnsupportedFormat(f"{path}: it fails its checksum; restore it")
    return document


def json_bytes(document: dict[str, Any]) -> bytes:
    """The bytes of a file that `read_json` returns as `document`."""
    return (json.dumps(document | {CHECKSUM_FIELD: _checksum(document)}, indent=2) + "\n").encode("ascii")


def _checksum(document: dict[str, Any]) -> str:
    plain = {name: value for name, value in document.items() if name != CHECKSUM_FIELD}
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True, separators=(',', ':')).encode('ascii')):08x}"
