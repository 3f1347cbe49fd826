"""FS_RATE_LIMIT_PER_SEC in one worker: each request takes a token of its access key, or is answered 503 SlowDown.

A token comes from a lease (`fasterstore/token_lease.py`) that the rate-limiter actor has given; the next lease is asked for ahead and
in the background, one ask for many requests. A request waits for an answer only where lease and own share are empty, and then not for
long. While the storage process is away, restarting or read-only for good, nobody is asked and each worker lets its equal share of the
limit pass: reads go on, and all workers together stay below the limit.

Every request without a proven key takes from one bucket, named "": anonymous ones, those whose signature is wrong, and all of them
with FS_AUTH_ENABLED=false. So nobody can use up another's tokens or make buckets by inventing keys.
"""

import logging
from time import perf_counter
from typing import Any

from actors.directory import Directory
from actors.messages import LeaseTokens, TokensLeased
from actors.runtime import ActorDeadError, ActorFailure, AskTimeout, Event, spawn
from fasterstore.s3.errors import S3Error
from fasterstore.token_lease import Settlement, TokenLease
from web.context import Request

logger = logging.getLogger(__name__)

ANYBODY = ""
"""The bucket of all requests without a proven key."""
WAIT_SECS = 0.05
"""How long a request waits for the answer to an ask that is under way."""
ANSWER_SECS = 1.0
"""An ask without an answer after this long is given up."""


class RateLimit:
    """The tokens of this worker. `granted`, `refused` and `on_account` (of the granted ones, those from its own share) only grow."""

    __slots__ = (
        "_directory", "_leases", "_pending", "_proven_keys", "_rate_per_sec", "_workers", "granted", "on_account", "refused",
    )  # fmt: skip

    def __init__(self, rate_per_sec: int, workers: int, directory: Directory, *, proven_keys: bool = True) -> None:
        """`rate_per_sec` above 0: without a limit there is no RateLimit. `directory` resolves the actor; without it, shares hold.

        `proven_keys`: a request's access key has been proven by its signature; if not, all requests are anybody's.
        """
        self._rate_per_sec = rate_per_sec
        self._workers = workers
        self._directory = directory
        self._proven_keys = proven_keys
        self._leases: dict[str, TokenLease] = {}
        self._pending: dict[str, Event] = {}
        self.granted = 0
        self.on_account = 0
        self.refused = 0

    def count(self, request: Request, now: float) -> None:
        """Take the token of a request whose identity is known. Raises S3Error SlowDown."""
        request.is_counted = True
        self.admit(request.identity.access_key if self._proven_keys else ANYBODY, now)

    def count_refused(self, error: Exception, now: float) -> Exception:
        """The answer to a request that failed before its key was proven: `error`, or SlowDown where strangers send too many."""
        try:
            self.admit(ANYBODY, now)
        except S3Error as too_many:
            return too_many
        return error

    def admit(self, access_key: str, now: float) -> None:
        """Take a token of that key; `now` is perf_counter seconds. Raises S3Error SlowDown if there is none."""
        lease = self._leases.get(access_key)
        if lease is not None and lease.take_spare(now):
            self.granted += 1
            return
        if lease is None:
            lease = self._leases[access_key] = TokenLease(self._rate_per_sec, self._workers, now)
        if not lease.take(now):
            if not self._find_token(access_key, lease, now):
                self.refused += 1
                raise S3Error("SlowDown")
        elif lease.should_ask(now) and access_key not in self._pending:
            self._ask(access_key, lease, now)
        self.granted += 1

    def _find_token(self, access_key: str, lease: TokenLease, now: float) -> bool:
        """For a request that finds the lease empty."""
        if lease.is_refused(now):
            return False
        is_found = lease.take_on_account(now)
        if lease.should_ask(now) and access_key not in self._pending:
            self._ask(access_key, lease, now)
        if is_found:
            self.on_account += 1
            return True
        pending = self._pending.get(access_key)
        return pending is not None and pending.wait(WAIT_SECS) and lease.take(perf_counter())

    def _ask(self, access_key: str, lease: TokenLease, now: float) -> None:
        settled = lease.settle(now)
        limiter = self._directory.find("rate-limiter")
        if limiter is None:
            lease.not_answered(settled, now)
            return
        message = LeaseTokens(access_key, settled.returned, settled.overdrawn, lease.wanted)
        try:
            reply = limiter.ask(message, block=False)
        except ActorDeadError:
            lease.not_answered(settled, now)
            return
        if reply.done():  # not sent: there is no connection
            self._take_answer(lease, settled, reply)
            return
        self._pending[access_key] = Event()
        spawn(self._await_answer, access_key, lease, settled, reply)

    def _await_answer(self, access_key: str, lease: TokenLease, settled: Settlement, reply: Any) -> None:
        try:
            self._take_answer(lease, settled, reply)
        finally:
            self._pending.pop(access_key).set()

    def _take_answer(self, lease: TokenLease, settled: Settlement, reply: Any) -> None:
        try:
            answer = reply.get(timeout=ANSWER_SECS)
        except (ActorDeadError, ActorFailure, AskTimeout) as error:
            logger.warning("no tokens leased: %r", error)
            answer = None
        if isinstance(answer, TokensLeased):
            lease.granted(answer.tokens, answer.wait_secs, perf_counter())
        else:
            lease.not_answered(settled, perf_counter())
