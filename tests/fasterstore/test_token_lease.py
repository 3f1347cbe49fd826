"""Leases: one worker gets the whole limit, all together never much more, and few requests cost an ask."""

from collections.abc import Callable

import pytest

from fasterstore.token_buckets import BUCKETS_MAX, TokenBuckets
from fasterstore.token_lease import AWAY_SECS, LEASE_SECS, Settlement, TokenLease

NOTHING = Settlement(0, 0)


class Workers:
    """Workers with a lease each and one bucket behind them, on a clock of the test; answers take `answer_secs`."""

    def __init__(self, rate_per_sec: int, workers: int, answer_secs: float = 0.0003) -> None:
        self.now = 0.0
        self.asks = 0
        self.buckets = TokenBuckets(rate_per_sec)
        self.answer_secs = answer_secs
        self.is_away = False
        self._leases = [TokenLease(rate_per_sec, workers, 0.0) for _ in range(workers)]
        self._answers: list[tuple[float, Settlement, object] | None] = [None] * workers

    def request(self, worker: int) -> bool:
        """As `web/rate_limit.py` does it, but that nobody waits."""
        lease = self._leases[worker]
        pending = self._answers[worker]
        if pending is not None and self.now >= pending[0]:
            self._answers[worker] = None
            if pending[2] is None:
                lease.not_answered(pending[1], self.now)
            else:
                lease.granted(*pending[2], self.now)  # type: ignore[misc]
        is_admitted = lease.take(self.now)
        if not is_admitted:
            if lease.is_refused(self.now):
                return False
            is_admitted = lease.take_on_account(self.now)
        if lease.should_ask(self.now) and self._answers[worker] is None:
            settled = lease.settle(self.now)
            self.asks += 1
            answer = None if self.is_away else self.buckets.lease("key", settled, lease.wanted, self.now)
            self._answers[worker] = (self.now + self.answer_secs, settled, answer)
        return is_admitted


def admitted(workers: Workers, secs: float, step_secs: float, worker_of: Callable[[int], int]) -> list[float]:
    """The times of the requests that were let through; one is made every `step_secs`, on the worker that `worker_of` names."""
    times = []
    end = workers.now + secs
    turn = 0
    while workers.now < end:
        if workers.request(worker_of(turn)):
            times.append(workers.now)
        turn += 1
        workers.now += step_secs
    return times


def busiest_second(times: list[float]) -> int:
    first, most = 0, 0
    for last, now in enumerate(times):
        while times[first] <= now - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("rate_per_sec", [200, 1000, 20_000])
def test_one_connection_on_one_of_many_workers_gets_the_whole_limit(rate_per_sec: int, workers: int) -> None:
    times = admitted(Workers(rate_per_sec, workers), 3.0, 1 / (4 * rate_per_sec), lambda turn: 0)
    assert len(times) == pytest.approx(3 * rate_per_sec, rel=0.1)


@pytest.mark.parametrize("workers", [2, 8])
@pytest.mark.parametrize("rate_per_sec", [400, 20_000])
def test_all_workers_together_stay_within_a_tenth_in_every_second(rate_per_sec: int, workers: int) -> None:
    times = admitted(Workers(rate_per_sec, workers), 3.0, 1 / (4 * rate_per_sec), lambda turn: turn % workers)
    assert len(times) >= 2.7 * rate_per_sec
    assert busiest_second(times) <= 1.1 * rate_per_sec


def test_after_a_pause_the_burst_is_within_the_tenth_too() -> None:
    workers = Workers(1000, 4)
    times = []
    for _ in range(5):
        times += admitted(workers, 0.5, 0.0002, lambda turn: turn % 4)
        workers.now += 0.7
    assert busiest_second(times) <= 1100


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_client_below_the_limit_is_never_refused_though_its_leases_lapse(share: float, workers: int) -> None:
    rate_per_sec = 200
    pair = Workers(rate_per_sec, workers)
    step_secs = 1 / (rate_per_sec * share)
    assert len(admitted(pair, 20.0, step_secs, lambda turn: turn % workers)) >= int(20.0 / step_secs)


