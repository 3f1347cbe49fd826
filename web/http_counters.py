"""What the connection layer counts, for metrics.

Owns: plain numbers that only the worker's own greenlets change. Must never: know Prometheus or format anything.
"""

from __future__ import annotations


class HttpCounters:
    """One server's counts since it started; `connections_open` is a gauge, all else only grows."""

    __slots__ = (
        "body_waits",
        "connections_accepted",
        "connections_open",
        "connections_over_address_limit",
        "connections_over_limit",
        "deadlines_passed",
        "defects",
        "disconnects",
        "refused_heads",
        "requests",
        "resets",
        "slow_ended",
    )

    def __init__(self) -> None:
        self.connections_open = 0
        self.connections_accepted = 0
        self.connections_over_limit = 0
        self.connections_over_address_limit = 0
        """Turned away because their address had enough of them."""
        self.requests = 0
        """Requests handed to the application."""
        self.refused_heads = 0
        """Requests refused for their framing, target or size before the application saw them."""
        self.deadlines_passed = 0
        """Connections ended because a head, a body or a response took too long; an idle wait that ends is no fault."""
        self.slow_ended = 0
        """Slow connections ended because all of them together held too much memory."""
        self.body_waits = 0
        """Bodies that waited for room in the memory for bodies (`web/body_memory.py`)."""
        self.disconnects = 0
        """Peers that went away in the middle of a request or a response."""
        self.resets = 0
        """Responses broken off with a reset because the application could not finish them."""
        self.defects = 0
        """Exceptions of the application and responses that break HTTP."""
