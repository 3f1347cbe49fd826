"""The hybrid clock: never backwards, never behind wall time, and readable as wall time."""

from fasterstore.clock import COUNTER_BITS, RESTORE_LEAP_MS, advance, leap, stamp_ms


def test_a_stamp_follows_wall_time_when_that_moves_on():
    assert advance(0, 1_700_000_000_000) == 1_700_000_000_000 << COUNTER_BITS
    assert stamp_ms(advance(5 << COUNTER_BITS, 9)) == 9


def test_a_stamp_rises_when_wall_time_stands_still_or_jumps_back():
    last = advance(0, 1000)
    for now_ms in (1000, 1000, 999, 0, -5):
        following = advance(last, now_ms)
        assert following == last + 1
        assert stamp_ms(following) == 1000
        last = following


def test_more_changes_in_a_millisecond_than_the_counter_holds_borrow_from_the_next_one():
    last = (7 << COUNTER_BITS) + (1 << COUNTER_BITS) - 1
    assert advance(last, 7) == 8 << COUNTER_BITS


def test_a_leap_is_above_whatever_was_given_up_to_now_by_a_clock_that_was_right_or_was_stepped_back():
    assert stamp_ms(leap(5 << COUNTER_BITS, 9)) == 9 + RESTORE_LEAP_MS
    ahead = 3_600_000 << COUNTER_BITS
    given = ahead
    for _ in range(1000):
        given = advance(given, 9)
    assert leap(ahead, 9) > given
