"""How far a peer is behind: in entries, bytes and seconds, from marks that are set as the log grows. Bounded in memory; no clock."""

from typing import NamedTuple

MARKS_MAX = 512


class Mark(NamedTuple):
    """The log up to `lsn`; `log_bytes` counts from the start of the process.

    `stamp`: every change of this node's own up to `lsn` has a stamp up to it, every later one a higher. `since_secs` is when the first
    entry behind the mark before came.
    """

    lsn: int
    log_bytes: int
    stamp: int
    since_secs: float


class Lag(NamedTuple):
    """What the peer lacks, and for how long."""

    entries: int
    bytes: int
    secs: float


class Marks:
    """The marks above what is acknowledged, oldest first."""

    def __init__(self, lsn: int, stamp: int, log_bytes: int = 0) -> None:
        """Everything up to `lsn`, with that stamp, is acknowledged; `log_bytes` is below 0 by what an earlier process left behind."""
        self._marks: list[Mark] = []
        self._acked = Mark(lsn, log_bytes, stamp, 0.0)

    @property
    def acked_lsn(self) -> int:
        """Everything up to here is acknowledged."""
        return self._acked.lsn

    @property
    def acked_stamp(self) -> int:
        """The stamp that goes with what is acknowledged."""
        return self._acked.stamp

    def add(self, mark: Mark) -> None:
        """The log has grown to that mark; the lag of what is new counts from its time."""
        self._marks.append(mark)
        if len(self._marks) > MARKS_MAX:
            # Every second one goes into its follower: the lag stays true, how much of it is acknowledged gets coarser.
            pairs = zip(self._marks[::2], self._marks[1::2], strict=False)
            kept = [later._replace(since_secs=earlier.since_secs) for earlier, later in pairs]
            self._marks = kept + ([self._marks[-1]] if len(self._marks) % 2 else [])

    def ack(self, lsn: int) -> None:
        """Everything up to `lsn` is acknowledged."""
        passed = 0
        while passed < len(self._marks) and self._marks[passed].lsn <= lsn:
            passed += 1
        if passed:
            self._acked = self._marks[passed - 1]
            del self._marks[:passed]
        if lsn > self._acked.lsn:
            self._acked = self._acked._replace(lsn=lsn)

    def lag(self, now: float) -> Lag:
        """What is not acknowledged."""
        if not self._marks:
            return Lag(0, 0, 0.0)
        newest, oldest = self._marks[-1], self._marks[0]
        return Lag(newest.lsn - self._acked.lsn, max(0, newest.log_bytes - self._acked.log_bytes), max(0.0, now - oldest.since_secs))

    def oldest_secs(self) -> float | None:
        """Since when the peer has lacked something, None if it has everything."""
        return self._marks[0].since_secs if self._marks else None
