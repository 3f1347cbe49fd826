"""Every message and reply, grouped by receiver. Immutable NamedTuples; what crosses a socket is packed as [tag, fields].

Requests are imperatives, events past tense. Each docstring says ask or tell. Sizes are bytes, times Unix milliseconds.
An expected refusal is the reply `Refused`; an exception in an actor is a defect.
"""

from typing import Any, NamedTuple

from actors.replication_messages import JOURNAL_REPLICATION_WIRE_TYPES
from actors.replicator_messages import REPLICATOR_WIRE_TYPES
from actors.snapshot_messages import SNAPSHOT_WIRE_TYPES
from actors.space_messages import SPACE_WIRE_TYPES
from fasterstore.model import (
    BlobLocation,
    BlobNumber,
    BlobRow,
    CompleteIntent,
    CopyIntent,
    DeleteIntent,
    Epoch,
    ManifestNumber,
    PartCopyIntent,
    PutIntent,
    RenameIntent,
    SegmentId,
    UploadIntent,
)
from fasterstore.storage.record import PLAIN_KEY

# ---- replies -------------------------------------------------------------------------------------------------------------------


class Refused(NamedTuple):
    """Reply: the outcome is the StoreError class of that name; nothing was changed (but see OutcomeUnknown)."""

    error: str
    detail: str = ""


class Stored(NamedTuple):
    """Reply to a PUT: on stable storage and visible."""

    etag: str
    modified_ms: int
    lsn: int
    deduplicated: bool = False


class Deleted(NamedTuple):
    """Reply to a DELETE: on stable storage; `lsn` is 0 when there was nothing to delete."""

    lsn: int


class BucketMade(NamedTuple):
    """Reply to CreateBucket."""

    created_ms: int


class DeletedMany(NamedTuple):
    """Reply to DeleteObjects: for each key, in order, "" or the name of the StoreError class that refused it."""

    errors: list[str]


class UploadMade(NamedTuple):
    """Reply to CreateUpload: the upload's number."""

    number: ManifestNumber


class Done(NamedTuple):
    """Reply: done, nothing to say."""


# ---- to segment-writer ---------------------------------------------------------------------------------------------------------


class PutObject(NamedTuple):
    """Ask, web -> segment-writer: store `body` (at most 64 KiB) and commit. Reply: Stored or Refused.

    `blob_id` is the 32-byte keyed BLAKE3 of `body`. `must_append` is set by the journal when a claimed blob had gone, and by web for a
    body that is like no other.
    """

    intent: PutIntent
    blob_id: bytes
    body: bytes
    must_append: bool = False


class ReserveExtent(NamedTuple):
    """Ask, web -> segment-writer: space for one record of `stored_bytes`. Reply: ExtentGranted or Refused.

    `worker` is the asking worker's incarnation number (0 in a single process).
    """

    plaintext_bytes: int
    stored_bytes: int
    worker: int


class ExtentGranted(NamedTuple):
    """Reply: the worker may pwrite payload and chunk table, not the header, of the record at `offset` of that segment."""

    extent: int
    epoch: Epoch
    segment_id: SegmentId
    file_uuid: bytes
    offset: int
    record_id: bytes


class FinishExtent(NamedTuple):
    """Ask, web -> segment-writer: payload and table are written; write the header, sync, commit. Reply: Stored or Refused.

    `table_digest` is the 32-byte digest of the chunk table; `key_epoch` and `wrapped_key` (48 bytes) are those of an encrypted record, 0
    and zeros of a plain one; `claim` is the number of a live blob with the same id whose stored
    bytes the worker has just verified in full (0: none): the journal uses it instead if it is still live.
    """

    intent: PutIntent
    extent: int
    epoch: Epoch
    blob_id: bytes
    table_digest: bytes
    claim: BlobNumber
    key_epoch: int = 0
    wrapped_key: bytes = PLAIN_KEY


class AbortExtent(NamedTuple):
    """Tell, web -> segment-writer: after the last pwrite returned; the extent's bytes are dead. Ignored after FinishExtent."""

    extent: int
    epoch: Epoch


class WorkerLost(NamedTuple):
    """Tell, node -> segment-writer: the supervisor saw that worker's process end; its open extents are dead."""

    worker: int


