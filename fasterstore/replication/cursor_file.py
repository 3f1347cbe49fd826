"""The file in which one peer's cursor is kept: `replication/<hash of its URL>.json` in the data dir.

    {"format": 1, "peer": URL, "log_uuid": hex, "peer_node": hex, "peer_log": hex, "lsn": int, "acked_stamp": int, "level_ms": int,
     "scan_reason": text, "scan_after": [bucket, key as hex], "owed": [[bucket, key as hex or null], ...], "crc32": hex}

JSON with a checksum (`storage/atomic_file`). It only says where to go on from: one that is lost, damaged, of another peer or of a later
format costs a resync and is no error.
"""

import logging
import os
from typing import Any

from blake3 import blake3

from fasterstore.errors import UnsupportedFormat
from fasterstore.replication.cursor import Address, Cursor, Position
from fasterstore.storage.atomic_file import json_bytes, read_json, write_atomically
from fasterstore.storage.disk import Disk

logger = logging.getLogger("fasterstore.replication")

FOLDER_NAME = "replication"
FORMAT = 1
_NAME_BYTES = 16


class CursorFile:
    """See the module. `folder` is the data dir, `peer` the peer's URL. Blocking."""

    def __init__(self, disk: Disk, folder: str, peer: str) -> None:
        self._disk = disk
        self._root = folder
        self._peer = peer
        self.path = os.path.join(folder, FOLDER_NAME, f"{blake3(peer.encode()).hexdigest(_NAME_BYTES)}.json")

    def read(self) -> Cursor | None:
        """What was kept; None if there is nothing to go by."""
        try:
            if not self._disk.exists(self.path):
                return None
            return _cursor(read_json(self._disk, self.path), self._peer)
        except (OSError, UnsupportedFormat, ValueError, TypeError, KeyError) as error:
            logger.warning("the cursor of %s cannot be read, it will be sent everything: %s", self._peer, error)
            return None

    def write(self, cursor: Cursor) -> None:
        """Keep it: on return it is on stable storage. Raises OSError; then the file holds this, or what it held before."""
        folder = os.path.dirname(self.path)
        if not self._disk.exists(folder):
            self._disk.mkdir(folder)
            self._disk.fsync_dir(self._root)
        write_atomically(self._disk, self.path, json_bytes(_document(cursor, self._peer)))


def _document(cursor: Cursor, peer: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "peer": peer,
        "log_uuid": cursor.log_uuid.hex(),
        "peer_node": cursor.peer_node.hex(),
        "peer_log": cursor.peer_log.hex(),
        "lsn": cursor.lsn,
        "acked_stamp": cursor.acked_stamp,
        "level_ms": cursor.level_ms,
        "scan_reason": cursor.scan_reason,
        "scan_after": [cursor.scan_after.bucket, cursor.scan_after.key.hex()],
        "owed": [[address.bucket, None if address.key is None else address.key.hex()] for address in cursor.owed],
    }


def _cursor(document: dict[str, Any], peer: str) -> Cursor:
    if document["format"] != FORMAT or document["peer"] != peer:
        raise ValueError(f"format {document['format']} of {document['peer']}")
    bucket, key = document["scan_after"]
    return Cursor(
        bytes.fromhex(document["log_uuid"]),
        bytes.fromhex(document["peer_node"]),
        bytes.fromhex(document["peer_log"]),
        int(document["lsn"]),
        int(document["acked_stamp"]),
        int(document["level_ms"]),
        str(document["scan_reason"]),
        Position(str(bucket), bytes.fromhex(key)),
        tuple([Address(str(owed), None if raw is None else bytes.fromhex(raw)) for owed, raw in document["owed"]]),
    )
