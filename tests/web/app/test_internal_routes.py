"""What a node tells a peer that asks: status, digests, pages of states, blobs."""

import os

import pytest

from actors.peer import PeerRefused
from fasterstore.replication.anti_entropy import PAGE_STATES
from fasterstore.replication.blob_frames import FRAME_BYTES
from fasterstore.replication.change import BucketState, ObjectState, Tombstone
from fasterstore.replication.digest import FIRST_PLACE, KeyRange, Place, Scope
from tests.web.app.peers import TOKEN, Pair
from web.peer_client import NotThere
from web.peers import make_client

ALL = KeyRange(Scope.OBJECTS, FIRST_PLACE, None)


@pytest.fixture
def pair(new_store):
    made = Pair(new_store)
    for node in (made.a, made.b):
        node.store.make_bucket("box")
    yield made
    made.close()


def test_the_status_says_who_answers_and_what_it_has_heard(pair):
    status = pair.to_b.status()
    assert status.node_id == pair.b.worker.node_id
    assert status.log_uuid == pair.b.worker.index.log_uuid()
    assert status.horizon_ms == pair.b.worker.index.replication.state().horizon_ms
    assert status.known_blob == 0


def test_the_status_says_up_to_where_it_knows_the_blobs_of_the_callers_log(pair):
    for number in range(3):
        pair.a.store.send("PUT", f"/box/k{number}", b"%d" % number)
    assert pair.ship(pair.a.state("box", b"k2"), pair.a.state("box", b"k0")) == ["applied", "applied"]
    index = pair.a.worker.index
    caller = make_client(pair.a.store.settings, pair.b.address, log_uuid=index.log_uuid())
    assert caller.status().known_blob == index.state().last_blob == 3
    assert pair.to_b.status().known_blob == 0
    caller.close()


def test_digests_of_the_same_objects_are_the_same_and_tell_a_difference(pair):
    for number in range(200):
        pair.b.store.send("PUT", f"/box/key-{number:03}", b"x")
    (whole,) = pair.to_b.digest([ALL])
    assert whole.items == 200
    assert whole.splits
    parts = [KeyRange(Scope.OBJECTS, Place("box", b"key-100"), None), KeyRange(Scope.OBJECTS, FIRST_PLACE, Place("box", b"key-100"))]
    upper, lower = pair.to_b.digest(parts)
    assert (lower.items, upper.items) == (100, 100)
    assert (int.from_bytes(lower.digest, "big") + int.from_bytes(upper.digest, "big")) % (1 << 256) == int.from_bytes(whole.digest, "big")
    pair.b.store.send("DELETE", "/box/key-150")
    changed, same = pair.to_b.digest(parts)
    assert changed.items == 99
    assert same == lower


def test_digests_of_buckets_count_those_that_were_made(pair):
    before = pair.to_b.digest([KeyRange(Scope.BUCKETS, FIRST_PLACE, None)])[0]
    pair.b.store.make_bucket("second")
    after = pair.to_b.digest([KeyRange(Scope.BUCKETS, FIRST_PLACE, None)])[0]
    assert (before.items, after.items) == (1, 2)
    assert before.digest != after.digest


def test_pages_lead_through_all_states_in_order(pair):
    keys = [f"key-{number:03}".encode() for number in range(130)]
    for key in keys:
        pair.b.store.send("PUT", f"/box/{key.decode()}", key)
    found, asked = [], ALL
    while True:
        page = pair.to_b.snapshot_page(asked, 50)
        found += page.states
        if page.whole:
            break
        last = page.states[-1]
        asked = ALL._replace(first=Place(last.bucket, last.key + b"\0"))
    assert [state.key for state in found] == keys
    assert all(isinstance(state, ObjectState) and state.content.inline is None for state in found)
    bounded = pair.to_b.snapshot_page(KeyRange(Scope.OBJECTS, Place("box", keys[3]), Place("box", keys[6])), PAGE_STATES)
    assert [state.key for state in bounded.states] == keys[3:6]
    assert bounded.whole
    buckets = pair.to_b.snapshot_page(KeyRange(Scope.BUCKETS, FIRST_PLACE, None), 10)
    assert [type(state) for state in buckets.states] == [BucketState]


def test_a_page_that_cannot_be_is_refused(pair):
    with pytest.raises(PeerRefused, match="400 InvalidArgument"):
        pair.to_b.snapshot_page(ALL, PAGE_STATES + 1)


def test_a_tombstone_has_its_place_in_a_page(pair):
    from actors.replication_messages import SetPeers

    pair.b.store.directory.get("metadata-journal").ask(SetPeers(["http://127.0.0.1:1"]))
    pair.b.store.send("PUT", "/box/k", b"x")
    pair.b.store.send("DELETE", "/box/k")
    (state,) = pair.to_b.snapshot_page(ALL, 10).states
    assert isinstance(state, Tombstone)
    assert (state.bucket, state.key) == ("box", b"k")


@pytest.mark.parametrize("size_bytes", [1, 70_000, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 5])
def test_a_blob_comes_in_frames_from_any_byte_on(pair, size_bytes):
    body = os.urandom(size_bytes)
    pair.b.store.send("PUT", "/box/k", body)
    found = pair.b.worker.index.locate("box", b"k").blob
    log_uuid = pair.b.worker.index.log_uuid()
    for first in {0, size_bytes // 2, size_bytes - 1}:
        stream = pair.to_b.open_blob(found.blob_id, found.number, log_uuid, first, size_bytes - first)
        buffer, got = memoryview(bytearray(FRAME_BYTES)), b""
        while count := stream.read_frame(buffer):
            got += bytes(buffer[:count])
        stream.close()
        assert got == body[first:]


def test_a_blob_that_is_another_or_none_is_not_there(pair):
    pair.b.store.send("PUT", "/box/k", b"x" * 100)
    found = pair.b.worker.index.locate("box", b"k").blob
    log_uuid = pair.b.worker.index.log_uuid()
    for blob_id, number, log in (
        (os.urandom(32), found.number, log_uuid),
        (found.blob_id, found.number + 1, log_uuid),
        (found.blob_id, found.number, os.urandom(16)),
    ):
        with pytest.raises(NotThere):
            pair.to_b.open_blob(blob_id, number, log, 0, 100)


def test_a_peers_number_names_the_copy_that_came_from_it(pair):
    body = os.urandom(200_000)
    pair.a.store.send("PUT", "/box/k", body)
    assert pair.ship(pair.a.state("box", b"k")) == ["applied"]
    held = pair.a.worker.index.locate("box", b"k").blob
    stream = pair.to_b.open_blob(held.blob_id, held.number, pair.a.worker.index.log_uuid(), 0, len(body))
    buffer = memoryview(bytearray(FRAME_BYTES))
    assert bytes(buffer[: stream.read_frame(buffer)]) == body
    stream.close()


def test_an_operator_gets_the_bytes_of_a_blob_as_they_are(pair):
    pair.b.store.send("PUT", "/box/k", b"0123456789")
    found = pair.b.worker.index.locate("box", b"k").blob
    target, headers = f"/_internal/blob/{found.blob_id.hex()}", {"x-fs-internal-token": TOKEN}
    assert pair.b.store.send("GET", target, headers=headers, sign="").body == b"0123456789"
    part = pair.b.store.send("GET", target, headers=headers | {"range": "bytes=3-5"}, sign="")
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"345", "bytes 3-5/10")
    for wrong, status in ((f"/_internal/blob/{'0' * 64}", 404), ("/_internal/blob/00", 400), (f"{target}?log=zz&number=1", 400)):
        assert pair.b.store.send("GET", wrong, headers=headers, sign="").status == status
