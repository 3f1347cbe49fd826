"""What is read for a peer, from a real node's log, index and segments: everything that has changed, as it is now, and no more than fits."""

import os
import random

import pykka
import pytest
from blake3 import blake3

from actors import messages as m
from actors.replication_messages import ApplyChanges, SetPeers
from fasterstore.keyring import Keyring
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import CompleteIntent, DeleteIntent, PutIntent, RenameIntent, Replica, UploadIntent
from fasterstore.replication import shipment
from fasterstore.replication.change import BATCH_MAX_BYTES, BATCH_MAX_CHANGES, BucketState, ObjectState, Tombstone
from fasterstore.replication.change_reading import decode_batch
from fasterstore.replication.cursor import START, Address, Position
from fasterstore.replication.received import ReceivedRemoval
from fasterstore.replication.work import LogRange, OwedKeys, ScanPage
from tests.storage_node import Node
from tools.replicating import open_readers

PEER = b"p" * 16


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data").start()
    made.journal.ask(SetPeers(["http://peer"]))
    made.journal.ask(m.CreateBucket("b"))
    yield made
    made.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


@pytest.fixture
def readers(node):
    made = open_readers(node.disk, node.datadir, Keyring(node.datadir.blob_key))
    yield made
    made.outgoing.close()


def head(readers):
    return readers.own._view.applied_lsn()


def changes_of(shipment):
    return [change for ready in shipment.batches for change in decode_batch(ready.body).changes]


def read_log(readers, first=1, peer=PEER):
    """All shipments from that LSN on."""
    shipments = []
    while first <= head(readers):
        shipments.append(readers.outgoing.read(LogRange(1, first, head(readers)), peer))
        assert first <= shipments[-1].reached + 1
        first = shipments[-1].reached + 1
    return shipments


def scan(readers, after=START, upto=None, until=1000):
    shipments = []
    while len(shipments) < until:
        shipments.append(readers.outgoing.read(ScanPage(1, after, upto), PEER))
        if shipments[-1].reached is None:
            break
        assert shipments[-1].reached > after
        after = shipments[-1].reached
    return shipments


def place_of(change):
    return Position(change.name, b"") if isinstance(change, BucketState) else Position(change.bucket, change.key)


def replicated(node, key, body):
    replica = Replica(1 << 60, PEER, 5, b"l" * 16, 77)
    intent = PutIntent("b", key, len(body), "e", {}, {}, {}, replica=replica)
    return node.writer.ask(m.PutObject(intent, blake3(body, key=node.datadir.blob_key).digest(), body))


def test_what_has_changed_is_told_as_it_is_now_and_once(node, readers):
    node.put(b"k", b"first")
    node.put(b"k", b"second", tags={"a": "b"})
    node.put(b"gone", b"body")
    node.journal.ask(m.DeleteObject("b", DeleteIntent(b"gone")))
    node.put(b"old", b"named")
    node.journal.ask(m.RenameObject(RenameIntent("b", b"old", b"new")))
    (shipment,) = read_log(readers)
    found = {place_of(change): change for change in changes_of(shipment)}
    assert len(found) == shipment.changes == 5
    assert found["b", b"k"].content.inline == b"second"
    assert found["b", b"k"].tags == {"a": "b"}
    assert found["b", b"new"].content.inline == b"named"
    assert type(found["b", b"gone"]) is type(found["b", b"old"]) is Tombstone
    assert type(found["b", b""]) is BucketState
    assert shipment.reached == head(readers)
    batch = decode_batch(shipment.batches[0].body)
    assert (batch.node_id, batch.log_uuid) == (node.datadir.node_id, node.datadir.log_uuid)
    assert (batch.first_lsn, batch.upto_lsn) == (1, head(readers))


def test_no_batch_is_larger_than_it_may_be_and_nothing_is_left_out(node, readers):
    bodies = {b"%d" % number: os.urandom(50_000) for number in range(60)} | {b"small %d" % number: b"x%d" % number for number in range(600)}
    for key, body in bodies.items():
        node.put(key, body)
    for shipments in (read_log(readers), scan(readers)):
        found = [change for shipment in shipments for change in changes_of(shipment)]
        assert {change.key: change.content.inline for change in found if isinstance(change, ObjectState)} == bodies
        assert all(shipment.changes <= BATCH_MAX_CHANGES and shipment.size_bytes <= BATCH_MAX_BYTES for shipment in shipments)
        assert len(shipments) > 3


