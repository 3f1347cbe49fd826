"""The rate-limiter actor: leases in the order in which they are asked for, on the actor's own clock."""

from collections.abc import Iterator
from typing import Any

import pytest

from actors.messages import LeaseTokens, TokensLeased
from actors.rate_limiter import RateLimiter
from fasterstore.token_buckets import TokenBuckets


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Iterator[Any]:
    ref = RateLimiter.start(TokenBuckets(1000), clock)
    yield ref
    ref.stop()


def test_it_leases_what_the_bucket_holds_and_says_when_there_is_more(limiter: Any, clock: Clock) -> None:
    assert limiter.ask(LeaseTokens("key", 0, 0, 10)) == TokensLeased(10, 0.0)
    assert limiter.ask(LeaseTokens("key", 0, 0, 100)) == TokensLeased(30, pytest.approx(0.001))
    assert limiter.ask(LeaseTokens("key", 0, 0, 10)).tokens == 0
    clock.now += 0.0055
    assert limiter.ask(LeaseTokens("key", 0, 0, 10)).tokens == 5


def test_what_comes_back_goes_to_the_next_and_what_was_used_on_account_is_taken_off(limiter: Any) -> None:
    limiter.ask(LeaseTokens("key", 0, 0, 40))
    assert limiter.ask(LeaseTokens("key", 10, 4, 40)).tokens == 6
    assert limiter.ask(LeaseTokens("key", 0, 10, 1)) == TokensLeased(0, pytest.approx(0.011))


def test_anonymous_requests_have_one_bucket_beside_those_of_the_keys(limiter: Any) -> None:
    assert limiter.ask(LeaseTokens("", 0, 0, 100)).tokens == 40
    assert limiter.ask(LeaseTokens("", 0, 0, 100)).tokens == 0
    assert limiter.ask(LeaseTokens("key", 0, 0, 100)).tokens == 40


def test_asks_that_wait_in_the_mailbox_are_answered_in_order(limiter: Any) -> None:
    replies = [limiter.ask(LeaseTokens("key", 0, 0, 15), block=False) for _ in range(4)]
    assert [reply.get(timeout=5).tokens for reply in replies] == [15, 15, 10, 0]
