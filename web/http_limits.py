"""What a client may cost the connection layer: times, rates and sizes.

Owns: the numbers and their defaults. Must never: read settings or the environment; the composition root passes values.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of every connection of one server; times are seconds, sizes are bytes."""

    header_deadline_secs: float = 10.0
    """From the first byte of a request head to its last."""
    progress_timeout_secs: float = 60.0
    """The longest time without progress: between requests, while a body arrives, while a response leaves."""
    min_body_rate_bytes: int = 1024
    """Bytes per second that a request body must bring, and a reader take of a response, on average over each window of waiting for them;
    0 for no minimum. A slow mobile link brings several times as much."""
    rate_window_secs: float = 10.0
    """Waiting time after which a request body is judged. A response is judged after each `progress_timeout_secs` of waiting, because
    a player that has been paused for that long and goes on is no attack."""
    slow_rate_bytes: int = 16384
    """Bytes per second below which a client is slow."""
    slow_after_secs: float = 1.0
    """Without a byte for so long, or with a head that takes so long, it is slow too; its rate is judged from then on."""
    slow_memory_bytes: int = 16 * 1024 * 1024
    """What all slow clients together may hold in half-received heads and bodies and half-sent answers; beyond, the slowest are ended."""
    rush_memory_bytes: int = 32 * 1024 * 1024
    """What half-received heads and bodies may hold in all, however fast they come; bodies beyond wait until there is room
    (`web/body_memory.py`), and meanwhile the longest stalled are ended."""
    rush_body_max_bytes: int = 512 * 1024
    """A longer body is streamed, and given `slow_after_secs` in a rush too: it is worth more."""
    slow_after_rush_secs: float = 0.2
    """Without a byte for so long, or with a head that takes so long, it is slow in a rush: heads of a second are a hundred megabytes."""
    rush_sweep_secs: float = 0.1
    """How often it is looked what heads and bodies hold once that is half of `rush_memory_bytes`, or who stalls while others wait. More
    often would delay more than one in a hundred requests of a good client: each time some connections are ended together."""
    max_header_bytes: int = 65536
    """Request line and header lines together; presigned URLs with session tokens stay below 16 KiB."""
    max_header_count: int = 200
    drain_body_bytes: int = 65536
    """An unread body this small is read and dropped so that the connection lives on; a larger one closes it."""
    linger_secs: float = 2.0
    """After a refusal the peer's bytes are read and dropped this long: closing at once would reset the answer away."""
    unsent_max_bytes: int = 65536
    """What the kernel takes of a response ahead of its reader (TCP_NOTSENT_LOWAT), on connections that come when there are more than
    `many_connections`: 2,000 readers that have stalled could else fill the kernel's memory for all sockets."""
    many_connections: int = 256
    sweep_interval_secs: float = 0.25
    """How often passed deadlines are looked for, and so by how much one may be late."""