def test_what_is_acknowledged_was_told_also_where_a_later_entry_that_does_not_fit_tells_of_it_again(node, readers, monkeypatch):
    first = head(readers) + 1
    for key in (b"k", b"l", b"m", b"n", b"k"):
        node.put(key, b"body of " + key)
    for at_most in (1, 2, 3):
        monkeypatch.setattr(shipment, "BATCH_MAX_CHANGES", at_most)
        sent = read_log(readers, first)
        assert [change.key for change in changes_of(sent[0])] == [b"k", b"l", b"m"][:at_most]
        assert sent[0].reached < head(readers)


def test_a_peers_own_changes_are_not_sent_back_to_it_but_to_others_and_by_a_scan(node, readers):
    first = head(readers) + 1
    replicated(node, b"theirs", b"body")
    removal = ReceivedRemoval("b", b"removed", 1 << 60, PEER, 5)
    node.journal.ask(ApplyChanges(b"l" * 16, [], [], [removal]))
    node.put(b"ours", b"body")
    keys = {change.key for shipment in read_log(readers, first) for change in changes_of(shipment)}
    assert keys == {b"ours"}
    keys = {change.key for shipment in read_log(readers, first, b"other" + bytes(11)) for change in changes_of(shipment)}
    assert keys == {b"ours", b"theirs", b"removed"}
    keys = {place_of(change).key for shipment in scan(readers) for change in changes_of(shipment)}
    assert keys == {b"", b"ours", b"theirs", b"removed"}


def test_a_scan_goes_through_everything_in_order_from_any_place_to_any_other(node, readers):
    chance = random.Random(3)
    for name in ("c", "empty", "z"):
        node.journal.ask(m.CreateBucket(name))
    node.journal.ask(m.CreateBucket("went"))
    node.journal.ask(m.DeleteBucket("went"))
    for number in range(400):
        bucket = chance.choice("bcz")
        node.put(b"%04d" % number, b"x", bucket=bucket)
        if chance.random() < 0.3:
            node.journal.ask(m.DeleteObject(bucket, DeleteIntent(b"%04d" % number)))
    whole = [place_of(change) for shipment in scan(readers) for change in changes_of(shipment)]
    places = sorted(whole)
    assert len(places) == len(set(places)) == 405
    assert [place for place in places if not place.key] == [Position(name, b"") for name in ("b", "c", "empty", "went", "z")]
    for _ in range(60):
        after, upto = sorted(chance.sample([START, *places, Position("b", b"0"), Position("bb", b"x"), Position("zz", b"")], 2))
        found = sorted(place_of(change) for shipment in scan(readers, after, upto) for change in changes_of(shipment))
        assert found == [place for place in places if after < place <= upto], (after, upto)


def test_a_delete_is_told_from_the_log_also_where_it_has_left_no_tombstone(node, readers):
    node.journal.ask(SetPeers([]))  # without peers none is written
    node.put(b"gone", b"body")
    node.put(b"old", b"body")
    node.put(b"back", b"body")
    for key in (b"gone", b"back"):
        node.journal.ask(m.DeleteObject("b", DeleteIntent(key)))
    node.put(b"back", b"again")
    node.journal.ask(m.RenameObject(RenameIntent("b", b"old", b"new")))
    view = readers.own._view
    assert view.replication.key_state("b", b"gone").tombstone is None
    found = {place_of(change).key: change for shipment in read_log(readers) for change in changes_of(shipment)}
    assert type(found[b"gone"]) is type(found[b"old"]) is Tombstone
    assert found[b"gone"].stamp < found[b"old"].stamp == view.replication.key_state("b", b"new").object.stamp
    assert found[b"back"].content.inline == b"again"


def test_owed_keys_are_read_as_they_are_now(node, readers):
    node.put(b"k", b"body")
    addresses = (Address("b", b"k"), Address("b", b"never heard of"), Address("b", None), Address("nobucket", None))
    shipment = readers.outgoing.read(OwedKeys(1, addresses), PEER)
    assert shipment.reached == 4
    assert {place_of(change) for change in changes_of(shipment)} == {Position("b", b"k"), Position("b", b"")}


def test_objects_of_parts_tell_every_piece(node, readers):
    upload = node.journal.ask(m.CreateUpload(UploadIntent("b", b"k", "token", {}, {}, {}, "", "", ""))).number
    bodies = [os.urandom(30_000), os.urandom(20_000)]
    for number, body in enumerate(bodies, 1):
        node.put(b"k", body, upload=upload, part=number)
    node.put(b"k", b"left out", upload=upload, part=3)
    version = readers.own._view.uploads.upload(readers.own._view.bucket("b").bucket_id, b"k", upload).version
    node.journal.ask(m.CompleteUpload(CompleteIntent("b", b"k", upload, version, pack_map([(1, 30_000), (2, 20_000)]), "e-2", {})))
    (change,) = [change for shipment in read_log(readers) for change in changes_of(shipment) if isinstance(change, ObjectState)]
    content = change.content
    assert (content.number, [part.number for part in content.parts], change.size_bytes) == (upload, [1, 2], 50_000)
    for part, body in zip(content.parts, bodies, strict=True):
        (piece,) = part.pieces
        assert piece.blob_id == blake3(body, key=node.datadir.blob_key).digest()
        assert (piece.first, piece.length, piece.record_bytes) == (0, len(body), len(body))
        placed = readers.own._view.uploads.blob(piece.number)
        assert placed.blob.blob_id == piece.blob_id


