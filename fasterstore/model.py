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
ManifestNumber = NewType("ManifestNumber", int)
"""The LSN of the entry that began an upload or an appended object: names its parts, from 1, never reused."""
BucketId = NewType("BucketId", int)
"""The LSN of the entry that created the bucket: unique for the life of the log."""

NO_BLOB = BlobNumber(0)
NO_MANIFEST = ManifestNumber(0)
PARTS_MAX = 10_000
"""Parts of one object (S3 user guide, "Amazon S3 multipart upload limits")."""
SLICES_MAX = 64
"""Slices of one part: each is a reference that one journal entry counts. Web writes the bytes of a longer patchwork anew."""
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

    `blob_id` is 32 bytes (keyed BLAKE3 of the plaintext), `refs` counts objects and slices of parts that use it, `zero_since_ms` is the
    Unix time at which `refs` fell to 0 (0 while it is above), `damaged` is true once its record failed verification.
    """

    number: BlobNumber
    blob_id: bytes
    refs: int
    location: BlobLocation
    zero_since_ms: int = 0
    damaged: bool = False


class SegmentRow(NamedTuple):
    """A segment as the index holds it; dead bytes are `length_bytes` - `live_bytes` once it is sealed.

    `retired`: no blob lies in it and its file may be unlinked. `punched_bytes` of the dead ones have been given back already.
    """

    segment_id: SegmentId
    epoch: Epoch
    file_uuid: bytes
    sealed: bool
    length_bytes: int
    live_bytes: int
    retired: bool = False
    punched_bytes: int = 0


class BucketRow(NamedTuple):
    """A bucket: `created_ms` is Unix time in milliseconds, `settings` holds sub-resource documents (bytes) by name.

    `version` is the LSN of the entry that last changed it: what is compiled from the settings is kept under it.
    """

    bucket_id: BucketId
    name: str
    created_ms: int
    settings: dict
    version: int = 0


class ObjectRow(NamedTuple):
    """The current version of one key.

    `etag` is lower-case hex without quotes. `system` maps lower-case header names (content-type, cache-control, content-disposition,
    content-encoding, content-language, expires) to values as sent, and `customer_key.CHECK_NAME` to what a customer's key is known by;
    `user` maps names without `x-amz-meta-`. `checksums` maps an algorithm's name (CRC32, CRC32C, CRC64NVME, SHA1, SHA256) to its base64,
    with `-N` behind it if it is composed of N parts' checksums.
    `stamp` is the hybrid clock's value, `origin` the node id. The bytes are one blob, or the parts of a manifest, or none.
    `tags` maps names to values; `acl` is the canned ACL's name, "" for private.
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
    manifest: ManifestNumber = NO_MANIFEST
    tags: dict = {}
    acl: str = ""


class Slice(NamedTuple):
    """A piece of a blob: `length` bytes from `first`, both in bytes of the plaintext.

    Of a blob that is sealed under a customer's key (`sealed_body.py`) they count what is inside: only whole such blobs become parts.
    """

    blob: BlobNumber
    first: int
    length: int


class PartRow(NamedTuple):
    """One part of an open upload or of a manifest: its bytes are its slices in order. `number` is 1 .. 10,000."""

    number: int
    size_bytes: int
    etag: str
    modified_ms: int
    checksums: dict
    slices: tuple[Slice, ...]


class UploadRow(NamedTuple):
    """An open multipart upload.

    `number` names its parts, and the manifest when it is completed; `token` is the random half of the upload id. `changed_ms` is when
    the last part came (expiry counts from there), `version` the LSN of the last change. `algorithm` is a checksum's name or "",
    `checksum_type` COMPOSITE, FULL_OBJECT or "".
    """

    bucket_id: BucketId
    key: bytes
    number: ManifestNumber
    token: str
    initiated_ms: int
    changed_ms: int
    version: int
    system: dict
    user: dict
    tags: dict
    acl: str
    algorithm: str
    checksum_type: str