class WriteFailed(NamedTuple):
    """Tell, web -> segment-writer: a worker's pwrite failed: the volume is suspect."""

    reason: str


# ---- to metadata-journal -------------------------------------------------------------------------------------------------------


class CommitPut(NamedTuple):
    """Forwarded by segment-writer (reply goes to web): the record is on stable storage (or claimed); name it.

    `location` is None for a claim of `claim` without bytes of its own. `resend` is the PutObject to append if the claim has gone.
    """

    intent: PutIntent
    epoch: Epoch
    blob_id: bytes
    location: BlobLocation | None
    claim: BlobNumber
    resend: PutObject | None = None


class DeleteObject(NamedTuple):
    """Ask, web -> metadata-journal. Reply: Deleted or Refused."""

    bucket: str
    intent: DeleteIntent


class DeleteObjects(NamedTuple):
    """Ask, web -> metadata-journal: many keys, one entry each, judged in order. Reply: DeletedMany or Refused (then all of them)."""

    bucket: str
    intents: list[DeleteIntent]


class CopyObject(NamedTuple):
    """Ask, web -> metadata-journal: name the source's bytes once more. Reply: Stored or Refused (SourceChanged: look again)."""

    intent: CopyIntent


class RenameObject(NamedTuple):
    """Ask, web -> metadata-journal. Reply: Done or Refused."""

    intent: RenameIntent


class AmendObject(NamedTuple):
    """Ask, web -> metadata-journal: other tags, another canned ACL (None: leave them). Reply: Done or Refused."""

    bucket: str
    key: bytes
    tags: dict | None
    acl: str | None


class ConfigureBucket(NamedTuple):
    """Ask, web -> metadata-journal: set or remove (None) a setting; `name` is one of `judge_buckets.SETTINGS`. Reply: Done or Refused."""

    bucket: str
    name: str
    document: bytes | None


class CreateUpload(NamedTuple):
    """Ask, web -> metadata-journal. Reply: UploadMade or Refused. Parts come by PutObject and FinishExtent, whose intent names it."""

    intent: UploadIntent


class CopyPart(NamedTuple):
    """Ask, web -> metadata-journal: pieces of existing blobs become a part. Reply: Stored or Refused (SourceChanged: look again)."""

    intent: PartCopyIntent


class CompleteUpload(NamedTuple):
    """Ask, web -> metadata-journal. Reply: Stored or Refused (UploadChanged: look again)."""

    intent: CompleteIntent


class AbortUpload(NamedTuple):
    """Ask, web -> metadata-journal. Reply: Done or Refused."""

    bucket: str
    key: bytes
    upload: ManifestNumber


class ReleaseParts(NamedTuple):
    """Tell, metadata-journal -> itself: give up or let go a little more; others get their turn between two of them."""


class CreateBucket(NamedTuple):
    """Ask, web -> metadata-journal: a bucket that has these settings from its first moment. Reply: BucketMade or Refused."""

    bucket: str
    settings: dict = {}


class DeleteBucket(NamedTuple):
    """Ask, web -> metadata-journal. Reply: Done or Refused."""

    bucket: str


class SegmentOpened(NamedTuple):
    """Tell, segment-writer -> metadata-journal, before the first CommitPut that lies in it: file and folder are synced."""

    segment_id: SegmentId
    epoch: Epoch
    file_uuid: bytes


class SegmentSealed(NamedTuple):
    """Tell, segment-writer -> metadata-journal: nothing more will be appended; `length_bytes` is the file's length."""

    segment_id: SegmentId
    length_bytes: int


class LeaseSegmentIds(NamedTuple):
    """Ask, segment-writer -> metadata-journal: log `id_count` ids as used. Reply: SegmentIdsLeased."""

    id_count: int


class SegmentIdsLeased(NamedTuple):
    """Reply: the ids first .. first + id_count - 1 are the asker's."""

    first: SegmentId
    id_count: int


class BlobFoundDamaged(NamedTuple):
    """Tell, anybody -> metadata-journal: the record there failed verification; its blob is no dedup target any more. Make it by `of`.

    With the whole place: a relocation keeps the record id, and what was moved meanwhile is not damaged for being gone from there.
    """

    blob: BlobNumber
    segment_id: SegmentId
    offset: int
    record_id: bytes

    @classmethod
    def of(cls, row: BlobRow) -> "BlobFoundDamaged":
        """The message about a blob as it was looked up."""
        return cls(row.number, row.location.segment_id, row.location.offset, row.location.record_id)


