"""A round of anti-entropy between two nodes as plain dicts: it finds every difference, heals both, and stays bounded."""

import random

import pytest

from fasterstore.errors import InvariantError
from fasterstore.replication.anti_entropy import PAGE_STATES, SLAB_ITEMS, Comparison, Exchange, Kind, OwnDigests, Page, PeerDigests
from fasterstore.replication.change import EMPTY, BucketState, ObjectState, Tombstone
from fasterstore.replication.digest import (
    LEAF_ITEMS,
    MalformedDigest,
    Place,
    Scope,
    bucket_leaf,
    digest_ranges,
    object_leaf,
    pack_answer,
    pack_question,
    unpack_answer,
    unpack_question,
)
from fasterstore.replication.merge import Create, Deletion, Registers, Setting, join_registers, wins

A, B = b"A" * 16, b"B" * 16
LATER = 1 << 60


def obj(key, stamp=7, origin=A, etag="e", bucket="b"):
    return ObjectState(bucket, key, stamp, origin, 4, etag, 0, {}, {}, {}, {}, "", EMPTY)


def gone(key, stamp, origin=A, bucket="b"):
    return Tombstone(bucket, key, stamp, origin, 0)


class Side:
    """What one node holds, joined as the contract says."""

    def __init__(self, *states):
        self.keys, self.buckets = {}, {}
        self.join(states)

    def join(self, states):
        for state in states:
            if isinstance(state, BucketState):
                mine = self.buckets.get(state.name, Registers())
                self.buckets[state.name] = join_registers(mine, state.registers)
                continue
            held = self.keys.get(Place(state.bucket, state.key))
            if held is None or wins(state.stamp, state.origin, held.stamp, held.origin):
                self.keys[Place(state.bucket, state.key)] = state

    def states(self, asked):
        if asked.scope is Scope.BUCKETS:
            found = {Place(name, b""): BucketState(name, registers) for name, registers in self.buckets.items()}
        else:
            found = self.keys
        return [found[place] for place in sorted(found) if place >= asked.first and (asked.end is None or place < asked.end)]

    def leaves(self, asked):
        for state in self.states(asked):
            if isinstance(state, ObjectState):
                yield object_leaf(state.bucket, state.key, state.stamp, state.origin, state.etag, state.size_bytes)
            elif isinstance(state, BucketState) and state.registers.creates:
                yield bucket_leaf(state.name, state.registers)

    def page(self, asked, limit=PAGE_STATES):
        states = self.states(asked)
        return Page(tuple(states[:limit]), len(states) <= limit)


def compare(here, there, settled=LATER, items_max=SLAB_ITEMS, page=PAGE_STATES):
    """Run a round to its end over the wire's bytes; the comparison, and how many states were exchanged and items digested."""
    walk, exchanged, steps = Comparison(settled), 0, 0
    while walk.action is not None:
        steps += 1
        assert steps < 10_000
        match walk.action:
            case OwnDigests(ranges):
                walk.own_digests(digest_ranges(ranges, here.leaves, items_max))
            case PeerDigests(ranges):
                asked = unpack_question(pack_question(ranges))
                walk.peer_digests(unpack_answer(pack_answer(digest_ranges(asked, there.leaves, items_max)), ranges))
            case Exchange(asked):
                pages = here.page(asked, page), there.page(asked, page)
                exchanged += sum(len(each.states) for each in pages)
                healing = walk.states(*pages)
                there.join(healing.push)
                here.join(healing.join)
    return walk, exchanged


def live(side):
    return {place: state for place, state in side.keys.items() if isinstance(state, ObjectState)}


def settled(here, there):
    return live(here) == live(there) and here.buckets == there.buckets


