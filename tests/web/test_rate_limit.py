"""The rate limit in one worker: where its tokens come from, and that it goes on without the actor that gives them."""

from collections.abc import Iterator
from io import BytesIO
from time import perf_counter
from typing import Any

import pytest

from actors.directory import Directory
from actors.messages import LeaseTokens, TokensLeased
from actors.rate_limiter import RateLimiter
from actors.runtime import GeventActor, sleep, spawn
from fasterstore.s3.auth_result import AuthResult
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD
from fasterstore.s3.errors import S3Error
from fasterstore.token_buckets import TokenBuckets
from fasterstore.token_lease import AWAY_SECS
from web.context import Request
from web.rate_limit import ANYBODY, RateLimit


class SlowLimiter(GeventActor):
    """A limiter whose answers take their time, as those of a busy storage process do."""

    name = "rate-limiter"

    def __init__(self, answer_secs: float) -> None:
        super().__init__()
        self._answer_secs = answer_secs
        self.asks = 0

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, LeaseTokens):
            sleep(self._answer_secs)
            return TokensLeased(message.wanted, 0.0)
        return None


@pytest.fixture
def directory() -> Iterator[Directory]:
    made = Directory()
    yield made
    ref = made.find("rate-limiter")
    if ref is not None and ref.is_alive():  # type: ignore[attr-defined]
        ref.stop()  # type: ignore[attr-defined]


def admitted(limit: RateLimit, count: int, access_key: str = "key") -> int:
    found = 0
    for _ in range(count):
        try:
            limit.admit(access_key, perf_counter())
        except S3Error as error:
            assert (error.code, error.status, error.headers["Retry-After"]) == ("SlowDown", 503, "1")
        else:
            found += 1
    return found


def test_the_first_requests_pass_before_any_lease_is_there(directory: Directory) -> None:
    directory.register("rate-limiter", RateLimiter.start(TokenBuckets(1000)))
    limit = RateLimit(1000, 2, directory)
    assert admitted(limit, 5) == 5
    assert (limit.granted, limit.refused, limit.on_account) == (5, 0, 5)


def test_what_the_own_share_does_not_cover_waits_for_the_lease(directory: Directory) -> None:
    directory.register("rate-limiter", RateLimiter.start(TokenBuckets(1000)))
    limit = RateLimit(1000, 8, directory)
    assert admitted(limit, 10) == 10
    assert limit.on_account < 10


def test_many_requests_at_once_share_one_ask(directory: Directory) -> None:
    buckets = TokenBuckets(10_000)
    directory.register("rate-limiter", RateLimiter.start(buckets))
    limit = RateLimit(10_000, 100, directory)
    at_once = [spawn(admitted, limit, 1) for _ in range(60)]
    assert sum(greenlet.get() for greenlet in at_once) == 60
    assert buckets.leases <= 2


def test_over_the_limit_a_request_is_told_to_slow_down_and_counted(directory: Directory) -> None:
    directory.register("rate-limiter", RateLimiter.start(TokenBuckets(10)))
    limit = RateLimit(10, 1, directory)
    assert admitted(limit, 50) <= 3
    assert limit.refused >= 47
    assert limit.granted + limit.refused == 50


def test_another_key_and_anybody_have_tokens_of_their_own(directory: Directory) -> None:
    directory.register("rate-limiter", RateLimiter.start(TokenBuckets(10)))
    limit = RateLimit(10, 1, directory)
    admitted(limit, 20)
    assert admitted(limit, 1, "another") == 1
    assert admitted(limit, 1, ANYBODY) == 1


def test_without_the_actor_each_worker_lets_its_share_pass(directory: Directory) -> None:
    limit = RateLimit(1000, 2, directory)
    assert admitted(limit, 200) in range(15, 60)
    sleep(AWAY_SECS)
    assert admitted(limit, 1) == 1
    directory.register("rate-limiter", RateLimiter.start(TokenBuckets(1000)))
    sleep(AWAY_SECS)
    admitted(limit, 1)
    sleep(0.001)
    before = limit.on_account
    assert admitted(limit, 1) == 1
    assert limit.on_account == before, "once the actor is back its leases are used again"


def test_a_dead_actor_is_no_reason_to_fail(directory: Directory) -> None:
    ref = RateLimiter.start(TokenBuckets(1000))
    directory.register("rate-limiter", ref)
    ref.stop()
    assert admitted(RateLimit(1000, 1, directory), 10) == 10


def test_a_slow_answer_holds_a_request_up_for_a_moment_only(directory: Directory) -> None:
    directory.register("rate-limiter", SlowLimiter.start(5.0))
    limit = RateLimit(100, 1, directory)
    started = perf_counter()
    assert admitted(limit, 5) < 5
    assert perf_counter() - started < 2.0
    directory.get("rate-limiter").kill()  # type: ignore[attr-defined]


def test_requests_without_a_proven_key_are_anybodys(directory: Directory) -> None:
    def claimed() -> Request:
        request = Request({"REQUEST_METHOD": "GET", "REQUEST_URI": "/", "wsgi.input": BytesIO(), "fs.headers": {}}, "ID", 0.0)
        request.identity = AuthResult("x-fs", "claimed", UNSIGNED_PAYLOAD)
        return request

    limit = RateLimit(1, 1, directory, proven_keys=False)
    request = claimed()
    limit.count(request, perf_counter())
    assert request.is_counted
    with pytest.raises(S3Error):
        limit.admit(ANYBODY, perf_counter())
    proven = RateLimit(1, 1, directory)
    proven.count(claimed(), perf_counter())
    proven.admit(ANYBODY, perf_counter())
    with pytest.raises(S3Error):
        proven.count(claimed(), perf_counter())


def test_a_request_that_fails_before_its_key_is_proven_takes_a_strangers_token(directory: Directory) -> None:
    limit = RateLimit(1, 1, directory)
    forged = S3Error("SignatureDoesNotMatch")
    assert limit.count_refused(forged, perf_counter()) is forged
    too_many = limit.count_refused(forged, perf_counter())
    assert isinstance(too_many, S3Error)
    assert too_many.code == "SlowDown"
