"""Ranges of LSNs and of a scan: against a set of numbers, with everything drawn at random."""

import random

import pytest

from fasterstore.replication.cursor import START, Position
from fasterstore.replication.ranges import LsnRanges, ScanRanges
from fasterstore.replication.work import ScanPage


@pytest.mark.parametrize("seed", range(20))
def test_ranges_of_lsns_hold_what_was_added_and_not_taken(seed):
    chance, ranges, model = random.Random(seed), LsnRanges(), set()
    for _ in range(200):
        if model and chance.random() < 0.4:
            first, last = ranges.take()
            assert first == min(model)
            taken = set(range(first, last + 1))
            assert taken <= model
            assert last + 1 not in model
            model -= taken
        else:
            first = chance.randint(1, 100)
            last = first + chance.randint(-1, 8)
            ranges.add(first, last)
            model |= set(range(first, last + 1))
        assert ranges.entries == len(model)
        assert bool(ranges) == bool(model)
        if model:
            assert ranges.first == min(model)


def test_a_scan_is_done_up_to_the_lowest_place_that_is_not():
    scan = ScanRanges("new", 1.0)
    assert not scan.begun
    scan.begin(START, 7)
    assert (scan.begun, scan.since_lsn, scan.todo) == (True, 7, [(START, None)])
    assert scan.take() == (START, None)
    places = [Position("b", b"1"), Position("b", b"2"), Position("c", b"")]
    scan.add(places[0], None)
    page = ScanPage(1, START, places[0])
    assert scan.below([page]) == START
    assert scan.below([]) == places[0]
    scan.add(START, places[0])
    scan.add(places[1], places[1])
    assert scan.todo == [(START, places[0]), (places[0], None)]
