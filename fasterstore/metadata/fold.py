"""The fold: one entry applied to the index's rows, and nothing else. Never judges, reads no clock, fails only on damage.

Replaying the same entries from the same state gives the same rows; the journal stores `applied_lsn` in the same transaction, so no
entry is ever applied twice.
"""

from collections.abc import Callable
from typing import Any

from fasterstore.errors import InvariantError
from fasterstore.metadata.entries import (
    BlobDamaged,
    BlobSource,
    BucketCreated,
    BucketDeleted,
    Entry,
    EpochStarted,
    ObjectDeleted,
    ObjectPut,
    SegmentIdsLeased,
    SegmentOpened,
    SegmentSealed,
)
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.model import NO_BLOB, BlobRow, BucketRow, ObjectRow, SegmentRow
from fasterstore.storage.record import record_bytes


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
    index.put_bucket(BucketRow(lsn, entry.bucket, entry.created_ms, {}))  # type: ignore[arg-type]
    index.add_usage(lsn, 0, 0)
    index.state = index.state._replace(last_stamp=max(index.state.last_stamp, entry.stamp))


def _bucket_deleted(index: IndexWriter, _lsn: int, entry: BucketDeleted) -> None:
    index.delete_bucket(_bucket(index, entry.bucket))
    index.state = index.state._replace(last_stamp=max(index.state.last_stamp, entry.stamp))


def _object_put(index: IndexWriter, _lsn: int, entry: ObjectPut) -> None:
    bucket_id = _bucket(index, entry.bucket).bucket_id
    old = index.object(bucket_id, entry.key)
    _take_blob(index, entry)
    if old is None:
        index.add_usage(bucket_id, 1, entry.size_bytes)
    else:
        index.add_usage(bucket_id, 0, entry.size_bytes - old.size_bytes)
        _release_blob(index, old.blob, entry.modified_ms)
    row = ObjectRow(
        entry.blob, entry.size_bytes, entry.etag, entry.modified_ms, entry.system, entry.user, entry.checksums, entry.stamp, entry.origin
    )
    index.put_object(bucket_id, entry.key, row)
    state = index.state
    index.state = state._replace(last_blob=max(state.last_blob, entry.blob), last_stamp=max(state.last_stamp, entry.stamp))


def _object_deleted(index: IndexWriter, _lsn: int, entry: ObjectDeleted) -> None:
    bucket_id = _bucket(index, entry.bucket).bucket_id
    old = index.object(bucket_id, entry.key)
    if old is None:
        raise InvariantError(f"the log deletes a key that is not there: {entry.key!r}")
    index.delete_object(bucket_id, entry.key)
    index.add_usage(bucket_id, -1, -old.size_bytes)
    _release_blob(index, old.blob, entry.deleted_ms)
    index.state = index.state._replace(last_stamp=max(index.state.last_stamp, entry.stamp))


def _blob_damaged(index: IndexWriter, _lsn: int, entry: BlobDamaged) -> None:
    index.change_blob(_blob(index, entry.blob)._replace(damaged=True))
    index.count_damaged(1)


def _take_blob(index: IndexWriter, entry: ObjectPut) -> None:
    """Count the new reference before the old one is released: an overwrite with the same bytes never passes zero."""
    if entry.source is BlobSource.EMPTY:
        return
    if entry.source is BlobSource.NEW:
        if entry.location is None:
            raise InvariantError("a new blob without a location")
        index.add_blob(BlobRow(entry.blob, entry.blob_id, 1, entry.location))
        _add_live(index, entry.location.segment_id, record_bytes(entry.location.stored_bytes))
        return
    row = _blob(index, entry.blob)
    row = row._replace(refs=row.refs + 1, zero_since_ms=0)
    if entry.source is BlobSource.REPAIRED:
        if entry.location is None:
            raise InvariantError("a repair without a location")
        _add_live(index, row.location.segment_id, -record_bytes(row.location.stored_bytes))
        _add_live(index, entry.location.segment_id, record_bytes(entry.location.stored_bytes))
        row = row._replace(location=entry.location, damaged=False)
        index.count_damaged(-1)
    index.change_blob(row)


def _release_blob(index: IndexWriter, number: int, now_ms: int) -> None:
    """Drop one reference. The bytes stay live until a logged ForgetBlob: only the compactor gives space back."""
    if number == NO_BLOB:
        return
    row = _blob(index, number)
    refs = row.refs - 1
    if refs < 0:
        raise InvariantError(f"blob {number} has fewer than zero references")
    index.change_blob(row._replace(refs=refs, zero_since_ms=0 if refs else now_ms))


def _add_live(index: IndexWriter, segment_id: int, change_bytes: int) -> None:
    row = index.segment(segment_id)
    index.put_segment(row._replace(live_bytes=row.live_bytes + change_bytes))


def _bucket(index: IndexWriter, name: str) -> BucketRow:
    row = index.bucket(name)
    if row is None:
        raise InvariantError(f"the log names a bucket that is not there: {name}")
    return row


def _blob(index: IndexWriter, number: int) -> BlobRow:
    row = index.blob(number)
    if row is None:
        raise InvariantError(f"the log names a blob that is not there: {number}")
    return row


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
}
