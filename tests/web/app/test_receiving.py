"""A peer's changes at this node: what is stored, pulled, put together and refused. Two real nodes in one process, over HTTP."""

import gc
import hashlib
import os
import socket
from base64 import b64encode

import pytest

from actors.peer import PeerUnreachable
from actors.runtime import sleep, spawn
from fasterstore.replication.change import EMPTY, Batch, BlobContent, ObjectState, OutcomeKind, Piece, encode_batch
from fasterstore.replication.change_reading import decode_batch
from tests.customer_keys import bring
from tests.web.app.hostile_peer import HostilePeer, frames, head, hold_until_closed
from tests.web.app.multipart_client import PART_BYTES, Upload
from tests.web.app.peers import TOKEN, Node, Pair
from web.peer_client import PeerClient
from web.receiving import Receiving

MIB = 1024 * 1024


@pytest.fixture
def pair(new_store):
    made = Pair(new_store)
    made.a.store.make_bucket("box")
    yield made
    made.close()


def both(pair, key):
    """What clients get of the key at both nodes, apart from what names the request or the node; the second's is a replica."""
    answers = []
    for node in (pair.a, pair.b):
        answer = node.store.send("GET", f"/box/{key}")
        assert (answer.headers.pop("x-amz-replication-status") == "REPLICA") == (node is pair.b)
        headers = {name: value for name, value in answer.headers.items() if name not in ("x-amz-request-id", "x-amz-id-2")}
        answers.append((answer.status, headers, hashlib.sha256(answer.body).hexdigest()))
    return answers


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 65536, 65537, 300_000, 3 * MIB + 17])
def test_an_object_of_any_size_arrives_with_all_that_is_said_of_it(pair, size_bytes):
    body = os.urandom(size_bytes)
    headers = {
        "x-amz-meta-colour": "blue",
        "content-type": "text/odd",
        "cache-control": "no-store",
        "x-amz-tagging": "a=b",
        "x-amz-checksum-sha256": b64encode(hashlib.sha256(body).digest()).decode(),
    }
    assert pair.a.store.send("PUT", "/box/k", body, headers).status == 200
    assert pair.ship(pair.a.state("box", b"k")) == ["applied"]
    here, there = both(pair, "k")
    assert here == there
    assert here[0] == 200
    assert pair.b.worker.index.locate("box", b"k").object.stamp == pair.a.worker.index.locate("box", b"k").object.stamp


def test_the_same_batch_again_changes_nothing(pair):
    pair.a.store.send("PUT", "/box/small", b"x")
    pair.a.store.send("PUT", "/box/large", os.urandom(200_000))
    states = [pair.a.state("box", b"small"), pair.a.state("box", b"large")]
    assert pair.ship(*states) == ["applied", "applied"]
    lsn = pair.b.worker.index.applied_lsn()
    assert pair.ship(*states) == ["superseded", "superseded"]
    assert pair.b.worker.index.applied_lsn() == lsn


# ---- objects of parts ----


def test_an_object_of_parts_arrives_part_by_part_with_its_own_etag(pair):
    upload = Upload(pair.a.store)
    upload.put(2, os.urandom(PART_BYTES))
    upload.put(5, os.urandom(PART_BYTES))
    upload.put(9, b"the end")
    assert upload.complete().status == 200
    state = pair.a.state("box", b"k")
    assert pair.ship(state) == ["applied"]
    here, there = both(pair, "k")
    assert here == there
    assert here[1]["etag"].endswith('-3"')
    for number in (2, 5, 9):
        answers = [node.store.send("GET", f"/box/k?partNumber={number}") for node in (pair.a, pair.b)]
        assert answers[0].status == answers[1].status
        assert answers[0].body == answers[1].body
    assert pair.ship(state) == ["superseded"]
    assert b"<Upload>" not in pair.b.store.send("GET", "/box?uploads").body


