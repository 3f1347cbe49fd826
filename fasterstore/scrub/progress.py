"""The arithmetic of scrubbing: how long to rest after each piece read, and where a round stands, as it survives a restart.

A round reads all bytes once. It takes at most a share of the disk's time: after a piece that took t seconds it rests t * (1 / share - 1)
seconds (19 t at 5 %), which adapts by itself to slow and to busy disks. It rests less only if the round would end later than one
interval after it began, and even then never less than t.

`scrub.json` in the data dir, written atomically now and then (the last minute or so of a round may be read again):

    {"version": 1, "round": number from 1, "elapsed_ms": running time since the round began, "phase": a name of PHASES,
     "at": the segment, table or file that is read, "after": what of it is done, "finished": bool,
     "counts": {bytes, records, rows, damaged}, "last": the counts of the round before with "ended_ms", or null,
     "log_damage": what was wrong with a finished journal file in this round or the last, or ""}

Time in which the node was off does not count. A file that cannot be read is no loss: the round begins anew.
Owns no clock and no file.
"""

import json
from typing import NamedTuple

VERSION = 1
PHASES = ("records", "index", "copies", "log")
LATE_SHARE = 0.5
"""Of the disk's time, at most, however late a round is."""


class Counts(NamedTuple):
    """What a round has read, in bytes, records and index rows, and how many of these failed verification."""

    bytes: int = 0
    records: int = 0
    rows: int = 0
    damaged: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sum."""
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Position(NamedTuple):
    """Where a round stands: what it reads next lies behind `after` in `at`. "" and 0: at the beginning."""

    phase: str = PHASES[0]
    at: str = ""
    after: int = 0


class LastRound(NamedTuple):
    """What the last whole round found, when it ended (Unix milliseconds), how long it ran."""

    counts: Counts
    ended_ms: int
    elapsed_ms: int


class Progress(NamedTuple):
    """A round, as it is stored. `finished`: the next one begins when an interval has passed since this one began."""

    round: int = 1
    elapsed_ms: int = 0
    position: Position = Position()
    finished: bool = False
    counts: Counts = Counts()
    last: LastRound | None = None
    log_damage: str = ""

    def ended(self, now_ms: int) -> "Progress":
        """This round, over at `now_ms`; its log damage stays until a round finds none."""
        last = LastRound(self.counts, now_ms, self.elapsed_ms)
        return self._replace(position=Position(), finished=True, last=last)

    def next(self) -> "Progress":
        """The round after this one, at its beginning."""
        return Progress(self.round + 1, last=self.last, log_damage=self.log_damage)


def pause_secs(share: float, busy_secs: float, step_bytes: int, remaining_bytes: int, remaining_secs: float) -> float:
    """How long to rest after a step that took `busy_secs` for `step_bytes`.

    Args:
        share: of the disk's time, above 0 and at most 1.
        remaining_bytes: what is left of the round, after this step.
        remaining_secs: until the round should have ended; negative if that has passed.
    """
    rest = busy_secs * (1 / share - 1)
    if remaining_bytes <= 0 or rest <= 0:
        return max(rest, 0.0)
    in_time = max(remaining_secs, 0.0) * step_bytes / (step_bytes + remaining_bytes) - busy_secs
    return min(rest, max(in_time, busy_secs * (1 / max(LATE_SHARE, share) - 1)))


def pack(progress: Progress) -> bytes:
    """The bytes of `scrub.json`."""
    last = progress.last
    document = {
        "version": VERSION,
        "round": progress.round,
        "elapsed_ms": progress.elapsed_ms,
        **progress.position._asdict(),
        "finished": progress.finished,
        "counts": progress.counts._asdict(),
        "last": None if last is None else {**last.counts._asdict(), "ended_ms": last.ended_ms, "elapsed_ms": last.elapsed_ms},
        "log_damage": progress.log_damage,
    }
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def unpack(data: bytes) -> Progress | None:
    """What the bytes of `scrub.json` say, None if they make no sense (any more)."""
    try:
        document = json.loads(data)
        position = Position(str(document["phase"]), str(document["at"]), int(document["after"]))
        if document["version"] != VERSION or position.phase not in PHASES:
            return None
        last = document["last"]
        return Progress(
            int(document["round"]),
            int(document["elapsed_ms"]),
            position,
            bool(document["finished"]),
            _counts(document["counts"]),
            None if last is None else LastRound(_counts(last), int(last["ended_ms"]), int(last["elapsed_ms"])),
            str(document["log_damage"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _counts(document: dict[str, int]) -> Counts:
    return Counts(*(int(document[name]) for name in Counts._fields))
