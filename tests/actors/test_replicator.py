"""The replicator with real nodes on both sides: what changes on one is soon on the other, whatever the way does to it; nothing loops."""

import hashlib
import os
import random
from pathlib import Path

import pykka
import pytest

from actors import messages as m
from actors import replicator
from actors.replicator_messages import Diff, ReplicationStatus, Resync
from actors.runtime import sleep
from actors.snapshot_messages import ReadLogState, RetireLog
from fasterstore.keyring import Keyring
from fasterstore.model import CopyIntent, DeleteIntent, PutIntent, RenameIntent
from fasterstore.replication.board import PeerState
from fasterstore.replication.cursor_file import CursorFile
from tests.replicating_node import BadLink, Link, ReplicatingNode, in_step, settle
from tests.storage_node import audit


@pytest.fixture
def make_pair(tmp_path):
    made = []

    def make(link=Link, start=True, **settings):
        """Two nodes, each the other's peer."""
        pair = [ReplicatingNode(tmp_path / name, **settings) for name in ("a", "b")]
        made.extend(pair)
        pair[0].link_to(pair[1], link)
        pair[1].link_to(pair[0], link)
        for node in pair if start else ():
            node.start()
        return pair

    yield make
    for node in made:
        if not node.fatals:
            node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def delete(node, key, bucket="b"):
    return node.journal.ask(m.DeleteObject(bucket, DeleteIntent(key)))


def test_every_kind_of_change_reaches_the_other_node_as_it_is(make_pair):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    a.put(b"k", b"body", system={"content-type": "text/plain"}, tags={"team": "x"})
    a.put(b"empty", b"")
    a.put(b"gone", b"body")
    a.put(b"old", b"renamed")
    stored = a.put(b"copied", b"to be copied")
    row = a.view.locate("b", b"copied").object
    delete(a, b"gone")
    a.journal.ask(m.RenameObject(RenameIntent("b", b"old", b"new")))
    target = PutIntent("b", b"copy", 12, stored.etag, {}, {}, {})
    assert type(a.journal.ask(m.CopyObject(CopyIntent(target, "b", b"copied", row.stamp)))) is m.Stored
    a.journal.ask(m.AmendObject("b", b"k", {"team": "y"}, "public-read"))
    a.journal.ask(m.ConfigureBucket("b", "cors", b"<x/>"))
    a.journal.ask(m.CreateBucket("unused"))
    a.journal.ask(m.DeleteBucket("unused"))
    settle(a, b)
    states, registers = b.states()
    assert states["b", b"gone"][0] == states["b", b"old"][0] == "gone"
    assert states["b", b"k"][7:] == ({"team": "y"}, "public-read")
    assert b.view.bucket("b").settings == {"cors": b"<x/>"}
    assert b.view.bucket("unused") is None
    assert registers["unused"].deleted.stamp > 0
    for node in (a, b):
        audit(node.index_path)


def test_both_nodes_take_writes_and_what_came_from_a_peer_does_not_go_back_to_it(make_pair):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    for number in range(20):
        a.put(b"a%d" % number, b"from a")
        b.put(b"b%d" % number, b"from b")
    settle(a, b)
    heads = [node.view.applied_lsn() for node in (a, b)]
    sent = [node.links[0].sent for node in (a, b)]
    sleep(0.3)
    assert [node.view.applied_lsn() for node in (a, b)] == heads
    assert [node.links[0].sent for node in (a, b)] == sent
    objects = sum(name == "b" for name, _ in a.states()[0])
    assert objects == 40
    assert sent[0] < 40, "objects of the peer's own are not sent back to it"


def test_the_later_of_two_changes_wins_on_both_sides(make_pair):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    a.links[0].down = b.links[0].down = True
    a.put(b"k", b"earlier")
    b.now_ms += 1000
    b.put(b"k", b"later")
    a.put(b"x", b"stays")
    b.now_ms += 1000
    b.put(b"x", b"one")
    delete(b, b"x")
    a.links[0].down = b.links[0].down = False
    settle(a, b)
    assert a.view.locate("b", b"k").object.etag == hashlib.md5(b"later").hexdigest()
    assert a.view.locate("b", b"x").object is None