def test_equal_sides_exchange_digests_and_no_state():
    states = [obj(b"key-%05d" % number) for number in range(2_000)] + [BucketState("b", Registers((Create(1, A, 0),)))]
    walk, exchanged = compare(Side(*states), Side(*states))
    assert (walk.differences, walk.counts, exchanged) == ([], {}, 0)
    assert walk.progress.items == 2_001
    assert walk.progress.open_ranges == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ([obj(b"k", 5)], [], Kind.ONLY_HERE),
        ([], [obj(b"k", 5)], Kind.ONLY_THERE),
        ([obj(b"k", 6)], [obj(b"k", 5)], Kind.NEWER_HERE),
        ([obj(b"k", 5, A)], [obj(b"k", 5, B)], Kind.NEWER_THERE),
        ([gone(b"k", 6)], [obj(b"k", 5)], Kind.DELETED_HERE),
        ([obj(b"k", 5)], [gone(b"k", 6)], Kind.DELETED_THERE),
        ([obj(b"k", 7)], [gone(b"k", 6)], Kind.ONLY_HERE),
    ],
)
def test_each_kind_of_difference_is_listed_and_healed(ours, theirs, kind):
    here, there = Side(*ours), Side(*theirs)
    walk, _ = compare(here, there)
    stamps = [states[0].stamp if states else 0 for states in (ours, theirs)]
    assert walk.differences == [(kind, "b", b"k", *stamps)]
    assert walk.counts == {kind: 1}
    assert here.keys == there.keys
    assert compare(here, there)[0].differences == []


def test_a_bucket_s_registers_are_joined_on_both_sides():
    first, second = (Create(1, A, 0), Create(3, B, 0))
    cors, acl = Setting("cors", b"1", 2, A), Setting("acl", b"2", 4, B)
    here = Side(BucketState("b", Registers((first,), settings=(cors,))))
    there = Side(BucketState("b", Registers((second,), settings=(acl,))), BucketState("c", Registers((Create(9, B, 0),))))
    walk, _ = compare(here, there)
    assert walk.differences == [(Kind.BUCKET, "b", b"", 2, 4), (Kind.BUCKET, "c", b"", 0, 9)]
    assert settled(here, there)
    assert here.buckets["b"] == Registers((first, second), settings=(acl, cors))


def test_what_is_only_a_tombstone_on_either_side_is_no_difference():
    deleted = BucketState("old", Registers((), Deletion(5, A)))
    assert compare(Side(gone(b"k", 5), deleted), Side())[0].counts == {}
    states = [gone(b"k", 5), obj(b"l", 5)], [gone(b"k", 6), obj(b"m", 5)]
    here, there = Side(*states[0], deleted), Side(*states[1])
    assert compare(here, there)[0].counts == {Kind.ONLY_HERE: 1, Kind.ONLY_THERE: 1}
    assert here.keys[Place("b", b"k")].stamp == 5


def test_the_same_stamp_with_other_contents_is_a_conflict_that_nobody_overwrites():
    here, there = Side(obj(b"k", 5, etag="x")), Side(obj(b"k", 5, etag="y"))
    assert compare(here, there)[0].differences == [(Kind.CONFLICT, "b", b"k", 5, 5)]
    assert (here.keys, there.keys) == (Side(obj(b"k", 5, etag="x")).keys, Side(obj(b"k", 5, etag="y")).keys)


def test_what_is_later_than_the_settled_stamp_is_healed_and_not_listed():
    here, there = Side(obj(b"k", 50), obj(b"l", 5)), Side()
    walk, _ = compare(here, there, settled=49)
    assert [found.key for found in walk.differences] == [b"l"]
    assert walk.progress.in_flight == 1
    assert live(there) == live(here)


def test_one_difference_among_many_is_found_by_exchanging_few_states():
    states = [obj(b"key-%06d" % number) for number in range(20_000)]
    for place in (0, 9_999, 19_999):
        here, there = Side(*states), Side(*states, obj(b"key-%06d" % place, 8))
        walk, exchanged = compare(here, there)
        assert walk.differences == [(Kind.NEWER_THERE, "b", b"key-%06d" % place, 7, 8)]
        assert exchanged <= 2 * LEAF_ITEMS
        assert settled(here, there)


