"""The answer to GET /_internal/replicate/status. Format version 1, msgpack: an array of

| field         | type | meaning                                                                                          |
|---------------|------|--------------------------------------------------------------------------------------------------|
| version       | int  | 1; another is refused by name                                                                    |
| node_id       | bin  | 16 bytes: who answers                                                                            |
| log_uuid      | bin  | 16 bytes: its log                                                                                |
| known_blob    | int  | the highest number of the log that the caller named under which it knows a blob; 0: none         |
| horizon_ms    | int  | what it deleted by then (Unix ms) may have left no tombstone; 0: all deletes have one                |
"""

import msgpack

from fasterstore.errors import UnsupportedFormat
from fasterstore.replication.change_reading import ID_BYTES, INT_MAX, MalformedBatch

STATUS_VERSION = 1
_FIELDS = 5


def encode_status(node_id: bytes, log_uuid: bytes, known_blob: int, horizon_ms: int) -> bytes:
    """The answer's bytes."""
    raw: bytes = msgpack.packb((STATUS_VERSION, node_id, log_uuid, known_blob, horizon_ms))
    return raw


def decode_status(data: bytes) -> tuple[bytes, bytes, int, int]:
    """(node id, log uuid, known blob, horizon) of these bytes. Raises UnsupportedFormat for another version, MalformedBatch."""
    try:
        fields = msgpack.unpackb(data)
    except Exception as error:
        # msgpack documents no closed set of errors for bad input.
        raise MalformedBatch(f"{type(error).__name__}: {error}") from None
    if type(fields) is not list or not fields:
        raise MalformedBatch("not an array")
    if fields[0] != STATUS_VERSION:
        raise UnsupportedFormat(f"a status of version {str(fields[0])[:20]}; this build speaks version {STATUS_VERSION}")
    if len(fields) != _FIELDS:
        raise MalformedBatch(f"not an array of {_FIELDS}")
    _, node_id, log_uuid, known_blob, horizon_ms = fields
    if any(type(value) is not bytes or len(value) != ID_BYTES for value in (node_id, log_uuid)):
        raise MalformedBatch("an id is not 16 bytes")
    if any(type(value) is not int or not 0 <= value <= INT_MAX for value in (known_blob, horizon_ms)):
        raise MalformedBatch("a number is out of its range")
    return node_id, log_uuid, known_blob, horizon_ms
