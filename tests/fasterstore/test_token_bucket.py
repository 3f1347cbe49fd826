"""The token bucket: what it gives by the time that has passed, whatever the clock does."""

import pytest

from fasterstore.token_bucket import TokenBucket


def test_it_is_full_at_first_and_gives_no_more_than_it_holds() -> None:
    bucket = TokenBucket(100, 8, now=50.0)
    assert [bucket.take(5, 50.0), bucket.take(5, 50.0), bucket.take(5, 50.0)] == [5, 3, 0]


def test_it_fills_at_its_rate_up_to_its_capacity() -> None:
    bucket = TokenBucket(100, 8, now=0.0)
    bucket.take(8, 0.0)
    assert bucket.take(8, 0.035) == 3
    assert bucket.take(8, 0.04) == 1, "the half token that was left over counts"
    assert bucket.take(100, 1000.0) == 8


def test_over_a_long_time_it_gives_its_rate_however_often_it_is_asked() -> None:
    bucket = TokenBucket(300, 12, now=0.0)
    given = sum(bucket.take(1 + step % 7, step * 0.0013) for step in range(10_000))
    assert given == pytest.approx(13.0 * 300, abs=13)


def test_a_capacity_below_one_token_holds_one() -> None:
    bucket = TokenBucket(1, 0.04, now=0.0)
    assert [bucket.take(1, now) for now in (0.0, 0.5, 0.999, 1.0, 3.0)] == [1, 0, 0, 1, 1]


def test_a_clock_that_goes_backwards_adds_nothing_and_takes_nothing() -> None:
    bucket = TokenBucket(100, 10, now=1000.0)
    bucket.take(10, 1000.0)
    assert bucket.take(10, 5.0) == 0
    assert bucket.take(10, 5.055) == 5, "it goes on from the new time"


def test_a_clock_that_jumps_ahead_fills_it_once() -> None:
    bucket = TokenBucket(100, 10, now=0.0)
    bucket.take(10, 0.0)
    assert [bucket.take(100, 1e9), bucket.take(100, 1e9)] == [10, 0]


def test_an_overdraft_is_made_up_for_before_anything_is_given() -> None:
    bucket = TokenBucket(100, 10, now=0.0)
    bucket.overdraw(15)
    assert bucket.take(1, 0.0) == 0
    assert bucket.wait_secs(0.0) == pytest.approx(0.06)
    assert bucket.take(1, 0.0601) == 1


def test_what_comes_back_can_be_had_again_but_not_above_the_capacity() -> None:
    bucket = TokenBucket(100, 10, now=0.0)
    bucket.take(10, 0.0)
    bucket.give_back(4)
    assert bucket.take(10, 0.0) == 4
    bucket.give_back(100)
    assert bucket.take(100, 0.0) == 10


def test_the_wait_is_the_time_to_a_whole_token_and_none_if_there_is_one() -> None:
    bucket = TokenBucket(4, 2, now=0.0)
    assert bucket.wait_secs(0.0) == 0.0
    bucket.take(2, 0.0)
    assert bucket.wait_secs(0.0) == pytest.approx(0.25)
    assert bucket.wait_secs(0.1) == pytest.approx(0.15)
    assert bucket.wait_secs(0.25) == 0.0
