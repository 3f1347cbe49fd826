"""What really happened in a run, by LSN: the requests matched to the log's entries, and the store's contents after each of them.

The log is read from the disk as it was before any crash, so it is whole; which LSN belongs to an acknowledged request is known
from its reply and must agree. Requests whose outcome nobody learned are found in the log, or had no effect.
"""

import bisect
from dataclasses import dataclass, field
from typing import Any

from actors import messages as m
from actors.runtime import ActorDeadError
from fasterstore.metadata.entries import BucketCreated, BucketDeleted, EpochStarted, ObjectDeleted, ObjectPut, decode
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal_recovery import read_from
from tests.faults.engine import Outcome

State = dict[str, dict[bytes, "Request"]]
"""Bucket -> key -> the PUT that made the current object."""


class Violation(AssertionError):
    """The engine broke a promise."""


@dataclass(eq=False, slots=True)
class Request:
    """One request of a run. `kind` is put, delete, make or drop (of a bucket); `sent_at` is the disk's op count when it was sent."""

    kind: str
    bucket: str
    sent_at: int
    epoch: int
    outcome: Outcome
    key: bytes = b""
    tag: str = ""
    body: bytes = b""

    def reply(self) -> Any:
        """The reply, or None if the actors ended before it. Waits."""
        try:
            return self.outcome.get()
        except ActorDeadError:
            return None


@dataclass(slots=True)
class Timeline:
    """Contents by LSN from `base_lsn` on; `states[i]` is that after LSN base_lsn + i."""

    base_lsn: int = 0
    states: list[State] = field(default_factory=lambda: [{}])
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    """(op count at the reply, LSN it promised), both rising."""
    sent_at: list[int] = field(default_factory=lambda: [0])
    """By LSN as `states`: before that op count nobody had asked for it."""

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
        return Timeline(lsn, [self.state(lsn)])

    def extend(self, disk: Disk, journal_dir: str, requests: list[Request]) -> None:
        """Read the log above head_lsn and match it with what was asked and answered. Raises Violation."""
        waiting, by_lsn = _sort(requests)
        marks: list[tuple[int, int]] = []
        epoch = 0
        for lsn, data in read_from(disk, journal_dir, self.head_lsn + 1):
            entry = decode(data)
            if isinstance(entry, EpochStarted):
                epoch = entry.epoch
            name = _name(entry, epoch)
            request = by_lsn.pop(lsn, None)
            if request is not None and _request_name(request) != name:
                raise Violation(f"LSN {lsn} was answered to {request}, but the log says {entry}")
            if request is None and name is not None and waiting.get(name):
                request = waiting[name].pop(0)
            # A bucket may also be made by a PUT, or by a request that nobody has an answer to.
            if request is None and name is not None and not isinstance(entry, BucketCreated):
                raise Violation(f"LSN {lsn} was never asked for, or answered with another LSN: {entry}")
            if request is not None and request.outcome.acknowledged_at is not None:
                marks.append((request.outcome.acknowledged_at, lsn))
            self.states.append(_after(self.states[-1], entry, request))
            self.sent_at.append(max(self.sent_at[-1], request.sent_at if request else 0))
        lost = [*by_lsn.values(), *(request for queue in waiting.values() for request in queue if _succeeded(request.reply()))]
        if lost:
            raise Violation(f"acknowledged, but not in the log: {lost}")
        high = self.base_lsn
        for at_op, lsn in sorted(marks):
            high = max(high, lsn)
            self.acknowledged.append((at_op, high))


def _succeeded(reply: Any) -> bool:
    return isinstance(reply, m.Stored | m.BucketMade | m.Done) or (isinstance(reply, m.Deleted) and reply.lsn > 0)


def _sort(requests: list[Request]) -> tuple[dict[tuple, list[Request]], dict[int, Request]]:
    """Those whose place in the log is told by name and order only, and those whose reply told an LSN."""
    waiting: dict[tuple, list[Request]] = {}
    by_lsn: dict[int, Request] = {}
    for request in requests:
        reply = request.reply()
        if isinstance(reply, m.Stored | m.Deleted):
            if reply.lsn:
                by_lsn[reply.lsn] = request
        elif reply is None or _succeeded(reply):
            waiting.setdefault(_request_name(request), []).append(request)
    return waiting, by_lsn


def _request_name(request: Request) -> tuple:
    if request.kind == "make":
        reply = request.reply()
        return ("make", request.bucket, reply.created_ms if reply else None)
    return (request.kind, request.bucket, request.key, request.tag, request.epoch)


def _name(entry: Any, epoch: int) -> tuple | None:
    if isinstance(entry, ObjectPut):
        return ("put", entry.bucket, entry.key, entry.user["tag"], epoch)
    if isinstance(entry, ObjectDeleted):
        return ("delete", entry.bucket, entry.key, "", epoch)
    if isinstance(entry, BucketCreated):
        return ("make", entry.bucket, entry.created_ms)
    if isinstance(entry, BucketDeleted):
        return ("drop", entry.bucket, b"", "", epoch)
    return None


def _after(state: State, entry: Any, request: Request | None) -> State:
    if isinstance(entry, BucketCreated):
        return state | {entry.bucket: {}}
    if isinstance(entry, BucketDeleted):
        return {name: keys for name, keys in state.items() if name != entry.bucket}
    if isinstance(entry, ObjectPut) and request is not None:
        return state | {entry.bucket: state[entry.bucket] | {entry.key: request}}
    if isinstance(entry, ObjectDeleted):
        return state | {entry.bucket: {key: made for key, made in state[entry.bucket].items() if key != entry.key}}
    return state
