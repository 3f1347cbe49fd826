"""What is yet to be sent: ranges of LSNs, and ranges of the order in which everything is scanned."""

from bisect import insort
from collections.abc import Sequence
from typing import Protocol

from fasterstore.replication.cursor import START, Position


class LsnRanges:
    """Ranges first .. last, ascending, never adjoining: what adjoins is one."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._ranges)

    @property
    def first(self) -> int:
        """The lowest LSN of all."""
        return self._ranges[0][0]

    @property
    def entries(self) -> int:
        """How many LSNs there are."""
        return sum(last - first + 1 for first, last in self._ranges)

    def take(self) -> tuple[int, int]:
        """Remove and return the lowest range."""
        return self._ranges.pop(0)

    def add(self, first: int, last: int) -> None:
        """Add a range, which may be empty."""
        if first > last:
            return
        insort(self._ranges, (first, last))
        merged = self._ranges[:1]
        for following in self._ranges[1:]:
            if following[0] <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], following[1]))
            else:
                merged.append(following)
        self._ranges = merged


class _Page(Protocol):
    @property
    def after(self) -> Position: ...


class ScanRanges:
    """What a scan has yet to read. `since_secs` is when it became due, `since_lsn` the log's head when it began."""

    def __init__(self, reason: str, since_secs: float) -> None:
        self.reason = reason
        self.since_secs = since_secs
        self.since_lsn = 0
        self.begun = False
        self.todo: list[tuple[Position, Position | None]] = []

    def begin(self, after: Position, since_lsn: int) -> None:
        """Start reading behind that place."""
        self.begun = True
        self.since_lsn = since_lsn
        self.todo = [(after, None)]

    def take(self) -> tuple[Position, Position | None]:
        """Remove and return the first range (after, upto)."""
        return self.todo.pop(0)

    def add(self, after: Position, upto: Position | None) -> None:
        """Read that range, too."""
        if after != upto:
            insort(self.todo, (after, upto), key=lambda one: one[0])

    def below(self, under_way: Sequence[_Page]) -> Position:
        """Everything up to here is done, where `under_way` is not."""
        left = [page.after for page in under_way] + [after for after, _ in self.todo]
        return min(left, default=START)
