"""Judging: what a request becomes, given the rows as they are at its place in the order. Runs inside the batch's transaction.

Here and nowhere else preconditions are decided: bucket exists, If-Match / If-None-Match, dedup, epoch. The answer is the list of
entries to log, or a refusal; the fold only applies them. Times come in from the caller.
"""

from typing import NamedTuple

from fasterstore.clock import advance
from fasterstore.errors import BucketAlreadyOwnedByYou, BucketNotEmpty, NoSuchBucket, NoSuchKey, PreconditionFailed, StaleEpoch
from fasterstore.metadata.entries import (
    BlobDamaged,
    BlobSource,
    BucketCreated,
    BucketDeleted,
    Entry,
    ObjectDeleted,
    ObjectPut,
    SegmentIdsLeased,
)
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.model import NO_BLOB, BlobLocation, BlobNumber, PutIntent, SegmentId
from fasterstore.s3.conditions import write_condition_ok


class Identity(NamedTuple):
    """Who writes: 16-byte node id and 16-byte log uuid."""

    node_id: bytes
    log_uuid: bytes


class ClaimGone(NamedTuple):
    """The claimed blob is no longer live (or failed verification): the bytes must be appended after all."""


class Claim(NamedTuple):
    """The bytes of a put: `blob_id` always; `location` of a synced record, or None; `blob` claimed, or 0."""

    epoch: int
    blob_id: bytes
    location: BlobLocation | None
    blob: int


CLAIM_GONE = ClaimGone()


def judge_put(index: IndexWriter, who: Identity, intent: PutIntent, claim: Claim, now_ms: int) -> list[Entry] | ClaimGone:
    """Return the entries of a PUT: BucketCreated if asked for and missing, then ObjectPut.

    Raises StaleEpoch, NoSuchBucket, PreconditionFailed, NoSuchKey (If-Match on a missing key), DamagedRow.
    Source of the conditions: S3 API, "Conditional writes".
    """
    if claim.epoch != index.state.epoch:
        raise StaleEpoch("the extent was granted by an earlier storage process")
    entries: list[Entry] = []
    stamp = advance(index.state.last_stamp, now_ms)
    bucket = index.bucket(intent.bucket)
    if bucket is None:
        if not intent.create_bucket:
            raise NoSuchBucket(intent.bucket)
        entries.append(BucketCreated(intent.bucket, now_ms, stamp, who.node_id))
        stamp += 1
    if intent.if_match is not None or intent.if_none_match is not None:
        current = None if bucket is None else index.object(bucket.bucket_id, intent.key)
        _require(intent.if_match, intent.if_none_match, None if current is None else current.etag)
    chosen = _choose_blob(index, intent, claim)
    if isinstance(chosen, ClaimGone):
        return chosen
    source, blob, location = chosen
    entries.append(
        ObjectPut(
            intent.bucket, intent.key, intent.size_bytes, intent.etag, now_ms, intent.system, intent.user, intent.checksums,
            stamp, who.node_id, who.log_uuid, blob, blob, source, claim.blob_id, location,
        )
    )  # fmt: skip
    return entries


def _require(if_match: str | None, if_none_match: str | None, etag: str | None) -> None:
    """Raises PreconditionFailed, whose detail names the condition, or NoSuchKey, unless the conditions hold for the current `etag`."""
    refusal = write_condition_ok(if_match, if_none_match, etag)
    if refusal == "NoSuchKey":
        raise NoSuchKey
    if refusal is not None:
        first_holds = if_match is None or write_condition_ok(if_match, None, etag) is None
        raise PreconditionFailed("If-None-Match" if first_holds else "If-Match")


def _choose_blob(index: IndexWriter, intent: PutIntent, claim: Claim) -> tuple[BlobSource, BlobNumber, BlobLocation | None] | ClaimGone:
    """Dedup: use the claimed blob if it still lives and is sound, else the record that was written, else say that it has to be."""
    if not intent.size_bytes:
        return BlobSource.EMPTY, NO_BLOB, None
    if claim.blob:
        row = index.blob(claim.blob)
        if row is not None and not row.damaged and row.blob_id == claim.blob_id:
            return BlobSource.CLAIMED, row.number, None
    if claim.location is None:
        return CLAIM_GONE
    damaged = index.damaged_blob(claim.blob_id)
    if damaged is not None:
        return BlobSource.REPAIRED, damaged.number, claim.location
    return BlobSource.NEW, BlobNumber(index.state.last_blob + 1), claim.location


def judge_delete(index: IndexWriter, who: Identity, bucket: str, key: bytes, if_match: str | None, now_ms: int) -> list[Entry]:
    """Return the entry of a DELETE, or none if the key is not there. Raises NoSuchBucket, PreconditionFailed, NoSuchKey, DamagedRow."""
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    current = index.object(row.bucket_id, key)
    if if_match is not None:
        _require(if_match, None, None if current is None else current.etag)
    if current is None:
        return []
    return [ObjectDeleted(bucket, key, now_ms, advance(index.state.last_stamp, now_ms), who.node_id)]


def judge_create_bucket(index: IndexWriter, who: Identity, bucket: str, now_ms: int) -> list[Entry]:
    """Return the entry of a CreateBucket. Raises BucketAlreadyOwnedByYou."""
    if index.bucket(bucket) is not None:
        raise BucketAlreadyOwnedByYou(bucket)
    return [BucketCreated(bucket, now_ms, advance(index.state.last_stamp, now_ms), who.node_id)]


def judge_delete_bucket(index: IndexWriter, who: Identity, bucket: str, now_ms: int) -> list[Entry]:
    """Return the entry of a DeleteBucket. Raises NoSuchBucket, BucketNotEmpty."""
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    if index.has_objects(row.bucket_id):
        raise BucketNotEmpty(bucket)
    return [BucketDeleted(bucket, now_ms, advance(index.state.last_stamp, now_ms), who.node_id)]


def judge_damage(index: IndexWriter, blob: int, record_id: bytes) -> list[Entry]:
    """Return the entry that marks a blob damaged, or none if it has moved, gone or been marked since the report."""
    row = index.blob(blob)
    if row is None or row.damaged or row.location.record_id != record_id:
        return []
    return [BlobDamaged(blob, record_id)]  # type: ignore[arg-type]


def lease_segment_ids(index: IndexWriter, count: int) -> list[Entry]:
    """Return the entry that uses up the next `count` segment ids."""
    return [SegmentIdsLeased(SegmentId(index.state.last_segment_id + 1), count)]
