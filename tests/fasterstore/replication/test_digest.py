"""Range digests: equal for equal items and no others, parted evenly, bounded, and nothing is believed that comes from outside."""

import random
from pathlib import Path

import msgpack
import pytest

from fasterstore.replication.digest import (
    DIGEST_BYTES,
    FIRST_PLACE,
    LEAF_ITEMS,
    KeyRange,
    MalformedDigest,
    Place,
    RangeDigest,
    Scope,
    after,
    bucket_leaf,
    digest_ranges,
    object_leaf,
    pack_answer,
    pack_question,
    parts_of,
    unpack_answer,
    unpack_question,
)
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting

GOLDEN = Path(__file__).parents[2] / "golden" / "range_digests_v1.hex"
A, B = b"A" * 16, b"B" * 16
ALL = KeyRange(Scope.OBJECTS, FIRST_PLACE, None)


def leaves(count, stamp=7):
    return [object_leaf("bucket", b"key-%06d" % number, stamp, A, "e" * 32, 4096) for number in range(count)]


def reader(items):
    """`read` over a list of leaves in order; also the number of leaves that were drawn from it."""
    drawn = [0]

    def read(asked):
        for leaf in items:
            if leaf.place >= asked.first and (asked.end is None or leaf.place < asked.end):
                drawn[0] += 1
                yield leaf

    return read, drawn


def digest(items, asked=ALL, **more):
    return digest_ranges([asked], reader(items)[0], **more)[0]


def test_equal_items_have_equal_digests_and_any_field_changes_it():
    fields = ("bucket", b"key", 7, A, "e" * 32, 4096)
    changed = ("buckeu", b"kez", 8, B, "f" * 32, 4097)
    others = [(*fields[:at], new, *fields[at + 1 :]) for at, new in enumerate(changed)]
    found = {digest([object_leaf(*each)]).digest for each in (fields, fields, *others)}
    assert len(found) == 1 + len(others)


def test_a_bucket_s_digest_tells_every_register():
    registers = Registers((Create(5, A, 1),), Deletion(4, B), (Setting("cors", b"<x/>", 6, A),), Home(7, A, B))
    others = [
        registers._replace(creates=(Create(5, B, 1),)), registers._replace(deleted=Deletion(3, B)),
        registers._replace(settings=(Setting("cors", None, 6, A),)), registers._replace(home=None),
    ]  # fmt: skip
    asked = KeyRange(Scope.BUCKETS, FIRST_PLACE, None)
    assert len({digest([bucket_leaf("b", each)], asked).digest for each in (registers, *others)}) == 5
    assert digest([bucket_leaf("b", registers)], asked) != digest([bucket_leaf("c", registers)], asked)


def test_moving_a_field_s_bytes_into_its_neighbour_changes_the_digest():
    assert digest([object_leaf("ab", b"c", 1, A, "", 0)]).digest != digest([object_leaf("a", b"bc", 1, A, "", 0)]).digest


@pytest.mark.parametrize("count", [0, 1, LEAF_ITEMS])
def test_a_small_range_is_not_split(count):
    assert digest(leaves(count)) == (count, digest(leaves(count)).digest, (), None)


