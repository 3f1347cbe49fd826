"""The fold: one entry applied to the index's rows, and nothing else. Never judges, reads no clock, fails only on damage.

Replaying the same entries from the same state gives the same rows; the journal stores `applied_lsn` in the same transaction, so no
entry is ever applied twice.
"""

from collections.abc import Callable
from typing import Any

from fasterstore.errors import InvariantError
from fasterstore.metadata.blob_rows import blob_row, bucket_row, take_blob
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.bucket_rows import change_registers, put_bucket, remove_bucket
from fasterstore.metadata.entries import (
    BlobDamaged,
    BucketConfigured,
    BucketCreated,
    BucketDeleted,
    Entry,
    EpochStarted,
    ObjectAmended,
    ObjectDeleted,
    ObjectPut,
    ObjectRenamed,
    SegmentIdsLeased,
    SegmentOpened,
    SegmentSealed,
)
from fasterstore.metadata.fold_replication import APPLY_REPLICATION
from fasterstore.metadata.fold_space import APPLY_SPACE
from fasterstore.metadata.fold_uploads import APPLY_UPLOADS
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.log_entries import LogRetired
from fasterstore.metadata.object_rows import bury, release_content, remove_object, replace_object, use_manifest
from fasterstore.metadata.stamps import go_on, replaced_stamp
from fasterstore.model import ObjectRow, SegmentRow
from fasterstore.replication.merge import Create, Deletion, Registers, Setting


def apply(index: IndexWriter, lsn: int, entry: Entry) -> None:
    """Apply `entry`, whose LSN must be the one after the last applied. Raises InvariantError on a gap, DamagedRow."""
    if lsn != index.state.applied_lsn + 1:
        raise InvariantError(f"entry {lsn} after {index.state.applied_lsn}: the log has a gap")
    _APPLY[type(entry)](index, lsn, entry)
    index.state = index.state._replace(applied_lsn=lsn)


def _epoch_started(index: IndexWriter, _lsn: int, entry: EpochStarted) -> None:
    index.state = index.state._replace(epoch=entry.epoch)


def _segment_ids_leased(index: IndexWriter, _lsn: int, entry: SegmentIdsLeased) -> None:
    index.state = index.state._replace(last_segment_id=entry.first + entry.id_count - 1)


def _segment_opened(index: IndexWriter, _lsn: int, entry: SegmentOpened) -> None:
    index.put_segment(SegmentRow(entry.segment_id, entry.epoch, entry.file_uuid, False, 0, 0))


def _segment_sealed(index: IndexWriter, _lsn: int, entry: SegmentSealed) -> None:
    index.put_segment(index.segment(entry.segment_id)._replace(sealed=True, length_bytes=entry.length_bytes))


def _bucket_created(index: IndexWriter, lsn: int, entry: BucketCreated) -> None:
    change = Registers((Create(entry.stamp, entry.origin, entry.created_ms),))
    put_bucket(index, lsn, entry.bucket, change_registers(index, entry.bucket, entry.stamp, change))


def _bucket_deleted(index: IndexWriter, _lsn: int, entry: BucketDeleted) -> None:
    remove_bucket(index, bucket_row(index, entry.bucket), entry.deleted_ms)
    change = Registers(deleted=Deletion(entry.stamp, entry.origin))
    change_registers(index, entry.bucket, entry.stamp, change, entry.deleted_ms)


def _object_put(index: IndexWriter, _lsn: int, entry: ObjectPut) -> None:
    bucket_id = bucket_row(index, entry.bucket).bucket_id
    old = index.object(bucket_id, entry.key)
    replaced = replaced_stamp(index, entry.bucket, entry.key, old)
    # The new reference before the old one: an overwrite with the same bytes never passes zero.
    if entry.source is BlobSource.MANIFEST:
        use_manifest(index, entry.manifest)
    else:
        take_blob(index, entry)
    row = ObjectRow(
        entry.blob, entry.size_bytes, entry.etag, entry.modified_ms, entry.system, entry.user, entry.checksums, entry.stamp, entry.origin,
        entry.manifest, entry.tags, entry.acl,
    )  # fmt: skip
    replace_object(index, entry.bucket, bucket_id, entry.key, old, row, entry.modified_ms)
    index.state = index.state._replace(last_blob=max(index.state.last_blob, entry.blob))
    go_on(index, entry.stamp, replaced)


