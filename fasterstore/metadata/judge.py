"""Judging: what a request becomes, given the rows as they are at its place in the order. Runs inside the batch's transaction.

Here and nowhere else preconditions are decided: bucket exists, If-Match / If-None-Match, dedup, epoch. The answer is the list of
entries to log, or a refusal; the fold only applies them. Times come in from the caller.
"""

from hashlib import md5
from typing import NamedTuple

from fasterstore.clock import advance
from fasterstore.customer_key import CHECK_NAME
from fasterstore.errors import (
    DamagedRecord,
    NoSuchBucket,
    NoSuchKey,
    NotHome,
    PreconditionFailed,
    SourceChanged,
    StaleEpoch,
    TooManyParts,
    WrongOffset,
)
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import (
    BlobDamaged,
    BucketCreated,
    Entry,
    ObjectAmended,
    ObjectAppended,
    ObjectDeleted,
    ObjectPut,
    ObjectRenamed,
    SegmentIdsLeased,
)
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.space_entries import BlobRepaired
from fasterstore.metadata.stamps import bucket_stamp, key_stamp
from fasterstore.model import (
    NO_BLOB,
    NO_MANIFEST,
    PARTS_MAX,
    BlobLocation,
    BlobNumber,
    CopyIntent,
    DeleteIntent,
    ObjectRow,
    PutIntent,
    RenameIntent,
    SegmentId,
)
from fasterstore.replication.merge import home_of
from fasterstore.s3.conditions import write_condition_ok


class Rules(NamedTuple):
    """What an operator decides about replication.

    `max_clock_skew_ms`: a peer's stamp further ahead does not advance the clock. `conditions_anywhere`: conditional writes are judged here
    also where the bucket's home is another node.
    """

    max_clock_skew_ms: int = 300_000
    conditions_anywhere: bool = False


DEFAULT_RULES = Rules()