@pytest.mark.parametrize("seed", range(3))
def test_losses_doubles_and_overtaking_and_a_crash_of_either_node_lose_nothing(make_pair, seed):
    a, b = make_pair(lambda here, there: BadLink(here, there, seed))
    chance = random.Random(seed)
    a.journal.ask(m.CreateBucket("b"))
    keys = [b"key %d" % number for number in range(30)]
    for step in range(12):
        for node in (a, b):
            node.now_ms += chance.randrange(50)
            if node.view.bucket("b") is None:
                continue
            for key in chance.sample(keys, 8):
                if chance.random() < 0.3:
                    delete(node, key)
                else:
                    node.put(key, os.urandom(chance.randrange(1, 200)))
        sleep(0.02)
        if step in (4, 8):
            (a if step == 4 else b).restart()
    for node in (a, b):
        node.links[0].bad = False
    settle(a, b, secs=40)
    for node in (a, b):
        audit(node.index_path)


def test_after_a_restart_only_what_is_new_is_sent(make_pair):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    for number in range(50):
        a.put(b"%d" % number, b"body")
    settle(a, b)
    a.stop()
    a.links[0].sent = 0
    a.start()
    a.put(b"new", b"body")
    settle(a, b)
    assert a.links[0].sent == 1
    assert a.peer_status()["resync"] is None


@pytest.mark.parametrize("harm", ["lost", "damaged", "of another peer"])
def test_a_cursor_that_cannot_be_read_costs_a_resync_and_is_no_error(make_pair, harm):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    for number in range(20):
        a.put(b"%d" % number, b"body")
    settle(a, b)
    a.stop()
    path = CursorFile(a.disk, a.datadir.path, a.links[0].address).path
    if harm == "lost":
        a.disk.unlink(path)
    else:
        old, new = (b'"lsn": ', b'"lsn": 1') if harm == "damaged" else (b"http://b", b"http://c")
        data = a.disk.contents(path).replace(old, new)
        fd = a.disk.open(path)
        a.disk.truncate(fd, 0)
        a.disk.pwrite(fd, data, 0)
    a.links[0].sent = 0
    a.start()
    settle(a, b)
    assert a.links[0].sent >= 21
    assert a.peer_status()["acked_lsn"] == a.view.applied_lsn()


def test_a_peer_that_comes_late_is_sent_everything_and_then_what_has_changed(make_pair):
    a, b = make_pair(start=False)
    a.start()
    a.journal.ask(m.CreateBucket("b"))
    a.journal.ask(m.CreateBucket("c"))
    for number in range(700):
        a.put(b"%d" % number, b"body %d" % number, bucket="bc"[number % 2])
    for number in range(0, 700, 7):
        delete(a, b"%d" % number, "bc"[number % 2])
    assert a.peer_status()["state"] == "unreachable"
    assert a.board.read(a.links[0].address).state is PeerState.UNREACHABLE
    assert a.board.read(a.links[0].address).behind_since_ms > 0
    b.start()
    settle(a, b)
    assert len(b.states()[0]) == 700
    cell = a.board.read(a.links[0].address)
    assert (cell.state, cell.lag_entries, cell.behind_since_ms) == (PeerState.SHIPPING, 0, 0)
    assert cell.acked_stamp >= max(state[0] for state in a.states()[0].values() if state[0] != "gone")
    assert cell.node_id == b.datadir.node_id


