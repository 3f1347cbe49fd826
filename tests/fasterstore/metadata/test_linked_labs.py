"""Nodes that both take writes come to the same state, whatever is carried between them when, how often and in which order."""

import random

import pytest

from fasterstore.metadata.judge import Identity
from fasterstore.model import DeleteIntent, RenameIntent
from tests.fasterstore.metadata.linked_labs import agreed, carry, settle, state_now, states_of
from tests.fasterstore.metadata.random_requests import RandomRequests
from tests.storage_node import audit, dump

HOUR_MS = 3_600_000


@pytest.fixture
def make(tmp_path, make_lab):
    def make(*skews_ms):
        """A lab for each clock, which is that far from the first one's."""
        labs = []
        for number, skew_ms in enumerate(skews_ms):
            who = Identity(bytes([65 + number]) * 16, bytes([97 + number]) * 16)
            lab = make_lab(tmp_path / f"{number}.db", who=who).start()
            lab.rng, lab.now_ms = random.Random(number), lab.now_ms + skew_ms
            lab.random_requests = RandomRequests(lab, peers=False)
            lab.now(lambda lab=lab: lab.ask.replication.set_peers(["http://peer"], lab.now_ms))
            labs.append(lab)
        return labs

    return make


def agree(labs):
    """Carry everything; then all labs hold the same and every index adds up."""
    settle(labs)
    first, *others = [agreed(lab) for lab in labs]
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            assert mine == theirs
    for lab in labs:
        audit(lab.path)
    return first


@pytest.mark.parametrize(
    ("skews_ms", "seed"),
    [((0, 0), 0), ((0, 1), 1), ((0, 1), 2), ((0, 1, 2), 3), ((0, 3, 0), 4), ((0, HOUR_MS), 5), ((0, HOUR_MS), 6), ((0, -HOUR_MS, 40), 7)],
)
def test_any_interleaving_of_writes_and_shipments_ends_in_one_state(make, skews_ms, seed):
    labs = make(*skews_ms)
    rng = random.Random(seed)
    held = []  # states that are on their way; some come late, twice or never
    for _ in range(60):
        lab = rng.choice(labs)
        lab.batch(*(lab.random_step(rng) for _ in range(rng.randrange(1, 6))))
        source, target = rng.sample(labs, 2)
        states = states_of(source)
        held += [(source, target, state) for state in rng.sample(states, min(len(states), 4))]
        rng.shuffle(held)
        while held and rng.random() < 0.7:
            source, target, state = held.pop() if rng.random() < 0.8 else held[-1]
            state = state_now(source, state)
            if state is not None:
                carry(source, target, state)
    agree(labs)
    before = [dump(lab.path) for lab in labs]
    assert settle(labs) == 1  # nothing loops: another round changes nothing
    assert [dump(lab.path) for lab in labs] == before


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_of_a_log_with_peers_changes_gives_the_same_rows(make, make_lab, tmp_path, seed):
    labs = make(0, HOUR_MS)
    rng = random.Random(seed)
    for _ in range(25):
        for lab in labs:
            lab.batch(*(lab.random_step(rng) for _ in range(4)))
        settle(labs)
    for number, lab in enumerate(labs):
        lab.close()
        again = make_lab(tmp_path / f"again-{number}.db", lab.disk, who=lab.who)
        list(again.journal.replay(lab.disk, "/journal"))
        assert dump(again.path) == dump(lab.path)


def put(lab, key, body, bucket="b"):
    return lab.now(lambda: lab.put(key, body, bucket=bucket))


def create(lab, bucket="b"):
    lab.now(lambda: lab.ask.create_bucket(bucket, lab.now_ms))


def delete(lab, key, bucket="b"):
    lab.now(lambda: lab.ask.delete(bucket, DeleteIntent(key), lab.now_ms))


def test_the_later_write_wins_on_both_sides_and_a_delete_stays_one(make):
    one, two = make(0, 5)
    create(one)
    put(one, b"k", b"first")
    agree([one, two])
    put(one, b"k", b"one's")
    two.now_ms = one.now_ms + 10
    put(two, b"k", b"two's, later")
    agree([one, two])
    assert one.read(b"k") == two.read(b"k") == b"two's, later"
    one.now_ms = two.now_ms + 10
    delete(one, b"k")
    agree([one, two])
    assert one.read(b"k") is two.read(b"k") is None


