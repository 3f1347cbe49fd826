"""Judging a peer's changes. Part of `judge.py`, which owns the rules; what wins is `fasterstore.replication.merge`'s to say.

A change that the rows here beat already is refused as Superseded and leaves nothing. No condition and no home holds a peer's change back:
it was judged where it was made. A stamp more than `Rules.max_clock_skew_ms` ahead is applied and does not advance this node's clock.
"""

from fasterstore.clock import COUNTER_BITS, advance
from fasterstore.errors import BytesMissing, ImpossibleChange, StaleEpoch, Superseded, UploadChanged
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import Entry
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.judge import Claim, ClaimGone, Identity, choose_blob
from fasterstore.metadata.replication_entries import BucketJoined, ObjectRemoved, ObjectReplicated
from fasterstore.metadata.upload_schema import map_summary
from fasterstore.model import NO_BLOB, NO_MANIFEST, BlobNumber, ManifestNumber, PutIntent, Replica
from fasterstore.replication.hidden_upload import becomes
from fasterstore.replication.merge import NO_REGISTERS, bucket_exists, highest_stamp, join_registers, revive, wins
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval

STAMP_MAX = 1 << 62
"""No clock will ever be there, and one can still go above it."""
NODE_ID_BYTES = 16


def judge_replica(index: IndexWriter, who: Identity, intent: PutIntent, claim: Claim, now_ms: int) -> list[Entry] | ClaimGone:
    """Return the entries of a peer's object whose bytes came along: one that makes its bucket if there is none, then ObjectReplicated.

    Raises StaleEpoch, Superseded, ImpossibleChange, DamagedRow.
    """
    replica = _replica_of(intent)
    if claim.epoch != index.state.epoch:
        raise StaleEpoch("the extent was granted by an earlier storage process")
    _need_newer(index, intent.bucket, intent.key, replica.stamp, replica.origin)
    chosen = choose_blob(index, intent, claim)
    if isinstance(chosen, ClaimGone):
        return chosen
    source, blob, location = chosen
    bare = _bare(who, intent, replica, now_ms)
    entry = bare._replace(blob=blob, source=source, blob_id=claim.blob_id, location=location)
    return [*bucket_for(index, who, intent.bucket, now_ms), entry]


def judge_adopt(index: IndexWriter, who: Identity, intent: PutIntent, version: int, part_map: bytes, now_ms: int) -> list[Entry]:
    """Return the entry that makes a peer's object of a hidden upload.

    `version` is that of the upload as looked at, `part_map` the manifest's map. Raises Superseded, ImpossibleChange, DamagedRow, and
    UploadChanged for one that is not open any more, is another or has other parts: look again.
    """
    replica = _replica_of(intent)
    _need_newer(index, intent.bucket, intent.key, replica.stamp, replica.origin)
    bucket = index.bucket(intent.bucket)
    upload = None if bucket is None else index.uploads.upload(bucket.bucket_id, intent.key, intent.upload)
    if upload is None or upload.version != version or not becomes(upload.token, replica.origin_log, replica.origin_manifest):
        raise UploadChanged
    listed, size_bytes = map_summary(part_map)
    if size_bytes != intent.size_bytes:
        raise ImpossibleChange(f"an object of {intent.size_bytes} bytes with parts of {size_bytes}")
    part_count = index.uploads.part_count(intent.upload)
    if part_count < listed:
        raise UploadChanged
    return [
        _bare(who, intent, replica, now_ms)._replace(
            source=BlobSource.MANIFEST,
            manifest=intent.upload,
            upload=intent.upload,
            part_map=part_map,
            drops_parts=part_count > listed,
        )
    ]


def judge_received_object(index: IndexWriter, who: Identity, origin_log: bytes, change: ReceivedObject, now_ms: int) -> list[Entry]:
    """Return the entries of a peer's object whose bytes are here already. Raises Superseded, BytesMissing, ImpossibleChange, DamagedRow."""
    intent = PutIntent(
        change.bucket, change.key, change.size_bytes, change.etag, change.system, change.user, change.checksums, tags=change.tags,
        acl=change.acl, replica=Replica(change.stamp, change.origin, change.modified_ms, origin_log, change.blob, change.manifest),
    )  # fmt: skip
    replica = _replica_of(intent)
    _need_newer(index, intent.bucket, intent.key, replica.stamp, replica.origin)
    entry = _bare(who, intent, replica, now_ms)
    if change.manifest:
        entry = entry._replace(source=BlobSource.MANIFEST, manifest=_same_manifest(index, origin_log, change))
    elif change.blob:
        number = known_blob(index, origin_log, change.blob, change.record_bytes)
        row = index.blob(number)
        entry = entry._replace(source=BlobSource.CLAIMED, blob=number, blob_id=bytes(32) if row is None else row.blob_id)
    elif change.size_bytes:
        raise ImpossibleChange(f"an object of {change.size_bytes} bytes and no content")
    return [*bucket_for(index, who, change.bucket, now_ms), entry]


