"""metadata-journal: a peer's changes through the real actors, each with the reply that its message promises, and what it leaves behind."""

import pytest

from actors import messages as m
from actors import replication_messages as peer
from actors.wire import ASK, decode, encode
from fasterstore.metadata.entries import decode as decode_entry
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_entries import TombstonesExpired
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import DeleteIntent, PutIntent, Replica, Slice, UploadIntent
from fasterstore.replication.hidden_upload import hidden_token
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting, home_of
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval
from fasterstore.storage.wal_recovery import read_from
from tests.actors.test_segment_writer import finish, reserve, stored_bytes
from tests.storage_node import audit, rows

PEER, PEER_LOG = b"P" * 16, b"p" * 16
DAY_SECS = 86_400


@pytest.fixture
def view(node):
    made = IndexView(node.index_path)
    yield made
    made.close()


def replica(node, number=7, **more):
    return Replica(node.now_ms << 16, PEER, node.now_ms, PEER_LOG, number)._replace(**more)


def received(node, key, size_bytes=5, **more):
    return ReceivedObject(
        "b", key, size_bytes, "e" * 32, node.now_ms, {}, {}, {}, {}, "", node.now_ms << 16, PEER, 7, size_bytes, 0
    )._replace(**more)  # fmt: skip


def apply(node, buckets=(), objects=(), removals=()):
    return node.journal.ask(peer.ApplyChanges(PEER_LOG, list(buckets), list(objects), list(removals)))


def test_bytes_that_came_along_are_stored_under_the_peers_pair_and_a_second_time_superseded(node, view):
    stored = node.put(b"k", b"bytes", replica=replica(node))
    assert (type(stored), stored.lsn) == (m.Stored, view.applied_lsn())
    assert view.locate("b", b"k").object.origin == PEER
    again = node.put(b"k", b"other bytes", replica=replica(node))
    assert again == m.Refused("Superseded")
    node.settle()
    audit(node.index_path)


def test_a_record_that_was_written_for_a_superseded_change_is_given_back(node):
    first, late = b"x" * 100_000, b"y" * 200_000
    stored = node.writer.ask(finish(node, reserve(node, len(first)), b"k", first, replica=replica(node)))
    assert type(stored) is m.Stored
    assert node.writer.ask(finish(node, reserve(node, len(late)), b"k", late, replica=replica(node, 8))) == m.Refused("Superseded")
    assert stored_bytes(node, b"k") == first
    node.settle()
    entries = [type(decode_entry(data)).__name__ for _, data in read_from(node.disk, node.datadir.journal_dir, 1)]
    assert entries.count("RangePunched") == 1


def test_changes_are_answered_one_by_one(node, view):
    node.put(b"k", b"bytes", replica=replica(node))
    made = Registers((Create(node.now_ms << 16, PEER, 5),))
    answer = apply(
        node,
        [ReceivedBucket("new", made), ReceivedBucket("never", Registers())],
        [received(node, b"claimed"), received(node, b"missing", blob=8), received(node, b"k"), received(node, b"in new", bucket="new")],
        [ReceivedRemoval("b", b"gone", node.now_ms << 16, PEER, 5), ReceivedRemoval("b", b"k", 1, PEER, 5)],
    )
    assert answer == peer.ChangesApplied(["", "Superseded"], ["", "BytesMissing", "Superseded", ""], ["", "Superseded"])
    assert view.locate("new", b"in new").object.blob == view.locate("b", b"k").object.blob
    assert view.replication.key_state("b", b"gone").tombstone.stamp == node.now_ms << 16
    node.restart()
    audit(node.index_path)


def test_an_object_of_parts_is_put_together_and_adopted(node, view):
    intent = UploadIntent("b", b"k", hidden_token(PEER_LOG, 4), {}, {}, {}, "", "", "")
    number = node.journal.ask(m.CreateUpload(intent)).number
    stored = node.put(b"k", b"first", upload=number, part=1, replica=replica(node))
    assert (type(stored), stored.deduplicated) == (m.Stored, False)
    again = node.put(b"k", b"first", upload=number, part=3, replica=replica(node))
    assert (type(again), again.deduplicated) == (m.Stored, True)
    part = PutIntent("b", b"k", 3, "e" * 32, {}, {}, {}, upload=number, part=2)
    claimed = node.journal.ask(peer.ClaimPart(part, PEER_LOG, [Slice(7, 1, 3)]))
    assert (type(claimed), claimed.deduplicated) == (m.Stored, True)
    assert node.journal.ask(peer.ClaimPart(part, PEER_LOG, [Slice(8, 1, 3)])) == m.Refused("BytesMissing", "8")
    upload = view.uploads.upload_by_token(view.bucket("b").bucket_id, b"k", hidden_token(PEER_LOG, 4))
    assert upload.number == number
    whole = PutIntent("b", b"k", 13, "f-3", {}, {}, {}, upload=number, replica=replica(node, 0, origin_manifest=4))
    adopted = node.journal.ask(peer.AdoptUpload(whole, upload.version, pack_map([(1, 5), (2, 3), (3, 5)])))
    assert (type(adopted), adopted.lsn) == (m.Stored, view.applied_lsn())
    row = view.locate("b", b"k").object
    assert (row.etag, row.size_bytes, row.manifest, row.origin) == ("f-3", 13, number, PEER)
    assert node.journal.ask(peer.AdoptUpload(whole, upload.version, b"")) == m.Refused("Superseded")
    node.restart()
    audit(node.index_path)


