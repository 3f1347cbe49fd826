"""Judging what the node itself does for replication: parts of hidden uploads, homes, peers, the end of tombstones. Part of `judge.py`."""

from collections.abc import Sequence

from fasterstore.errors import BytesMissing, ImpossibleChange, NoSuchBucket, NoSuchUpload, StaleEpoch, TooManyParts
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import Entry, PartPut
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.judge import Claim, ClaimGone, Identity
from fasterstore.metadata.judge_replication import NODE_ID_BYTES, bucket_for, known_blob
from fasterstore.metadata.judge_uploads import judge_part, open_upload, upload_created
from fasterstore.metadata.replication_entries import BucketHomed, PeerBlobsLearned, PeersChanged, TombstonesExpired
from fasterstore.metadata.stamps import bucket_stamp
from fasterstore.model import NO_BLOB, SLICES_MAX, PutIntent, Slice, UploadIntent
from fasterstore.replication.hidden_upload import is_hidden
from fasterstore.replication.merge import home_of

EXPIRE_TOMBSTONES = 256


def judge_hidden_upload(index: IndexWriter, who: Identity, intent: UploadIntent, now_ms: int) -> list[Entry]:
    """Return the entries that begin a hidden upload, in a bucket that is made if there is none: an object lives in it elsewhere."""
    return [*bucket_for(index, who, intent.bucket, now_ms), upload_created(intent, now_ms)]


def judge_replica_part(index: IndexWriter, intent: PutIntent, claim: Claim, now_ms: int) -> list[Entry] | ClaimGone:
    """Return the entries of a part of a hidden upload whose bytes came along. Raises as judge_part, NoSuchUpload for a client's upload."""
    if claim.epoch != index.state.epoch:
        raise StaleEpoch("the extent was granted by an earlier storage process")
    _need_hidden(index, intent)
    entries = judge_part(index, intent, claim, now_ms)
    if isinstance(entries, ClaimGone):
        return entries
    replica, part = intent.replica, entries[0]
    if replica is not None and replica.origin_blob and isinstance(part, PartPut) and part.blob:
        entries.append(PeerBlobsLearned(replica.origin_log, ((replica.origin_blob, part.blob),)))
    return entries


def judge_claim_part(index: IndexWriter, intent: PutIntent, origin_log: bytes, slices: Sequence[Slice], now_ms: int) -> list[Entry]:
    """Return the entry of a part of a hidden upload whose bytes are here; `slices` have the numbers of the log `origin_log`.

    Raises BytesMissing, NoSuchBucket, NoSuchUpload, TooManyParts (more than SLICES_MAX slices), ImpossibleChange, DamagedRow.
    """
    _need_hidden(index, intent)
    if len(slices) > SLICES_MAX:
        raise TooManyParts(f"a part of {len(slices)} slices")
    here = []
    for theirs in slices:
        number = known_blob(index, origin_log, theirs.blob, -1)
        row = index.blob(number)
        if row is None:
            raise BytesMissing(str(theirs.blob))
        if theirs.first < 0 or theirs.length < 1 or theirs.first + theirs.length > row.location.plaintext_bytes:
            raise ImpossibleChange("a slice that reaches behind its blob")
        here.append(Slice(number, theirs.first, theirs.length))
    if sum(piece.length for piece in here) != intent.size_bytes:
        raise ImpossibleChange(f"a part of {intent.size_bytes} bytes with other slices")
    return [
        PartPut(
            intent.bucket, intent.key, intent.upload, intent.part, intent.size_bytes, intent.etag, intent.checksums, now_ms, NO_BLOB,
            BlobSource.SLICES, bytes(32), None, tuple(here),
        )
    ]  # fmt: skip


def _need_hidden(index: IndexWriter, intent: PutIntent) -> None:
    if not is_hidden(open_upload(index, intent.bucket, intent.key, intent.upload).token):
        raise NoSuchUpload(str(intent.upload))


def judge_set_home(index: IndexWriter, who: Identity, bucket: str, node_id: bytes, now_ms: int) -> list[Entry]:
    """Return the entry that moves a bucket's home, none if it is there already. Raises NoSuchBucket, ImpossibleChange (no node id)."""
    if len(node_id) != NODE_ID_BYTES:
        raise ImpossibleChange("not a node id")
    if index.bucket(bucket) is None:
        raise NoSuchBucket(bucket)
    if home_of(index.replication.registers(bucket)) == node_id:
        return []
    return [BucketHomed(bucket, node_id, now_ms, bucket_stamp(index, bucket, now_ms), who.node_id)]


def judge_set_peers(index: IndexWriter, peers: Sequence[str], now_ms: int) -> list[Entry]:
    """Return the entry that says who the node's peers are, none if the log says so already."""
    named = tuple(sorted(set(peers)))
    return [] if named == index.replication.state.peers else [PeersChanged(named, now_ms)]


def judge_expire_tombstones(index: IndexWriter, before_ms: int, now_ms: int) -> list[Entry]:
    """Return the entry that forgets tombstones, and registers of deleted buckets, noted by `before_ms`; EXPIRE_TOMBSTONES at most.

    One noted by a clock that stood in the future stays until that time has come: without it what was deleted might come back. The horizon
    is by this node's clock, whatever the stamps are: a peer's delete may have an old stamp or one far ahead. It lies a thirtieth of the
    time to live behind what was noted, in case the clock was stepped since. Raises DamagedRow.
    """
    rows = [row for row in index.replication.tombstones_before(before_ms, EXPIRE_TOMBSTONES) if row.noted_ms <= before_ms]
    gone = [row for row in index.replication.gone_before(before_ms, EXPIRE_TOMBSTONES) if 0 < row.gone_ms <= before_ms]
    if not rows and not gone:
        return []
    noted_ms = max([row.noted_ms for row in rows] + [row.gone_ms for row in gone])
    keys = tuple([(row.bucket, row.key) for row in rows])
    return [TombstonesExpired(keys, tuple([row.name for row in gone]), noted_ms + (now_ms - before_ms) // 30, now_ms)]
