"""Journal entries about where blobs lie, and by which space is given back: local facts, which no peer is ever sent.

Part of `entries.py`, which owns the format.

Space leaves in three steps, each of them one entry judged in its batch's transaction: a blob that nothing names is forgotten, or moved
to another segment; a segment in which no blob lies is retired; and only then its file is unlinked, which a last entry notes. So whatever
a crash leaves between two steps, the log says what may go, and nothing goes because something else is missing.
"""

from typing import NamedTuple

from fasterstore.model import BlobLocation, BlobNumber, SegmentId


class BlobsForgotten(NamedTuple):
    """Local: nothing names these blobs, and their grace is over; their rows are gone and their bytes are dead."""

    blobs: tuple[BlobNumber, ...]
    forgotten_ms: int


class Move(NamedTuple):
    """One blob's new place. The bytes there are verified and on stable storage."""

    blob: BlobNumber
    location: BlobLocation


class BlobsMoved(NamedTuple):
    """Local: these blobs lie elsewhere now. Each was where the mover had found it when this was judged."""

    moves: tuple[Move, ...]


class BlobRepaired(NamedTuple):
    """Local: a blob that had failed verification lies there now, with its right bytes, fetched from a peer; nothing new names it."""

    blob: BlobNumber
    location: BlobLocation


class SegmentRetired(NamedTuple):
    """Local: no blob lies in that segment, and none ever will; its file may be unlinked."""

    segment_id: SegmentId


class SegmentRemoved(NamedTuple):
    """Local: the name of a retired segment's file is gone, and its folder is synced."""

    segment_id: SegmentId


class RangePunched(NamedTuple):
    """Local: those bytes of a segment were given to a record that was never named; their blocks may be given back."""

    segment_id: SegmentId
    offset: int
    length_bytes: int


SpaceEntry = BlobsForgotten | BlobsMoved | BlobRepaired | SegmentRetired | SegmentRemoved | RangePunched


def restore(entry: SpaceEntry) -> SpaceEntry:
    """Return a decoded entry with the types that msgpack does not keep."""
    if isinstance(entry, BlobsForgotten):
        return entry._replace(blobs=tuple(entry.blobs))
    if isinstance(entry, BlobsMoved):
        return BlobsMoved(tuple([Move(blob, BlobLocation(*place)) for blob, place in entry.moves]))
    if isinstance(entry, BlobRepaired):
        return entry._replace(location=BlobLocation(*entry.location))
    return entry