@pytest.mark.parametrize("harm", ["rotten", "gone"])
def test_a_record_that_cannot_be_read_is_told_of_without_its_bytes(node, readers, harm):
    node.put(b"k", b"body of the object")
    place = readers.own._view.locate("b", b"k").blob.location
    name = next(name for name in node.disk.listdir(node.datadir.segments_dir) if int(name.split(".")[0], 16) == place.segment_id)
    path = os.path.join(node.datadir.segments_dir, name)
    if harm == "gone":
        node.disk.unlink(path)
    else:
        fd = node.disk.open(path)
        node.disk.pwrite(fd, b"\xff", place.offset + 130)
    (change,) = [change for shipment in read_log(readers) for change in changes_of(shipment) if isinstance(change, ObjectState)]
    assert change.content.inline is None
    assert change.content.piece.length == 18


def test_what_is_held_of_a_range_is_counted_and_paged_the_same_way(node, readers):
    from fasterstore.replication.digest import FIRST_PLACE, KeyRange, Place, Scope

    for number in range(600):
        node.put(b"%04d" % number, b"x")
    node.journal.ask(m.DeleteObject("b", DeleteIntent(b"0100")))
    everything = KeyRange(Scope.OBJECTS, FIRST_PLACE, None)
    assert readers.own.objects() == 600
    assert readers.own.digests([everything])[0].items == 599
    page = readers.own.page(everything)
    assert (len(page.states), page.whole) == (256, False)
    some = KeyRange(Scope.OBJECTS, Place("b", b"0100"), Place("b", b"0200"))
    page = readers.own.page(some)
    assert [state.key for state in page.states] == [b"%04d" % number for number in range(100, 200)]
    assert page.whole
    assert isinstance(page.states[0], Tombstone)
    assert all(state.content.inline is None for state in page.states[1:])
    assert [state.name for state in readers.own.page(KeyRange(Scope.BUCKETS, FIRST_PLACE, None)).states] == ["b"]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_order_and_the_pieces_the_last_word_on_every_key_is_told(node, readers, seed):
    chance = random.Random(seed)
    keys = [b"%02d" % number for number in range(25)]
    for _ in range(25):
        asks = []
        for _ in range(chance.randint(1, 40)):
            node.now_ms += chance.randrange(3)
            key = chance.choice(keys)
            what = chance.random()
            if what < 0.6:
                asks.append((node.writer, node.small(key, os.urandom(chance.choice([0, 10, 3000, 60_000])))))
            elif what < 0.8:
                asks.append((node.journal, m.DeleteObject("b", DeleteIntent(key))))
            elif what < 0.9:
                asks.append((node.journal, m.AmendObject("b", key, {"n": str(chance.random())}, None)))
            else:
                asks.append((node.journal, m.RenameObject(RenameIntent("b", key, chance.choice(keys)))))
        for reply in [ref.ask(message, block=False) for ref, message in asks]:
            reply.get(timeout=10)
    told = {}
    first = 1
    while first <= head(readers):
        shipment = readers.outgoing.read(LogRange(1, first, min(head(readers), first + chance.randrange(200))), PEER)
        places = [place_of(change) for change in changes_of(shipment)]
        assert len(places) == len(set(places))
        told |= {place_of(change): change for change in changes_of(shipment) if not isinstance(change, BucketState)}
        first = shipment.reached + 1
    view = readers.own._view
    for key in keys:
        state = view.replication.key_state("b", key)
        expected = state.object or state.tombstone
        change = told.get(Position("b", key))
        assert (change is None) == (expected is None)
        if change is not None:
            assert (change.stamp, change.origin) == (expected.stamp, expected.origin)
            assert isinstance(change, ObjectState) == (state.object is not None)
        if isinstance(change, ObjectState) and change.size_bytes:
            blob = view.uploads.blob(state.object.blob).blob
            assert blake3(change.content.inline, key=node.datadir.blob_key).digest() == blob.blob_id == change.content.piece.blob_id
