"""What may leave the store: unused blobs after their grace, empty sealed segments, ranges nobody named. Everything else stays."""

import pytest

from fasterstore.metadata import schema
from fasterstore.metadata.entries import decode
from fasterstore.metadata.judge_space import Relocation
from fasterstore.metadata.space_entries import BlobsForgotten, BlobsMoved, RangePunched, SegmentRemoved, SegmentRetired
from fasterstore.storage.record import record_bytes
from fasterstore.storage.wal_recovery import read_from
from tests.storage_node import audit, change, rows

SPACE = (BlobsForgotten, BlobsMoved, SegmentRetired, SegmentRemoved, RangePunched)


def logged(lab):
    return [entry for _, data in read_from(lab.disk, "/journal", 1) if isinstance(entry := decode(data), SPACE)]


def forget(lab, age_ms=0, limit=100):
    return lab.now(lambda: lab.ask.forget_blobs(lab.now_ms - age_ms, limit, lab.now_ms))[0]


def sealed_segment_of(lab, *bodies):
    """A sealed segment that holds an object for each body, and its id."""
    lab.now(*(lambda n=n, body=body: lab.put(b"k%d" % n, body) for n, body in enumerate(bodies)))
    number = lab.segment
    lab.seal_segment()
    return number


def relocation(lab, blob, **wrong):
    row = lab.index.blob(blob)
    new = row.location._replace(segment_id=lab.segment, offset=lab.end)
    lab.end += record_bytes(new.stored_bytes)
    return Relocation(blob, row.location._replace(**wrong), new)


def test_a_blob_is_forgotten_only_when_nothing_names_it_and_its_grace_is_over(lab):
    lab.now(lambda: lab.put(b"a", b"kept"), lambda: lab.put(b"b", b"deleted"))
    assert forget(lab) == 0
    lab.now(lambda: lab.delete(b"b"))
    assert forget(lab, age_ms=1000) == 0
    lab.now_ms += 1000
    assert forget(lab, age_ms=1000) == 1
    assert lab.index.blob(1) is not None
    assert lab.index.blob(2) is None
    assert lab.index.segment(lab.segment).live_bytes == record_bytes(4)
    audit(lab.path)


def test_what_was_deleted_while_the_clock_stood_in_the_far_future_is_forgotten_once_it_is_right_again(lab):
    lab.now(lambda: lab.put(b"a", b"kept"), lambda: lab.put(b"b", b"deleted"), lambda: lab.put(b"c", b"just deleted"))
    right_ms = lab.now_ms
    lab.now_ms = right_ms + 10 * 365 * 86_400_000
    lab.now(lambda: lab.delete(b"b"))
    lab.now_ms = right_ms + 5000
    lab.now(lambda: lab.delete(b"c"))
    lab.now_ms = right_ms  # a step back of some seconds is no reason to give up anybody's grace
    assert forget(lab, age_ms=1000) == 1
    assert lab.index.blob(2) is None
    assert forget(lab, age_ms=1000) == 0
    assert lab.index.blob(3) is not None
    audit(lab.path)


def test_a_blob_that_is_used_again_before_its_grace_is_over_stays(lab):
    lab.now(lambda: lab.put(b"a", b"body"))
    lab.now(lambda: lab.delete(b"a"))
    lab.now(lambda: lab.put(b"b", b"body", 1, written=False))
    lab.now_ms += 10_000
    assert forget(lab) == 0
    assert lab.read(b"b") == b"body"


def test_a_claim_of_a_forgotten_blob_goes_back_to_be_appended(lab):
    lab.now(lambda: lab.put(b"a", b"body"))
    lab.now(lambda: lab.delete(b"a"))
    assert forget(lab) == 1
    answer = lab.now(lambda: lab.put(b"b", b"body", 1, written=False))
    assert type(answer).__name__ == "ClaimGone"


