"""A hostile peer changes nothing in a node, and fills no log: wrong token, foreign source, other bytes than were named, replays, no end."""

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import gevent
import pytest

from fasterstore.replication.blob_frames import FRAME_BYTES, HASH_BYTES, frame_hash, framed_bytes
from fasterstore.replication.change import OutcomeKind, Tombstone
from fasterstore.replication.change_reading import decode_answer
from scripts.measure.process_tree import tree_pss_bytes
from tests.node import RunningNode
from tests.probe.both_sides import Contents, contents, differences
from tests.probe.eventually import eventually
from tests.probe.hostile_peer import DELETE_PATH, NODE_ID, OBJECT_PATH, Answer, HostilePeer, batch, http_answer, object_of
from tests.raw_connection import RawConnection, request_bytes

pytestmark = pytest.mark.slow

TOKEN, BUCKET, KEY, BODY = "a-token-between-nodes", "kept", "kept/key", b"what was there before"
LARGE = bytes(range(256)) * 1024
TIMEOUT_SECS = 3
AGAIN = 40
"""Often enough that a line for each would show."""


@pytest.fixture(scope="module")
def peer() -> Iterator[HostilePeer]:
    with HostilePeer(TOKEN) as made:
        yield made


@pytest.fixture(scope="module")
def node(peer: HostilePeer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    settings = {"FS_INTERNAL_TOKEN": TOKEN, "FS_REPLICATION_PEERS": peer.address, "FS_REQUEST_TIMEOUT_SECS": str(TIMEOUT_SECS)}
    with RunningNode(tmp_path_factory.mktemp("hostile") / "data", settings, workers=2) as made:
        with made.client() as client:
            client.create_bucket(BUCKET)
            client.put(BUCKET, KEY, BODY)
        yield made


def _contents(node: RunningNode) -> Contents:
    with node.client() as client:
        return contents(client)


@pytest.fixture
def before(node: RunningNode, peer: HostilePeer) -> Contents:
    peer.answer = peer.ordinary
    return _contents(node)


def _warnings(node: RunningNode, since: int) -> Counter[str]:
    """Lines above INFO that came since: by logger and the kind they begin with."""
    lines = [line.split(maxsplit=4) for line in node.log()[since:].splitlines()]
    return Counter(f"{line[3]} {line[4].split(':')[0]}" for line in lines if len(line) == 5 and line[1] in {"WARNING", "ERROR", "CRITICAL"})


FORGED = batch(object_of("forged", "key", b"forged", inline=True), object_of(BUCKET, KEY, b"forged", inline=True))
CALLS = {
    "a wrong token": dict(token="another-token-between"),
    "a foreign source": dict(source="http://192.0.2.1:9000"),
    "no source": dict(source=""),
    "a body other than the signed one": dict(signed=b"what was signed"),
    "a proof of an hour ago": dict(at=time.time() - 3600),
    "a proof of the next hour": dict(at=time.time() + 3600),
    "half a proof": dict(headers={"x-fs-internal-token": "v1:0"}),
    "no token": dict(headers={"x-fs-internal-token": ""}),
}


@pytest.mark.parametrize("wrong", CALLS)
def test_a_call_that_does_not_hold_changes_nothing_and_is_logged_once_a_minute(
    wrong: str, node: RunningNode, peer: HostilePeer, before: Contents
) -> None:
    since = len(node.log())
    for path in (OBJECT_PATH, DELETE_PATH):
        answers = {peer.call(node, "POST", path, FORGED, **CALLS[wrong])[0] for _ in range(AGAIN)}  # type: ignore[arg-type]
        assert answers <= {400, 403}, answers
    assert not differences(before, _contents(node))
    logged = _warnings(node, since)
    assert all(times <= 1 for times in logged.values()), logged
    assert TOKEN not in node.log()


def test_each_kind_of_refusal_was_logged_by_its_name(node: RunningNode) -> None:
    log = node.log()
    assert all(f" {kind}: " in log for kind in ("wrong-token", "foreign-source", "wrong-hash", "clock-skew")), log[-4000:]


def test_the_same_call_by_a_peer_that_is_one_is_heard(node: RunningNode, peer: HostilePeer) -> None:
    """Without this the others could pass on a node that refuses everything."""
    body = b"a peer's own"
    heard = batch(object_of("heard", "key", body, inline=True, etag=hashlib.md5(body).hexdigest()))
    status, answer = peer.call(node, "POST", OBJECT_PATH, heard)
    assert status == 200, answer
    with node.client() as client:
        assert client.get("heard", "key").content == body


def test_a_replayed_call_changes_nothing_that_the_first_one_did_not(node: RunningNode, peer: HostilePeer) -> None:
    old = object_of("replayed", "key", b"old", inline=True, etag=hashlib.md5(b"old").hexdigest())
    call, at = batch(old), time.time()
    assert peer.call(node, "POST", OBJECT_PATH, call, at=at)[0] == 200
    with node.client() as client:
        client.put("replayed", "key", b"new")
        client.delete("replayed", "key")
        client.put("replayed", "other", b"other")
        before = _contents(node)
        for _ in range(AGAIN):
            assert peer.call(node, "POST", OBJECT_PATH, call, at=at)[0] == 200
        assert not differences(before, _contents(node)), "a delete stays one"


def test_what_no_node_could_have_sent_is_refused_whole(node: RunningNode, peer: HostilePeer, before: Contents) -> None:
    good = object_of("unreadable", "key", b"x", inline=True)
    bodies = [
        b"", b"\xc1" * 100, b"\x91" * 5000, FORGED[:-3], FORGED + b"\0", batch(good).replace(b"unreadable", b"UNREADABLE"),
        batch(good._replace(key=b"")), batch(good._replace(key=b"k" * 1025)), batch(good._replace(size_bytes=2)),
        batch(good._replace(origin=b"short")), batch(Tombstone(BUCKET, KEY.encode(), 1 << 62, NODE_ID, 0)),
    ]  # fmt: skip
    since = len(node.log())
    for body in bodies:
        for _ in range(4):
            status, answer = peer.call(node, "POST", OBJECT_PATH, body)
            if status == 200:  # it can be read, and none of it can be true
                assert {outcome.kind for outcome in decode_answer(answer, 1).outcomes} == {OutcomeKind.REFUSED}, body[:80]
            else:
                assert status in {400, 411}, (status, answer)
    assert not differences(before, _contents(node))
    assert all(times <= 1 for times in _warnings(node, since).values()), _warnings(node, since)


# ---- bytes that the node pulls -------------------------------------------------------------------------------------------------


def _framed(body: bytes) -> bytes:
    frames = (body[first : first + FRAME_BYTES] for first in range(0, len(body), FRAME_BYTES))
    return b"".join(frame + frame_hash(frame) for frame in frames)


def _partial(sent: bytes, stated_bytes: int | None = None) -> Iterable[bytes]:
    length = framed_bytes(len(LARGE)) if stated_bytes is None else stated_bytes
    content_range = f"bytes 0-{len(LARGE) - 1}/{len(LARGE)}"
    return http_answer("206 Partial Content", {"content-length": str(length), "content-range": content_range}, sent)


def _dripping() -> Iterator[bytes]:
    yield from _partial(b"")
    for _ in range(100):
        gevent.sleep(TIMEOUT_SECS / 6)
        yield b"x"


def _silent() -> Iterator[bytes]:
    yield from _partial(LARGE[:1000])
    gevent.sleep(20 * TIMEOUT_SECS)


def _without_length() -> Iterator[bytes]:
    yield b"HTTP/1.1 206 Partial Content\r\nconnection: close\r\n\r\n"
    for _ in range(4096):
        yield LARGE


PULLED: dict[str, Callable[[], Iterable[bytes]]] = {
    "other bytes than the hash behind them": lambda: _partial(LARGE[:-1] + b"?" + frame_hash(LARGE)),
    "another hash than that of the bytes": lambda: _partial(LARGE + bytes(HASH_BYTES)),
    "fewer bytes": lambda: _partial(_framed(LARGE)[:1000]),
    "more bytes than asked for": lambda: _partial(_framed(LARGE) + LARGE, framed_bytes(len(LARGE)) + len(LARGE)),
    "a byte now and then": _dripping,
    "nothing more after the first": _silent,
    "no length and no end": _without_length,
    "that it is not there": lambda: http_answer("404 Not Found", {}, b""),
}


@pytest.mark.parametrize("pulled", PULLED)
def test_bytes_that_are_not_those_named_never_become_an_object(pulled: str, node: RunningNode, peer: HostilePeer, before: Contents) -> None:
    peer.answer = _blobs(peer, PULLED[pulled])
    since, started = len(node.log()), time.monotonic()
    sent = batch(object_of("pulled", "key", LARGE, inline=False), object_of(BUCKET, KEY, LARGE, inline=False))
    status, answer = peer.call(node, "POST", OBJECT_PATH, sent)
    assert time.monotonic() - started < 8 * TIMEOUT_SECS
    assert status in {200, 503}, answer
    assert any("/_internal/blob/" in call for call in peer.calls), "it never asked for the bytes"
    # The bucket that the object came for may be there: nothing was put into it.
    found = [line for line in differences(before, _contents(node)) if not line.startswith(("('bucket', 'pulled')", "('setting', 'pulled'"))]
    assert not found
    assert all(times <= 1 for times in _warnings(node, since).values()), _warnings(node, since)


def test_the_right_bytes_become_one(node: RunningNode, peer: HostilePeer) -> None:
    peer.answer = _blobs(peer, lambda: _partial(_framed(LARGE)))
    sent = batch(object_of("right", "key", LARGE, inline=False, etag=hashlib.md5(LARGE).hexdigest()))
    status, answer = peer.call(node, "POST", OBJECT_PATH, sent)
    assert status == 200, answer
    with node.client() as client:
        assert client.get("right", "key").content == LARGE


def _blobs(peer: HostilePeer, pieces: Callable[[], Iterable[bytes]]) -> Answer:
    """Blobs as said, all else as always."""
    peer.calls.clear()
    return lambda method, target: pieces() if target.startswith("/_internal/blob/") else peer.ordinary(method, target)


def test_a_redirect_is_not_followed(node: RunningNode, peer: HostilePeer, before: Contents) -> None:
    with HostilePeer(TOKEN) as elsewhere:
        peer.answer = lambda _method, target: http_answer("307 Temporary Redirect", {"location": elsewhere.address + target}, b"")
        peer.call(node, "POST", OBJECT_PATH, batch(object_of(BUCKET, KEY, LARGE, inline=False)))
        with node.client() as client:
            client.put(BUCKET, "own", b"which the node wants to send to its peer")
            eventually(lambda: len(peer.calls) > 1, "the node does not call its peer")
            gevent.sleep(2)
            assert not elsewhere.calls
            client.delete(BUCKET, "own")
    assert not differences(before, _contents(node))


# ---- what never ends -----------------------------------------------------------------------------------------------------------


def _post(peer: HostilePeer, node: RunningNode, body: bytes, framing: dict[str, str]) -> bytes:
    query, proof = peer.proof_headers("POST", OBJECT_PATH, body)
    return request_bytes("POST", f"{OBJECT_PATH}?{query}", {"host": f"{node.host}:{node.port}", **proof, **framing})


def test_a_body_without_a_length_or_with_too_great_a_one_is_refused_before_it_is_read(
    node: RunningNode, peer: HostilePeer, before: Contents
) -> None:
    since = len(node.log())
    for framing, wanted in (({"transfer-encoding": "chunked"}, {411}), ({"content-length": str(1 << 40)}, {400, 413})):
        for _ in range(AGAIN // 4):
            with RawConnection(node) as connection:
                connection.send(_post(peer, node, b"", framing))
                assert connection.answer().status in wanted
    assert not differences(before, _contents(node))
    assert all(times <= 1 for times in _warnings(node, since).values()), _warnings(node, since)


@pytest.mark.parametrize("pause_secs", [0.5, 1000.0], ids=["a byte now and then", "nothing"])
def test_a_body_that_does_not_come_is_waited_for_no_longer_than_any_other(
    pause_secs: float, node: RunningNode, peer: HostilePeer, before: Contents
) -> None:
    body = bytes(1000)
    with RawConnection(node, timeout_secs=20 * TIMEOUT_SECS) as connection:
        connection.send(_post(peer, node, body, {"content-length": str(len(body))}))
        started = time.monotonic()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection.send(b"x")
                    gevent.sleep(pause_secs)

        dripping = gevent.spawn(drip)
        try:
            with contextlib.suppress(ConnectionResetError):
                connection.rest()
        finally:
            dripping.kill()
    assert time.monotonic() - started < 15 * TIMEOUT_SECS
    assert not differences(before, _contents(node))


def test_an_answer_that_never_ends_is_given_up_and_the_node_goes_on(node: RunningNode, peer: HostilePeer) -> None:
    def endless(_method: str, _target: str) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
        while True:
            yield LARGE
            gevent.sleep(0)

    memory = tree_pss_bytes(node.pid)
    peer.calls.clear()
    peer.answer = endless
    with node.client() as client:
        for number in range(20):
            client.put(BUCKET, "own", b"%d" % number)
            gevent.sleep(0.2)
        assert peer.calls, "the node never called its peer"
        assert node.is_ready()
        peer.answer = peer.ordinary
        client.delete(BUCKET, "own")
    assert tree_pss_bytes(node.pid) - memory < 96 << 20
