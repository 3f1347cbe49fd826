"""Warnings of what other nodes do wrong: once a minute of each kind, with nothing lost but the repetition."""

import pytest

from tools.internal_board import KINDS_MAX, InternalBoard
from web.refusal_log import KINDS, RefusalLog


@pytest.fixture
def clock():
    return [1_000_000]


@pytest.fixture
def log(clock):
    return RefusalLog(lambda: clock[0])


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_each_kind_has_a_line_a_minute_and_the_next_says_how_many_there_were(log, clock, caplog):
    for _ in range(1000):
        log.refused("wrong-token", "a call of 192.0.2.1")
        log.refused("foreign-source", "somebody")
    clock[0] += 59_999
    log.refused("wrong-token", "a call of 192.0.2.1")
    assert lines(caplog) == ["wrong-token: a call of 192.0.2.1", "foreign-source: somebody"]
    clock[0] += 1
    log.refused("wrong-token", "a call of 192.0.2.2")
    assert lines(caplog)[2] == "wrong-token: a call of 192.0.2.2 (and 1000 more since the last such line)"
    assert log.counts == {"wrong-token": 1002, "foreign-source": 1000}


def test_processes_that_share_the_times_write_one_line_between_them(clock, caplog):
    shared = InternalBoard().last_logged_ms
    logs = [RefusalLog(lambda: clock[0]) for _ in range(2)]
    for log in logs:
        log.last_logged_ms = shared
        log.refused("wrong-hash", "a body")
    assert lines(caplog) == ["wrong-hash: a body"]
    assert len(KINDS) <= KINDS_MAX


def test_a_clock_that_is_set_back_does_not_silence_it(log, clock, caplog):
    log.refused("wrong-token", "one")
    clock[0] -= 86_400_000
    log.refused("wrong-token", "two")
    assert len(lines(caplog)) == 2


def test_what_a_stranger_sent_stays_in_its_line_and_within_bounds(log, caplog):
    log.refused("foreign-source", "x\r\nforged\x1b[31m" + "y" * 5000)
    (line,) = lines(caplog)
    assert line.startswith("foreign-source: x??forged?[31m")
    assert len(line) < 250
