"""What the journal may be asked within a batch: one method a request, each judged on the rows as they are and folded at once.

Owned by `journal.Journal`, which begins, writes and abandons the batch. Every method raises FoldFailed if an entry could not be folded
whole (then the batch must be abandoned), DamagedRow if a row that the judge needs is damaged, and otherwise the judge's refusals, of
which nothing is left in the batch. Times are Unix milliseconds; an LSN of 0 says that there was nothing to do.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fasterstore.errors import InvariantError
from fasterstore.metadata import judge, judge_buckets, judge_space, judge_uploads
from fasterstore.metadata.blob_rows import BlobEntry
from fasterstore.metadata.entries import Entry, ObjectAppended, SegmentIdsLeased, SegmentOpened, SegmentSealed
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.judge import CLAIM_GONE, Claim, ClaimGone, Identity
from fasterstore.metadata.judge_space import Relocation
from fasterstore.metadata.replication_requests import ReplicationRequests
from fasterstore.metadata.space_entries import BlobsForgotten, SegmentRetired
from fasterstore.model import (
    CompleteIntent,
    CopyIntent,
    DeleteIntent,
    ManifestNumber,
    PartCopyIntent,
    PutIntent,
    RenameIntent,
    SegmentId,
    UploadIntent,
)
from fasterstore.replication.hidden_upload import is_hidden


class PutResult(NamedTuple):
    """What a judged put will have done once its batch is written."""

    lsn: int
    modified_ms: int
    deduplicated: bool
    etag: str


class Requests:
    """See the module. `record` folds an entry, adds it to the batch and returns its LSN."""

    def __init__(self, index: IndexWriter, who: Identity, record: Callable[[Entry], int]) -> None:
        self._index = index
        self._who = who
        self._record = record
        self.replication = ReplicationRequests(index, who, self._record_all)
        """What a peer's changes, and the node's own upkeep of them, ask for."""

    def put(self, intent: PutIntent, claim: Claim, now_ms: int) -> PutResult | ClaimGone:
        """Judge and fold a PUT, an UploadPart, an append, or either of the first two of a peer, or a repair; LSN 0 if it changes nothing.

        Raises as judge_put, judge_part, judge_append, judge_replica, judge_replica_part, judge_repair.
        """
        if intent.repairs:
            return self._repair(intent, claim, now_ms)
        if intent.replica is not None:
            entries = self.replication.put(intent, claim, now_ms)
        elif intent.upload:
            entries = judge_uploads.judge_part(self._index, intent, claim, now_ms)
        elif intent.append_at >= 0:
            entries = judge.judge_append(self._index, self._who, intent, claim, now_ms)
        else:
            entries = judge.judge_put(self._index, self._who, intent, claim, now_ms)
        if isinstance(entries, ClaimGone):
            return CLAIM_GONE
        if not entries:
            return self._as_it_is(intent)
        lsn = self._record_all(entries)
        placed = next((entry for entry in reversed(entries) if isinstance(entry, BlobEntry)), None)
        etag = placed.etag if isinstance(placed, ObjectAppended) else intent.etag
        deduplicated = placed is not None and placed.location is None and intent.size_bytes > 0
        return PutResult(lsn, now_ms, deduplicated, etag)

    def _repair(self, intent: PutIntent, claim: Claim, now_ms: int) -> PutResult:
        lsn = self._record_all(judge.judge_repair(self._index, intent.repairs, claim))
        return PutResult(lsn, now_ms, lsn == 0, "")

    def _as_it_is(self, intent: PutIntent) -> PutResult:
        bucket = self._index.bucket(intent.bucket)
        current = None if bucket is None else self._index.object(bucket.bucket_id, intent.key)
        if current is None:
            raise InvariantError("nothing was added to nothing")
        return PutResult(0, current.modified_ms, False, current.etag)

    def copy(self, intent: CopyIntent, now_ms: int) -> int:
        """Judge and fold a CopyObject; return its LSN. Raises as judge_copy."""
        return self._record_all(judge.judge_copy(self._index, self._who, intent, now_ms))

    def delete(self, bucket: str, intent: DeleteIntent, now_ms: int) -> int:
        """Judge and fold a DELETE; return its LSN, 0 if there was nothing to delete. Raises as judge_delete."""
        return self._record_all(judge.judge_delete(self._index, self._who, bucket, intent, now_ms))

    def rename(self, intent: RenameIntent, now_ms: int) -> int:
        """Judge and fold a RenameObject; return its LSN. Raises as judge_rename."""
        return self._record_all(judge.judge_rename(self._index, self._who, intent, now_ms))

    def amend(self, bucket: str, key: bytes, tags: dict | None, acl: str | None, now_ms: int) -> int:
        """Judge and fold a change of tags or ACL; return its LSN. Raises as judge_amend."""
        return self._record_all(judge.judge_amend(self._index, self._who, bucket, key, tags, acl, now_ms))

    def create_bucket(self, bucket: str, now_ms: int, settings: dict | None = None) -> int:
        """Judge and fold a CreateBucket; return the last LSN. Raises BucketAlreadyOwnedByYou."""
        return self._record_all(judge_buckets.judge_create_bucket(self._index, self._who, bucket, now_ms, settings or {}))

    def delete_bucket(self, bucket: str, now_ms: int) -> int:
        """Judge and fold a DeleteBucket; return its LSN. Raises NoSuchBucket, BucketNotEmpty."""
        return self._record_all(judge_buckets.judge_delete_bucket(self._index, self._who, bucket, now_ms))

    def configure(self, bucket: str, name: str, document: bytes | None, now_ms: int) -> int:
        """Judge and fold a change of a bucket's setting; return its LSN, 0 if it changes nothing. Raises NoSuchBucket."""
        return self._record_all(judge_buckets.judge_configure(self._index, self._who, bucket, name, document, now_ms))

    def create_upload(self, intent: UploadIntent, now_ms: int) -> int:
        """Judge and fold a CreateMultipartUpload, or a hidden one; return its LSN, which is the upload's number. Raises NoSuchBucket."""
        if is_hidden(intent.token):
            return self.replication.begin_upload(intent, now_ms)
        return self._record_all(judge_uploads.judge_create_upload(self._index, intent, now_ms))

    def copy_part(self, intent: PartCopyIntent, now_ms: int) -> int:
        """Judge and fold an UploadPartCopy; return its LSN. Raises as judge_part_copy."""
        return self._record_all(judge_uploads.judge_part_copy(self._index, intent, now_ms))

    def complete_upload(self, intent: CompleteIntent, now_ms: int) -> int:
        """Judge and fold a CompleteMultipartUpload; return its LSN. Raises as judge_complete."""
        return self._record_all(judge_uploads.judge_complete(self._index, self._who, intent, now_ms))

    def abort_upload(self, bucket: str, key: bytes, upload: ManifestNumber, now_ms: int) -> int:
        """Judge and fold an AbortMultipartUpload; return its LSN. Raises NoSuchBucket, NoSuchUpload."""
        return self._record_all(judge_uploads.judge_abort(self._index, bucket, key, upload, now_ms))

    def expire_uploads(self, before_ms: int, now_ms: int) -> int:
        """Give up a few uploads that nothing happened to since `before_ms`; return the last LSN, 0 if there was none."""
        return self._record_all(judge_uploads.judge_expiry(self._index, before_ms, now_ms))

    def release_parts(self, before_ms: int, now_ms: int) -> int:
        """Let a few parts go that nothing uses since `before_ms`; return the LSN, 0 if there was none."""
        return self._record_all(judge_uploads.judge_release(self._index, before_ms, now_ms))

    def mark_damaged(self, blob: int, segment_id: int, offset: int, record_id: bytes) -> int:
        """Fold the report that a blob failed verification; return its LSN, 0 if it is out of date."""
        return self._record_all(judge.judge_damage(self._index, blob, segment_id, offset, record_id))

    def forget_blobs(self, before_ms: int, limit: int, now_ms: int) -> int:
        """Judge and fold that unused blobs are forgotten; return how many."""
        entries = judge_space.judge_forget(self._index, before_ms, limit, now_ms)
        self._record_all(entries)
        return sum(len(entry.blobs) for entry in entries if isinstance(entry, BlobsForgotten))

    def move_blobs(self, relocations: Sequence[Relocation]) -> list[bool]:
        """Judge and fold relocations; return for each whether the blob now lies at its new place."""
        entries, moved = judge_space.judge_moves(self._index, relocations)
        self._record_all(entries)
        return moved

    def retire_segments(self, segment_ids: Sequence[int]) -> list[SegmentId]:
        """Judge and fold the retirement of segments; return those whose files may go once this batch is written."""
        entries = judge_space.judge_retire(self._index, segment_ids)
        self._record_all(entries)
        return [entry.segment_id for entry in entries if isinstance(entry, SegmentRetired)]

    def segments_removed(self, segment_ids: Sequence[int]) -> int:
        """Fold that retired segments' files are gone; return the last LSN."""
        return self._record_all(judge_space.judge_removed(self._index, segment_ids))

    def punch_range(self, segment_id: int, offset: int, length_bytes: int) -> int:
        """Judge and fold that a never-named range is given back; return the LSN, 0 if it may not be."""
        return self._record_all(judge_space.judge_punch(self._index, segment_id, offset, length_bytes))

    def lease_segment_ids(self, count: int) -> SegmentIdsLeased:
        """Fold a lease of `count` segment ids and return it."""
        lease = judge.lease_segment_ids(self._index, count)[0]
        self._record(lease)
        assert isinstance(lease, SegmentIdsLeased)
        return lease

    def segment_opened(self, entry: SegmentOpened) -> None:
        """Fold that a segment file exists."""
        self._record(entry)

    def segment_sealed(self, entry: SegmentSealed) -> None:
        """Fold that a segment takes no more records."""
        self._record(entry)

    def _record_all(self, entries: list[Entry]) -> int:
        lsn = 0
        for entry in entries:
            lsn = self._record(entry)
        return lsn
