"""The verb `dump` on what replication leaves: tombstones, numbers of peers' blobs, its entries."""

import json

import pykka
import pytest

from actors import messages as m
from actors import replication_messages as peer
from fasterstore.model import DeleteIntent, Replica
from fasterstore.replication.merge import Create, Registers
from fasterstore.replication.received import ReceivedBucket
from fasterstore.storage.datadir import read_datadir
from fasterstore.storage.disk import RealDisk
from tests.storage_node import Node
from tools import dump

PEER, PEER_LOG = b"P" * 16, b"p" * 16


@pytest.fixture
def datadir(tmp_path):
    node = Node(tmp_path / "data", disk=RealDisk()).start()
    node.journal.ask(m.CreateBucket("b"))
    node.journal.ask(peer.SetPeers(["http://p"]))
    node.put(b"k", b"bytes", replica=Replica(node.now_ms << 16, PEER, node.now_ms, PEER_LOG, 7))
    node.put(b"gone", b"x")
    node.journal.ask(m.DeleteObject("b", DeleteIntent(b"gone")))
    made = ReceivedBucket("theirs", Registers((Create(node.now_ms << 16, PEER, 5),)))
    node.journal.ask(peer.ApplyChanges(PEER_LOG, [made], [], []))
    node.stop()
    yield read_datadir(RealDisk(), str(tmp_path / "data"))
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def test_a_key_that_is_gone_shows_its_tombstone_and_one_that_never_was_is_not_there(datadir):
    shown = dump.object_of(datadir, "b", "gone")
    assert (shown["object"], shown["key"], shown["origin"]) == ("gone", "gone", datadir.node_id.hex())
    with pytest.raises(dump.NotThere):
        dump.object_of(datadir, "b", "never")


def test_a_blob_shows_the_numbers_under_which_peers_know_it(datadir):
    shown = dump.object_of(datadir, "b", "k")["blob_row"]
    assert shown["known_to_peers_as"] == [{"log_uuid": "p" * 16, "number": 7, "blob": shown["number"]}]


def test_every_entry_can_be_shown_as_json_and_as_text(datadir):
    entries = []
    try:
        for lsn in range(1, 100):
            entries.append(dump.entry_of(datadir, lsn))
    except dump.NotThere:
        pass
    kinds = {entry["entry"] for entry in entries}
    assert {"PeersChanged", "ObjectReplicated", "BucketJoined"} <= kinds
    json.dumps(entries)
    joined = next(entry for entry in entries if entry["entry"] == "BucketJoined")
    assert joined["registers"]["creates"] == [{"stamp": joined["registers"]["creates"][0]["stamp"], "origin": "P" * 16, "created_ms": 5}]
    assert any("creates" in line for entry in entries for line in dump._lines(entry))
