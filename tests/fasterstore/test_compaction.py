"""Which segments are rewritten: a fifth dead, best first, the youngest later; and what a group, a punch and a pause are."""

import random

import pytest

from fasterstore import compaction
from fasterstore.model import BlobLocation, BlobRow, SegmentRow
from fasterstore.storage.record import record_bytes
from fasterstore.storage.segment import HEADER_BYTES

MIB = 1 << 20
TARGET = 100 * MIB


def segment(number, live_share, *, length=TARGET, **more):
    held = length - HEADER_BYTES
    return SegmentRow(number, 1, bytes(16), more.pop("sealed", True), length, round(held * live_share), **more)


def chosen(rows, **how):
    return [row.segment_id for row in compaction.segments_to_rewrite(rows, TARGET, any_age=how.get("any_age", True))]


def size_of(place):
    return record_bytes(place.stored_bytes)


def blob(number, offset, size_bytes):
    return BlobRow(number, bytes(32), 1, BlobLocation(1, offset, size_bytes, size_bytes, bytes(16)))


def test_a_segment_that_is_a_fifth_dead_is_rewritten_and_one_that_is_less_is_not():
    assert chosen([segment(1, 0.79), segment(2, 0.81), segment(3, 1.0)]) == [1]


def test_what_is_left_below_the_threshold_holds_at_most_a_quarter_more_than_is_live():
    rng = random.Random(1)
    rows = [segment(number, rng.random()) for number in range(1, 400)]
    left = [row for row in rows if row.segment_id not in chosen(rows)]
    assert sum(row.length_bytes for row in left) <= 1.25 * sum(row.live_bytes for row in left) + 400 * HEADER_BYTES


def test_open_retired_and_empty_segments_are_not_rewritten():
    assert chosen([segment(1, 0.1, sealed=False), segment(2, 0.1, retired=True), segment(3, 0.0)]) == []


def test_the_youngest_wait_until_they_are_half_dead_unless_asked_for():
    rows = [segment(number, 0.7) for number in range(1, 8)]
    assert chosen(rows, any_age=False) == [1, 2, 3]
    assert set(chosen(rows)) == set(range(1, 8))
    assert 7 in chosen([*rows[:-1], segment(7, 0.4)], any_age=False)


def test_more_garbage_goes_first_and_of_equals_the_older():
    assert chosen([segment(1, 0.5), segment(2, 0.5), segment(3, 0.1), segment(9, 1.0)]) == [3, 1, 2]


def test_punched_bytes_count_as_given_back_already():
    row = segment(1, 0.5, punched_bytes=45 * MIB)
    assert compaction.dead_bytes(row) <= 5 * MIB
    assert chosen([row]) == []
    assert compaction.reclaimable_bytes([row, segment(2, 0.5, retired=True), segment(3, 0.5, sealed=False)]) <= 5 * MIB


def test_many_short_segments_are_rewritten_into_one_and_a_few_are_left_alone():
    crumbs = [segment(number, 1.0, length=MIB) for number in range(1, 17)]
    assert set(chosen(crumbs)) == set(range(1, 17))
    assert chosen(crumbs[:15]) == []


def test_empty_segments_are_sealed_ones_without_a_live_byte():
    rows = [segment(1, 0.0), segment(2, 0.0, sealed=False), segment(3, 0.0, retired=True), segment(4, 0.1)]
    assert compaction.empty_segments(rows) == [1]


def test_an_active_segment_is_sealed_when_much_of_it_is_dead():
    active = [(1, 80 * MIB), (2, 80 * MIB), (3, 10 * MIB), (4, 80 * MIB)]
    live = {1: 60 * MIB, 2: 79 * MIB, 3: 0}
    assert compaction.segments_to_seal(active, live, TARGET) == [1]  # 2 is live, 3 is small, of 4 nothing is known
    assert compaction.segments_to_seal([(3, 10 * MIB)], live, 8 * MIB) == [3]  # a small target makes it much


def test_groups_hold_every_blob_once_in_the_order_of_the_file_and_no_more_than_is_copied_at_once():
    rng = random.Random(2)
    offset, rows = HEADER_BYTES, []
    for number in range(1, 900):
        rows.append(blob(number, offset, rng.choice((10, 4096, 300_000, 5 * MIB))))
        offset += record_bytes(rows[-1].location.stored_bytes)
    shuffled = rng.sample(rows, len(rows))
    made = list(compaction.groups(shuffled, size_of))
    assert [row for group in made for row in group.rows] == rows
    for group in made:
        assert group.length_bytes == sum(record_bytes(row.location.stored_bytes) for row in group.rows)
        assert len(group.rows) <= compaction.GROUP_BLOBS
        assert len(group.rows) == 1 or group.length_bytes <= compaction.GROUP_BYTES
    assert list(compaction.groups([], size_of)) == []


@pytest.mark.parametrize(
    "offset, length, expected",
    [(0, 65_536, (0, 65_536)), (1, 65_536, None), (4095, 69_632, (4096, 65_536)), (8192, 100_000, (8192, 98_304)), (0, 4096, None)],
)
def test_only_whole_blocks_are_punched_and_only_if_there_are_enough(offset, length, expected):
    assert compaction.punchable(offset, length) == expected


@pytest.mark.parametrize("share, expected", [(1.0, 0.0), (0.5, 2.0), (0.25, 6.0), (0.05, 38.0)])
def test_a_pause_leaves_the_share_of_time_that_was_asked_for(share, expected):
    assert compaction.pause_secs(2.0, share) == pytest.approx(expected)