def test_many_requests_share_one_ask() -> None:
    workers = Workers(20_000, 2)
    times = admitted(workers, 1.0, 1 / 10_000, lambda turn: 0)
    assert len(times) >= 9_999
    assert workers.asks <= len(times) / 50


def test_asks_stay_few_while_everything_is_refused() -> None:
    workers = Workers(10, 2)
    assert len(admitted(workers, 3.0, 0.0001, lambda turn: turn % 2)) <= 30 + 4
    assert workers.asks <= 100


def test_without_an_answer_each_worker_lets_its_share_pass_and_asks_seldom() -> None:
    workers = Workers(1000, 2)
    workers.is_away = True
    times = admitted(workers, 2.0, 0.0001, lambda turn: 0)
    assert len(times) == pytest.approx(1000, rel=0.05)
    assert workers.asks <= 2.0 / AWAY_SECS + 2
    workers.is_away = False
    workers.now += 1.0
    times = admitted(workers, 2.0, 0.0001, lambda turn: 0)
    assert 800 <= len(times) <= 1200, "what was used on account meanwhile is made up for"


def test_a_lapsed_lease_is_not_used_and_goes_back() -> None:
    lease = TokenLease(1000, 1, 0.0)
    lease.granted(10, 0.0, 0.0)
    assert lease.take(LEASE_SECS - 0.001)
    assert not lease.take(LEASE_SECS)
    assert lease.should_ask(LEASE_SECS)
    assert lease.settle(LEASE_SECS) == Settlement(9, 0)
    assert lease.settle(LEASE_SECS) == NOTHING


def test_what_is_used_on_account_is_reported_once_and_kept_without_an_answer() -> None:
    lease = TokenLease(1000, 1, 0.0)
    assert lease.take_on_account(0.0) and lease.take_on_account(0.0)
    settled = lease.settle(0.0)
    assert settled == Settlement(0, 2)
    lease.not_answered(settled, 0.0)
    assert not lease.should_ask(AWAY_SECS / 2)
    assert not lease.is_refused(AWAY_SECS / 2)
    assert lease.settle(AWAY_SECS) == Settlement(0, 2)
    assert lease.settle(AWAY_SECS) == NOTHING


def test_an_empty_bucket_refuses_until_it_has_more_and_is_not_asked_before() -> None:
    lease = TokenLease(10, 1, 0.0)
    lease.granted(1, 0.08, 0.0)
    assert lease.take(0.001)
    assert lease.is_refused(0.079) and not lease.should_ask(0.079)
    assert not lease.is_refused(0.08) and lease.should_ask(0.08)


def test_a_clock_that_goes_backwards_locks_nobody_out() -> None:
    lease = TokenLease(1000, 1, 5000.0)
    lease.granted(5, 0.0, 5000.0)
    assert [lease.take(1.0) for _ in range(6)] == [True] * 5 + [False]
    assert not lease.is_refused(1.0)
    assert lease.should_ask(1.0)


def test_each_key_has_a_bucket_of_its_own() -> None:
    buckets = TokenBuckets(100)
    assert buckets.lease("a", NOTHING, 100, 0.0).tokens == 4
    assert buckets.lease("a", NOTHING, 100, 0.0).tokens == 0
    assert buckets.lease("b", NOTHING, 100, 0.0).tokens == 4


def test_full_buckets_are_forgotten_before_they_become_too_many() -> None:
    buckets = TokenBuckets(100)
    for number in range(BUCKETS_MAX):
        buckets.lease(f"key-{number}", NOTHING, 1, number * 1e-6)
    buckets.lease("the drop", NOTHING, 1, 0.005)
    assert len(buckets) == BUCKETS_MAX + 1, "none of them is full yet"
    buckets.lease("later", Settlement(0, 50), 1, 10.0)
    assert len(buckets) == 1
    buckets.lease("another", NOTHING, 1, 10.0)
    assert buckets.lease("later", NOTHING, 1, 10.001).tokens == 0, "a used one is kept"
