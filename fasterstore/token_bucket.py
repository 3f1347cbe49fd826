"""A token bucket: how many requests may pass, by the time that has passed.

Owns a level of tokens that rises at a fixed rate up to a capacity. Takes `now` (seconds of any monotonic clock) and reads none. A clock
that goes backwards adds nothing, one that jumps ahead fills the bucket and no more.
Source: RFC 2697 (a single rate, committed burst); tokens here are requests, not bytes.
"""

from math import floor


class TokenBucket:
    """Full at first. The level is below zero after an overdraft, and nothing is given until that is made up for."""

    __slots__ = ("_at", "_level", "capacity", "rate_per_sec")

    def __init__(self, rate_per_sec: float, capacity: float, now: float) -> None:
        """`capacity` in tokens, at least 1: a smaller bucket would never hold a whole one."""
        self.rate_per_sec = rate_per_sec
        self.capacity = max(capacity, 1.0)
        self._level = self.capacity
        self._at = now

    def level(self, now: float) -> float:
        """Tokens there are, negative while an overdraft is not made up for."""
        elapsed_secs = now - self._at
        self._at = now
        if elapsed_secs > 0:
            self._level = min(self._level + elapsed_secs * self.rate_per_sec, self.capacity)
        return self._level

    def take(self, wanted: int, now: float) -> int:
        """Take up to `wanted` whole tokens; returns how many, 0 if there is none."""
        taken = max(min(wanted, floor(self.level(now))), 0)
        self._level -= taken
        return taken

    def give_back(self, count: int) -> None:
        """Tokens that were taken and not used; what does not fit any more is lost."""
        self._level = min(self._level + count, self.capacity)

    def overdraw(self, count: int) -> None:
        """Tokens that were used without having been taken."""
        self._level -= count

    def wait_secs(self, now: float) -> float:
        """Time until there is a whole token; 0 if there is one."""
        missing = 1.0 - self.level(now)
        return missing / self.rate_per_sec if missing > 0 else 0.0
