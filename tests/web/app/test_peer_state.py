"""What answers tell of replication: the status of an object, /readyz; and nothing of it on a node without peers."""

import pytest

from fasterstore.replication.board import PeerCell, PeerState
from tests.web.app.multipart_client import Upload, code

PEERS = ("http://127.0.0.1:9001", "http://127.0.0.1:9002")
WITH_PEERS = {"FS_REPLICATION_PEERS": ",".join(PEERS), "FS_INTERNAL_TOKEN": "a-token-of-our-own"}
STATUS = "x-amz-replication-status"


@pytest.fixture
def replicated(new_store):
    """A node with two peers that are in step, and the bucket `box` with `key`."""
    made = new_store(**WITH_PEERS)
    made.make_bucket("box")
    made.send("PUT", "/box/key", b"bytes")
    for peer in PEERS:
        tell(made, peer, PeerState.SHIPPING)
    return made


def tell(store, peer, state, **more):
    store.worker.replication.write(peer, PeerCell(state, **more))


def stamp_of(store, key=b"key"):
    return store.worker.index.locate("box", key).object.stamp


def status_of(store, method="GET", target="/box/key"):
    answer = store.send(method, target)
    assert answer.status == 200
    return answer.headers.get(STATUS)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_object_is_completed_once_every_peer_has_it(replicated, method):
    assert status_of(replicated, method) == "PENDING"
    stamp = stamp_of(replicated)
    tell(replicated, PEERS[0], PeerState.SHIPPING, acked_stamp=stamp)
    assert status_of(replicated, method) == "PENDING"
    tell(replicated, PEERS[1], PeerState.SHIPPING, acked_stamp=stamp - 1)
    assert status_of(replicated, method) == "PENDING"
    tell(replicated, PEERS[1], PeerState.SHIPPING, acked_stamp=stamp)
    assert status_of(replicated, method) == "COMPLETED"
    replicated.send("PUT", "/box/key", b"other bytes")
    assert status_of(replicated, method) == "PENDING"


def test_an_object_of_another_node_is_a_replica_whatever_its_stamp(replicated):
    replicated.worker.node_id = bytes(16)
    assert status_of(replicated) == "REPLICA"


def test_a_part_of_an_object_says_so_too_and_a_listing_does_not(replicated):
    answer = replicated.send("GET", "/box/key", headers={"range": "bytes=0-1"})
    assert (answer.status, answer.headers[STATUS]) == (206, "PENDING")
    assert STATUS not in replicated.send("GET", "/box").headers


def readyz(store):
    answer = store.send("GET", "/readyz", sign="")
    assert answer.status == 200
    return answer.body.decode().splitlines()


def test_readyz_is_silent_while_peers_are_in_step_and_the_lag_is_short(replicated):
    tell(replicated, PEERS[0], PeerState.SHIPPING, lag_entries=300, behind_since_ms=replicated.now_ms() - 1000)
    assert readyz(replicated) == ["ready"]


@pytest.mark.parametrize(
    ("state", "more", "line"),
    [
        (PeerState.UNREACHABLE, {}, "replication: peer 2 of 2 does not answer"),
        (PeerState.REFUSING, {}, "replication: peer 2 of 2 refuses: see the log"),
        (PeerState.RESYNCING, {}, "replication: peer 2 of 2 is being sent everything"),
    ],
)
def test_readyz_says_what_is_wrong_with_a_peer_and_not_where_it_is(replicated, state, more, line):
    tell(replicated, PEERS[1], state, **more)
    assert readyz(replicated) == ["ready", line]


def test_readyz_says_when_a_peer_is_behind_and_when_it_is_not_waited_for(replicated):
    since_ms = replicated.now_ms() - 90_000
    tell(replicated, PEERS[0], PeerState.UNREACHABLE, lag_entries=7, lag_bytes=900, behind_since_ms=since_ms, degraded=True)
    (_, line) = readyz(replicated)
    assert line.startswith("replication: peer 1 of 2 does not answer, is behind by 7 entries and 9")
    assert line.endswith("FS_REPLICATION_ACK=one: what is written now is on this node only")


def test_readyz_says_when_this_node_is_the_one_that_is_behind(replicated):
    worker = replicated.worker
    assert readyz(replicated) == ["ready"], "a start alone says nothing of it"
    worker.scan_heard_ms[0] = worker.started_ms + 1
    (_, line) = readyz(replicated)
    assert line.startswith("replication: this node is being sent everything")
    replicated.shift_ms += 31_000
    assert readyz(replicated) == ["ready"]


def test_a_node_without_peers_tells_nothing(store):
    store.send("PUT", "/box/key", b"bytes")
    assert status_of(store) is None
    assert readyz(store) == ["ready"]


def test_a_complete_that_is_sent_again_waits_for_a_peer_as_the_first_one_did(new_store):
    """The first was a 503 after FS_REQUEST_TIMEOUT_SECS. No actor gives the second answer, so the board is asked."""
    made = new_store(**WITH_PEERS, FS_REPLICATION_ACK="one")
    made.make_bucket("box")
    upload = Upload(made)
    upload.put(1, b"bytes")
    upload.complete()
    assert code(upload.complete()) == (503, "ServiceUnavailable")
    stamp = stamp_of(made, b"k")
    tell(made, PEERS[0], PeerState.SHIPPING, acked_stamp=stamp - 1)
    tell(made, PEERS[1], PeerState.UNREACHABLE, degraded=True)
    assert code(upload.complete()) == (503, "ServiceUnavailable")
    tell(made, PEERS[0], PeerState.UNREACHABLE, degraded=True)
    assert upload.complete().status == 200
    tell(made, PEERS[0], PeerState.SHIPPING, acked_stamp=stamp)
    assert upload.complete().status == 200
