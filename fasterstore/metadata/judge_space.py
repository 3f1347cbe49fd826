"""Judging what may leave the store. Part of `judge.py`, which owns the rules: the one place where space is decided to be given back.

Each refuses by leaving out, never by an error: whoever asked looked at an older state, and asks again after the next look. Nothing is
concluded from what is missing: a blob is forgotten because its row says that nothing names it and since when, a segment is retired
because no row lies in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from fasterstore.clock import WRONG_CLOCK_MS
from fasterstore.errors import DamagedRow
from fasterstore.metadata.entries import Entry
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.space_entries import BlobsForgotten, BlobsMoved, Move, RangePunched, SegmentRemoved, SegmentRetired
from fasterstore.model import BlobLocation, BlobNumber, SegmentId
from fasterstore.storage.record import record_bytes


class Relocation(NamedTuple):
    """A blob whose record was copied from `old` to `new`, where it is verified and on stable storage."""

    blob: BlobNumber
    old: BlobLocation
    new: BlobLocation


def judge_forget(index: IndexWriter, before_ms: int, limit: int, now_ms: int) -> tuple[list[Entry], list[str]]:
    """Return the entry that forgets at most `limit` blobs which nothing names since `before_ms` or longer, or none; and what is wrong with
    rows that were left out.

    Also those that lost their last name at a time still `WRONG_CLOCK_MS` away: the clock was wrong then, and no grace would ever end.
    """
    rows, left_out = index.unused_blobs(before_ms, limit)
    if not rows:
        rows, more_left_out = index.unused_blobs_after(now_ms + WRONG_CLOCK_MS, limit)
        left_out += more_left_out
    blobs = tuple([row.number for row in rows])
    return [BlobsForgotten(blobs, now_ms)] if blobs else [], left_out


def judge_moves(index: IndexWriter, relocations: Sequence[Relocation]) -> tuple[list[Entry], list[bool]]:
    """Return the entry that moves those blobs that are still where they were copied from, or none; and for each whether it is moved.

    A blob that was found damaged meanwhile stays: its copy is as damaged. So does one whose row is.
    """
    moved = []
    for blob, old, _new in relocations:
        try:
            row = index.blob(blob)
        except DamagedRow:
            row = None
        moved.append(row is not None and row.location == old and not row.damaged)
    moves = tuple([Move(item.blob, item.new) for item, holds in zip(relocations, moved, strict=True) if holds])
    return [BlobsMoved(moves)] if moves else [], moved


def judge_retire(index: IndexWriter, segment_ids: Sequence[int]) -> list[Entry]:
    """Return the entries that retire those of the segments in which no blob lies, not even an unused one. Raises DamagedRow.

    Nothing can come into a sealed segment any more: it is sealed after its last extent was finished, and the commit of that extent
    stands before the seal in the journal's order.
    """
    entries: list[Entry] = []
    for segment_id in segment_ids:
        row = index.find_segment(segment_id)
        if row is not None and row.sealed and not row.retired and next(index.blobs_in(segment_id), None) is None:
            entries.append(SegmentRetired(SegmentId(segment_id)))
    return entries


def judge_removed(index: IndexWriter, segment_ids: Sequence[int]) -> list[Entry]:
    """Return the entries that note that those retired segments' files are gone. Raises DamagedRow."""
    rows = [index.find_segment(segment_id) for segment_id in segment_ids]
    return [SegmentRemoved(row.segment_id) for row in rows if row is not None and row.retired]


def judge_punch(index: IndexWriter, segment_id: int, offset: int, length_bytes: int) -> list[Entry]:
    """Return the entry that gives a never-named range back, or none if a blob lies in it, even an unused one. Raises DamagedRow.

    That no open or finishing extent lies there is for segment-writer to know, which asks.
    """
    row = index.find_segment(segment_id)
    if row is None or row.retired:
        return []
    for blob in index.blobs_in(segment_id):
        place = blob.location
        if place.offset < offset + length_bytes and offset < place.offset + record_bytes(place.stored_bytes):
            return []
    return [RangePunched(SegmentId(segment_id), offset, length_bytes)]