@pytest.mark.parametrize("count", [LEAF_ITEMS + 1, 1_000, 1_023, 1_024, 1_025, 5_000])
def test_a_large_range_is_split_evenly(count):
    items = leaves(count)
    told = digest(items)
    parts = parts_of(ALL, told)
    assert parts[0].first == FIRST_PLACE
    assert parts[-1].end is None
    assert all(earlier.end == later.first for earlier, later in zip(parts, parts[1:], strict=False))
    digests = digest_ranges(parts, reader(items)[0])
    counts = [part.items for part in digests]
    assert sum(counts) == count
    assert 2 <= len(parts) <= 32
    assert max(counts) == counts[0]
    assert max(counts) <= max(LEAF_ITEMS, 2 * count // 16)
    total = sum(int.from_bytes(part.digest, "big") for part in digests) % 2 ** (8 * DIGEST_BYTES)
    assert told.digest == total.to_bytes(DIGEST_BYTES, "big")


def test_a_question_is_answered_up_to_its_bound_and_the_rest_can_be_asked_again():
    items = leaves(1_000)
    read, drawn = reader(items)
    half, behind = Place("bucket", b"key-000500"), Place("c", b"")
    asked = [ALL._replace(end=half), ALL._replace(first=half), ALL._replace(first=behind)]
    first, second, third = digest_ranges(asked, read, 700)
    assert (first.items, second.items, third.items) == (500, 200, 0)
    assert first.upto is None
    assert second.upto == Place("bucket", b"key-000700")
    assert third.upto == asked[2].first
    assert drawn[0] <= 701
    assert second.digest == digest(items, KeyRange(Scope.OBJECTS, half, second.upto)).digest
    assert parts_of(asked[1], second)[-1] == (Scope.OBJECTS, second.upto, None)
    assert parts_of(asked[2], third) == [asked[2]]


def test_the_place_after_a_key_is_the_next_there_can_be():
    assert Place("b", b"k") < after(Place("b", b"k")) <= Place("b", b"k\0") < Place("b", b"l") < Place("c", b"")


def test_questions_and_answers_are_the_golden_ones():
    ranges = [KeyRange(Scope.OBJECTS, Place("b", b"k"), Place("c", b"")), KeyRange(Scope.BUCKETS, FIRST_PLACE, None)]
    one = digest([object_leaf("b", b"k", 7, A, "e" * 32, 4096)])
    told = [RangeDigest(65, one.digest, (Place("b", b"l"),)), RangeDigest(1, one.digest, (), Place("z", b""))]
    golden = GOLDEN.read_text().split()
    assert [pack_question(ranges).hex(), pack_answer(told).hex(), one.digest.hex()] == golden
    assert unpack_question(bytes.fromhex(golden[0])) == ranges
    assert unpack_answer(bytes.fromhex(golden[1]), ranges) == told


def answer(*digests):
    return msgpack.packb([1, digests])


ZEROS = bytes(DIGEST_BYTES)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xc1", b"\x93", msgpack.packb([2, []]), msgpack.packb([1]), msgpack.packb([1, 5]), msgpack.packb({1: 2}),
        msgpack.packb([1, [[2, "b", b"", None, None]]]), msgpack.packb([1, [[0, b"b", b"", None, None]]]),
        msgpack.packb([1, [[0, "b", "k", None, None]]]), msgpack.packb([1, [[0, "b", b"", "b", b""]]]),
        msgpack.packb([1, [[0, "b", b"", "c", None]]]), msgpack.packb([1, [[0, "b", bytes(5000), None, None]]]),
        msgpack.packb([1, [[0, "", b"", None, None]] * 65]), msgpack.packb([1, [[[], "b", b"", None, None]]]),
        msgpack.packb([1, [[True, "b", b"", None, None]]]),
    ],
)  # fmt: skip
def test_a_question_that_is_none_is_refused(body):
    with pytest.raises(MalformedDigest):
        unpack_question(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", answer(), answer([1, ZEROS, [], None], [1, ZEROS, [], None]), answer([-1, ZEROS, [], None]), answer([1, b"short", [], None]),
        answer([1, ZEROS, None, None]), answer(["1", ZEROS, [], None]), answer([True, ZEROS, [], None]), answer([1, ZEROS, [], ["a", b""]]),
        answer([1, ZEROS, [], ["z", b""]]), answer([65, ZEROS, [], None]), answer([2, ZEROS, [["b", b"m"]], None]),
        answer([99, ZEROS, [["b", b"m"], ["b", b"l"]], None]), answer([99, ZEROS, [["b", b"l"]], ["b", b"k"]]),
        answer([99, ZEROS, [["b", b"%04d" % n] for n in range(40)], None]), answer([1, ZEROS, [], ["b"]]),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(body):
    with pytest.raises(MalformedDigest):
        unpack_answer(body, [KeyRange(Scope.OBJECTS, Place("b", b"a"), Place("c", b""))])


def test_bytes_of_any_kind_are_an_answer_or_refused():
    rng = random.Random(5)
    whole = pack_answer([RangeDigest(65, ZEROS, (Place("b", b"l"),), Place("b", b"m"))])
    refused = 0
    for _ in range(2_000):
        body = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            unpack_answer(bytes(body), [ALL])
        except MalformedDigest:
            refused += 1
    assert refused > 200