@pytest.mark.parametrize(("ours", "theirs"), [(0, 3_000), (3_000, 0), (10, 3_000)])
def test_a_side_that_holds_little_or_nothing_is_filled(ours, theirs):
    states = [obj(b"key-%06d" % number) for number in range(max(ours, theirs))]
    here, there = Side(*states[:ours]), Side(*states[:theirs])
    walk, _ = compare(here, there, items_max=500)
    assert sum(walk.counts.values()) == abs(ours - theirs)
    assert len(live(here)) == 3_000
    assert settled(here, there)


def test_tombstones_without_end_are_exchanged_in_pages():
    here = Side(*(gone(b"key-%06d" % number, 9) for number in range(1_000)), obj(b"key-000500", 10))
    there = Side(obj(b"key-000001", 5), obj(b"key-000999", 11), *(gone(b"other-%d" % number, 3) for number in range(300)))
    walk, exchanged = compare(here, there, page=16)
    assert sorted(walk.counts) == [Kind.DELETED_HERE, Kind.ONLY_HERE, Kind.ONLY_THERE]
    assert live(here).keys() == live(there).keys() == {Place("b", b"key-000500"), Place("b", b"key-000999")}
    assert exchanged < 5_000


@pytest.mark.parametrize("seed", range(40))
def test_random_sides_are_the_same_afterwards(seed):
    rng = random.Random(seed)
    sides = [], []
    for number in range(rng.choice((5, 100, 700))):
        common = obj(b"%04d" % number, rng.randrange(1, 4), rng.choice((A, B)))
        for side in sides:
            kind = rng.random()
            if kind < 0.97:
                side.append(common)
            elif kind < 0.99:
                stamp, origin = rng.randrange(4, 9), rng.choice((A, B))
                put, delete = obj(b"%04d" % number, stamp, origin, f"{stamp}{origin}"), gone(b"%04d" % number, stamp + 5, origin)
                side.append(rng.choice((put, delete)))
        if rng.random() < 0.05:
            for side in sides:
                side.append(BucketState(f"b{number}", Registers(tuple(sorted({Create(rng.randrange(9), rng.choice((A, B)), 1)})))))
    here, there = Side(*sides[0]), Side(*sides[1])
    truth = Side(*sides[0], *sides[1])
    compare(here, there, items_max=rng.choice((70, 1_000)), page=rng.choice((3, 64, 256)))
    assert live(here) == live(there) == live(truth)
    assert here.buckets == there.buckets == truth.buckets
    again, exchanged = compare(here, there)
    assert (again.counts, exchanged) == ({}, 0)


def test_a_peer_that_leads_nowhere_ends_the_round():
    here = Side(*(obj(b"%04d" % number) for number in range(100)))
    walk = Comparison(LATER)
    walk.own_digests(digest_ranges(walk.action.ranges, here.leaves))
    asked = walk.action.ranges
    told = digest_ranges(asked, here.leaves)
    nothing = [each._replace(items=0, splits=(), upto=wanted.first) for wanted, each in zip(asked, told, strict=True)]
    with pytest.raises(MalformedDigest, match="nothing"):
        walk.peer_digests(nothing)
    assert walk.action == PeerDigests(asked)


def test_a_page_that_leads_nowhere_ends_the_round():
    here, there = Side(obj(b"k")), Side()
    walk = Comparison(LATER)
    walk.own_digests(digest_ranges(walk.action.ranges, here.leaves))
    walk.peer_digests(digest_ranges(walk.action.ranges, there.leaves))
    with pytest.raises(MalformedDigest, match="nowhere"):
        walk.states(here.page(walk.action.range), Page((), False))


def test_answers_to_something_else_are_defects():
    walk = Comparison(LATER)
    for wrong in (lambda: walk.peer_digests([]), lambda: walk.states(Page((), True), Page((), True)), lambda: walk.own_digests([])):
        with pytest.raises(InvariantError):
            wrong()
