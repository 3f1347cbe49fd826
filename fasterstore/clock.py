"""The hybrid logical clock as a value (Kulkarni et al., "Logical Physical Clocks", 2014). Reads no clock: `now` is passed in.

A stamp is one integer: Unix milliseconds << 16 | counter. It never runs backwards on a node, stays close to wall time, and orders
changes of two nodes; the journal keeps the last one issued and stores it with each batch.
"""

COUNTER_BITS = 16
WRONG_CLOCK_MS = 86_400_000
"""A time noted further ahead of the clock than this was noted by a clock that was wrong; a step back of less is waited out."""
RESTORE_LEAP_MS = 600_000
"""By so much a restored node's stamps begin above all that it can know of: what it gave between the snapshot and its loss is among them."""


def advance(last_stamp: int, now_ms: int) -> int:
    """Return the next stamp: above `last_stamp`, and not below `now_ms` (Unix milliseconds)."""
    return max(last_stamp + 1, now_ms << COUNTER_BITS)


def leap(last_stamp: int, now_ms: int) -> int:
    """Return the stamp from which a node goes on whose log was put back to `last_stamp`: above those that it has given since.

    A peer may have joined them, and the same stamp for two changes of one node would leave the two apart for ever. They lie above the
    clock only by as much as a peer's may (FS_MAX_CLOCK_SKEW_SECS), or as one step back of it has left them.
    """
    return max(last_stamp, now_ms << COUNTER_BITS) + (RESTORE_LEAP_MS << COUNTER_BITS)


def stamp_ms(stamp: int) -> int:
    """Return the wall-clock part of a stamp in Unix milliseconds."""
    return stamp >> COUNTER_BITS