def test_the_log_waits_for_a_peer_that_is_away_and_beyond_the_bound_it_is_sent_everything(make_pair, caplog):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    a.journal._actor_weakref()._journal._wal._rotate_bytes = 8192
    a.links[0].down = True
    for number in range(100):
        a.put(b"%d" % number, b"body")
    assert a.durable.wanted_after() == [a.peer_status()["acked_lsn"]]

    def log_start(retention_bytes):
        """Where the log begins once it has been shortened with that bound."""
        a.journal.tell(RetireLog(a.view.applied_lsn(), a.durable.wanted_after(), retention_bytes))
        a.settle()
        return a.journal.ask(ReadLogState()).log_start

    acked = a.peer_status()["acked_lsn"]
    assert log_start(1 << 30) <= acked + 1
    assert log_start(1) > acked + 1
    a.links[0].down = False
    settle(a, b)
    assert "FS_WAL_RETENTION_MB" in caplog.text or "the log begins above" in caplog.text
    assert len(b.states()[0]) == 100


@pytest.mark.slow
def test_a_peer_that_was_made_anew_gets_everything_back_also_what_it_made_itself(make_pair, tmp_path):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    a.put(b"a", b"from a")
    b.put(b"b", b"from b")
    settle(a, b)
    b.stop()
    fresh = ReplicatingNode(tmp_path / "b-anew")
    fresh.link_to(a)
    a.links[0].there = fresh
    fresh.start()
    try:
        settle(a, fresh, secs=40)
        assert {key for _, key in fresh.states()[0]} == {b"a", b"b"}
    finally:
        fresh.stop()


def test_small_bytes_of_an_encrypted_node_are_sent_decrypted(make_pair):
    keyring = Keyring(os.urandom(32), {1: os.urandom(32)})
    a, b = make_pair(start=False)
    a.settings["keyring"] = a.keyring = keyring
    for node in (a, b):
        node.start()
    a.journal.ask(m.CreateBucket("b"))
    body = os.urandom(5000)
    intent = PutIntent("b", b"k", len(body), hashlib.md5(body).hexdigest(), {}, {}, {})
    from blake3 import blake3

    a.writer.ask(m.PutObject(intent, blake3(body, key=keyring.blob_key).digest(), body))
    place = a.view.locate("b", b"k").blob.location
    assert place.stored_bytes > place.plaintext_bytes
    settle(a, b)
    found = b.view.locate("b", b"k").blob.location
    assert b.disk.contents(str(Path(b.datadir.segments_dir) / f"{found.segment_id:016x}.seg")).count(body)


def test_what_a_peer_refuses_is_owed_shown_and_sent_until_it_takes_it(make_pair):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    big = os.urandom(70_000)
    upload = a.journal.ask(m.CreateUpload(_upload(b"big"))).number
    a.put(b"big", big[:40_000], upload=upload, part=1)
    a.put(b"big", big[40_000:], upload=upload, part=2)
    _complete(a, b"big", upload, 40_000, 30_000)
    for number in range(5):
        a.put(b"%d" % number, b"body")
    for _ in range(200):
        status = a.peer_status()
        if status["owed"] and not status["lag_entries"]:
            break
        sleep(0.02)
    assert (status["owed"], status["lag_entries"]) == (1, 0), "bytes that nobody pulls are owed, and hold nothing else up"
    assert "BytesMissing" in status["last_error"]
    assert b.view.locate("b", b"4").object is not None
    assert status["acked_stamp"] < a.view.locate("b", b"big").object.stamp
    a.stop()
    a.start()
    assert a.peer_status()["owed"] == 1
    delete(a, b"big")
    settle(a, b)


def _upload(key):
    from fasterstore.model import UploadIntent

    return UploadIntent("b", key, "token", {}, {}, {}, "", "", "")


def _complete(node, key, upload, *sizes):
    from fasterstore.metadata.upload_schema import pack_map
    from fasterstore.model import CompleteIntent

    version = node.view.uploads.upload(node.view.bucket("b").bucket_id, key, upload).version
    answer = node.journal.ask(m.CompleteUpload(CompleteIntent("b", key, upload, version, pack_map(list(enumerate(sizes, 1))), "e-2", {})))
    assert type(answer) is m.Stored


