"""The fold of what gives space back: entries applied to rows, nothing judged. Part of `fold.py`, which owns the rules."""

from collections.abc import Callable
from typing import Any

from fasterstore.metadata.blob_rows import add_live, blob_row, repair_blob
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.space_entries import BlobRepaired, BlobsForgotten, BlobsMoved, RangePunched, SegmentRemoved, SegmentRetired
from fasterstore.storage.record import record_bytes


def _blobs_forgotten(index: IndexWriter, _lsn: int, entry: BlobsForgotten) -> None:
    for number in entry.blobs:
        row = blob_row(index, number)
        index.delete_blob(number)
        index.replication.forget_peer_blobs(number)
        add_live(index, row.location.segment_id, -record_bytes(row.location.stored_bytes))
        if row.damaged:
            index.count_damaged(-1)


def _blobs_moved(index: IndexWriter, _lsn: int, entry: BlobsMoved) -> None:
    for number, location in entry.moves:
        row = blob_row(index, number)
        add_live(index, row.location.segment_id, -record_bytes(row.location.stored_bytes))
        add_live(index, location.segment_id, record_bytes(location.stored_bytes))
        index.move_blob(row._replace(location=location))


def _blob_repaired(index: IndexWriter, _lsn: int, entry: BlobRepaired) -> None:
    row = blob_row(index, entry.blob)
    repair_blob(index, row, entry.location)


def _segment_retired(index: IndexWriter, _lsn: int, entry: SegmentRetired) -> None:
    index.put_segment(index.segment(entry.segment_id)._replace(retired=True))


def _segment_removed(index: IndexWriter, _lsn: int, entry: SegmentRemoved) -> None:
    index.delete_segment(entry.segment_id)


def _range_punched(index: IndexWriter, _lsn: int, entry: RangePunched) -> None:
    row = index.segment(entry.segment_id)
    index.put_segment(row._replace(punched_bytes=row.punched_bytes + entry.length_bytes))


APPLY_SPACE: dict[type, Callable[[IndexWriter, int, Any], None]] = {
    BlobsForgotten: _blobs_forgotten,
    BlobsMoved: _blobs_moved,
    BlobRepaired: _blob_repaired,
    SegmentRetired: _segment_retired,
    SegmentRemoved: _segment_removed,
    RangePunched: _range_punched,
}
