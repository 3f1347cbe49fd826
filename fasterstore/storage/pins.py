"""Pins: consistent copies of the whole store at one LSN, in `snapshots/pins/NAME/`, and the same as a folder elsewhere.

    index.db          the index with every entry up to the LSN, out of WAL mode, checked
    segments/         every segment file that its rows name: a hard link in a pin, a copy of the bytes in a folder elsewhere
    keys.json         the data dir's, byte for byte
    snapshot.json     {"snapshot": 1, "name", "lsn", "log_uuid", "node_id" (32 hex digits each), "data_format", "made_ms", "index_bytes",
                      "segments", "segment_bytes"}

A segment file is only ever appended to, so what lies behind the bytes that the index names does no harm. Its space is given back by
unlinking the name in `segments/`, which leaves the pin's, and by punching out ranges that were never named. So a pin stays whole, and
holds the bytes of what was deleted since: those that nothing else holds are its own.

`NAME.tmp` is a pin that is being made, `NAME.drop` one that is being let go: neither counts, and both are removed at the next start.
Owns the names and that file. Never removes a pin on its own.
"""

import json
import os
import re
from typing import Any, NamedTuple

from fasterstore.errors import StorageFull, StoreError, UnsupportedFormat
from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.datadir import FORMAT
from fasterstore.storage.disk import NO_SPACE, Disk, read_file

VERSION = 1
INDEX_NAME, SEGMENTS_NAME, KEYS_NAME, DOCUMENT_NAME = "index.db", "segments", "keys.json", "snapshot.json"
CAP_SHARE = 4
"""Without FS_SNAPSHOT_PIN_MAX_MB pins may hold one part in so many of the file system."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_UNFINISHED = (".tmp", ".drop")


class PinRefused(StoreError):
    """A name that is taken, unknown or not allowed, or pins hold as much as they may."""


class Pin(NamedTuple):
    """One pin, or a folder of the same form, by its document; `log_uuid` and `node_id` are 16 bytes, sizes bytes."""

    name: str
    path: str
    lsn: int
    log_uuid: bytes
    node_id: bytes
    data_format: int
    made_ms: int
    index_bytes: int
    segments: int
    segment_bytes: int


def pins_dir(snapshots: str) -> str:
    """The folder of all pins."""
    return os.path.join(snapshots, "pins")


def check_name(name: str) -> str:
    """The name if a pin may be called so. Raises PinRefused."""
    if not _NAME.match(name) or name.endswith(_UNFINISHED):
        raise PinRefused(f"{name!r}: a snapshot's name is 1 to 100 letters, digits, dots, hyphens and underscores")
    return name


def read_pin(disk: Disk, path: str) -> Pin:
    """The pin or folder at `path`. Raises UnsupportedFormat: it is none, or of a newer format; OSError."""
    document_path = os.path.join(path, DOCUMENT_NAME)
    try:
        document = json.loads(read_file(disk, document_path))
        pin = Pin(
            document["name"], path, document["lsn"], bytes.fromhex(document["log_uuid"]), bytes.fromhex(document["node_id"]),
            document["data_format"], document["made_ms"], document["index_bytes"], document["segments"], document["segment_bytes"],
        )  # fmt: skip
        version = document["snapshot"]
    except FileNotFoundError as error:
        raise UnsupportedFormat(f"{path}: not a snapshot: it has no {DOCUMENT_NAME}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnsupportedFormat(f"{document_path}: unreadable") from error
    if version != VERSION or pin.data_format > FORMAT:
        raise UnsupportedFormat(f"{document_path}: snapshot {version} of data format {pin.data_format} is newer than this version knows")
    return pin


def write_document(disk: Disk, pin: Pin) -> None:
    """Write `snapshot.json` into `pin.path`, durably: what makes a snapshot of the folder. Raises OSError."""
    document: dict[str, Any] = {"snapshot": VERSION} | pin._asdict()
    document |= {"log_uuid": pin.log_uuid.hex(), "node_id": pin.node_id.hex()}
    del document["path"]
    write_atomically(disk, os.path.join(pin.path, DOCUMENT_NAME), (json.dumps(document, indent=2) + "\n").encode("ascii"))


def list_pins(disk: Disk, snapshots: str) -> list[Pin]:
    """Every whole pin, the oldest first; a folder without a readable document is left out. Raises OSError."""
    folder = pins_dir(snapshots)
    found = []
    for name in disk.listdir(folder) if disk.exists(folder) else ():
        if not name.endswith(_UNFINISHED):
            try:
                found.append(read_pin(disk, os.path.join(folder, name)))
            except UnsupportedFormat:
                continue
    return sorted(found, key=lambda pin: (pin.made_ms, pin.name))


def own_bytes(path: str) -> int:
    """Bytes on disk that only the pin at `path` holds: files that have no other name."""
    return sum(status.st_blocks * 512 for status in _files(path) if status.st_nlink == 1)


def held_bytes(snapshots: str, segments: str) -> int:
    """Bytes on disk that pins hold and the data dir does not: each file once, however many pins name it."""
    live = {entry.inode() for entry in os.scandir(segments)}
    found = {status.st_ino: status.st_blocks * 512 for status in _files(pins_dir(snapshots)) if status.st_ino not in live}
    return sum(found.values())


def cap_bytes(snapshots: str, max_bytes: int) -> int:
    """What pins may hold: `max_bytes`, or if that is 0 a quarter of the file system."""
    status = os.statvfs(snapshots)
    return max_bytes or status.f_blocks * status.f_frsize // CAP_SHARE


def drop_pin(disk: Disk, snapshots: str, name: str) -> int:
    """Let go of a pin; returns the bytes that only it held. From the first step on it is none any more. Raises PinRefused, OSError."""
    path = os.path.join(pins_dir(snapshots), check_name(name))
    if not disk.exists(path):
        raise PinRefused(f"there is no snapshot {name!r}")
    freed = own_bytes(path)
    disk.rename(path, path + ".drop")
    disk.fsync_dir(pins_dir(snapshots))
    remove_folder(disk, path + ".drop")
    disk.fsync_dir(pins_dir(snapshots))
    return freed


def remove_unfinished(disk: Disk, snapshots: str) -> None:
    """Remove what an end in the middle of making or dropping a pin has left. Raises OSError."""
    folder = pins_dir(snapshots)
    for name in disk.listdir(folder) if disk.exists(folder) else ():
        if name.endswith(_UNFINISHED):
            remove_folder(disk, os.path.join(folder, name))


def remove_folder(disk: Disk, path: str) -> None:
    """Remove a folder of ours and what is in it. Raises OSError."""
    for name in disk.listdir(path):
        inside = os.path.join(path, name)
        if os.path.isdir(inside) and not os.path.islink(inside):
            remove_folder(disk, inside)
        else:
            disk.unlink(inside)
    os.rmdir(path)


def refusal(error: OSError) -> StoreError:
    """What a failed step of making a pin is to whoever asked for it."""
    return StorageFull(str(error)) if error.errno in NO_SPACE else PinRefused(f"{type(error).__name__}: {error}")


def _files(path: str) -> list[os.stat_result]:
    found = []
    for folder, _folders, names in os.walk(path):
        for name in names:
            try:
                found.append(os.stat(os.path.join(folder, name), follow_symlinks=False))
            except FileNotFoundError:
                continue
    return found
