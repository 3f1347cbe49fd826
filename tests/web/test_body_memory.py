"""Memory for bodies: never more than the limit by who could wait, nobody waits for ever, and nothing that was taken is lost."""

import gevent
import pytest

from fasterstore.s3.errors import S3Error
from web.body_memory import PIECE_MAX_BYTES, PIECE_MIN_BYTES, Account, BodyMemory, unbounded


def taking(memory, size_bytes):
    """A greenlet that takes room for a request of its own; its value is the account."""

    def take():
        account = Account(memory)
        account.take(size_bytes)
        return account

    greenlet = gevent.spawn(take)
    gevent.sleep(0)
    return greenlet


def test_who_finds_no_room_waits_until_there_is():
    memory = BodyMemory(100, 5.0)
    first = taking(memory, 60).get(timeout=1)
    second = taking(memory, 50)
    assert not second.ready()
    assert (memory.used_bytes, memory.wanted_bytes, memory.excess_bytes) == (60, 50, 10)
    first.close()
    assert second.get(timeout=1).held_bytes == 50
    assert (memory.used_bytes, memory.wanted_bytes) == (50, 0)


def test_the_smallest_goes_first_and_equals_in_their_order():
    memory = BodyMemory(100, 5.0)
    holder = taking(memory, 100).get(timeout=1)
    large, middle, other_middle, small = (taking(memory, size) for size in (90, 40, 40, 10))
    holder.give_back(60)
    gevent.sleep(0)
    assert [one.ready() for one in (large, middle, other_middle, small)] == [False, True, False, True]
    holder.close()
    gevent.sleep(0)
    assert [one.ready() for one in (large, other_middle)] == [False, True]
    for one in (middle, other_middle, small):
        one.get().close()
    assert large.get(timeout=1).held_bytes == 90


def test_large_ones_that_gave_up_behind_smaller_ones_are_not_kept():
    memory = BodyMemory(100, 0.05)
    holder = taking(memory, 100).get(timeout=1)
    for _ in range(5):
        leaving = [taking(memory, 90) for _ in range(20)]
        gevent.sleep(0.03)
        # There is always a smaller one that still waits.
        small = taking(memory, 10)
        gevent.joinall(leaving, timeout=1)
        assert not small.ready()
    assert len(memory._queue) <= 2 * 6
    assert memory.wanted_bytes <= 60
    holder.close()
    gevent.sleep(0.1)
    assert (memory.used_bytes, memory.wanted_bytes) == (10, 0)


def test_who_holds_something_never_waits():
    memory = BodyMemory(100, 5.0)
    one = taking(memory, 50).get(timeout=1)
    other = taking(memory, 50).get(timeout=1)
    one.take(20)
    other.take(20)
    assert memory.used_bytes == 140
    one.close()
    other.close()
    assert memory.used_bytes == 0


def test_more_than_all_room_is_had_when_there_is_all_of_it():
    memory = BodyMemory(100, 5.0)
    assert taking(memory, 300).get(timeout=1).held_bytes == 300
    waiting = taking(memory, 200)
    assert not waiting.ready()
    memory.give_back(300)
    assert waiting.get(timeout=1).held_bytes == 200
    assert memory.used_bytes == 200


def test_who_waits_too_long_is_told_to_slow_down_and_leaves_nothing_behind():
    memory = BodyMemory(100, 0.01)
    holder = taking(memory, 100).get(timeout=1)
    with pytest.raises(S3Error) as refused:
        Account(memory).take(10)
    assert (refused.value.code, refused.value.status) == ("SlowDown", 503)
    assert memory.wanted_bytes == 0
    holder.close()
    assert memory.used_bytes == 0


def test_who_is_killed_while_waiting_leaves_nothing_behind():
    memory = BodyMemory(100, 5.0)
    holder = taking(memory, 100).get(timeout=1)
    before, after = taking(memory, 70), taking(memory, 80)
    before.kill()
    assert memory.wanted_bytes == 80
    holder.close()
    after.kill(block=False)  # its room was granted, and it had no turn yet
    gevent.joinall([after])
    if not isinstance(after.value, gevent.GreenletExit):
        after.value.close()
    assert (memory.used_bytes, memory.wanted_bytes) == (0, 0)


def test_an_account_gives_back_no_more_than_it_took():
    memory = BodyMemory(100, 5.0)
    account = taking(memory, 60).get(timeout=1)
    account.close()
    account.give_back(60)
    account.close()
    assert memory.used_bytes == 0


def test_memory_is_short_above_its_half():
    memory = BodyMemory(100, 5.0)
    memory.take(50)
    assert not memory.is_short
    memory.take(1)
    assert memory.is_short
    memory.give_back(1)
    assert not memory.is_short


def test_pieces_are_large_for_a_few_and_small_for_a_crowd():
    memory = BodyMemory(8 * PIECE_MAX_BYTES, 5.0)
    sizes = []
    while memory.excess_bytes < 0:
        sizes.append(memory.piece_bytes(1 << 40))
        memory.take(sizes[-1])
    assert sizes[0] == PIECE_MAX_BYTES
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == PIECE_MIN_BYTES
    assert all(size % PIECE_MIN_BYTES == 0 for size in sizes)
    assert memory.piece_bytes(7) == 7
    assert unbounded().memory.piece_bytes(1 << 40) == PIECE_MAX_BYTES
