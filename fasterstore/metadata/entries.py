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

from fasterstore.errors import DamagedLog, UnsupportedFormat
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.log_entries import LogRetired
from fasterstore.metadata.replication_entries import (
    BucketHomed,
    BucketJoined,
    ObjectRemoved,
    ObjectReplicated,
    PeerBlobsLearned,
    PeersChanged,
    ReplicationEntry,
    TombstonesExpired,
    restore_replication,
)
from fasterstore.metadata.space_entries import (
    BlobRepaired,
    BlobsForgotten,
    BlobsMoved,
    RangePunched,
    SegmentRemoved,
    SegmentRetired,
    SpaceEntry,
    restore,
)
from fasterstore.model import BlobLocation, BlobNumber, BucketId, Epoch, ManifestNumber, SegmentId, Slice

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
    BUCKET_CONFIGURED = 10
    OBJECT_AMENDED = 11
    OBJECT_RENAMED = 12
    UPLOAD_CREATED = 13
    PART_PUT = 14
    UPLOAD_COMPLETED = 15
    UPLOAD_ABORTED = 16
    PARTS_RELEASED = 17
    OBJECT_APPENDED = 18
    BLOBS_FORGOTTEN = 19
    BLOBS_MOVED = 20
    SEGMENT_RETIRED = 21
    SEGMENT_REMOVED = 22
    RANGE_PUNCHED = 23
    LOG_RETIRED = 24
    OBJECT_REPLICATED = 25
    OBJECT_REMOVED = 26
    BUCKET_JOINED = 27
    BUCKET_HOMED = 28
    PEERS_CHANGED = 29
    TOMBSTONES_EXPIRED = 30
    PEER_BLOBS_LEARNED = 31
    BLOB_REPAIRED = 32


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
    """Logical up to `origin_manifest`; the annex follows: which blob or manifest holds the bytes here, how it came to be, where it lies.

    `origin_blob` and `origin_manifest` are the numbers under which the node of `origin_log` has the bytes.
    """

    bucket: str
    key: bytes
    size_bytes: int
    etag: str
    modified_ms: int
    system: dict
    user: dict
    checksums: dict
    tags: dict
    acl: str
    stamp: int
    origin: bytes
    origin_log: bytes
    origin_blob: int
    origin_manifest: int
    blob: BlobNumber
    source: BlobSource
    blob_id: bytes
    location: BlobLocation | None
    manifest: ManifestNumber


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


class BucketConfigured(NamedTuple):
    """Logical: the bucket's setting `name` is now `document`, or gone (None)."""

    bucket: str
    name: str
    document: bytes | None
    changed_ms: int
    stamp: int
    origin: bytes


class ObjectAmended(NamedTuple):
    """Logical: the current version has these tags and this canned ACL now; None leaves what is there."""

    bucket: str
    key: bytes
    tags: dict | None
    acl: str | None
    stamp: int
    origin: bytes


class ObjectRenamed(NamedTuple):
    """Logical: the object is now called `new_key`; what had that name is gone."""

    bucket: str
    key: bytes
    new_key: bytes
    renamed_ms: int
    stamp: int
    origin: bytes


class UploadCreated(NamedTuple):
    """Local: a multipart upload began; its number is this entry's LSN."""

    bucket: str
    key: bytes
    created_ms: int
    token: str
    system: dict
    user: dict
    tags: dict
    acl: str
    algorithm: str
    checksum_type: str


class PartPut(NamedTuple):
    """Local: part `part` of an open upload has these bytes now: a blob (as in ObjectPut), or slices of blobs (source SLICES)."""

    bucket: str
    key: bytes
    upload: ManifestNumber
    part: int
    size_bytes: int
    etag: str
    checksums: dict
    modified_ms: int
    blob: BlobNumber
    source: BlobSource
    blob_id: bytes
    location: BlobLocation | None
    slices: tuple[Slice, ...]


class UploadCompleted(NamedTuple):
    """Logical up to `origin_manifest`: an object was put together from the parts of an upload, which is no longer open.

    The annex: the upload's number, which is the manifest's; its map (`upload_schema.pack_map`); whether parts are left out of it.
    """

    bucket: str
    key: bytes
    size_bytes: int
    etag: str
    modified_ms: int
    system: dict
    user: dict
    checksums: dict
    tags: dict
    acl: str
    stamp: int
    origin: bytes
    origin_log: bytes
    origin_manifest: int
    upload: ManifestNumber
    part_map: bytes
    drops_parts: bool


class UploadAborted(NamedTuple):
    """Local: the upload is no longer open; its parts are released bit by bit. By id: its bucket may be gone."""

    bucket_id: BucketId
    key: bytes
    upload: ManifestNumber
    aborted_ms: int


class PartsReleased(NamedTuple):
    """Local: these parts, which nothing uses any more, are gone; none up to the number `upto` is left that has to go.

    `last`: nothing of the release is left; `whole`: the manifest goes with its last part, else the rest of it stays.
    """

    manifest: ManifestNumber
    parts: tuple[int, ...]
    upto: int
    last: bool
    whole: bool
    released_ms: int


class ObjectAppended(NamedTuple):
    """Logical up to `origin_blob`: the object grew to `size_bytes`. The annex: where the added bytes (`added_bytes` of them) lie.

    `part_etag` is the MD5 of the added bytes.
    """

    bucket: str
    key: bytes
    size_bytes: int
    etag: str
    modified_ms: int
    stamp: int
    origin: bytes
    origin_log: bytes
    origin_blob: int
    added_bytes: int
    part_etag: str
    blob: BlobNumber
    source: BlobSource
    blob_id: bytes
    location: BlobLocation | None