def test_a_transfer_of_parts_that_was_cut_short_goes_on_with_those_that_are_missing(pair):
    upload = Upload(pair.a.store)
    bodies = [os.urandom(PART_BYTES + number) for number in range(3)]
    for number, body in enumerate(bodies, 1):
        upload.put(number, body)
    assert upload.complete().status == 200
    state = pair.a.state("box", b"k")
    parts = list(state.content.parts)
    gone = parts[2]._replace(pieces=(parts[2].pieces[0]._replace(number=10_000),))
    broken = state._replace(content=state.content._replace(parts=(*parts[:2], gone)))
    assert pair.ship(broken) == ["BytesGone"]
    # A GET would be answered from the peer.
    assert pair.b.worker.index.locate("box", b"k").object is None
    sent_before = pair.a.worker.metrics.bytes_out
    assert pair.ship(state) == ["applied"]
    assert pair.a.worker.metrics.bytes_out - sent_before == len(bodies[2])
    here, there = both(pair, "k")
    assert here == there


def test_a_copy_of_an_object_of_parts_pulls_no_byte(pair):
    upload = Upload(pair.a.store)
    upload.put(1, os.urandom(PART_BYTES))
    upload.put(2, b"the end")
    upload.complete()
    pair.ship(pair.a.state("box", b"k"))
    assert pair.a.store.send("PUT", "/box/copy", headers={"x-amz-copy-source": "/box/k"}).status == 200
    sent_before = pair.a.worker.metrics.bytes_out
    assert pair.ship(pair.a.state("box", b"copy")) == ["applied"]
    assert pair.a.worker.metrics.bytes_out == sent_before
    here, there = both(pair, "copy")
    assert here == there


def test_two_names_of_one_large_blob_in_one_batch_pull_it_once(pair):
    pair.a.store.send("PUT", "/box/one", os.urandom(2 * MIB))
    pair.a.store.send("PUT", "/box/two", headers={"x-amz-copy-source": "/box/one"})
    sent_before = pair.a.worker.metrics.bytes_out
    assert pair.ship(pair.a.state("box", b"one"), pair.a.state("box", b"two")) == ["applied", "applied"]
    assert pair.a.worker.metrics.bytes_out - sent_before == 2 * MIB
    for key in ("one", "two"):
        here, there = both(pair, key)
        assert here == there


@pytest.mark.parametrize("size_bytes", [100, 65536, 300_000])
def test_what_a_customers_key_seals_travels_sealed_and_opens_with_that_key_only(pair, size_bytes):
    key, body = os.urandom(32), os.urandom(size_bytes)
    assert pair.a.store.send("PUT", "/box/k", body, bring(key)).status == 200
    assert pair.ship(pair.a.state("box", b"k")) == ["applied"]
    answer = pair.b.store.send("GET", "/box/k", headers=bring(key))
    assert (answer.status, answer.body) == (200, body)
    assert pair.b.store.send("GET", "/box/k").status == 400
    assert pair.b.store.send("GET", "/box/k", headers=bring(os.urandom(32))).status == 403


def test_parts_under_a_customers_key_travel_sealed(pair):
    key = os.urandom(32)
    upload = Upload(pair.a.store, headers=bring(key))
    bodies = [os.urandom(PART_BYTES), b"the end"]
    for number, body in enumerate(bodies, 1):
        sent = pair.a.store.send("PUT", f"/box/k?partNumber={number}&uploadId={upload.id}", body, bring(key))
        upload.etags[number] = sent.headers["etag"].strip('"')
    assert upload.complete().status == 200
    assert pair.ship(pair.a.state("box", b"k")) == ["applied"]
    assert pair.b.store.send("GET", "/box/k", headers=bring(key)).body == b"".join(bodies)


def test_an_object_for_a_bucket_that_was_never_heard_of_makes_one(pair):
    upload = Upload(pair.a.store)
    upload.put(1, b"all of it")
    upload.complete()
    assert pair.b.store.send("HEAD", "/box").status == 404
    assert pair.ship(pair.a.state("box", b"k")) == ["applied"]
    assert pair.b.store.send("GET", "/box/k").body == b"all of it"


