"""What really happened in a run, by LSN: the requests matched to the log's entries, and the store's contents after each of them.

The log is read from the disk as it was before any crash, so it is whole; which LSN belongs to an acknowledged request is known
from its reply and must agree. Requests whose outcome nobody learned are found in the log, or had no effect.
"""

import bisect
from dataclasses import dataclass, field

from fasterstore.metadata.entries import BucketCreated, EpochStarted, UploadAborted, decode
from fasterstore.metadata.space_entries import SegmentRemoved
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal_recovery import read_from
from tests.faults.contents import EMPTY, State, after
from tests.faults.request import Request, name_of
from tests.faults.violation import Violation


@dataclass(slots=True)
class Timeline:
    """Contents by LSN from `base_lsn` on; `states[i]` is that after LSN base_lsn + i."""

    base_lsn: int = 0
    states: list[State] = field(default_factory=lambda: [EMPTY])
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    """(op count at the reply, LSN it promised), both rising."""
    sent_at: list[int] = field(default_factory=lambda: [0])
    """By LSN as `states`: before that op count nobody had asked for it."""
    removed: list[frozenset[int]] = field(default_factory=lambda: [frozenset()])
    """By LSN as `states`: the segments of which the log says that their files are gone."""

    @property
    def head_lsn(self) -> int:
        return self.base_lsn + len(self.states) - 1

    def state(self, lsn: int) -> State:
        return self.states[lsn - self.base_lsn]

    def promised_lsn(self, at_op: int) -> int:
        """The highest LSN that was acknowledged within the first `at_op` ops."""
        place = bisect.bisect_right(self.acknowledged, (at_op, 1 << 62))
        return self.acknowledged[place - 1][1] if place else self.base_lsn

    def asked_at(self, lsn: int) -> int:
        """The op count when the last request up to `lsn` was sent."""
        return self.sent_at[lsn - self.base_lsn]

    def cut(self, lsn: int) -> "Timeline":
        """A new timeline that begins with the contents after `lsn`."""
        return Timeline(lsn, [self.state(lsn)], removed=[self.removed_at(lsn)])

    def removed_at(self, lsn: int) -> frozenset[int]:
        """The segments whose files must be gone after `lsn`."""
        return self.removed[lsn - self.base_lsn]

    def extend(self, disk: Disk, journal_dir: str, requests: list[Request]) -> None:
        """Read the log above head_lsn and match it with what was asked and answered. Raises Violation."""
        waiting, by_lsn = _sort(requests)
        marks: list[tuple[int, int]] = []
        epoch = 0
        for lsn, data in read_from(disk, journal_dir, self.head_lsn + 1):
            entry = decode(data)
            if isinstance(entry, EpochStarted):
                epoch = entry.epoch
            name = name_of(entry, epoch)
            request = by_lsn.pop(lsn, None)
            if request is not None and request.name() != name:
                raise Violation(f"LSN {lsn} was answered to {request}, but the log says {entry}")
            if request is None and name is not None and waiting.get(name):
                request = waiting[name].pop(0)
            # A bucket may also be made by a PUT, or by a request that nobody has an answer to; uploads go with their bucket.
            if request is None and name is not None and not isinstance(entry, BucketCreated | UploadAborted):
                raise Violation(f"LSN {lsn} was never asked for, or answered with another LSN: {entry}")
            if request is not None and request.outcome.acknowledged_at is not None:
                marks.append((request.outcome.acknowledged_at, lsn))
            self.states.append(after(self.states[-1], lsn, entry, request))
            gone = self.removed[-1]
            self.removed.append(gone | {entry.segment_id} if isinstance(entry, SegmentRemoved) else gone)
            self.sent_at.append(max(self.sent_at[-1], request.sent_at if request else 0))
        lost = [*by_lsn.values(), *(request for queue in waiting.values() for request in queue if request.succeeded())]
        if lost:
            raise Violation(f"acknowledged, but not in the log: {lost}")
        high = self.base_lsn
        for at_op, lsn in sorted(marks):
            high = max(high, lsn)
            self.acknowledged.append((at_op, high))


def _sort(requests: list[Request]) -> tuple[dict[tuple, list[Request]], dict[int, Request]]:
    """Those whose place in the log is told by name and order only, and those whose reply told an LSN."""
    waiting: dict[tuple, list[Request]] = {}
    by_lsn: dict[int, Request] = {}
    for request in requests:
        if request.lsn():
            by_lsn[request.lsn()] = request
        elif request.reply() is None or request.succeeded():
            waiting.setdefault(request.name(), []).append(request)
    return waiting, by_lsn