Entry = (
    EpochStarted | SegmentIdsLeased | SegmentOpened | SegmentSealed | BucketCreated | BucketDeleted
    | ObjectPut | ObjectDeleted | BlobDamaged | BucketConfigured | ObjectAmended | ObjectRenamed
    | UploadCreated | PartPut | UploadCompleted | UploadAborted | PartsReleased | ObjectAppended | SpaceEntry
    | LogRetired | ReplicationEntry
)  # fmt: skip

_LOGICAL = {
    BucketCreated: Kind.BUCKET_CREATED,
    BucketDeleted: Kind.BUCKET_DELETED,
    ObjectDeleted: Kind.OBJECT_DELETED,
    BucketConfigured: Kind.BUCKET_CONFIGURED,
    ObjectAmended: Kind.OBJECT_AMENDED,
    ObjectRenamed: Kind.OBJECT_RENAMED,
    BucketHomed: Kind.BUCKET_HOMED,
}
_LOCAL = {
    EpochStarted: Kind.EPOCH_STARTED,
    SegmentIdsLeased: Kind.SEGMENT_IDS_LEASED,
    SegmentOpened: Kind.SEGMENT_OPENED,
    SegmentSealed: Kind.SEGMENT_SEALED,
    BlobDamaged: Kind.BLOB_DAMAGED,
    UploadCreated: Kind.UPLOAD_CREATED,
    PartPut: Kind.PART_PUT,
    UploadAborted: Kind.UPLOAD_ABORTED,
    PartsReleased: Kind.PARTS_RELEASED,
    BlobsForgotten: Kind.BLOBS_FORGOTTEN,
    BlobsMoved: Kind.BLOBS_MOVED,
    BlobRepaired: Kind.BLOB_REPAIRED,
    SegmentRetired: Kind.SEGMENT_RETIRED,
    SegmentRemoved: Kind.SEGMENT_REMOVED,
    RangePunched: Kind.RANGE_PUNCHED,
    LogRetired: Kind.LOG_RETIRED,
    PeersChanged: Kind.PEERS_CHANGED,
    TombstonesExpired: Kind.TOMBSTONES_EXPIRED,
    PeerBlobsLearned: Kind.PEER_BLOBS_LEARNED,
}
_TWO_PARTS: dict[type, tuple[Kind, int]] = {
    ObjectPut: (Kind.OBJECT_PUT, 15),
    UploadCompleted: (Kind.UPLOAD_COMPLETED, 14),
    ObjectAppended: (Kind.OBJECT_APPENDED, 9),
    ObjectReplicated: (Kind.OBJECT_REPLICATED, 15),
    ObjectRemoved: (Kind.OBJECT_REMOVED, 5),
    BucketJoined: (Kind.BUCKET_JOINED, 2),
}
"""Entries with both parts: the kind, and how many fields are logical."""
_BY_KIND: dict[int, Callable[..., Any]] = {int(kind): cls for cls, kind in (_LOGICAL | _LOCAL).items()}
_BY_KIND |= {int(kind): cls for cls, (kind, _) in _TWO_PARTS.items()}
_PLACED = frozenset((Kind.OBJECT_PUT, Kind.PART_PUT, Kind.OBJECT_APPENDED))
"""Kinds with `source` and `location`."""
_pack = msgpack.Packer(use_bin_type=True).pack


def encode(entry: Entry) -> bytes:
    """Return the entry's bytes as they stand in a WAL frame. Deterministic: equal entries give equal bytes."""
    cls = type(entry)
    both = _TWO_PARTS.get(cls)
    if both is not None:
        kind, logical_fields = both
        return _pack((int(kind), ENTRY_VERSION, _pack(entry[:logical_fields]), _pack(entry[logical_fields:])))
    logical_kind = _LOGICAL.get(cls)
    if logical_kind is not None:
        return _pack((int(logical_kind), ENTRY_VERSION, _pack(entry), b""))
    return _pack((int(_LOCAL[cls]), ENTRY_VERSION, b"", _pack(entry)))


def decode(data: bytes) -> Entry:
    """Return the entry of these bytes.

    Raises UnsupportedFormat for a kind or version that this build does not know, DamagedLog for bytes that are no entry.
    """
    try:
        return _decoded(data)
    except UnsupportedFormat:
        raise
    except Exception as error:
        # msgpack documents no closed set of errors for bad input; all of them, and fields that do not fit, mean the same here.
        raise DamagedLog(f"a journal entry is malformed: {type(error).__name__}: {error}") from None


def _decoded(data: bytes) -> Entry:
    kind, version, logical, annex = msgpack.unpackb(data)
    if version != ENTRY_VERSION:
        raise UnsupportedFormat(f"journal entry kind {kind} has version {version}; this build reads version {ENTRY_VERSION}")
    cls = _BY_KIND.get(kind)
    if cls is None:
        raise UnsupportedFormat(f"journal entry of unknown kind {kind}: written by a newer build")
    fields = msgpack.unpackb(logical) if logical else []
    if annex:
        fields += msgpack.unpackb(annex)
    entry = cls(*fields)
    if kind in _PLACED:
        place = None if entry.location is None else BlobLocation(*entry.location)
        entry = entry._replace(source=BlobSource(entry.source), location=place)
        if kind == Kind.PART_PUT:
            entry = entry._replace(slices=tuple(Slice(*piece) for piece in entry.slices))
    elif kind == Kind.PARTS_RELEASED:
        entry = entry._replace(parts=tuple(entry.parts))
    elif Kind.OBJECT_REPLICATED <= kind <= Kind.PEER_BLOBS_LEARNED:
        entry = restore_replication(entry)
    elif kind >= Kind.BLOBS_FORGOTTEN:
        entry = restore(entry)
    return entry