class Identity(NamedTuple):
    """Who writes: 16-byte node id and 16-byte log uuid, and by which rules."""

    node_id: bytes
    log_uuid: bytes
    rules: Rules = DEFAULT_RULES


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

    Raises StaleEpoch, NoSuchBucket, NotHome, PreconditionFailed, NoSuchKey (If-Match on a missing key), DamagedRow.
    Source of the conditions: S3 API, "Conditional writes".
    """
    if claim.epoch != index.state.epoch:
        raise StaleEpoch("the extent was granted by an earlier storage process")
    entries: list[Entry] = []
    after = 0
    bucket = index.bucket(intent.bucket)
    if bucket is None:
        if not intent.create_bucket:
            raise NoSuchBucket(intent.bucket)
        made = bucket_stamp(index, intent.bucket, now_ms)
        entries.append(BucketCreated(intent.bucket, now_ms, made, who.node_id))
        after = min(made, advance(index.state.last_stamp, now_ms))  # a stamp above one far ahead is not gone on from
    stamp = key_stamp(index, intent.bucket, (intent.key,), now_ms, after)
    if intent.if_match is not None or intent.if_none_match is not None:
        require_home(index, who, intent.bucket)
        current = None if bucket is None else index.object(bucket.bucket_id, intent.key)
        require(intent.if_match, intent.if_none_match, None if current is None else current.etag)
    chosen = choose_blob(index, intent, claim)
    if isinstance(chosen, ClaimGone):
        return chosen
    source, blob, location = chosen
    entries.append(
        ObjectPut(
            intent.bucket, intent.key, intent.size_bytes, intent.etag, now_ms, intent.system, intent.user, intent.checksums,
            intent.tags, intent.acl, stamp, who.node_id, who.log_uuid, blob, NO_MANIFEST, blob, source, claim.blob_id, location,
            NO_MANIFEST,
        )
    )  # fmt: skip
    return entries


def require_home(index: IndexWriter, who: Identity, bucket: str) -> None:
    """Raises NotHome for a conditional write of a bucket whose home is another node, if this one has peers: each would judge by its rows.

    A bucket that is not there has its home where it is made.
    """
    if not index.replication.state.peers or who.rules.conditions_anywhere:
        return
    home = home_of(index.replication.registers(bucket))
    if home is not None and home != who.node_id:
        raise NotHome(home.hex())


def require(if_match: str | None, if_none_match: str | None, etag: str | None) -> None:
    """Raises PreconditionFailed, whose detail names the condition, or NoSuchKey, unless the conditions hold for the current `etag`."""
    refusal = write_condition_ok(if_match, if_none_match, etag)
    if refusal == "NoSuchKey":
        raise NoSuchKey
    if refusal is not None:
        first_holds = if_match is None or write_condition_ok(if_match, None, etag) is None
        raise PreconditionFailed("If-None-Match" if first_holds else "If-Match")


def choose_blob(index: IndexWriter, intent: PutIntent, claim: Claim) -> tuple[BlobSource, BlobNumber, BlobLocation | None] | ClaimGone:
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


def judge_append(index: IndexWriter, who: Identity, intent: PutIntent, claim: Claim, now_ms: int) -> list[Entry] | ClaimGone:
    """Return the entry that adds bytes to the end of an object, none if there are no bytes; a first append to no object is a PUT.

    The intent's system metadata tells the customer's key under which the bytes are sealed, as the object's does. Raises as judge_put, and
    WrongOffset, TooManyParts, SourceChanged for another key. Source: S3 API page PutObject, x-amz-write-offset-bytes.
    """
    bucket = index.bucket(intent.bucket)
    current = None if bucket is None else index.object(bucket.bucket_id, intent.key)
    if current is None and intent.append_at == 0:
        return judge_put(index, who, intent, claim, now_ms)
    if claim.epoch != index.state.epoch:
        raise StaleEpoch("the extent was granted by an earlier storage process")
    if bucket is None:
        raise NoSuchBucket(intent.bucket)
    if current is None:
        raise NoSuchKey
    require_home(index, who, intent.bucket)  # an append says where the object ends: a condition
    require(intent.if_match, intent.if_none_match, current.etag)
    if current.size_bytes != intent.append_at:
        raise WrongOffset(str(current.size_bytes))
    if current.system.get(CHECK_NAME) != intent.system.get(CHECK_NAME):
        raise SourceChanged  # these bytes are sealed under another key than the object's, or one of the two is not sealed at all
    if not intent.size_bytes:
        return []
    part_count = index.uploads.manifest(current.manifest).part_count if current.manifest else min(current.size_bytes, 1)
    if part_count >= PARTS_MAX:
        raise TooManyParts
    chosen = choose_blob(index, intent, claim)
    if isinstance(chosen, ClaimGone):
        return chosen
    source, blob, location = chosen
    stamp = key_stamp(index, intent.bucket, (intent.key,), now_ms)
    etag = f"{md5(f'{current.etag}{intent.etag}'.encode(), usedforsecurity=False).hexdigest()}-{part_count + 1}"
    return [
        ObjectAppended(
            intent.bucket, intent.key, current.size_bytes + intent.size_bytes, etag, now_ms, stamp, who.node_id, who.log_uuid, blob,
            intent.size_bytes, intent.etag, blob, source, claim.blob_id, location,
        )
    ]  # fmt: skip


def judge_copy(index: IndexWriter, who: Identity, copy: CopyIntent, now_ms: int) -> list[Entry]:
    """Return the ObjectPut that gives the source's bytes another name.

    A manifest's blobs are not looked at, however many they are: a copy of a damaged part is as damaged as the source.
    Raises NoSuchBucket, NoSuchKey, SourceChanged, DamagedRecord, NotHome, PreconditionFailed, DamagedRow.
    """
    intent = copy.target
    bucket = index.bucket(intent.bucket)
    if bucket is None:
        raise NoSuchBucket(intent.bucket)
    source = source_of_copy(index, copy.source_bucket, copy.source_key, copy.source_stamp)
    if intent.if_match is not None or intent.if_none_match is not None:
        require_home(index, who, intent.bucket)
        current = index.object(bucket.bucket_id, intent.key)
        require(intent.if_match, intent.if_none_match, None if current is None else current.etag)
    kind, blob_id = BlobSource.EMPTY, bytes(32)
    if source.manifest:
        kind = BlobSource.MANIFEST
    elif source.blob:
        row = index.blob(source.blob)
        if row is None or row.damaged:
            raise DamagedRecord(f"blob {source.blob} cannot be copied: it failed verification")
        kind, blob_id = BlobSource.CLAIMED, row.blob_id
    stamp = key_stamp(index, intent.bucket, (intent.key,), now_ms)
    return [
        ObjectPut(
            intent.bucket, intent.key, source.size_bytes, intent.etag, now_ms, intent.system, intent.user, intent.checksums,
            intent.tags, intent.acl, stamp, who.node_id, who.log_uuid, source.blob, source.manifest, source.blob, kind, blob_id, None,
            source.manifest,
        )
    ]  # fmt: skip


def source_of_copy(index: IndexWriter, bucket: str, key: bytes, stamp: int) -> ObjectRow:
    """The version with that stamp. Raises NoSuchBucket, NoSuchKey, SourceChanged."""
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    source = index.object(row.bucket_id, key)
    if source is None:
        raise NoSuchKey
    if source.stamp != stamp:
        raise SourceChanged
    return source


def judge_delete(index: IndexWriter, who: Identity, bucket: str, intent: DeleteIntent, now_ms: int) -> list[Entry]:
    """Return the entry of a DELETE, or none if the key is not there, whatever its conditions: what they were to protect has gone.

    Raises NoSuchBucket, NotHome, PreconditionFailed, DamagedRow. Source: S3 API page DeleteObject, "or if the object doesn't exist"; for
    If-Match in a general purpose bucket AWS answers 404 there, Ceph 204.
    """
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    if (intent.if_match, intent.if_modified_secs, intent.if_size) != (None, None, None):
        require_home(index, who, bucket)
    current = index.object(row.bucket_id, intent.key)
    if current is None:
        return []
    require(intent.if_match, None, current.etag)
    if intent.if_modified_secs not in (None, current.modified_ms // 1000):
        raise PreconditionFailed("x-amz-if-match-last-modified-time")
    if intent.if_size not in (None, current.size_bytes):
        raise PreconditionFailed("x-amz-if-match-size")
    return [ObjectDeleted(bucket, intent.key, now_ms, key_stamp(index, bucket, (intent.key,), now_ms), who.node_id)]


def judge_rename(index: IndexWriter, who: Identity, intent: RenameIntent, now_ms: int) -> list[Entry]:
    """Return the entry of a RenameObject, or none if both names are the same.

    Raises NoSuchBucket, NoSuchKey, NotHome, PreconditionFailed, SourceChanged, DamagedRow.
    """
    row = index.bucket(intent.bucket)
    if row is None:
        raise NoSuchBucket(intent.bucket)
    source = index.object(row.bucket_id, intent.key)
    if source is None:
        raise NoSuchKey
    if (intent.if_match, intent.if_none_match, intent.source_if_match, intent.source_if_none_match) != (None, None, None, None):
        require_home(index, who, intent.bucket)
    require(intent.source_if_match, intent.source_if_none_match, source.etag)
    current = index.object(row.bucket_id, intent.new_key)
    require(intent.if_match, intent.if_none_match, None if current is None else current.etag)
    if intent.source_stamp not in (0, source.stamp) or intent.target_stamp not in (-1, 0 if current is None else current.stamp):
        raise SourceChanged
    if intent.key == intent.new_key:
        return []
    stamp = key_stamp(index, intent.bucket, (intent.key, intent.new_key), now_ms)
    return [ObjectRenamed(intent.bucket, intent.key, intent.new_key, now_ms, stamp, who.node_id)]


def judge_amend(index: IndexWriter, who: Identity, bucket: str, key: bytes, tags: dict | None, acl: str | None, now_ms: int) -> list[Entry]:
    """Return the entry that changes an object's tags or canned ACL (None: leave it). Raises NoSuchBucket, NoSuchKey."""
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    if index.object(row.bucket_id, key) is None:
        raise NoSuchKey
    return [ObjectAmended(bucket, key, tags, acl, key_stamp(index, bucket, (key,), now_ms), who.node_id)]


