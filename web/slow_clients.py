"""Which slow connections must go so that all of them together do not hold too much memory.

A client that stalls in a head, a body or an answer costs what was half received or half sent until its deadline; two thousand of them
would cost hundreds of megabytes within a minute. So the slow ones share a budget, and beyond it the slowest are ended, by a refusal
that clients retry. Whoever goes on, and faster than `slow_rate_bytes`, is never touched. Decides only.

In a flood what has not been slow for long enough yet is most of it. So once what is half received holds too much, or others wait for room
for theirs, a fifth of a second without a byte makes slow, and what goes on is still not touched.
"""

from collections.abc import Iterable

from web.http_limits import HttpLimits
from web.wire import BODY, HEAD, Wire

BODIES_ENDED_MAX = 32
"""At once in a rush: each is answered, and another body takes its place, while good clients wait some milliseconds for their turn. Heads
are not waited with: nothing else bounds what comes of them."""


def half_received_heads_bytes(wires: Iterable[Wire]) -> int:
    """What the heads that are waited for hold in all; bodies are counted where they take their memory."""
    return sum(wire.held_bytes for wire in wires if wire.phase == HEAD)


def stopped_in_a_rush(wires: Iterable[Wire], excess_bytes: int, limits: HttpLimits, now: float) -> list[Wire]:
    """Of those half received, the connections to end now so that `excess_bytes` are given back: the longest stalled."""
    stalled = [(wire.stalled_secs(now), id(wire), wire) for wire in wires if wire.phase in (BODY, HEAD)]
    ended: list[Wire] = []
    bodies = 0
    for stalled_secs, _, wire in sorted(stalled, reverse=True):
        if excess_bytes <= 0:
            break
        is_body = wire.phase == BODY
        if is_body and bodies == BODIES_ENDED_MAX:
            continue
        is_streamed = is_body and wire.body_bytes > limits.rush_body_max_bytes
        if stalled_secs >= (limits.slow_after_secs if is_streamed else limits.slow_after_rush_secs):
            ended.append(wire)
            excess_bytes -= wire.held_bytes
            bodies += is_body
    return ended


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
