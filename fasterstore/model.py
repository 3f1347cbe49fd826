"""The values the store is made of. Owns no state; everything here is immutable.

Bytes are a *blob* (content-addressed, numbered), stored as one *record* in a *segment* file. Names are an *object* row that
refers to a blob by number. All are NamedTuples: they cross process borders as plain msgpack arrays.
"""

from typing import NamedTuple, NewType

BlobNumber = NewType("BlobNumber", int)
"""A blob's number on this node: from a logged counter, from 1, never reused."""
SegmentId = NewType("SegmentId", int)
"""A segment file's number: from a logged counter, from 1, never reused."""
Lsn = NewType("Lsn", int)
"""Log sequence number of one journal entry, from 1, without gaps."""
Epoch = NewType("Epoch", int)
"""One life of the storage process, from 1; grants and commits of an older one are refused."""
BucketId = NewType("BucketId", int)
"""The LSN of the entry that created the bucket: unique for the life of the log."""

NO_BLOB = BlobNumber(0)
SMALL_BODY_MAX_BYTES = 64 * 1024
"""Bodies up to this ride inside a message; larger ones are written by the worker into an extent (design, section 3)."""


class BlobLocation(NamedTuple):
    """Where one record lies.

    `offset` is that of the record header in the segment file, in bytes; `record_id` is 16 random bytes that the header repeats.
    """

    segment_id: SegmentId
    offset: int
    plaintext_bytes: int
    stored_bytes: int
    record_id: bytes


class BlobRow(NamedTuple):
    """A blob as the index holds it.

    `blob_id` is 32 bytes (keyed BLAKE3 of the plaintext), `refs` counts objects that use it, `zero_since_ms` is the Unix time at
    which `refs` fell to 0 (0 while it is above), `damaged` is true once its record failed verification.
    """

    number: BlobNumber
    blob_id: bytes
    refs: int
    location: BlobLocation
    zero_since_ms: int = 0
    damaged: bool = False


class SegmentRow(NamedTuple):
    """A segment as the index holds it; dead bytes are `length_bytes` - `live_bytes` once it is sealed."""

    segment_id: SegmentId
    epoch: Epoch
    file_uuid: bytes
    sealed: bool
    length_bytes: int
    live_bytes: int


class BucketRow(NamedTuple):
    """A bucket: `created_ms` is Unix time in milliseconds, `settings` holds sub-resource documents by name."""

    bucket_id: BucketId
    name: str
    created_ms: int
    settings: dict


class ObjectRow(NamedTuple):
    """The current version of one key.

    `etag` is lower-case hex without quotes. `system` maps lower-case header names (content-type, cache-control, content-disposition,
    content-encoding, content-language, expires) to values as sent; `user` maps names without `x-amz-meta-`. `checksums` maps an
    algorithm's name (CRC32, CRC32C, CRC64NVME, SHA1, SHA256) to its base64. `stamp` is the hybrid clock's value, `origin` the node id.
    """

    blob: BlobNumber
    size_bytes: int
    etag: str
    modified_ms: int
    system: dict
    user: dict
    checksums: dict
    stamp: int
    origin: bytes


class UsageRow(NamedTuple):
    """What one bucket holds: current objects and the sum of their plaintext sizes."""

    bucket: str
    objects: int
    size_bytes: int


class PutIntent(NamedTuple):
    """What a PUT wants, apart from the bytes: carried from web to the journal unchanged.

    `if_match` / `if_none_match` are the raw header values or None. `create_bucket`: make the bucket in the same batch if it is missing.
    """

    bucket: str
    key: bytes
    size_bytes: int
    etag: str
    system: dict
    user: dict
    checksums: dict
    if_match: str | None = None
    if_none_match: str | None = None
    create_bucket: bool = False