# ---- a peer that cannot be trusted, or a line that cannot ----


def told_by(new_store, peer, body):
    """A node that has that peer for its only one, and a batch of one object of that body, whose bytes the peer is to send."""
    listener = socket.create_server(("127.0.0.1", 0))
    node = Node(new_store, listener, peer.address)
    origin, log_uuid = os.urandom(16), os.urandom(16)
    piece = Piece(os.urandom(32), 7, 0, len(body), len(body))
    state = ObjectState("box", b"k", 1 << 50, origin, len(body), "e" * 32, 1_700_000_000_000, {}, {}, {}, {}, "", BlobContent(piece, None))
    return node, encode_batch(Batch(1, origin, log_uuid, 1, 1, (state,)))


def shipped_from(new_store, peer, body, sender_waits_secs=10):
    """What becomes of that object: outcome, what a GET gets, the node."""
    node, batch = told_by(new_store, peer, body)
    client = PeerClient(node.address, peer.address, TOKEN, timeout_secs=sender_waits_secs)
    try:
        outcome = client.send_objects(batch, 1).outcomes[0]
        answer = node.store.send("GET", "/box/k")
        return outcome, answer, node
    finally:
        client.close()
        node.close()


@pytest.fixture
def hostile():
    made = []

    def make(body, script):
        peer = HostilePeer(body, script)
        made.append(peer)
        return peer

    yield make
    for peer in made:
        peer.close()


def test_bytes_that_are_not_those_of_their_hash_change_nothing(new_store, hostile, caplog):
    body = os.urandom(3 * MIB)
    wrong = bytearray(frames(body))
    wrong[2 * MIB + 100] ^= 1
    peer = hostile(body, lambda connection, data, _: connection.sendall(head(len(data)) + bytes(wrong)[-len(frames(data)) :]))
    outcome, answer, node = shipped_from(new_store, peer, body)
    assert (outcome.kind, outcome.name) == (OutcomeKind.REFUSED, "WrongBytes")
    assert answer.status == 404
    assert node.worker.refusals.counts["wrong-bytes"] == 1
    assert peer.ranges == [(0, 3 * MIB), (2 * MIB, MIB), (2 * MIB, MIB)]
    assert "wrong-bytes" in caplog.text


def test_a_transfer_that_breaks_goes_on_where_it_broke(new_store, hostile):
    body = os.urandom(5 * MIB + 3)

    def script(connection, data, request):
        # Two frames and a half, each time.
        connection.sendall((head(len(data)) + frames(data))[: int(2.5 * MIB)])

    peer = hostile(body, script)
    outcome, answer, _ = shipped_from(new_store, peer, body)
    assert outcome.kind is OutcomeKind.APPLIED
    assert answer.body == body
    assert [first for first, _ in peer.ranges] == [0, 2 * MIB, 4 * MIB]


def test_a_peer_that_begins_and_never_goes_on_is_given_up(new_store, hostile):
    body = os.urandom(2 * MIB)

    def script(connection, data, request):
        connection.sendall(head(len(data)) + b"a few bytes")
        hold_until_closed(connection)

    outcome, answer, _ = shipped_from(new_store, hostile(body, script), body)
    assert (outcome.kind, outcome.name) == (OutcomeKind.REFUSED, "PeerUnreachable")
    assert answer.status == 404


def test_another_length_than_was_asked_for_is_not_read(new_store, hostile):
    body = os.urandom(200_000)
    longer = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 99999999999\r\n\r\n"

    def script(connection, data, request):
        connection.sendall(longer + bytes(MIB))

    peer = hostile(body, script)
    outcome, answer, _ = shipped_from(new_store, peer, body)
    assert (outcome.kind, outcome.name) == (OutcomeKind.REFUSED, "PeerRefused")
    assert answer.status == 404
    assert len(peer.ranges) == 1


