"""The fold of a peer's changes: entries applied to rows, nothing judged. Part of `fold.py`, which owns the rules."""

from collections.abc import Callable
from typing import Any

from fasterstore.errors import InvariantError
from fasterstore.metadata.blob_rows import bucket_row, take_blob
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.bucket_rows import change_registers, put_bucket, remove_bucket
from fasterstore.metadata.fold_uploads import close_upload
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.object_rows import remove_object, replace_object, use_manifest
from fasterstore.metadata.replication_entries import (
    BucketHomed,
    BucketJoined,
    ObjectRemoved,
    ObjectReplicated,
    PeerBlobsLearned,
    PeersChanged,
    TombstonesExpired,
)
from fasterstore.metadata.replication_schema import PeerBlobRow, RegistersRow, TombstoneRow
from fasterstore.metadata.stamps import follow
from fasterstore.model import ObjectRow
from fasterstore.replication.merge import Home, Registers, highest_stamp


def _object_replicated(index: IndexWriter, _lsn: int, entry: ObjectReplicated) -> None:
    bucket_id = bucket_row(index, entry.bucket).bucket_id
    old = index.object(bucket_id, entry.key)
    if entry.upload:
        upload = index.uploads.upload(bucket_id, entry.key, entry.upload)
        if upload is None:
            raise InvariantError(f"the log adopts an upload that is not open: {entry.upload}")
        close_upload(index, upload, entry.part_map, entry.etag, entry.drops_parts, entry.applied_ms)
    elif entry.source is BlobSource.MANIFEST:
        use_manifest(index, entry.manifest)
    else:
        take_blob(index, entry)
    row = ObjectRow(
        entry.blob, entry.size_bytes, entry.etag, entry.modified_ms, entry.system, entry.user, entry.checksums, entry.stamp, entry.origin,
        entry.manifest, entry.tags, entry.acl,
    )  # fmt: skip
    replace_object(index, entry.bucket, bucket_id, entry.key, old, row, entry.applied_ms)
    if entry.blob and entry.origin_blob:
        index.replication.put_peer_blob(PeerBlobRow(entry.origin_log, entry.origin_blob, entry.blob))
    index.state = index.state._replace(last_blob=max(index.state.last_blob, entry.blob))
    follow(index, entry.stamp, entry.advances_clock)


def _object_removed(index: IndexWriter, _lsn: int, entry: ObjectRemoved) -> None:
    bucket = index.bucket(entry.bucket)
    old = None if bucket is None else index.object(bucket.bucket_id, entry.key)
    if bucket is not None and old is not None:
        remove_object(index, bucket.bucket_id, entry.key, old, entry.applied_ms)
    else:
        index.replication.drop_tombstone(entry.bucket, entry.key)
    tombstone = TombstoneRow(entry.bucket, entry.key, entry.stamp, entry.origin, entry.deleted_ms, entry.applied_ms)
    index.replication.add_tombstone(tombstone)
    follow(index, entry.stamp, entry.advances_clock)


def _bucket_joined(index: IndexWriter, lsn: int, entry: BucketJoined) -> None:
    row = index.bucket(entry.bucket)
    if entry.exists:
        put_bucket(index, lsn, entry.bucket, entry.registers)
    elif row is not None:
        remove_bucket(index, row, entry.applied_ms)
    index.replication.put_registers(RegistersRow(entry.bucket, entry.registers, 0 if entry.exists else entry.applied_ms))
    follow(index, highest_stamp(entry.registers), entry.advances_clock)


def _bucket_homed(index: IndexWriter, _lsn: int, entry: BucketHomed) -> None:
    bucket_row(index, entry.bucket)
    change_registers(index, entry.bucket, entry.stamp, Registers(home=Home(entry.stamp, entry.origin, entry.node_id)))


def _peers_changed(index: IndexWriter, _lsn: int, entry: PeersChanged) -> None:
    state = index.replication.state
    # Without peers deletes left no tombstones: whoever has not heard of them may bring back what was deleted.
    horizon_ms = state.horizon_ms if state.peers else max(state.horizon_ms, entry.changed_ms)
    index.replication.state = state._replace(peers=entry.peers, horizon_ms=horizon_ms)


def _tombstones_expired(index: IndexWriter, _lsn: int, entry: TombstonesExpired) -> None:
    for bucket, key in entry.tombstones:
        index.replication.drop_tombstone(bucket, key)
    for bucket in entry.buckets:
        index.replication.delete_registers(bucket)
    state = index.replication.state
    index.replication.state = state._replace(horizon_ms=max(state.horizon_ms, entry.horizon_ms))


def _peer_blobs_learned(index: IndexWriter, _lsn: int, entry: PeerBlobsLearned) -> None:
    for number, blob in entry.numbers:
        index.replication.put_peer_blob(PeerBlobRow(entry.log_uuid, number, blob))


APPLY_REPLICATION: dict[type, Callable[[IndexWriter, int, Any], None]] = {
    ObjectReplicated: _object_replicated,
    ObjectRemoved: _object_removed,
    BucketJoined: _bucket_joined,
    BucketHomed: _bucket_homed,
    PeersChanged: _peers_changed,
    TombstonesExpired: _tombstones_expired,
    PeerBlobsLearned: _peer_blobs_learned,
}