class ManifestRow(NamedTuple):
    """The bytes of an object made of parts. `refs` counts objects that use it; `etag` and `token` are those of the upload, or "".

    `part_count` parts are listed in its map, in order, each with the offset at which it ends.
    """

    number: ManifestNumber
    refs: int
    size_bytes: int
    part_count: int
    etag: str
    token: str


class PartEnd(NamedTuple):
    """An item of a manifest's map: the part's number, and the offset in the object, in bytes, at which it ends."""

    part: int
    end: int


class UsageRow(NamedTuple):
    """What one bucket holds: current objects and the sum of their plaintext sizes."""

    bucket: str
    objects: int
    size_bytes: int


class Replica(NamedTuple):
    """That bytes are a peer's: the pair by which its change is compared, its time, and the numbers of its bytes in the log it came with.

    `origin_blob` is 0 where no blob there holds exactly these bytes, `origin_manifest` 0 unless an upload is adopted.
    """

    stamp: int
    origin: bytes
    modified_ms: int
    origin_log: bytes
    origin_blob: int
    origin_manifest: int = 0


class PutIntent(NamedTuple):
    """What a PUT wants, apart from the bytes: carried from web to the journal unchanged.

    `if_match` / `if_none_match` are the raw header values or None. `create_bucket`: make the bucket in the same batch if it is missing.
    With `upload` these bytes become part number `part` of that open upload instead of an object; with `append_at` >= 0 they are added to
    the object that is so many bytes long now. `size_bytes` is what clients see of the body; what is stored of it is `overhead_bytes`
    longer: 0, unless it is sealed under a customer's key. Such a body is like no other, and dedup does not look for one.
    With `replica` it is a peer's change: no condition holds it back, a later state of the key does (refused as Superseded).
    With `repairs` the bytes are those of that damaged blob and nothing is named: bucket and key are empty.
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
    tags: dict = {}
    acl: str = ""
    upload: ManifestNumber = NO_MANIFEST
    part: int = 0
    append_at: int = -1
    overhead_bytes: int = 0
    replica: Replica | None = None
    repairs: BlobNumber = NO_BLOB


class UploadIntent(NamedTuple):
    """What CreateMultipartUpload wants; fields as in UploadRow."""

    bucket: str
    key: bytes
    token: str
    system: dict
    user: dict
    tags: dict
    acl: str
    algorithm: str
    checksum_type: str


class CompleteIntent(NamedTuple):
    """What CompleteMultipartUpload wants, after web looked at the parts.

    `version` is that of the upload as looked at; `part_map` the manifest's map (`upload_schema.pack_map`).
    """

    bucket: str
    key: bytes
    upload: ManifestNumber
    version: int
    part_map: bytes
    etag: str
    checksums: dict
    if_match: str | None = None
    if_none_match: str | None = None


class CopyIntent(NamedTuple):
    """What CopyObject wants: `target` with the source's size, ETag and checksums; `source_stamp` is that of the version looked at."""

    target: PutIntent
    source_bucket: str
    source_key: bytes
    source_stamp: int


class PartCopyIntent(NamedTuple):
    """What UploadPartCopy wants: `target` names upload and part, `slices` are the bytes' places in the source that was looked at."""

    target: PutIntent
    slices: tuple[Slice, ...]
    source_bucket: str
    source_key: bytes
    source_stamp: int


class RenameIntent(NamedTuple):
    """What RenameObject wants. The first pair of conditions is on the new name, the second on the source.

    What web looked at before it asked: `source_stamp` (0: anything), and `target_stamp` of the object that had the new name (0: none had
    it, -1: anything).
    """

    bucket: str
    key: bytes
    new_key: bytes
    if_match: str | None = None
    if_none_match: str | None = None
    source_if_match: str | None = None
    source_if_none_match: str | None = None
    source_stamp: int = 0
    target_stamp: int = -1


class DeleteIntent(NamedTuple):
    """One key to delete. `if_match` is the raw header value; `if_modified_secs` and `if_size` must be the version's, if not None."""

    key: bytes
    if_match: str | None = None
    if_modified_secs: int | None = None
    if_size: int | None = None