# ---- acks ----


def test_with_ack_one_an_answer_is_given_when_the_peer_has_the_change(make_pair):
    a, b = make_pair(ack="one")
    assert type(a.journal.ask(m.CreateBucket("b"))) is m.BucketMade
    settle(a, b)
    assert type(a.put(b"k", b"body")) is m.Stored
    assert b.view.locate("b", b"k").object is not None
    assert type(delete(a, b"k")) is m.Deleted
    assert b.view.locate("b", b"k").object is None
    assert delete(a, b"nothing there") == m.Deleted(0)
    answers = a.ask_together(a.writer, [a.small(b"%d" % number, b"body %d" % number) for number in range(50)])
    assert {type(answer) for answer in answers} == {m.Stored}
    assert all(b.view.locate("b", b"%d" % number).object for number in range(50))


def test_with_ack_one_and_no_ack_the_outcome_is_told_as_unknown_and_the_change_stays(make_pair):
    a, b = make_pair(ack="one", timeout_secs=0.3)
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    a.links[0].down = True
    answer = a.put(b"k", b"body")
    assert (type(answer), answer.error) == (m.Refused, "ReplicationTimeout")
    assert a.view.locate("b", b"k").object is not None
    for _ in range(2):
        answer = delete(a, b"k")
        assert (type(answer), answer.error) == (m.Refused, "ReplicationTimeout"), "what was deleted before may be there yet at the peer"
    assert a.replicator.ask(ReplicationStatus())["timeouts"] == 3
    a.links[0].down = False
    settle(a, b)
    assert type(a.put(b"k", b"again")) is m.Stored


def test_with_ack_one_nothing_is_confirmed_by_a_peer_that_was_never_met(make_pair):
    a, _b = make_pair(ack="one", timeout_secs=0.3, start=False)
    a.links[0].down = True
    a.start()
    assert a.journal.ask(m.CreateBucket("b")).error == "ReplicationTimeout"
    assert a.put(b"k", b"body").error == "ReplicationTimeout"


def test_after_a_while_without_the_peer_answers_do_not_wait_until_it_is_back(make_pair):
    a, b = make_pair(ack="one", timeout_secs=30.0, degrade_secs=0.4)
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    a.links[0].down = True
    assert type(a.put(b"k", b"body")) is m.Stored, "whoever waits when the time has come is answered too"
    cell = a.board.read(a.links[0].address)
    assert cell.degraded
    assert cell.lag_entries > 0
    assert type(a.put(b"l", b"body")) is m.Stored
    a.links[0].down = False
    settle(a, b)
    assert not a.board.read(a.links[0].address).degraded
    assert type(a.put(b"m", b"body")) is m.Stored
    assert b.view.locate("b", b"m").object is not None


def test_two_nodes_that_both_wait_for_acks_do_not_wait_for_each_other(make_pair):
    a, b = make_pair(ack="one", timeout_secs=5.0)
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    asks = [node.writer.ask(node.small(b"%s%d" % (name, number), b"body"), block=False)
            for number in range(30) for name, node in ((b"a", a), (b"b", b))]  # fmt: skip
    assert {type(ask.get(timeout=10)) for ask in asks} == {m.Stored}
    settle(a, b)


# ---- orders ----


def test_a_resync_on_demand_sends_everything_again_and_changes_nothing(make_pair):
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    for number in range(30):
        a.put(b"%d" % number, b"body")
    settle(a, b)
    before, head = b.states(), b.view.applied_lsn()
    a.links[0].sent = 0
    assert a.replicator.ask(Resync(a.links[0].address)) == m.Done()
    sleep(0.05)
    settle(a, b)
    assert a.links[0].sent == 31
    assert (b.states(), b.view.applied_lsn()) == (before, head)
    assert a.replicator.ask(Resync("http://nobody")).error == "NoSuchPeer"


