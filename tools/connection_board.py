"""How many connections each worker has open, in memory that the workers share: so that a new one goes to the worker with fewest.

The workers accept from one inherited socket. Without this, whichever is awake takes whole bursts: 32 connections that came at once were
seen to go to one worker of two, and the other core did nothing. Each worker writes only its own number; reading the others' needs no
lock, and a number that is a moment old does no harm.
"""

import mmap

_ABSENT = 0xFFFFFFFF


class ConnectionBoard:
    """Made before the fork. Slots count from 0; one that no worker fills is absent."""

    def __init__(self, slots: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, 4 * max(slots, 1))).cast("I")
        for slot in range(len(self._counts)):
            self._counts[slot] = _ABSENT

    def publish(self, slot: int, connections: int) -> None:
        """Say how many connections the worker in `slot` has open."""
        self._counts[slot] = connections

    def clear(self, slot: int) -> None:
        """The worker in `slot` is gone."""
        self._counts[slot] = _ABSENT

    def another_has_fewer(self, slot: int, connections: int) -> bool:
        """Publish this worker's number, and say whether some other worker has fewer."""
        self._counts[slot] = connections
        return min(self._counts) < connections
