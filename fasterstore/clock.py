"""The hybrid logical clock as a value (Kulkarni et al., "Logical Physical Clocks", 2014). Reads no clock: `now` is passed in.

A stamp is one integer: Unix milliseconds << 16 | counter. It never runs backwards on a node, stays close to wall time, and orders
changes of two nodes; the journal keeps the last one issued and stores it with each batch.
"""

COUNTER_BITS = 16
WRONG_CLOCK_MS = 86_400_000
"""A time noted further ahead of the clock than this was noted by a clock that was wrong; a step back of less is waited out."""


def advance(last_stamp: int, now_ms: int) -> int:
    """Return the next stamp: above `last_stamp`, and not below `now_ms` (Unix milliseconds)."""
    return max(last_stamp + 1, now_ms << COUNTER_BITS)


def stamp_ms(stamp: int) -> int:
    """Return the wall-clock part of a stamp in Unix milliseconds."""
    return stamp >> COUNTER_BITS