class LyingLink(Link):
    """Says that it has what it was sent, and does not have some of it."""

    lies = False

    def _send(self, body, changes, kinds):
        if not self.lies:
            return super()._send(body, changes, kinds)
        from fasterstore.replication.change import APPLIED, BatchAnswer

        return BatchAnswer(self.there.datadir.node_id, self.there.datadir.log_uuid, (APPLIED,) * changes)


def wait_for_diff(node):
    for _ in range(500):
        diff = node.peer_status()["diff"]
        if diff is not None and not diff["running"]:
            return diff
        sleep(0.02)
    raise AssertionError(diff)


def test_a_comparison_finds_what_differs_on_either_side_and_heals_it_when_asked(make_pair):
    a, b = make_pair(LyingLink)
    a.journal.ask(m.CreateBucket("b"))
    for number in range(200):
        a.put(b"%03d" % number, b"body")
    settle(a, b)
    a.links[0].lies = b.links[0].lies = True
    a.put(b"only a", b"body")
    b.put(b"only b", b"body")
    delete(a, b"007")
    b.put(b"008", b"newer at b")
    while not all(node.peer_status()["lag_entries"] == 0 for node in (a, b)):
        sleep(0.02)
    a.links[0].lies = b.links[0].lies = False
    assert not in_step(a, b)
    a.now_ms += 60_000
    assert a.replicator.ask(Diff(a.links[0].address, heal=False)) == m.Done()
    found = wait_for_diff(a)
    assert found["error"] == ""
    assert found["counts"] == {"only-here": 1, "only-there": 1, "deleted-here": 1, "newer-there": 1}
    assert {row["key"] for row in found["differences"]} == {"only a", "only b", "007", "008"}
    assert not in_step(a, b)
    assert a.replicator.ask(Diff(a.links[0].address, heal=True)) == m.Done()
    assert wait_for_diff(a)["sent"] == 4
    settle(a, b)
    assert a.replicator.ask(Diff(a.links[0].address, heal=False)) == m.Done()
    assert wait_for_diff(a)["counts"] == {}
    for node in (a, b):
        audit(node.index_path)


def test_a_peer_that_was_sent_everything_is_compared_once_after_it(make_pair, monkeypatch):
    monkeypatch.setattr(replicator, "COMPARE_LOOK_SECS", 0.1)
    a, b = make_pair(start=False)
    a.start()
    a.journal.ask(m.CreateBucket("b"))
    a.put(b"k", b"body")
    b.start()
    settle(a, b)
    wait_for_diff(a)
    for _ in range(10):
        sleep(0.1)
    assert wait_for_diff(a)["number"] == 1
    assert a.replicator.ask(Resync(a.links[0].address)) == m.Done()
    for _ in range(100):
        if wait_for_diff(a)["number"] == 2:
            break
        sleep(0.05)
    assert wait_for_diff(a)["number"] == 2


def test_a_deletion_that_was_forgotten_before_the_peer_heard_of_it_leaves_both_sides_the_same(make_pair, monkeypatch):
    """The peer was away for longer than tombstones are kept. Neither log nor scan tells of the key that only it has."""
    monkeypatch.setattr(replicator, "COMPARE_LOOK_SECS", 0.1)
    a, b = make_pair()
    a.journal.ask(m.CreateBucket("b"))
    for key in (b"kept", b"deleted"):
        a.put(key, b"body")
    settle(a, b)
    a.links[0].down = b.links[0].down = True
    delete(a, b"deleted")
    while a.peer_status()["lag_entries"] == 0:
        sleep(0.02)
    a.stop()
    a.now_ms += 31 * 86_400_000
    a.start()
    while a.view.replication.state().tombstones:
        a.journal.tell(m.Tick())
        sleep(0.02)
    a.links[0].down = b.links[0].down = False
    settle(a, b)
    assert ("b", b"deleted") in a.states()[0], "nothing is deleted for want of a word that it was"