def test_forgetting_goes_in_slices_the_longest_unused_first(lab):
    lab.now(*(lambda n=n: lab.put(b"k%d" % n, b"body %d" % n) for n in range(5)))
    for number in (3, 1, 4, 0, 2):
        lab.now(lambda n=number: lab.delete(b"k%d" % n))
    assert [forget(lab, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert [entry.blobs for entry in logged(lab)] == [(4, 2), (5, 1), (3,)]


def test_a_damaged_blob_that_is_forgotten_is_no_longer_counted(lab):
    lab.now(lambda: lab.put(b"a", b"body"))
    lab.now(lambda: lab.mark_damaged(lab.index.blob(1)))
    assert lab.index.damaged_blobs == 1
    lab.now(lambda: lab.delete(b"a"))
    assert forget(lab) == 1
    assert lab.index.damaged_blobs == 0


def test_a_move_changes_place_and_live_bytes_and_nothing_else(lab):
    source = sealed_segment_of(lab, b"one", b"two")
    before = lab.index.blob(1)
    item = relocation(lab, 1)
    assert lab.now(lambda: lab.ask.move_blobs([item])) == [True]
    assert lab.index.blob(1) == before._replace(location=item.new)
    assert lab.index.segment(source).live_bytes == lab.index.segment(lab.segment).live_bytes == record_bytes(3)
    assert lab.read(b"k0") == b"one"
    audit(lab.path)


@pytest.mark.parametrize("wrong", [{"offset": 65}, {"segment_id": 77}, {"record_id": b"?" * 16}])
def test_a_blob_that_is_not_where_it_was_copied_from_stays_where_it_is(lab, wrong):
    sealed_segment_of(lab, b"one", b"two")
    before = lab.index.blob(1)
    stale, fresh = relocation(lab, 1, **wrong), relocation(lab, 2)
    assert lab.now(lambda: lab.ask.move_blobs([stale, fresh])) == [False, True]
    assert lab.index.blob(1) == before
    audit(lab.path)


def test_a_blob_that_was_found_damaged_or_has_gone_is_not_moved(lab):
    sealed_segment_of(lab, b"one", b"two")
    items = [relocation(lab, 1), relocation(lab, 2)]
    lab.now(lambda: lab.mark_damaged(lab.index.blob(1)), lambda: lab.delete(b"k1"))
    forget(lab)
    assert lab.now(lambda: lab.ask.move_blobs(items)) == [False, False]
    assert not [entry for entry in logged(lab) if isinstance(entry, BlobsMoved)]


def test_a_segment_is_retired_when_it_is_sealed_and_no_blob_lies_in_it(lab):
    full, open_one = sealed_segment_of(lab, b"one"), lab.segment
    assert lab.now(lambda: lab.ask.retire_segments([full, open_one, 99]))[0] == []
    lab.now(lambda: lab.delete(b"k0"))
    assert lab.now(lambda: lab.ask.retire_segments([full]))[0] == []  # unused, and still there
    forget(lab)
    assert lab.now(lambda: lab.ask.retire_segments([full, open_one, 99]))[0] == [full]
    assert lab.index.segment(full).retired
    assert lab.now(lambda: lab.ask.retire_segments([full]))[0] == []  # once


def test_a_segment_row_goes_only_after_its_retirement(lab):
    full = sealed_segment_of(lab, b"one")
    assert lab.now(lambda: lab.ask.segments_removed([full])) == 0
    lab.now(lambda: lab.delete(b"k0"))
    forget(lab)
    lab.now(lambda: lab.ask.retire_segments([full]))
    assert lab.now(lambda: lab.ask.segments_removed([full, 99])) > 0
    assert lab.index.find_segment(full) is None
    assert [type(entry) for entry in logged(lab)][-2:] == [SegmentRetired, SegmentRemoved]
    audit(lab.path)


def test_a_range_in_which_a_blob_lies_is_never_punched_not_even_an_unused_one(lab):
    lab.now(lambda: lab.put(b"a", b"body"))
    place = lab.index.blob(1).location
    end = place.offset + record_bytes(place.stored_bytes)
    lab.now(lambda: lab.delete(b"a"))
    for offset, length in ((0, place.offset + 1), (end - 1, 512), (place.offset + 1, 1)):
        assert lab.now(lambda where=(offset, length): lab.ask.punch_range(lab.segment, *where)) == 0
    assert lab.now(lambda: lab.ask.punch_range(lab.segment, end, 4096)) > 0
    assert lab.index.segment(lab.segment).punched_bytes == 4096
    forget(lab)
    assert lab.now(lambda: lab.ask.punch_range(99, 0, 4096)) == 0


DAMAGED = "UPDATE blobs SET value = zeroblob(8) WHERE number = ?"


def three_unused(lab):
    """Blobs 1 to 3, the first unused for longest."""
    for number in range(3):
        lab.now(lambda number=number: lab.put(b"k%d" % number, b"body %d" % number))
    for number in range(3):
        lab.now(lambda number=number: lab.delete(b"k%d" % number))


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_damaged_rows_are_passed_over_and_named_and_the_others_are_forgotten(lab, limit):
    three_unused(lab)
    change(lab.path, DAMAGED, (1,))
    assert forget(lab, limit=limit) == min(limit, 2)
    while forget(lab, limit=limit):
        pass
    count, left_out = lab.now(lambda: lab.ask.forget_blobs(lab.now_ms, limit, lab.now_ms))
    assert (count, len(left_out)) == (0, 1)
    assert "1" in left_out[0]
    assert [row[0] for row in rows(lab.path, "SELECT number FROM blobs")] == [1]


def test_a_row_that_stands_in_the_list_of_the_unused_and_says_otherwise_is_never_forgotten(lab):
    three_unused(lab)
    row = lab.index.blob(2)
    change(lab.path, "UPDATE blobs SET value = ? WHERE number = 2", (schema.pack_blob(row._replace(refs=1)),))
    change(lab.path, "UPDATE blobs SET value = ? WHERE number = 3", (schema.pack_blob(lab.index.blob(3)._replace(zero_since_ms=1 << 45)),))
    assert forget(lab) == 1
    assert forget(lab) == 0
    assert [row[0] for row in rows(lab.path, "SELECT number FROM blobs")] == [2, 3]


def test_a_segment_in_which_a_damaged_row_lies_stays_and_another_is_retired(lab):
    first = sealed_segment_of(lab, b"one")
    second = sealed_segment_of(lab, b"two")
    lab.now(lambda: lab.delete(b"k0"))  # the second one's object took the place of the first one's
    change(lab.path, DAMAGED, (1,))
    forget(lab)
    retired, left_out = lab.now(lambda: lab.ask.retire_segments([first, second]))
    assert (retired, len(left_out)) == ([second], 1)
    assert not lab.index.segment(first).retired


def test_a_blob_whose_row_is_damaged_is_not_moved_and_the_others_are(lab):
    sealed_segment_of(lab, b"one", b"two")
    items = [relocation(lab, 1), relocation(lab, 2)]
    change(lab.path, DAMAGED, (1,))
    assert lab.now(lambda: lab.ask.move_blobs(items)) == [False, True]
