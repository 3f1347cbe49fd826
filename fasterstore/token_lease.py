"""Tokens of one access key that a worker holds on lease, so that most requests pass without a word to anybody.

The rate-limiter actor has the bucket; a worker takes a hundredth of a second's tokens from it at a time, asks for the next ones when
half are used, and hands back what it did not use in time. Where the lease is empty and the answer not there yet, a bucket of the
worker's own, its equal share of the limit, lets requests pass on account: what it gave is reported as an overdraft at the next ask, so
the sum over all workers stays that of one bucket. The same share is what holds while the actor cannot be reached.

The bound, for any stretch of T seconds and any number of workers: limit x (T + 0.04 + 0.03 + 0.03), that is what the bucket holds,
what was leased before and not yet lapsed, and the workers' own shares; or a few requests more where these come to less than one token.
Takes `now` in seconds of a monotonic clock and reads none; a clock that goes backwards makes a lease last longer, nothing else.
"""

from typing import NamedTuple

from fasterstore.token_bucket import TokenBucket

BUCKET_SECS = 0.04
"""What the bucket of a key holds, as time at its rate."""
LEASE_SECS = 0.03
"""After this long a lease lapses; what is left of it goes back with the next ask."""
OWN_SECS = 0.03
"""What a worker's own share holds, as time at its rate."""
LEASED_SECS = 0.01
"""What one ask asks for, as time at the whole rate."""
ASK_INTERVAL_SECS = 0.005
"""The least time between the asks for a key whose bucket was empty."""
ASK_AGAIN_SECS = 1.0
"""The most time between them, however far the bucket is overdrawn; and no clock that went backwards can make it longer."""
AWAY_SECS = 0.05
"""After an ask that was not answered, the next one comes so much later."""


class Settlement(NamedTuple):
    """What goes with an ask: tokens of a lapsed lease that come back, and those used on account."""

    returned: int
    overdrawn: int


class TokenLease:
    """One key's tokens in one worker."""

    __slots__ = ("_ask_at", "_expires_at", "_is_away", "_low", "_overdrawn", "_own", "_tokens", "wanted")

    def __init__(self, rate_per_sec: int, workers: int, now: float) -> None:
        """`rate_per_sec` is the whole limit; `workers` share it (0 counts as one)."""
        share_per_sec = rate_per_sec / max(workers, 1)
        self._own = TokenBucket(share_per_sec, share_per_sec * OWN_SECS, now)
        self.wanted = max(round(rate_per_sec * LEASED_SECS), 1)
        """Tokens to ask for at a time."""
        self._low = self.wanted // 2
        self._tokens = 0
        self._expires_at = now
        self._overdrawn = 0
        self._ask_at = now
        self._is_away = False

    def take_spare(self, now: float) -> bool:
        """Use a token of a lease that has so many that none need be asked for: what nearly every request does, and so one call."""
        if self._tokens > self._low and now < self._expires_at:
            self._tokens -= 1
            return True
        return False

    def take(self, now: float) -> bool:
        """Use a token of the lease; False if there is none, or the lease has lapsed."""
        if self._tokens > 0 and now < self._expires_at:
            self._tokens -= 1
            return True
        return False

    def should_ask(self, now: float) -> bool:
        """Whether more tokens are wanted and there is a chance to get some."""
        if now >= self._expires_at and self._tokens:
            return True  # what has lapsed can be had again at once
        return self._tokens <= self._low and not self._is_waiting(now)

    def is_refused(self, now: float) -> bool:
        """Whether the bucket is known to be empty: the last answer said so, and what it gave is used up."""
        return self._is_waiting(now) and not self._is_away and not self._tokens

    def take_on_account(self, now: float) -> bool:
        """Use a token of this worker's own share, while the limiter's answer is not there. False if that is empty too."""
        if self._own.take(1, now):
            self._overdrawn += 1
            return True
        return False

    def settle(self, now: float) -> Settlement:
        """What goes with the ask that is made now."""
        returned = 0
        if now >= self._expires_at:
            returned, self._tokens = self._tokens, 0
        overdrawn, self._overdrawn = self._overdrawn, 0
        return Settlement(returned, overdrawn)

    def granted(self, tokens: int, wait_secs: float, now: float) -> None:
        """The answer: `tokens`, and the time until the bucket has more (0: it has some now)."""
        self._tokens += tokens
        self._expires_at = now + LEASE_SECS
        self._is_away = False
        self._ask_at = now + min(max(wait_secs, ASK_INTERVAL_SECS), ASK_AGAIN_SECS) if wait_secs > 0 else now

    def not_answered(self, settled: Settlement, now: float) -> None:
        """There is no answer: until AWAY_SECS have passed only this worker's share counts. What was used stays on account."""
        self._overdrawn += settled.overdrawn
        self._is_away = True
        self._ask_at = now + AWAY_SECS

    def _is_waiting(self, now: float) -> bool:
        return 0.0 < self._ask_at - now <= ASK_AGAIN_SECS