def test_a_hidden_upload_that_nobody_goes_on_with_expires_like_any(make_node, monkeypatch):
    monkeypatch.setattr("actors.metadata_journal.TICK_SECS", 1e6)
    node = make_node(multipart_ttl_secs=60).start()
    intent = UploadIntent("b", b"k", hidden_token(PEER_LOG, 4), {}, {}, {}, "", "", "")
    node.journal.ask(m.CreateUpload(intent))
    assert rows(node.index_path, "SELECT count(*) FROM uploads") == [(1,)]
    node.now_ms += 61_000
    node.journal.tell(m.Tick())
    node.settle()
    assert rows(node.index_path, "SELECT count(*) FROM uploads") == [(0,)]
    audit(node.index_path)


def test_the_home_is_moved_and_a_conditional_write_away_from_it_names_it(node, view):
    assert node.journal.ask(peer.SetPeers(["http://p"])) == m.Done()
    assert view.replication.state().peers == ("http://p",)
    node.put(b"k", b"bytes", if_none_match="*")
    assert node.journal.ask(peer.SetHome("b", PEER)) == m.Done()
    assert home_of(view.replication.registers("b").registers) == PEER
    assert node.put(b"k", b"bytes", if_match="*") == m.Refused("NotHome", PEER.hex())
    assert node.journal.ask(peer.SetHome("nobucket", PEER)) == m.Refused("NoSuchBucket", "nobucket")
    assert node.journal.ask(peer.SetHome("b", b"short")).error == "ImpossibleChange"


def test_tombstones_go_by_the_clock_a_slice_at_a_time(make_node, monkeypatch):
    monkeypatch.setattr("actors.metadata_journal.TICK_SECS", 1e6)
    monkeypatch.setattr("fasterstore.metadata.judge_peers.EXPIRE_TOMBSTONES", 4)
    node = make_node(tombstone_ttl_secs=DAY_SECS).start()
    node.journal.ask(m.CreateBucket("b"))
    node.journal.ask(peer.SetPeers(["http://p"]))
    for number in range(10):
        node.put(b"%d" % number, b"x")
        node.journal.ask(m.DeleteObject("b", DeleteIntent(b"%d" % number)))
    node.now_ms += DAY_SECS * 1000 - 1
    node.journal.tell(m.Tick())
    node.settle()
    assert rows(node.index_path, "SELECT count(*) FROM tombstones") == [(10,)]
    node.now_ms += 1
    node.journal.tell(m.Tick())
    for _ in range(20):
        node.settle()
    assert rows(node.index_path, "SELECT count(*) FROM tombstones") == [(0,)]
    entries = [decode_entry(data) for _, data in read_from(node.disk, node.datadir.journal_dir, 1)]
    assert [len(entry.tombstones) for entry in entries if isinstance(entry, TombstonesExpired)] == [4, 4, 2]
    audit(node.index_path)


@pytest.mark.parametrize(
    "message",
    [
        peer.ApplyChanges(
            PEER_LOG,
            [
                ReceivedBucket(
                    "b",
                    Registers(
                        (Create(5, PEER, 1),), Deletion(4, PEER), (Setting("acl", None, 6, PEER), Setting("cors", b"<x/>", 7, PEER)),
                        Home(8, PEER, PEER),
                    ),
                ),
                ReceivedBucket("c", Registers()),
            ],
            [ReceivedObject("b", b"k", 5, "e", 1, {"content-type": "a/b"}, {}, {}, {"t": "u"}, "", 9, PEER, 7, 5, 0)],
            [ReceivedRemoval("b", b"k", 10, PEER, 1)],
        ),
        peer.ChangesApplied([""], ["BytesMissing"], []),
        peer.ClaimPart(PutIntent("b", b"k", 1, "e", {}, {}, {}, upload=3, part=1), PEER_LOG, [Slice(7, 0, 1)]),
        peer.AdoptUpload(PutIntent("b", b"k", 1, "e", {}, {}, {}, replica=Replica(5, PEER, 1, PEER_LOG, 0, 4)), 3, b"map"),
        peer.SetHome("b", PEER),
        peer.SetPeers(["http://p"]),
        m.PutObject(PutIntent("b", b"k", 1, "e", {}, {}, {}, replica=Replica(5, PEER, 1, PEER_LOG, 7)), bytes(32), b"x"),
    ],
)  # fmt: skip
def test_it_comes_over_the_wire_with_its_types(message):
    value = decode(encode(ASK, 1, "metadata-journal", message)[1]).value
    assert value == message
    assert repr(value) == repr(message)
