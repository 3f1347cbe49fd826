"""One peer's shipping, between a real node and a peer that answers as a test wants: what is refused, what breaks, what is kept."""

import time

import pykka
import pytest

from actors import messages as m
from actors.peer import PeerRefused, PeerUnreachable
from actors.runtime import sleep
from fasterstore.model import Replica
from fasterstore.replication.change_reading import decode_batch
from fasterstore.replication.cursor_file import CursorFile
from tests.replicating_node import Link, ReplicatingNode, join, settle


class Picky(Link):
    """Refuses every batch whole that holds a key it does not like, or fails as told."""

    refuses = b""
    error = None

    def _send(self, body, changes, kinds):
        if self.error is not None:
            raise self.error
        keys = [getattr(change, "key", None) for change in decode_batch(body).changes]
        if self.refuses and self.refuses in keys:
            self.batches += 1
            raise PeerRefused("400: it cannot be read")
        return super()._send(body, changes, kinds)

    def status(self):
        if isinstance(self.error, PeerRefused):
            raise self.error
        return super().status()


@pytest.fixture
def pair(tmp_path):
    a, b = (ReplicatingNode(tmp_path / name) for name in ("a", "b"))
    a.link_to(b, Picky)
    b.link_to(a)
    for node in (a, b):
        node.start()
    a.journal.ask(m.CreateBucket("b"))
    settle(a, b)
    yield a, b
    for node in (a, b):
        node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def wait_until(condition, secs=10.0):
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline
        sleep(0.01)


def test_one_change_that_a_peer_cannot_even_read_does_not_stop_the_others(pair):
    a, b = pair
    link = a.links[0]
    link.refuses = b"17"
    for number in range(60):
        a.put(b"%d" % number, b"body %d" % number)
    wait_until(lambda: a.peer_status()["owed"] == 1 and not a.peer_status()["lag_entries"])
    assert {key for _, key in b.states()[0]} == {b"%d" % number for number in range(60)} - {b"17"}
    assert a.peer_status()["state"] == "shipping"
    link.refuses = b""
    settle(a, b)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (PeerUnreachable("503"), "unreachable"),
        (PeerRefused("403: no such token"), "refusing"),
        (ValueError("a defect of the client"), "unreachable"),
    ],
)
def test_whatever_fails_is_tried_again_and_told(pair, error, state):
    a, b = pair
    link = a.links[0]
    link.error = error
    a.put(b"k", b"body")
    wait_until(lambda: a.peer_status()["failures"] and a.peer_status()["state"] == state)
    assert str(error) in a.peer_status()["reason"]
    assert a.peer_status()["lag_entries"] > 0
    link.error = None
    settle(a, b)


def test_a_log_that_cannot_be_read_is_told_and_tried_again(pair):
    a, b = pair
    a.disk.fail_next("pread", 5)
    a.put(b"k", b"body")
    wait_until(lambda: a.peer_status()["failures"])
    assert "cannot be read" in a.peer_status()["last_error"]
    settle(a, b)


def test_the_cursor_is_kept_within_about_a_second_and_at_the_stop(pair):
    a, b = pair
    file = CursorFile(a.disk, a.datadir.path, a.links[0].address)
    a.put(b"k", b"body")
    settle(a, b)
    wait_until(lambda: file.read() is not None and file.read().lsn == a.view.applied_lsn())
    a.put(b"l", b"body")
    settle(a, b)
    lsn = a.view.applied_lsn()
    a.stop()
    kept = file.read()
    assert (kept.lsn, kept.peer_node, kept.peer_log) == (lsn, b.datadir.node_id, b.datadir.log_uuid)
    assert a.now_ms < kept.level_ms <= a.moving_ms()


def test_a_batch_that_arrives_after_later_ones_changes_nothing(pair):
    a, b = pair
    kept = []
    send = a.links[0]._send
    a.links[0]._send = lambda body, changes, kinds: (kept.append(body), send(body, changes, kinds))[1]
    a.put(b"k", b"first")
    settle(a, b)
    a.now_ms += 10
    a.put(b"k", b"second")
    settle(a, b)
    states, head = b.states(), b.view.applied_lsn()
    for body in kept:
        join(b, decode_batch(body), a)
    assert (b.states(), b.view.applied_lsn()) == (states, head)


def test_a_node_whose_data_dir_was_set_back_sends_nothing_under_numbers_that_the_peer_knows(tmp_path):
    a, b = (ReplicatingNode(tmp_path / name) for name in ("a", "b"))
    a.link_to(b)
    b.link_to(a)
    b.start()
    # What a node leaves behind that has given out 1,000 numbers, and then gets its data dir of yesterday back.
    b.put(b"k", b"of yesterday", replica=Replica(1 << 40, a.datadir.node_id, 1, a.datadir.log_uuid, 1000))
    a.start()
    try:
        a.journal.ask(m.CreateBucket("other"))
        wait_until(lambda: a.peer_status()["state"] == "refusing")
        assert "set back" in a.peer_status()["last_error"]
        assert not a.links[0].sent
        assert b.view.bucket("other") is None
    finally:
        for node in (a, b):
            node.stop()
        for ref in pykka.ActorRegistry.get_all():
            ref.kill()