def judge_received_removal(index: IndexWriter, who: Identity, change: ReceivedRemoval, now_ms: int) -> list[Entry]:
    """Return the entry of a peer's tombstone; neither the key nor its bucket need be here.

    Raises Superseded, ImpossibleChange, DamagedRow.
    """
    _check_pair(change.stamp, change.origin)
    _need_newer(index, change.bucket, change.key, change.stamp, change.origin)
    advances = _advances(who, change.stamp, now_ms)
    return [ObjectRemoved(change.bucket, change.key, change.deleted_ms, change.stamp, change.origin, advances, now_ms)]


def judge_received_bucket(index: IndexWriter, who: Identity, change: ReceivedBucket, now_ms: int) -> list[Entry]:
    """Return the entry that joins a peer's registers of a bucket into those here. Raises Superseded, ImpossibleChange, DamagedRow.

    A delete that meets live objects does not delete: the bucket gets a new create, which goes to the peers.
    """
    theirs = join_registers(NO_REGISTERS, change.registers)
    for stamp, origin in ((create.stamp, create.origin) for create in theirs.creates):
        _check_pair(stamp, origin)
    if not 0 <= highest_stamp(theirs) < STAMP_MAX:
        raise ImpossibleChange("a stamp out of range")
    mine = index.replication.registers(change.name)
    joined = join_registers(mine, theirs)
    if joined == mine:
        raise Superseded
    advances = _advances(who, highest_stamp(theirs), now_ms)
    row = index.bucket(change.name)
    if row is not None and not joined.creates and index.has_objects(row.bucket_id):
        stamp = max(advance(index.state.last_stamp, now_ms), highest_stamp(joined) + 1)
        joined = revive(joined, stamp, who.node_id, row.created_ms)
    return [BucketJoined(change.name, joined, bucket_exists(joined, False), advances, now_ms)]


def known_blob(index: IndexWriter, origin_log: bytes, number: int, record_bytes: int) -> BlobNumber:
    """The local number of the blob that the log knows as `number`, sound and `record_bytes` long (-1: any). Raises BytesMissing."""
    blob = index.replication.local_blob(origin_log, number)
    row = None if blob is None else index.blob(blob)
    if row is None or row.damaged or record_bytes not in (-1, row.location.plaintext_bytes):
        raise BytesMissing(str(number))
    return row.number


def _same_manifest(index: IndexWriter, origin_log: bytes, change: ReceivedObject) -> ManifestNumber:
    """The manifest that the key has now, if it is the one that the peer means: then only what is said of the object has changed."""
    bucket = index.bucket(change.bucket)
    current = None if bucket is None else index.object(bucket.bucket_id, change.key)
    if current is None or not current.manifest or (current.size_bytes, current.etag) != (change.size_bytes, change.etag):
        raise BytesMissing(f"manifest {change.manifest}")
    if not becomes(index.uploads.manifest(current.manifest).token, origin_log, change.manifest):
        raise BytesMissing(f"manifest {change.manifest}")
    return current.manifest


def _bare(who: Identity, intent: PutIntent, replica: Replica, now_ms: int) -> ObjectReplicated:
    """The entry without its bytes."""
    return ObjectReplicated(
        intent.bucket, intent.key, intent.size_bytes, intent.etag, replica.modified_ms, intent.system, intent.user, intent.checksums,
        intent.tags, intent.acl, replica.stamp, replica.origin, replica.origin_log, replica.origin_blob, replica.origin_manifest, NO_BLOB,
        BlobSource.EMPTY, bytes(32), None, NO_MANIFEST, NO_MANIFEST, b"", False, _advances(who, replica.stamp, now_ms), now_ms,
    )  # fmt: skip


def bucket_for(index: IndexWriter, who: Identity, bucket: str, now_ms: int) -> list[Entry]:
    """The entry that makes the bucket which an object needs, if there is none."""
    if index.bucket(bucket) is not None:
        return []
    registers = index.replication.registers(bucket)
    stamp = max(advance(index.state.last_stamp, now_ms), highest_stamp(registers) + 1)
    return [BucketJoined(bucket, revive(registers, stamp, who.node_id, now_ms), True, _advances(who, stamp, now_ms), now_ms)]


def _need_newer(index: IndexWriter, bucket: str, key: bytes, stamp: int, origin: bytes) -> None:
    """Raises Superseded unless that pair wins over what stands under the key, an object or a tombstone."""
    row = index.bucket(bucket)
    held = None if row is None else index.object(row.bucket_id, key)
    over = index.replication.tombstone(bucket, key) if held is None else held
    if over is not None and not wins(stamp, origin, over.stamp, over.origin):
        raise Superseded


def _replica_of(intent: PutIntent) -> Replica:
    if intent.replica is None:
        raise ImpossibleChange("a peer's change without its stamp")
    _check_pair(intent.replica.stamp, intent.replica.origin)
    return intent.replica


def _check_pair(stamp: int, origin: bytes) -> None:
    if not 0 < stamp < STAMP_MAX:
        raise ImpossibleChange(f"a stamp out of range: {stamp}")
    if len(origin) != NODE_ID_BYTES:
        raise ImpossibleChange("an origin that is no node id")


def _advances(who: Identity, stamp: int, now_ms: int) -> bool:
    return stamp >> COUNTER_BITS <= now_ms + who.rules.max_clock_skew_ms