def _object_deleted(index: IndexWriter, _lsn: int, entry: ObjectDeleted) -> None:
    bucket_id = bucket_row(index, entry.bucket).bucket_id
    old = index.object(bucket_id, entry.key)
    if old is None:
        raise InvariantError(f"the log deletes a key that is not there: {entry.key!r}")
    remove_object(index, bucket_id, entry.key, old, entry.deleted_ms)
    bury(index, entry.bucket, entry.key, entry.stamp, entry.origin, entry.deleted_ms)
    go_on(index, entry.stamp, old.stamp)


def _bucket_configured(index: IndexWriter, lsn: int, entry: BucketConfigured) -> None:
    bucket_row(index, entry.bucket)
    change = Registers(settings=(Setting(entry.name, entry.document, entry.stamp, entry.origin),))
    put_bucket(index, lsn, entry.bucket, change_registers(index, entry.bucket, entry.stamp, change))


def _object_amended(index: IndexWriter, _lsn: int, entry: ObjectAmended) -> None:
    bucket_id = bucket_row(index, entry.bucket).bucket_id
    row = _object(index, bucket_id, entry.key)
    tags = row.tags if entry.tags is None else entry.tags
    acl = row.acl if entry.acl is None else entry.acl
    index.put_object(bucket_id, entry.key, row._replace(tags=tags, acl=acl, stamp=entry.stamp, origin=entry.origin))
    go_on(index, entry.stamp, row.stamp)


def _object_renamed(index: IndexWriter, _lsn: int, entry: ObjectRenamed) -> None:
    bucket_id = bucket_row(index, entry.bucket).bucket_id
    row = _object(index, bucket_id, entry.key)
    replaced = index.object(bucket_id, entry.new_key)
    over = max(row.stamp, replaced_stamp(index, entry.bucket, entry.new_key, replaced))
    if replaced is not None:
        index.add_usage(bucket_id, -1, -replaced.size_bytes)
        release_content(index, replaced, entry.renamed_ms)
    else:
        index.replication.drop_tombstone(entry.bucket, entry.new_key)
    index.delete_object(bucket_id, entry.key)
    bury(index, entry.bucket, entry.key, entry.stamp, entry.origin, entry.renamed_ms)
    index.put_object(bucket_id, entry.new_key, row._replace(stamp=entry.stamp, origin=entry.origin))
    go_on(index, entry.stamp, over)


def _object(index: IndexWriter, bucket_id: int, key: bytes) -> ObjectRow:
    row = index.object(bucket_id, key)
    if row is None:
        raise InvariantError(f"the log changes a key that is not there: {key!r}")
    return row


def _blob_damaged(index: IndexWriter, _lsn: int, entry: BlobDamaged) -> None:
    index.change_blob(blob_row(index, entry.blob)._replace(damaged=True))
    index.count_damaged(1)


def _log_retired(index: IndexWriter, _lsn: int, entry: LogRetired) -> None:
    index.put_log_start(max(entry.below_lsn, index.log_start))


_APPLY: dict[type, Callable[[IndexWriter, int, Any], None]] = {
    EpochStarted: _epoch_started,
    SegmentIdsLeased: _segment_ids_leased,
    SegmentOpened: _segment_opened,
    SegmentSealed: _segment_sealed,
    BucketCreated: _bucket_created,
    BucketDeleted: _bucket_deleted,
    ObjectPut: _object_put,
    ObjectDeleted: _object_deleted,
    BlobDamaged: _blob_damaged,
    BucketConfigured: _bucket_configured,
    ObjectAmended: _object_amended,
    ObjectRenamed: _object_renamed,
    **APPLY_UPLOADS,
    **APPLY_SPACE,
    **APPLY_REPLICATION,
    LogRetired: _log_retired,
}
