"""What a sender reads: every key once and in order whatever the page, tombstones among them, and numbers of blobs both ways."""

import random

import pytest

from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_schema import PeerBlobRow, ReplicationState
from fasterstore.model import DeleteIntent, Replica
from fasterstore.replication.merge import Create

PEER, PEER_LOG = b"P" * 16, b"p" * 16


@pytest.fixture
def view(lab):
    opened = IndexView(lab.path)
    yield opened
    opened.close()


@pytest.fixture
def filled(lab):
    """Buckets with objects and tombstones mixed, an empty one, one that has gone and left tombstones; what there is, in order."""
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    for bucket in ("a", "b.b", "empty", "gone", "z"):
        lab.now(lambda bucket=bucket: lab.ask.create_bucket(bucket, lab.now_ms))
    rng = random.Random(5)
    expected = []
    for bucket in ("a", "b", "b.b", "gone", "z"):
        for key in {bytes(rng.choices(b"\x00a/\xff", k=rng.randrange(1, 4))) for _ in range(9)}:
            lab.now(lambda bucket=bucket, key=key: lab.put(key, b"x", bucket=bucket))
            if bucket == "gone" or rng.random() < 0.4:
                lab.now(lambda bucket=bucket, key=key: lab.ask.delete(bucket, DeleteIntent(key), lab.now_ms))
            expected.append((bucket.encode(), key))
    lab.now(lambda: lab.ask.delete_bucket("gone", lab.now_ms))
    return sorted(expected)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_every_state_is_read_once_and_in_order_whatever_the_page(filled, view, limit):
    found, page = [], view.replication.states_after("", None, limit)
    while page:
        assert len(page) <= limit
        found += page
        page = view.replication.states_after(page[-1].bucket, page[-1].key, limit)
    assert [(state.bucket.encode(), state.key) for state in found] == filled
    assert all((state.object is None) != (state.tombstone is None) for state in found)
    assert found == view.replication.key_states((state.bucket, state.key) for state in found)


def test_a_scan_begins_behind_any_place_also_one_that_is_not_there(filled, view):
    for bucket, key in [("", None), ("a", None), ("a", b"a"), ("aa", b"zz"), ("b", b"\xff\xff\xff\xff"), ("gone", None), ("zz", None)]:
        after = [place for place in filled if place > (bucket.encode(), key or b"")]
        page = view.replication.states_after(bucket, key, 5)
        assert [(state.bucket.encode(), state.key) for state in page] == after[:5]


def test_a_key_that_nobody_has_heard_of_has_no_state(lab, view):
    for bucket in ("b", "nobucket"):
        state = view.replication.key_state(bucket, b"k")
        assert (state.object, state.tombstone) == (None, None)
    assert view.replication.key_states([]) == []


def test_registers_are_read_by_name_and_in_order_also_of_what_has_gone(filled, lab, view):
    names = [row.name for row in view.replication.registers_after("", 100)]
    assert names == ["a", "b", "b.b", "empty", "gone", "z"]
    assert [row.name for row in view.replication.registers_after("b", 2)] == ["b.b", "empty"]
    assert view.replication.registers("gone").gone_ms and not view.replication.registers("gone").registers.creates
    made = view.replication.registers("b")
    assert made.gone_ms == 0
    assert made.registers.creates == (Create(made.registers.creates[0].stamp, lab.who.node_id, view.bucket("b").created_ms),)
    assert view.replication.registers("never") is None


def test_the_state_is_that_of_the_last_commit(lab, view):
    assert view.replication.state() == ReplicationState()
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    assert view.replication.state() == lab.index.replication.state
    assert view.replication.state().peers == ("http://p",)


def test_numbers_of_blobs_are_read_both_ways_until_the_blob_is_forgotten(lab, view):
    def replicate(key, number, body):
        replica = Replica(lab.now_ms << 16, PEER, lab.now_ms, PEER_LOG, number)
        lab.now(lambda: lab.put(key, body, lab.find(body), replica=replica))

    replicate(b"k", 7, b"bytes")
    replicate(b"same", 8, b"bytes")
    blob = lab.object(b"k").blob
    assert (view.replication.local_blob(PEER_LOG, 7), view.replication.local_blob(PEER_LOG, 8)) == (blob, blob)
    assert view.replication.local_blob(PEER_LOG, 9) is view.replication.local_blob(b"q" * 16, 7) is None
    assert view.replication.peer_blobs_of(blob) == [PeerBlobRow(PEER_LOG, 7, blob), PeerBlobRow(PEER_LOG, 8, blob)]
    lab.now(lambda: lab.delete(b"k"), lambda: lab.delete(b"same"))
    lab.now(lambda: lab.ask.forget_blobs(lab.now_ms, 10, lab.now_ms))
    assert view.replication.peer_blobs_of(blob) == []
    assert view.replication.local_blob(PEER_LOG, 7) is None


def test_a_hidden_upload_is_found_by_its_token(lab, view):
    numbers = [lab.upload(b"k") for _ in range(20)]
    lab.upload(b"kk")
    token = lab.index.uploads.upload(lab.bucket_id(), b"k", numbers[-1]).token
    assert view.uploads.upload_by_token(lab.bucket_id(), b"k", token).number == numbers[-1]
    assert view.uploads.upload_by_token(lab.bucket_id(), b"k", "token of another") is None
    assert view.uploads.upload_by_token(lab.bucket_id(), b"j", token) is None
