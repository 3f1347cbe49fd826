"""The index's tables and the bytes of their rows. Version 3.

Every row carries a CRC32C over {table tag, key, value} as the last four bytes of its value, checked at each read: cksumvfs covers
the database file's pages but not SQLite's own `-wal` file (design, section 6).

| table    | key                | plain columns              | value                                                            |
|----------|--------------------|----------------------------|------------------------------------------------------------------|
| meta     | name               |                            | "identity": msgpack; "state": 5 × int64 (see `State`);           |
|          |                    |                            | "damaged": int64, no row while it was never above 0              |
|          |                    |                            | "log_start": int64, no row while nothing of the log was retired  |
| buckets  | name (bytes)       | bucket_id                  | msgpack [bucket_id, created_ms, settings, version]               |
| objects  | bucket_id, key     | blob                       | msgpack, the fields of ObjectRow                                 |
| blobs    | number             | prefix, segment, unused_ms | `BLOB_VALUE`: id, refs, place, record id, zero since, flags      |
| segments | segment_id         |                            | `SEGMENT_VALUE`: epoch, uuid, flags, length, live, punched bytes |
| usage    | bucket_id          |                            | 2 × int64: objects, plaintext bytes                              |

`prefix` is the first eight bytes of the blob id as a signed integer: the index over it stays small, and a match is confirmed by the
whole id in the value. Plain columns repeat what the value says and are compared with it where they led to it. `unused_ms` is when a
blob lost its last reference, NULL while it has one. Uploads, parts and manifests: `upload_schema.py`. Replication:
`replication_schema.py`, whose tables version 2 did not have.

Version 1 had neither `unused_ms` nor the two indexes that compaction needs, and its segment rows end before the punched bytes; such
rows are still read. `migration.py` makes this version of an older one.
"""

import struct
from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

import msgpack

from fasterstore.digests import crc32c
from fasterstore.errors import DamagedRow
from fasterstore.model import BlobLocation, BlobRow, BucketRow, ObjectRow, SegmentId, SegmentRow

SCHEMA_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
"""A view reads them all: a node that starts read-only must not change its index."""

TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE buckets(name BLOB PRIMARY KEY, bucket_id INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE objects(bucket_id INTEGER NOT NULL, key BLOB NOT NULL, blob INTEGER NOT NULL, value BLOB NOT NULL,
                     PRIMARY KEY(bucket_id, key)) WITHOUT ROWID;
CREATE TABLE blobs(number INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, segment INTEGER NOT NULL, value BLOB NOT NULL,
                   unused_ms INTEGER);
CREATE INDEX blobs_by_id ON blobs(prefix);
CREATE TABLE segments(segment_id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE usage(bucket_id INTEGER PRIMARY KEY, value BLOB NOT NULL);
"""
BLOB_INDEXES = """
CREATE INDEX blobs_by_segment ON blobs(segment);
CREATE INDEX blobs_unused ON blobs(unused_ms) WHERE unused_ms IS NOT NULL;
"""
MIGRATE_FROM_1 = "ALTER TABLE blobs ADD COLUMN unused_ms INTEGER;" + BLOB_INDEXES
"""Before it each row of `blobs` at zero references gets its time from its value."""


class State(NamedTuple):
    """The counters of the log, stored with each batch: what the next batch goes on from."""

    applied_lsn: int
    epoch: int
    last_blob: int
    last_segment_id: int
    last_stamp: int


_STATE = struct.Struct("<5q")
_USAGE = struct.Struct("<2q")
_CRC = struct.Struct("<I")
_KEY = struct.Struct("<q")
_PREFIX = struct.Struct(">q")
BLOB_VALUE = struct.Struct("<32sqqqqq16sqB")
SEGMENT_VALUE = struct.Struct("<q16sBqqq")
SEGMENT_VALUE_V1 = struct.Struct("<q16sBqq")
_DAMAGED_FLAG = 1
_SEALED_FLAG = 1
_RETIRED_FLAG = 2

Columns = ParamSpec("Columns")
Row = TypeVar("Row")

_pack = msgpack.Packer(use_bin_type=True).pack
_unpack = msgpack.unpackb


def of_columns(unpack: Callable[Columns, Row]) -> Callable[Columns, Row]:
    """Make DamagedRow of what columns of a wrong type raise: a page in another's place brings the rows of another table."""

    @wraps(unpack)
    def unpacked(*columns: Columns.args, **named: Columns.kwargs) -> Row:
        try:
            return unpack(*columns, **named)
        except (TypeError, struct.error) as error:
            raise DamagedRow(f"index: {unpack.__name__} of {columns[:-1]!r}: {error}") from None

    return unpacked


def seal(tag: bytes, key: bytes, value: bytes) -> bytes:
    """Return `value` with its CRC32C over tag, key and value appended (4 bytes, little-endian)."""
    return value + _CRC.pack(crc32c(tag + key + value))


def unseal(tag: bytes, key: bytes, sealed: bytes) -> bytes:
    """Return the value without its checksum. Raises DamagedRow, naming table and key, if the checksum does not hold."""
    if type(sealed) is not bytes:  # a flipped type code in SQLite's own log turns a blob into text, a number or nothing
        raise DamagedRow(f"index table {tag.decode()}: the row of key {key!r} holds no bytes")
    value = sealed[:-4]
    if sealed[-4:] != _CRC.pack(crc32c(tag + key + value)):
        raise DamagedRow(f"index table {tag.decode()}: the row of key {key!r} fails its checksum")
    return value


def blob_prefix(blob_id: bytes) -> int:
    """Return the indexed prefix of a 32-byte blob id."""
    return int(_PREFIX.unpack_from(blob_id)[0])


def pack_state(state: State) -> bytes:
    """Return the row value of meta "state"."""
    return seal(b"meta", b"state", _STATE.pack(*state))


def unpack_state(sealed: bytes) -> State:
    """Return the counters. Raises DamagedRow."""
    return State(*_STATE.unpack(unseal(b"meta", b"state", sealed)))


def pack_damaged(blobs: int) -> bytes:
    """Return the row value of meta "damaged": how many blobs failed verification and are not repaired."""
    return seal(b"meta", b"damaged", _KEY.pack(blobs))


def unpack_damaged(sealed: bytes) -> int:
    """Return that number. Raises DamagedRow."""
    return int(_KEY.unpack(unseal(b"meta", b"damaged", sealed))[0])


def pack_log_start(lsn: int) -> bytes:
    """Return the row value of meta "log_start": log entries below that LSN were given up."""
    return seal(b"meta", b"log_start", _KEY.pack(lsn))


def unpack_log_start(sealed: bytes) -> int:
    """Return that LSN. Raises DamagedRow."""
    return int(_KEY.unpack(unseal(b"meta", b"log_start", sealed))[0])


def pack_identity(index_uuid: bytes, log_uuid: bytes, version: int = SCHEMA_VERSION) -> bytes:
    """Return the row value of meta "identity": this file's uuid and that of the log it is folded from."""
    return seal(b"meta", b"identity", _pack((version, index_uuid, log_uuid)))


def unpack_identity(sealed: bytes) -> tuple[int, bytes, bytes]:
    """Return (schema version, index uuid, log uuid). Raises DamagedRow."""
    version, index_uuid, log_uuid = _unpack(unseal(b"meta", b"identity", sealed))
    return version, index_uuid, log_uuid


def pack_bucket(row: BucketRow) -> bytes:
    """Return the row value of a bucket."""
    return seal(b"buckets", row.name.encode(), _pack((row.bucket_id, row.created_ms, row.settings, row.version)))


@of_columns
def unpack_bucket(name: bytes, bucket_id: int, sealed: bytes) -> BucketRow:
    """Return the bucket. Raises DamagedRow."""
    stored_id, created_ms, settings, version = _unpack(unseal(b"buckets", name, sealed))
    if stored_id != bucket_id:
        raise DamagedRow(f"index table buckets: {name!r} has column id {bucket_id}, value id {stored_id}")
    return BucketRow(stored_id, name.decode(), created_ms, settings, version)


def pack_object(bucket_id: int, key: bytes, row: ObjectRow) -> bytes:
    """Return the row value of a key's current version."""
    return seal(b"objects", _KEY.pack(bucket_id) + key, _pack(row))


@of_columns
def unpack_object(bucket_id: int, key: bytes, blob: int, sealed: bytes) -> ObjectRow:
    """Return the current version. Raises DamagedRow."""
    row = ObjectRow(*_unpack(unseal(b"objects", _KEY.pack(bucket_id) + key, sealed)))
    if row.blob != blob:
        raise DamagedRow(f"index table objects: {key!r} has column blob {blob}, value blob {row.blob}")
    return row


def pack_blob(row: BlobRow) -> bytes:
    """Return the row value of a blob."""
    place = row.location
    value = BLOB_VALUE.pack(
        row.blob_id, row.refs, place.segment_id, place.offset, place.plaintext_bytes, place.stored_bytes, place.record_id,
        row.zero_since_ms, _DAMAGED_FLAG if row.damaged else 0,
    )  # fmt: skip
    return seal(b"blobs", _KEY.pack(row.number), value)


@of_columns
def unpack_blob(number: int, prefix: int, segment: int, sealed: bytes) -> BlobRow:
    """Return the blob. Raises DamagedRow."""
    value = BLOB_VALUE.unpack(unseal(b"blobs", _KEY.pack(number), sealed))
    blob_id, refs, segment_id, offset, plaintext_bytes, stored_bytes, record_id, zero_since_ms, flags = value
    if segment_id != segment or blob_prefix(blob_id) != prefix:
        raise DamagedRow(f"index table blobs: the plain columns of blob {number} differ from its value")
    place = BlobLocation(segment_id, offset, plaintext_bytes, stored_bytes, record_id)
    return BlobRow(number, blob_id, refs, place, zero_since_ms, bool(flags & _DAMAGED_FLAG))  # type: ignore[arg-type]


def pack_segment(row: SegmentRow) -> bytes:
    """Return the row value of a segment."""
    flags = (_SEALED_FLAG if row.sealed else 0) | (_RETIRED_FLAG if row.retired else 0)
    value = SEGMENT_VALUE.pack(row.epoch, row.file_uuid, flags, row.length_bytes, row.live_bytes, row.punched_bytes)
    return seal(b"segments", _KEY.pack(row.segment_id), value)


@of_columns
def unpack_segment(segment_id: int, sealed: bytes) -> SegmentRow:
    """Return the segment. Raises DamagedRow."""
    value = unseal(b"segments", _KEY.pack(segment_id), sealed)
    if len(value) == SEGMENT_VALUE_V1.size:
        value += bytes(SEGMENT_VALUE.size - SEGMENT_VALUE_V1.size)
    epoch, file_uuid, flags, length_bytes, live_bytes, punched_bytes = SEGMENT_VALUE.unpack(value)
    is_sealed, is_retired = bool(flags & _SEALED_FLAG), bool(flags & _RETIRED_FLAG)
    return SegmentRow(SegmentId(segment_id), epoch, file_uuid, is_sealed, length_bytes, live_bytes, is_retired, punched_bytes)


def pack_usage(bucket_id: int, objects: int, size_bytes: int) -> bytes:
    """Return the row value of a bucket's usage."""
    return seal(b"usage", _KEY.pack(bucket_id), _USAGE.pack(objects, size_bytes))


@of_columns
def unpack_usage(bucket_id: int, sealed: bytes) -> tuple[int, int]:
    """Return (objects, plaintext bytes). Raises DamagedRow."""
    objects, size_bytes = _USAGE.unpack(unseal(b"usage", _KEY.pack(bucket_id), sealed))
    return objects, size_bytes