def test_a_local_write_is_above_what_stands_there_even_if_that_came_from_a_clock_far_ahead(make):
    one, two = make(0, HOUR_MS)
    create(two)
    put(two, b"k", b"from the future")
    put(two, b"other", b"from the future")
    agree([one, two])
    last = one.index.state.last_stamp
    assert last >> 16 < one.now_ms + HOUR_MS / 2
    put(one, b"k", b"now")
    delete(one, b"other")
    assert one.index.state.last_stamp == last  # a stamp above one far ahead does not become the node's clock
    put(one, b"new", b"now")
    assert one.index.state.last_stamp >> 16 == one.now_ms - 1
    agree([one, two])
    assert [two.read(key) for key in (b"k", b"other", b"new")] == [b"now", None, b"now"]
    put(one, b"other", b"again")
    agree([one, two])
    assert two.read(b"other") == b"again"


def test_a_rename_and_a_write_of_the_old_name_elsewhere_are_both_kept(make):
    one, two = make(0, 0)
    create(one)
    put(one, b"old", b"bytes")
    agree([one, two])
    one.now(lambda: one.ask.rename(RenameIntent("b", b"old", b"new"), one.now_ms))
    two.now_ms = one.now_ms + 5
    put(two, b"old", b"written later")
    agree([one, two])
    assert [one.read(key) for key in (b"old", b"new")] == [b"written later", b"bytes"]


def test_a_bucket_deleted_on_one_side_while_the_other_writes_into_it_stays(make):
    one, two = make(0, 0)
    create(one)
    one.now(lambda: one.ask.configure("b", "cors", b"<x/>", one.now_ms))
    agree([one, two])
    put(two, b"k", b"just in time")
    one.now_ms = two.now_ms + 50
    one.now(lambda: one.ask.delete_bucket("b", one.now_ms))
    keys, _, registers, buckets = agree([one, two])
    assert list(keys) == [("b", b"k")]
    assert [(name, settings) for name, _, settings in buckets] == [("b", {})]
    assert len(registers["b"][0].creates) >= 1
    delete(two, b"k")
    agree([one, two])
    assert one.index.bucket("b") is not None and two.index.bucket("b") is not None


def test_a_bucket_deleted_and_made_again_with_other_settings_is_so_everywhere(make):
    one, two = make(0, 0)
    create(one)
    one.now(lambda: one.ask.configure("b", "cors", b"<x/>", one.now_ms))
    agree([one, two])
    one.now(lambda: one.ask.delete_bucket("b", one.now_ms))
    agree([one, two])
    assert two.index.bucket("b") is None
    two.now_ms = one.now_ms + 5
    two.now(lambda: two.ask.create_bucket("b", two.now_ms, {"acl": b"<y/>"}))
    *_, buckets = agree([one, two])
    assert [(name, settings) for name, _, settings in buckets] == [("b", {"acl": b"<y/>"})]


def test_without_a_tombstone_a_delete_is_undone_by_the_peer(make):
    """The planted bug: what the tombstone is for."""
    one, two = make(0, 0)
    create(one)
    put(one, b"k", b"x")
    agree([one, two])
    one.now(lambda: one.ask.replication.set_peers([], one.now_ms))
    delete(one, b"k")
    set_ms = one.now_ms
    one.now(lambda: one.ask.replication.set_peers(["http://peer"], one.now_ms))
    assert one.index.replication.state.horizon_ms == set_ms
    agree([one, two])
    assert one.read(b"k") == two.read(b"k") == b"x"


def test_an_object_of_parts_changes_its_tags_without_its_parts_being_sent_again(make):
    one, two = make(0, 0)
    create(one)
    one.manifest(b"part one", b"part two")
    agree([one, two])
    one.now(lambda: one.ask.amend("b", b"k", {"a": "b"}, None, one.now_ms))
    manifest = two.object(b"k").manifest
    agree([one, two])
    assert two.object(b"k").manifest == manifest and two.object(b"k").tags == {"a": "b"}
    assert two.index.uploads.manifest(manifest).refs == 1


def test_bytes_that_the_peer_sent_once_are_claimed_by_their_number_afterwards(make):
    one, two = make(0, 0)
    create(one)
    put(one, b"k", b"bytes")
    agree([one, two])
    before = two.index.state.last_blob
    one.now(lambda: one.copy(b"k", b"copy"))
    one.now(lambda: one.ask.rename(RenameIntent("b", b"k", b"renamed"), one.now_ms))
    two.bodies.clear()  # whoever looked for them would not find them
    agree_blobs = [carry(one, two, state) for state in states_of(one)]
    assert any(agree_blobs) and two.index.state.last_blob == before
    assert two.index.blob(two.object(b"copy").blob).refs == 2
    audit(two.path)
