"""Which segments are rewritten and why: policy as pure functions over the index's rows. Reads no file, no clock; decides nothing for good,
since every step is judged again by the journal.

A segment is worth rewriting when a fifth of it is dead: with every segment below that, the files hold at most 1.25 times the live bytes.
Among those the order is by benefit and cost, (1 - u) * age / (1 + u), u being the live share (Rosenblum and Ousterhout, "The design and
implementation of a log-structured file system", 1992): old segments change little any more, young ones lose more of their bytes by
themselves. The youngest must be half dead, unless a round was asked for or space is short.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from fasterstore.model import BlobLocation, BlobRow, SegmentId, SegmentRow
from fasterstore.storage.segment import ALIGNMENT_BYTES, HEADER_BYTES

GARBAGE_SHARE_MIN = 0.2
YOUNG_GARBAGE_SHARE_MIN = 0.5
YOUNG_SEGMENTS = 4
CRUMBS_MIN = 16
"""Every start leaves a few short segments: so many of them are rewritten into one."""
CRUMB_SHARE = 8
"""A crumb is shorter than this part of a full segment."""
SEAL_DEAD_BYTES_MIN = 16 << 20
GROUP_BYTES = 1 << 20
GROUP_BLOBS = 128
"""What is copied and committed at once: a few milliseconds of the disk and of the journal."""
PUNCH_BYTES_MIN = 64 << 10


class Group(NamedTuple):
    """Blobs that are copied together; a record larger than GROUP_BYTES is a group of its own."""

    rows: list[BlobRow]
    length_bytes: int


def dead_bytes(row: SegmentRow) -> int:
    """Bytes of a sealed segment that no blob holds and that have not been punched out."""
    return max(row.length_bytes - HEADER_BYTES - row.live_bytes - row.punched_bytes, 0)


def reclaimable_bytes(rows: Iterable[SegmentRow]) -> int:
    """What rewriting every sealed segment would give back, in bytes."""
    return sum(dead_bytes(row) for row in rows if row.sealed and not row.retired)


def empty_segments(rows: Iterable[SegmentRow]) -> list[SegmentId]:
    """Sealed segments that hold no live byte: the journal is asked to retire them."""
    return [row.segment_id for row in rows if row.sealed and not row.retired and not row.live_bytes]


def segments_to_rewrite(rows: Sequence[SegmentRow], target_bytes: int, *, any_age: bool) -> list[SegmentRow]:
    """Return the segments worth rewriting, the best first. `target_bytes` is the length of a full segment."""
    sealed = sorted((row for row in rows if row.sealed and not row.retired and row.live_bytes), key=lambda row: row.segment_id)
    young = set() if any_age else {row.segment_id for row in sealed[-YOUNG_SEGMENTS:]}
    newest = sealed[-1].segment_id if sealed else 0
    crumbs = [row for row in sealed if row.length_bytes * CRUMB_SHARE < target_bytes]
    if len(crumbs) < CRUMBS_MIN:
        crumbs = []
    chosen = {row.segment_id: row for row in crumbs}
    for row in sealed:
        if garbage_share(row) >= (YOUNG_GARBAGE_SHARE_MIN if row.segment_id in young else GARBAGE_SHARE_MIN):
            chosen[row.segment_id] = row
    return sorted(chosen.values(), key=lambda row: _benefit(row, newest), reverse=True)


def garbage_share(row: SegmentRow) -> float:
    """The dead part of what the segment's file still holds, 0 to 1."""
    held = row.length_bytes - HEADER_BYTES - row.punched_bytes
    return dead_bytes(row) / held if held > 0 else 0.0


def _benefit(row: SegmentRow, newest: int) -> float:
    live_share = 1 - garbage_share(row)
    return (1 - live_share) * (newest - row.segment_id + 1) / (1 + live_share)


def segments_to_seal(active: Iterable[tuple[SegmentId, int]], live: dict[SegmentId, int], target_bytes: int) -> list[SegmentId]:
    """Return the active segments so full of dead bytes that they should take no more records.

    `active` gives where the next record goes, `live` the live bytes, both in bytes by segment.
    """
    found = []
    for segment_id, end in active:
        held = end - HEADER_BYTES
        dead = held - live.get(segment_id, held)
        if dead >= min(SEAL_DEAD_BYTES_MIN, target_bytes // 4) and dead >= GARBAGE_SHARE_MIN * held:
            found.append(segment_id)
    return found


def groups(rows: Iterable[BlobRow], copied_bytes: Callable[[BlobLocation], int]) -> Iterator[Group]:
    """Yield the blobs of one segment in groups, in the order in which they lie there; `copied_bytes` tells what a record's copy takes."""
    held: list[BlobRow] = []
    length = 0
    for row in sorted(rows, key=lambda row: row.location.offset):
        size_bytes = copied_bytes(row.location)
        if held and (length + size_bytes > GROUP_BYTES or len(held) == GROUP_BLOBS):
            yield Group(held, length)
            held, length = [], 0
        held.append(row)
        length += size_bytes
    if held:
        yield Group(held, length)


def punchable(offset: int, length_bytes: int) -> tuple[int, int] | None:
    """The whole blocks of a dead range, as (offset, length) in bytes; None if they are not worth an entry."""
    first = -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    end = (offset + length_bytes) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
    return (first, end - first) if end - first >= PUNCH_BYTES_MIN else None


def pause_secs(worked_secs: float, share: float) -> float:
    """How long to leave the disk alone after working on it for `worked_secs`, to take no more than `share` (0 to 1] of its time."""
    return worked_secs * (1 - share) / share
