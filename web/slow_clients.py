"""Which slow connections must go so that all of them together do not hold too much memory.

A client that stalls in a head, a body or an answer costs what was half received or half sent until its deadline; two thousand of them
would cost hundreds of megabytes within a minute. So the slow ones share a budget, and beyond it the slowest are ended, by a refusal
that clients retry. Whoever goes on, and faster than `slow_rate_bytes`, is never touched. Decides only.
"""

from collections.abc import Iterable

from web.http_limits import HttpLimits
from web.wire import Wire


def too_slow(wires: Iterable[Wire], limits: HttpLimits, now: float) -> list[Wire]:
    """The connections to end now, `now` in monotonic seconds: those that have stalled the longest, then the slowest.

    Empty while all slow ones are within their budget.
    """
    slow = []
    held_bytes = 0
    for wire in wires:
        if wire.held_bytes and (stalled_secs := wire.stalled_secs(now)) > 0.0:
            rate = 0.0 if stalled_secs >= limits.slow_after_secs else wire.bytes_per_sec(now)
            if rate < limits.slow_rate_bytes:
                slow.append((rate, -stalled_secs, id(wire), wire))
                held_bytes += wire.held_bytes
    ended = []
    if held_bytes > limits.slow_memory_bytes:
        for _, _, _, wire in sorted(slow):
            ended.append(wire)
            held_bytes -= wire.held_bytes
            if held_bytes <= limits.slow_memory_bytes:
                break
    return ended