def judge_damage(index: IndexWriter, blob: int, segment_id: int, offset: int, record_id: bytes) -> list[Entry]:
    """Return the entry that marks a blob damaged, or none if it has moved, gone or been marked since the report."""
    row = index.blob(blob)
    if row is None or row.damaged:
        return []
    place = row.location
    if (place.segment_id, place.offset, place.record_id) != (segment_id, offset, record_id):
        return []
    return [BlobDamaged(blob, record_id)]  # type: ignore[arg-type]


def judge_repair(index: IndexWriter, blob: BlobNumber, claim: Claim) -> list[Entry]:
    """Return the entry that gives a damaged blob its bytes back, or none if it has gone or been repaired meanwhile.

    Raises StaleEpoch, DamagedRecord for bytes that are not the blob's.
    """
    if claim.epoch != index.state.epoch:
        raise StaleEpoch("the extent was granted by an earlier storage process")
    row = index.blob(blob)
    if row is None or not row.damaged or claim.location is None:
        return []
    if (row.blob_id, row.location.plaintext_bytes) != (claim.blob_id, claim.location.plaintext_bytes):
        raise DamagedRecord(f"blob {blob} has other bytes than those that were to repair it")
    return [BlobRepaired(blob, claim.location)]


def lease_segment_ids(index: IndexWriter, count: int) -> list[Entry]:
    """Return the entry that uses up the next `count` segment ids."""
    return [SegmentIdsLeased(SegmentId(index.state.last_segment_id + 1), count)]
