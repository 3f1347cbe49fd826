"""What one process holds of bodies that are still coming: room for it is taken before it is received, so a flood cannot outrun it.

Owns: a number of bytes, and who waits for some of them. Whoever needs more than is left waits, with nothing read from its socket, so that
the sender is slowed down; the smallest go first. Who stalls with what it has is ended by the sweeper as soon as another waits
(`web/slow_clients.py`). Waiting cannot become a ring: only who holds nothing waits. What came together with its request's head needs no
room. Must never: know HTTP or sockets; allocate anything.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from actors.runtime import Event
from fasterstore.s3.errors import from_store
from web.http_counters import HttpCounters

PIECE_MAX_BYTES = 1024 * 1024
PIECE_MIN_BYTES = 64 * 1024
"""Of a streamed body that many are received at once; both are multiples of what is encrypted at once."""
_FREE_PER_PIECE = 4
"""A piece takes at most this part of what is free: the first uploads get large ones, and there is something left for the others."""


class _Waiting:
    """One who waits for room."""

    __slots__ = ("granted", "left", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.granted = Event()
        self.left = False


class BodyMemory:
    """Room for the bodies of all connections of one server.

    Args: limit_bytes, what they may hold in all; patience_secs, how long one waits for it. Attributes: used_bytes; wanted_bytes, what is
    waited for; is_short, True above half of the limit: whoever can do with less should.
    """

    __slots__ = ("_counters", "_left", "_limit_bytes", "_number", "_patience_secs", "_queue", "is_short", "used_bytes", "wanted_bytes")

    def __init__(self, limit_bytes: int, patience_secs: float, counters: HttpCounters | None = None) -> None:
        self._counters = counters or HttpCounters()
        self._limit_bytes = limit_bytes
        self._patience_secs = patience_secs
        self._queue: list[tuple[int, int, _Waiting]] = []
        self._number = 0
        self._left = 0
        self.used_bytes = 0
        self.wanted_bytes = 0
        self.is_short = False

    @property
    def excess_bytes(self) -> int:
        """By how much the limit is too small for what is held and waited for; negative if it is not."""
        return self.used_bytes + self.wanted_bytes - self._limit_bytes

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much could be taken without a wait."""
        return self.used_bytes + size_bytes <= self._limit_bytes

    def piece_bytes(self, wanted_bytes: int) -> int:
        """How much of a streamed body to receive at once now: all that is wanted, or a power of two of KiB. Takes nothing."""
        piece_bytes, fair_bytes = PIECE_MAX_BYTES, (self._limit_bytes - self.used_bytes) // _FREE_PER_PIECE
        while piece_bytes > max(fair_bytes, PIECE_MIN_BYTES):
            piece_bytes //= 2
        return min(piece_bytes, wanted_bytes)

    def take(self, size_bytes: int) -> None:
        """Take room, and wait until there is. Raises: S3Error SlowDown if it took too long.

        What is larger than all room there is waits until there is all of it.
        """
        need_bytes = min(size_bytes, self._limit_bytes)
        if self.used_bytes + need_bytes > self._limit_bytes:
            self._wait(need_bytes)
            size_bytes -= need_bytes
        self.overdraw(size_bytes)

    def overdraw(self, size_bytes: int) -> None:
        """Take room whether there is any or not: who holds some already must not wait for others, who may wait for it."""
        self.used_bytes += size_bytes
        self.is_short = self.used_bytes * 2 > self._limit_bytes

    def give_back(self, size_bytes: int) -> None:
        """Give room back; the smallest of those that wait get it."""
        self.overdraw(-size_bytes)
        queue = self._queue
        while queue and (queue[0][2].left or self.used_bytes + queue[0][0] <= self._limit_bytes):
            need_bytes, _, waiting = heappop(queue)
            if waiting.left:
                self._left -= 1
            else:
                self.wanted_bytes -= need_bytes
                self.overdraw(need_bytes)
                waiting.granted.set()

    def _wait(self, need_bytes: int) -> None:
        """Return with that much taken."""
        waiting = _Waiting(need_bytes)
        self._number += 1
        heappush(self._queue, (need_bytes, self._number, waiting))
        self.wanted_bytes += need_bytes
        self._counters.body_waits += 1
        try:
            waiting.granted.wait(self._patience_secs)
        except BaseException:
            self._leave(waiting)
            raise
        if not waiting.granted.is_set():
            self._leave(waiting)
            raise from_store("Overloaded", "too many bodies at once")

    def _leave(self, waiting: _Waiting) -> None:
        if waiting.granted.is_set():
            self.give_back(waiting.size_bytes)
        else:
            waiting.left = True
            self.wanted_bytes -= waiting.size_bytes
            self._left += 1
            if self._left > len(self._queue) // 2:
                # Behind smaller ones, which keep coming in a flood, the large ones that left would never be reached.
                self._queue = [entry for entry in self._queue if not entry[2].left]
                heapify(self._queue)
                self._left = 0


class Account:
    """What one request holds of it; closed at the request's end by who serves the connection.

    Attributes: held_bytes; waits, set to False for who is trusted and few: room is then taken whether there is any or not.
    """

    __slots__ = ("held_bytes", "memory", "waits")

    def __init__(self, memory: BodyMemory) -> None:
        self.memory = memory
        self.held_bytes = 0
        self.waits = True

    def take(self, size_bytes: int, may_wait: bool = False) -> None:
        """Take room for this request. Waits only while it holds nothing, or nothing that does not come back by itself (`may_wait`).

        Raises: S3Error SlowDown.
        """
        if not self.waits or (self.held_bytes and not may_wait):
            self.memory.overdraw(size_bytes)
        else:
            self.memory.take(size_bytes)
        self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Give back a part of what was taken; nothing once the account was closed."""
        size_bytes = min(size_bytes, self.held_bytes)
        self.held_bytes -= size_bytes
        self.memory.give_back(size_bytes)

    def close(self) -> None:
        """Give back all of it."""
        if self.held_bytes:
            self.give_back(self.held_bytes)


def unbounded() -> Account:
    """For a body that no connection of ours receives: all the room in the world."""
    return Account(BodyMemory(1 << 62, 0.0))