def test_a_redirect_is_not_followed(new_store, hostile):
    body = os.urandom(200_000)
    elsewhere = hostile(body, lambda connection, data, _: connection.sendall(head(len(data)) + frames(data)))

    def script(connection, data, request):
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.address}/x\r\nContent-Length: 0\r\n\r\n".encode())

    outcome, answer, _ = shipped_from(new_store, hostile(body, script), body)
    assert (outcome.kind, outcome.name) == (OutcomeKind.REFUSED, "PeerRefused")
    assert not elsewhere.ranges
    assert answer.status == 404


def test_a_batch_that_takes_longer_than_the_sender_waits_for_is_kept_alive(new_store, hostile):
    body = os.urandom(100_000)

    def script(connection, data, request):
        sleep(2.5)
        connection.sendall(head(len(data)) + frames(data))

    outcome, answer, _ = shipped_from(new_store, hostile(body, script), body, sender_waits_secs=1.5)
    assert outcome.kind is OutcomeKind.APPLIED
    assert answer.body == body


def test_a_pull_goes_on_when_its_sender_goes_away_and_the_next_batch_waits_for_it(new_store, hostile):
    body = os.urandom(100_000)

    def script(connection, data, request):
        sleep(2.5)
        connection.sendall(head(len(data)) + frames(data))

    peer = hostile(body, script)
    node, batch = told_by(new_store, peer, body)
    impatient = PeerClient(node.address, peer.address, TOKEN, timeout_secs=0.5)
    patient = PeerClient(node.address, peer.address, TOKEN, timeout_secs=10)
    try:
        with pytest.raises(PeerUnreachable):
            impatient.send_objects(batch, 1)
        assert len(node.worker.pulls) == 1
        assert patient.send_objects(batch, 1).outcomes[0].kind is not OutcomeKind.REFUSED
        assert len(peer.ranges) == 1
        assert node.store.send("GET", "/box/k").body == body
    finally:
        impatient.close()
        patient.close()
        node.close()


def test_a_sender_that_breaks_off_again_and_again_leaves_nothing_behind_but_the_pull(new_store, hostile):
    body = os.urandom(100_000)
    peer = hostile(body, lambda connection, data, request: hold_until_closed(connection))
    node, batch = told_by(new_store, peer, body)
    impatient = PeerClient(node.address, peer.address, TOKEN, timeout_secs=0.3)
    try:
        for _ in range(3):
            with pytest.raises(PeerUnreachable):
                impatient.send_objects(batch, 1)
        # Its second sign of life finds the connection closed.
        sleep(2.5)
        gc.collect()
        kept = [one for one in gc.get_objects() if isinstance(one, Receiving) and one._worker is node.worker]
        assert len(node.worker.pulls) == 1
        # The pull's job is a method of the first.
        assert len(kept) == 1
    finally:
        impatient.close()
        node.close()


def test_a_batch_that_waits_for_a_pull_takes_no_room_from_clients_bodies(new_store, hostile):
    body = os.urandom(100_000)
    peer = hostile(body, lambda connection, data, request: hold_until_closed(connection))
    node, batch = told_by(new_store, peer, body)
    padded = decode_batch(batch)
    small = padded.changes[0]._replace(key=b"small", size_bytes=0, content=EMPTY, user={"long": "x" * 300_000})
    batch = encode_batch(padded._replace(changes=(*padded.changes, small)))
    client = PeerClient(node.address, peer.address, TOKEN, timeout_secs=10)
    asked = spawn(client.send_objects, batch, 2)
    try:
        while not peer.ranges:
            sleep(0.02)
        assert not asked.ready()
        assert node.server.memory.used_bytes == 0
    finally:
        asked.kill()
        client.close()
        node.close()


def test_a_batch_does_not_wait_behind_clients_bodies(pair):
    pair.a.store.send("PUT", "/box/k", os.urandom(60_000))
    state = pair.a.state("box", b"k")
    memory = pair.b.server.memory
    full_bytes = -memory.excess_bytes
    memory.overdraw(full_bytes)
    assert pair.ship(state, state._replace(key=b"other")) == ["applied", "applied"]
    assert memory.used_bytes == full_bytes