class Tick(NamedTuple):
    """Tell, metadata-journal -> itself, each second: witness and checkpoint if due, uploads and parts whose time has come."""


class Checkpoint(NamedTuple):
    """Ask: fold the index's own log into its file now. Reply: Checkpointed."""


class Checkpointed(NamedTuple):
    """Reply: every entry up to `durable_applied` is in the index file on stable storage; `busy` if a reader was in the way."""

    durable_applied: int
    busy: bool


# ---- to scrubber ---------------------------------------------------------------------------------------------------------------


class ScrubAction(NamedTuple):
    """Ask, web -> scrubber: "start" a round now at full speed, "pause", "resume", or "" for a look. Reply: the state as a plain dict."""

    action: str = ""


class ScrubOn(NamedTuple):
    """Tell, scrubber -> itself: do the next step. One of an older `turn` has been overtaken by an order."""

    turn: int


# ---- to repairer (on a node with peers) ----------------------------------------------------------------------------------------


class RepairBlob(NamedTuple):
    """Tell, scrubber or metadata-journal -> repairer: that blob's record failed verification; a peer may have its bytes."""

    blob: BlobNumber


class RepairWaiting(NamedTuple):
    """Tell, repairer -> itself: try those again that no peer could give."""


# ---- to rate-limiter -----------------------------------------------------------------------------------------------------------


class LeaseTokens(NamedTuple):
    """Ask, web -> rate-limiter: up to `wanted` tokens of that access key ("" for all requests without one). Reply: TokensLeased.

    `returned` tokens of a lapsed lease come back, `overdrawn` ones were used without a lease.
    """

    access_key: str
    returned: int
    overdrawn: int
    wanted: int


class TokensLeased(NamedTuple):
    """Reply: so many tokens; `wait_secs` until there are more, 0 if there are some now."""

    tokens: int
    wait_secs: float


# ---- to cache ------------------------------------------------------------------------------------------------------------------


class Admit(NamedTuple):
    """Tell, web -> cache: verified bytes of that blob may be kept."""

    blob: BlobNumber
    body: bytes


class ForgetAll(NamedTuple):
    """Tell, node -> cache: the index has another uuid; blob numbers mean other bytes now."""

    index_uuid: bytes


# ---- to observer (one in each process) -----------------------------------------------------------------------------------------


class CollectVitals(NamedTuple):
    """Ask: the state of every actor in this process; to storage's observer: in every process. Reply: list of plain dicts."""


class CollectMetrics(NamedTuple):
    """Ask: the metric samples of this process; to storage's observer: of every process. Reply: list of plain dicts."""


ALWAYS_ADMITTED = frozenset({FinishExtent})
"""Asks that are let through past credit and depth: the extent was admitted, and its body has been received."""

# ---- the wire ------------------------------------------------------------------------------------------------------------------

WIRE_TYPES: tuple[type[Any], ...] = (
    Refused, Stored, Deleted, BucketMade, Done,
    PutObject, ReserveExtent, ExtentGranted, FinishExtent, AbortExtent, WorkerLost, WriteFailed,
    DeletedMany, UploadMade, DeleteObjects, CopyObject, RenameObject, AmendObject, ConfigureBucket,
    CreateUpload, CopyPart, CompleteUpload, AbortUpload,
    CommitPut, DeleteObject, CreateBucket, DeleteBucket, SegmentOpened, SegmentSealed, LeaseSegmentIds, SegmentIdsLeased,
    BlobFoundDamaged, Checkpoint, Checkpointed, ScrubAction, LeaseTokens, TokensLeased, Admit, ForgetAll, CollectVitals, CollectMetrics,
    *SPACE_WIRE_TYPES, *SNAPSHOT_WIRE_TYPES, *JOURNAL_REPLICATION_WIRE_TYPES, *REPLICATOR_WIRE_TYPES,
)
"""A type's place in this tuple is its tag on the wire. Both ends are always the same build, so order may change."""
