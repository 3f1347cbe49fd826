"""Journal entries: the closed, versioned set of facts that the index is folded from.

An entry is one msgpack array `[kind, version, logical, annex]`:

| field   | type | meaning                                                                                          |
|---------|------|--------------------------------------------------------------------------------------------------|
| kind    | int  | `Kind`; never renumbered                                                                         |
| version | int  | of this kind's two parts, now 1; an unknown one is refused by name                               |
| logical | bin  | msgpack array: what happened, the same on every node; what peers are sent and hash; b"" if local |
| annex   | bin  | msgpack array: this node's blob number and location; b"" if there is none                        |

Outcome, numbers and places stand in the entry: replay applies them and never judges (design, section 5).
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from fasterstore.errors import UnsupportedFormat
from fasterstore.model import BlobLocation, BlobNumber, Epoch, SegmentId

ENTRY_VERSION = 1


class Kind(IntEnum):
    """What an entry says. Values are part of the format."""

    EPOCH_STARTED = 1
    SEGMENT_IDS_LEASED = 2
    SEGMENT_OPENED = 3
    SEGMENT_SEALED = 4
    BUCKET_CREATED = 5
    BUCKET_DELETED = 6
    OBJECT_PUT = 7
    OBJECT_DELETED = 8
    BLOB_DAMAGED = 9


class BlobSource(IntEnum):
    """Where the bytes of an ObjectPut come from. Values are part of the format."""

    EMPTY = 0
    """No bytes, no blob."""
    NEW = 1
    """A blob number of its own at `location`."""
    CLAIMED = 2
    """The blob existed, its bytes were compared; `location` is None."""
    REPAIRED = 3
    """The blob existed and had failed verification; it now lies at `location`."""


class EpochStarted(NamedTuple):
    """Local: a storage process began its life."""

    epoch: Epoch
    started_ms: int


class SegmentIdsLeased(NamedTuple):
    """Local: ids first .. first + id_count - 1 are used up, whether or not a file gets them."""

    first: SegmentId
    id_count: int


class SegmentOpened(NamedTuple):
    """Local: that file exists, its header and its name are on stable storage."""

    segment_id: SegmentId
    epoch: Epoch
    file_uuid: bytes


class SegmentSealed(NamedTuple):
    """Local: nothing is appended to that file any more; it is `length_bytes` long."""

    segment_id: SegmentId
    length_bytes: int


class BucketCreated(NamedTuple):
    """Logical. The bucket's id is this entry's LSN. `stamp` is the hybrid clock's value, `origin` the 16-byte node id."""

    bucket: str
    created_ms: int
    stamp: int
    origin: bytes


class BucketDeleted(NamedTuple):
    """Logical: the bucket was empty and is gone."""

    bucket: str
    deleted_ms: int
    stamp: int
    origin: bytes


class ObjectPut(NamedTuple):
    """Logical up to `origin_blob`; the annex follows: which local blob holds the bytes, how it came to be, and where it lies."""

    bucket: str
    key: bytes
    size_bytes: int
    etag: str
    modified_ms: int
    system: dict
    user: dict
    checksums: dict
    stamp: int
    origin: bytes
    origin_log: bytes
    origin_blob: int
    blob: BlobNumber
    source: BlobSource
    blob_id: bytes
    location: BlobLocation | None


class ObjectDeleted(NamedTuple):
    """Logical: the key's current version is gone (a tombstone for peers)."""

    bucket: str
    key: bytes
    deleted_ms: int
    stamp: int
    origin: bytes


class BlobDamaged(NamedTuple):
    """Local: the record `record_id` of that blob failed verification; until repaired it is no dedup target."""

    blob: BlobNumber
    record_id: bytes


Entry = (
    EpochStarted | SegmentIdsLeased | SegmentOpened | SegmentSealed | BucketCreated | BucketDeleted
    | ObjectPut | ObjectDeleted | BlobDamaged
)  # fmt: skip

_PUT_LOGICAL_FIELDS = 12
_LOGICAL = {BucketCreated: Kind.BUCKET_CREATED, BucketDeleted: Kind.BUCKET_DELETED, ObjectDeleted: Kind.OBJECT_DELETED}
_LOCAL = {
    EpochStarted: Kind.EPOCH_STARTED,
    SegmentIdsLeased: Kind.SEGMENT_IDS_LEASED,
    SegmentOpened: Kind.SEGMENT_OPENED,
    SegmentSealed: Kind.SEGMENT_SEALED,
    BlobDamaged: Kind.BLOB_DAMAGED,
}
_BY_KIND: dict[int, Callable[..., Any]] = {int(kind): cls for cls, kind in (_LOGICAL | _LOCAL).items()}
_pack = msgpack.Packer(use_bin_type=True).pack


def encode(entry: Entry) -> bytes:
    """Return the entry's bytes as they stand in a WAL frame. Deterministic: equal entries give equal bytes."""
    cls = type(entry)
    if cls is ObjectPut:
        return _pack((7, ENTRY_VERSION, _pack(entry[:_PUT_LOGICAL_FIELDS]), _pack(entry[_PUT_LOGICAL_FIELDS:])))
    kind = _LOGICAL.get(cls)
    if kind is not None:
        return _pack((int(kind), ENTRY_VERSION, _pack(entry), b""))
    return _pack((int(_LOCAL[cls]), ENTRY_VERSION, b"", _pack(entry)))


def decode(data: bytes) -> Entry:
    """Return the entry of these bytes.

    Raises UnsupportedFormat for a kind or version that this build does not know.
    """
    kind, version, logical, annex = msgpack.unpackb(data)
    if version != ENTRY_VERSION:
        raise UnsupportedFormat(f"journal entry kind {kind} has version {version}; this build reads version {ENTRY_VERSION}")
    if kind == Kind.OBJECT_PUT:
        put = ObjectPut(*msgpack.unpackb(logical), *msgpack.unpackb(annex))
        place = None if put.location is None else BlobLocation(*put.location)
        return put._replace(source=BlobSource(put.source), location=place)
    cls = _BY_KIND.get(kind)
    if cls is None:
        raise UnsupportedFormat(f"journal entry of unknown kind {kind}: written by a newer build")
    return cls(*msgpack.unpackb(logical or annex))
