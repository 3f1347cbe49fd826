"""A token bucket for each access key, all with the same limit, and what is leased from them to the workers.

Owns the buckets; a key is only a name here. The worker's half, with the times and the bound, is `fasterstore/token_lease.py`. Takes `now`
in seconds of a monotonic clock and reads none.
"""

from typing import NamedTuple

from fasterstore.token_bucket import TokenBucket
from fasterstore.token_lease import BUCKET_SECS, Settlement

BUCKETS_MAX = 4096
"""At so many buckets the full ones are forgotten: a new one is full too."""


class Leased(NamedTuple):
    """So many tokens, and the time until the bucket has more (0: it has some now)."""

    tokens: int
    wait_secs: float


class TokenBuckets:
    """`leases` and `tokens` (used, or on lease) only grow, but for tokens that come back."""

    __slots__ = ("_buckets", "_rate_per_sec", "leases", "tokens")

    def __init__(self, rate_per_sec: int) -> None:
        self._rate_per_sec = rate_per_sec
        self._buckets: dict[str, TokenBucket] = {}
        self.leases = 0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def lease(self, access_key: str, settled: Settlement, wanted: int, now: float) -> Leased:
        """Book what the worker brings along, and lease up to `wanted` tokens."""
        bucket = self._bucket(access_key, now)
        bucket.level(now)  # time first: what comes back must not be cut off at a level of long ago
        bucket.overdraw(settled.overdrawn)
        bucket.give_back(settled.returned)
        tokens = bucket.take(wanted, now)
        self.leases += 1
        self.tokens += tokens + settled.overdrawn - settled.returned
        return Leased(tokens, bucket.wait_secs(now))

    def _bucket(self, access_key: str, now: float) -> TokenBucket:
        bucket = self._buckets.get(access_key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                self._buckets = {key: kept for key, kept in self._buckets.items() if kept.level(now) < kept.capacity}
            bucket = self._buckets[access_key] = TokenBucket(self._rate_per_sec, self._rate_per_sec * BUCKET_SECS, now)
        return bucket
