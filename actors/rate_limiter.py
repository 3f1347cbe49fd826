"""rate-limiter: leases tokens of the access keys' buckets to the workers, in the order in which they ask.

Lives in the storage process, where every worker can reach it; a worker asks once for many requests (`fasterstore/token_lease.py`), in
the background. Knows keys only by name: whether a signature is good was judged before anybody asks here. Nothing is kept over a
restart: the buckets are full then. Must never make anybody wait, and never ask.
"""

import time
from collections.abc import Callable
from typing import Any

from actors.messages import LeaseTokens, TokensLeased
from actors.runtime import GeventActor
from fasterstore.token_buckets import TokenBuckets
from fasterstore.token_lease import Settlement


class RateLimiter(GeventActor):
    """Owner of the buckets. `monotonic` gives seconds."""

    name = "rate-limiter"

    def __init__(self, buckets: TokenBuckets, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._buckets = buckets
        self._monotonic = monotonic

    def on_receive(self, message: Any) -> TokensLeased | None:
        """LeaseTokens: TokensLeased, of no tokens if there are none."""
        if not isinstance(message, LeaseTokens):
            return None
        settled = Settlement(message.returned, message.overdrawn)
        return TokensLeased(*self._buckets.lease(message.access_key, settled, message.wanted, self._monotonic()))
