"""Blob rows under the fold: references counted, live bytes kept, damage repaired. Part of `fold.py`, which owns the rules."""

from collections import Counter
from collections.abc import Iterable

from fasterstore.errors import InvariantError
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import ObjectAppended, ObjectPut, PartPut
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.replication_entries import ObjectReplicated
from fasterstore.model import NO_BLOB, BlobLocation, BlobRow, BucketRow, Slice
from fasterstore.storage.record import record_bytes

BlobEntry = ObjectPut | PartPut | ObjectAppended | ObjectReplicated
"""Entries that name a blob, its source and its location."""


def use_slices(index: IndexWriter, slices: Iterable[Slice]) -> None:
    """Count a new reference of each slice to its blob, which is there."""
    for number, count in Counter([piece.blob for piece in slices]).items():
        row = blob_row(index, number)
        index.change_blob(row._replace(refs=row.refs + count, zero_since_ms=0))


def release_slices(index: IndexWriter, slices: Iterable[Slice], now_ms: int) -> None:
    """Drop the reference of each slice."""
    for number, count in Counter([piece.blob for piece in slices]).items():
        release_blob(index, number, now_ms, count)


def take_blob(index: IndexWriter, entry: BlobEntry) -> None:
    """Count the new reference before the old one is released: an overwrite with the same bytes never passes zero."""
    if entry.source is BlobSource.EMPTY:
        return
    if entry.source is BlobSource.NEW:
        if entry.location is None:
            raise InvariantError("a new blob without a location")
        index.add_blob(BlobRow(entry.blob, entry.blob_id, 1, entry.location))
        add_live(index, entry.location.segment_id, record_bytes(entry.location.stored_bytes))
        return
    row = blob_row(index, entry.blob)
    row = row._replace(refs=row.refs + 1, zero_since_ms=0)
    if entry.source is BlobSource.REPAIRED:
        if entry.location is None:
            raise InvariantError("a repair without a location")
        repair_blob(index, row, entry.location)
        return
    index.change_blob(row)


def repair_blob(index: IndexWriter, row: BlobRow, location: BlobLocation) -> None:
    """The damaged blob lies at `location` now, where its record is sound."""
    add_live(index, row.location.segment_id, -record_bytes(row.location.stored_bytes))
    add_live(index, location.segment_id, record_bytes(location.stored_bytes))
    index.count_damaged(-1)
    index.move_blob(row._replace(location=location, damaged=False))


def release_blob(index: IndexWriter, number: int, now_ms: int, count: int = 1) -> None:
    """Drop `count` references. The bytes stay live until a logged ForgetBlob: only the compactor gives space back."""
    if number == NO_BLOB:
        return
    row = blob_row(index, number)
    refs = row.refs - count
    if refs < 0:
        raise InvariantError(f"blob {number} has fewer than zero references")
    index.change_blob(row._replace(refs=refs, zero_since_ms=0 if refs else now_ms))


def add_live(index: IndexWriter, segment_id: int, change_bytes: int) -> None:
    """Add to a segment's live bytes; may be negative."""
    row = index.segment(segment_id)
    index.put_segment(row._replace(live_bytes=row.live_bytes + change_bytes))


def bucket_row(index: IndexWriter, name: str) -> BucketRow:
    """The bucket that the log names. Raises InvariantError."""
    row = index.bucket(name)
    if row is None:
        raise InvariantError(f"the log names a bucket that is not there: {name}")
    return row


def blob_row(index: IndexWriter, number: int) -> BlobRow:
    """The blob that the log names. Raises InvariantError."""
    row = index.blob(number)
    if row is None:
        raise InvariantError(f"the log names a blob that is not there: {number}")
    return row
