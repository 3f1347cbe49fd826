"""Messages about index copies, pins and the log's length. Part of `messages.py`, whose conventions hold. LSNs are the journal's."""

from typing import Any, NamedTuple

# ---- to metadata-journal -------------------------------------------------------------------------------------------------------


class ReadLogState(NamedTuple):
    """Ask, snapshots -> metadata-journal. Reply: LogState."""


class LogState(NamedTuple):
    """Reply: everything up to `head_lsn` is on stable storage and in the log's files, from `log_start` on."""

    head_lsn: int
    log_start: int


class RetireLog(NamedTuple):
    """Tell, snapshots -> metadata-journal: give up, by a logged entry, the log files that nobody needs, and remove them.

    `copy_lsn`: the older kept copy of the index has every entry up to it. The entries above each of `wanted_after` are wanted by a pin
    or a peer, which together hold back at most `retention_bytes` of log.
    """

    copy_lsn: int
    wanted_after: list[int]
    retention_bytes: int


# ---- to snapshots --------------------------------------------------------------------------------------------------------------


class RollCopies(NamedTuple):
    """Ask: bring the older copy of the index up to date now. Reply: CopiesState once that is done, or Refused."""


class TakeSnapshot(NamedTuple):
    """Ask: pin the store as it is. Reply: SnapshotTaken, or Refused (a bad or taken name, over the cap, no room)."""

    name: str


class SnapshotTaken(NamedTuple):
    """Reply: the pin holds everything up to that LSN."""

    name: str
    lsn: int


class DropSnapshot(NamedTuple):
    """Ask: let go of a pin. Reply: SnapshotDropped or Refused."""

    name: str


class SnapshotDropped(NamedTuple):
    """Reply: the pin is gone; `freed_bytes` were held by nothing else."""

    freed_bytes: int


class DescribeSnapshots(NamedTuple):
    """Ask. Reply: CopiesState. Answered at once, whatever is under way."""


class CopiesState(NamedTuple):
    """Reply: the kept copies' LSNs (oldest first), and what is under way ("" if nothing): its text, LSNs done and in total.

    `held_while_short_bytes`: what pins hold and the data dir does not, 0 as long as there is free space enough.
    """

    copy_lsns: list[int]
    doing: str
    done: int
    total: int
    held_while_short_bytes: int


SNAPSHOT_WIRE_TYPES: tuple[type[Any], ...] = (
    ReadLogState, LogState, RetireLog, RollCopies, TakeSnapshot, SnapshotTaken, DropSnapshot, SnapshotDropped, DescribeSnapshots,
    CopiesState,
)  # fmt: skip
