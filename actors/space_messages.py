"""Messages by which space is given back, grouped by receiver; the rules are those of `messages.py`. Only the last group crosses a socket.

compactor asks segment-writer and metadata-journal, which are below it; they only ever tell each other (see `runtime`).
"""

from typing import Any, NamedTuple

from fasterstore.metadata.judge_space import Relocation
from fasterstore.model import Epoch, SegmentId

# ---- to segment-writer ---------------------------------------------------------------------------------------------------------


class ReserveRegion(NamedTuple):
    """Ask, compactor -> segment-writer: room for records of `length_bytes` together. Reply: RegionGranted or Refused."""

    length_bytes: int


class RegionGranted(NamedTuple):
    """Reply: the compactor may write whole records into that range. Given back by AbortExtent, or finished by FinishRegion."""

    extent: int
    epoch: Epoch
    segment_id: SegmentId
    file_uuid: bytes
    offset: int


class FinishRegion(NamedTuple):
    """Ask, compactor -> segment-writer: the records are written; sync them and have them named. Reply: Moved or Refused."""

    extent: int
    epoch: Epoch
    relocations: list[Relocation]


class ListActive(NamedTuple):
    """Ask, compactor -> segment-writer: which segments are open for new records. Reply: ActiveSegments."""


class ActiveSegments(NamedTuple):
    """Reply: (segment id, where the next record goes in bytes) of each segment that takes new records."""

    segments: list[tuple[SegmentId, int]]


class SealActive(NamedTuple):
    """Ask, compactor -> segment-writer: no new records into these; each is sealed after its last extent. Reply: Done."""

    segment_ids: list[SegmentId]


class SegmentsGone(NamedTuple):
    """Tell, compactor -> segment-writer: these files are unlinked; whoever holds one open holds its space."""

    segment_ids: list[SegmentId]


class RangeGivenBack(NamedTuple):
    """Tell, metadata-journal -> segment-writer: it is logged that these blocks may go."""

    segment_id: SegmentId
    file_uuid: bytes
    offset: int
    length_bytes: int


# ---- to metadata-journal -------------------------------------------------------------------------------------------------------


class ForgetBlobs(NamedTuple):
    """Ask, compactor -> metadata-journal: forget at most `limit` blobs that nothing names since `before_ms`. Reply: Forgotten."""

    before_ms: int
    limit: int


class Forgotten(NamedTuple):
    """Reply: how many; `left_out`: what is wrong with damaged rows that were passed over, some of them."""

    blobs: int
    left_out: list[str]


class CommitMoves(NamedTuple):
    """Forwarded by segment-writer (reply goes to the compactor): the copies are on stable storage. Reply: Moved or Refused."""

    relocations: list[Relocation]


class Moved(NamedTuple):
    """Reply: for each relocation whether the blob lies at its new place; if not it was not where it was copied from any more."""

    moved: list[bool]


class RetireSegments(NamedTuple):
    """Ask, compactor -> metadata-journal: those of them in which no blob lies may go. Reply: Retired or Refused."""

    segment_ids: list[SegmentId]


class Retired(NamedTuple):
    """Reply: it is logged that the files of these segments may be unlinked; `left_out` as of Forgotten: their segments stay."""

    segment_ids: list[SegmentId]
    left_out: list[str]


class SegmentsRemoved(NamedTuple):
    """Ask, compactor -> metadata-journal: these retired files are unlinked and their folder synced. Reply: Done or Refused."""

    segment_ids: list[SegmentId]


class PunchRange(NamedTuple):
    """Tell, segment-writer or journal -> metadata-journal: that range was given to a record that will never be named."""

    segment_id: SegmentId
    offset: int
    length_bytes: int


class SetReadGrace(NamedTuple):
    """Tell, compactor -> metadata-journal: how long unused parts stay from now on: FS_READ_GRACE_SECS, or 0 while space is short."""

    grace_ms: int


# ---- to compactor --------------------------------------------------------------------------------------------------------------


class CompactNow(NamedTuple):
    """Ask, web -> compactor: begin a round, as far as one is needed, without regard to age. Reply: CompactionStatus."""


class PauseCompaction(NamedTuple):
    """Ask, web -> compactor: stand still after the current step (True), or go on (False). Reply: CompactionStatus."""

    paused: bool


class DescribeCompaction(NamedTuple):
    """Ask, web -> compactor. Reply: CompactionStatus."""


class CompactionStatus(NamedTuple):
    """Reply: a plain dict as `/_admin/compaction` shows it; see `compaction_state`."""

    status: dict[str, Any]


class CompactionDue(NamedTuple):
    """Tell, compactor -> itself: the interval is over."""


SPACE_WIRE_TYPES: tuple[type[Any], ...] = (CompactNow, PauseCompaction, DescribeCompaction, CompactionStatus)
