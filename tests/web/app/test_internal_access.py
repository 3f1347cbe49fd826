"""Who gets through to /_internal, and that whoever does not changes nothing and cannot fill the log."""

import os
import socket
import time
from base64 import b64encode
from hashlib import sha256
from io import BytesIO
from urllib.parse import urlencode

import pytest

from actors.replication_messages import SetPeers
from fasterstore.internal_signing import Call, signed_headers
from fasterstore.replication.change import Batch, BlobContent, BucketState, ObjectState, Piece, Tombstone, encode_batch
from fasterstore.replication.merge import Create, Registers, Setting

TOKEN = "a-token-of-our-own"
PEER = "http://127.0.0.2:9000"
PATH = "/_internal/replicate/object"
FAR = "192.0.2.7"


@pytest.fixture
def node(new_store):
    return new_store(
        FS_INTERNAL_TOKEN=TOKEN, FS_ADVERTISE_ADDR="http://127.0.0.1:9000", FS_REPLICATION_PEERS=PEER, FS_REQUEST_TIMEOUT_SECS="3"
    )


def object_batch(key=b"k", body=b"some bytes", stamp=1 << 40, log_uuid=bytes(16), origin=b"o" * 16):
    piece = Piece(bytes(32), 1, 0, len(body), len(body))
    state = ObjectState("box", key, stamp, origin, len(body), "e" * 32, 1, {}, {}, {}, {}, "", BlobContent(piece, body))
    return encode_batch(Batch(1, origin, log_uuid, 1, 1, (state,)))


def call(store, body, *, token=TOKEN, source=PEER, path=PATH, seconds=0, peer=FAR, sent=None, query=None, method="POST", **extra):
    """A signed call from elsewhere; what is given in `sent`, `query` or `extra` headers is not what was signed."""
    signed_query = urlencode({"source": source}) if source is not None else ""
    headers = signed_headers(token, Call(method, path, signed_query, sha256(body).hexdigest()), int(time.time()) + seconds)
    target = f"{path}?{signed_query if query is None else query}"
    return store.send(method, target, body if sent is None else sent, headers | extra, sign="", peer=peer)


def nothing_came(store):
    return store.worker.index.bucket("box") is None and store.worker.index.state().applied_lsn == store.quiet_lsn


@pytest.fixture
def quiet(node):
    node.quiet_lsn = node.worker.index.applied_lsn()
    return node


def test_a_signed_batch_of_a_peer_is_applied(node):
    assert call(node, object_batch()).status == 200
    answer = node.send("GET", "/box/k")
    assert (answer.status, answer.body) == (200, b"some bytes")


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("wrong-token", {"token": "another-token"}),
        ("wrong-token", {"query": urlencode({"source": PEER, "x": 1})}),
        ("wrong-token", {"x-fs-content-sha256": "0" * 64}),
        ("wrong-token", {"x-fs-content-sha256": ""}),
        ("clock-skew", {"seconds": -301}),
        ("clock-skew", {"seconds": 3600}),
        ("foreign-source", {"source": "http://127.0.0.3:9000"}),
        ("foreign-source", {"source": PEER + "/"}),
        ("foreign-source", {"source": ""}),
        ("foreign-source", {"source": None}),
    ],
)
def test_what_is_no_call_of_a_peer_changes_nothing(quiet, kind, how):
    assert call(quiet, object_batch(), **how).status == 403
    assert nothing_came(quiet)
    assert quiet.worker.refusals.counts == {kind: 1}


def test_a_body_that_is_not_the_signed_one_changes_nothing(quiet):
    body = object_batch()
    tampered = body.replace(b"some bytes", b"evil bytes")
    answer = call(quiet, body, sent=tampered)
    assert (answer.status, b"XAmzContentSHA256Mismatch" in answer.body) == (400, True)
    assert nothing_came(quiet)
    assert quiet.worker.refusals.counts == {"wrong-hash": 1}


def test_a_replayed_call_changes_nothing_that_the_first_did_not(node):
    node.directory.get("metadata-journal").ask(SetPeers([PEER]))
    body = object_batch()
    query = urlencode({"source": PEER})
    headers = signed_headers(TOKEN, Call("POST", PATH, query, sha256(body).hexdigest()), int(time.time()))
    assert node.send("POST", f"{PATH}?{query}", body, headers, sign="", peer=FAR).status == 200
    node.send("PUT", "/box/k", b"written since")
    lsn = node.worker.index.applied_lsn()
    for _ in range(3):
        assert node.send("POST", f"{PATH}?{query}", body, headers, sign="", peer=FAR).status == 200
    assert node.worker.index.applied_lsn() == lsn
    assert node.send("GET", "/box/k").body == b"written since"
    node.send("DELETE", "/box/k")
    node.send("POST", f"{PATH}?{query}", body, headers, sign="", peer=FAR)
    assert node.send("GET", "/box/k").status == 404
    node.shift_ms = 301_000
    assert node.send("POST", f"{PATH}?{query}", body, headers, sign="", peer=FAR).status == 403


def test_a_call_to_one_node_is_none_to_another(node, new_store):
    # The sender's own address is signed: what b was sent by a, a does not take from b.
    other = new_store(FS_INTERNAL_TOKEN=TOKEN, FS_ADVERTISE_ADDR=PEER, FS_REPLICATION_PEERS="http://127.0.0.1:9000")
    assert call(other, object_batch(), source=PEER).status == 403


@pytest.mark.parametrize(("peer", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403)])
def test_the_token_itself_is_honoured_on_this_machine_only(node, peer, status):
    headers = {"x-fs-internal-token": TOKEN}
    assert node.send("GET", "/_internal/replicate/status", headers=headers, sign="", peer=peer).status == status
    if status == 200:
        forwarded = headers | {"x-forwarded-for": "192.0.2.9"}
        assert node.send("GET", "/_internal/replicate/status", headers=forwarded, sign="", peer=peer).status == 403
    assert node.worker.refusals.counts["token-in-the-clear"] == 1


def test_by_the_token_alone_one_may_read_and_only_a_peer_may_write(quiet):
    headers = {"x-fs-internal-token": TOKEN}
    assert quiet.send("POST", PATH, object_batch(), headers, sign="").status == 403
    assert quiet.send("GET", "/_internal/replicate/status?source=http%3A%2F%2Felsewhere", headers=headers, sign="").status == 403
    assert nothing_came(quiet)
    assert quiet.send("POST", f"{PATH}?{urlencode({'source': PEER})}", object_batch(), headers, sign="").status == 200


def test_a_node_that_encrypts_tells_nothing_in_the_clear(new_store):
    settings = {"FS_INTERNAL_TOKEN": TOKEN, "FS_ADVERTISE_ADDR": "https://127.0.0.1:9000"}
    peer = "https://127.0.0.2:9000"
    store = new_store(**settings, FS_REPLICATION_PEERS=peer, FS_ENCRYPTION_KEY_BASE64=b64encode(bytes(32)).decode())
    refused = call(store, object_batch(), source=peer)
    assert (refused.status, b"https" in refused.body) == (403, True)
    assert store.worker.refusals.counts == {"plain-http": 1}
    assert store.worker.index.bucket("box") is None
    assert call(store, object_batch(), source=peer, peer="127.0.0.1").status == 200
    # A stranger is not told that it encrypts.
    assert b"https" not in call(store, object_batch(), source=peer, token="another-token").body


def test_it_is_closed_while_the_token_is_the_built_in_one(new_store):
    store = new_store()
    answer = call(store, object_batch(), token="internal-replication-token")
    assert (answer.status, b"FS_INTERNAL_TOKEN" in answer.body) == (403, True)


def test_a_hostile_caller_gets_a_line_a_minute_of_each_kind_and_no_secret_into_it(quiet, caplog):
    for number in range(50):
        call(quiet, object_batch(), token="another-token")
        call(quiet, object_batch(), source=f"http://evil-{number}\r\nforged log line")
    lines = [record.getMessage() for record in caplog.records if record.name == "fasterstore.internal"]
    assert sorted(line.split(":")[0] for line in lines) == ["foreign-source", "wrong-token"]
    assert quiet.worker.refusals.counts == {"wrong-token": 50, "foreign-source": 50}
    assert 'fasterstore_internal_refused_total{kind="wrong-token"} 50.0' in quiet.send("GET", "/metrics", sign="").body.decode()
    quiet.shift_ms = 61_000
    call(quiet, object_batch(), token="another-token", seconds=61)
    last = caplog.records[-1].getMessage()
    assert "49 more" in last
    assert not any(TOKEN in line or "\n" in line for line in [*lines, last])


def test_a_body_without_an_end_is_not_waited_for(quiet):
    class Endless(BytesIO):
        def read(self, size=-1, /):
            return bytes(max(size, 1))

    query = urlencode({"source": PEER})
    for headers, kind in (({"transfer-encoding": "chunked"}, "endless-body"), ({"content-length": str(1 << 40)}, "oversized-body")):
        signed = signed_headers(TOKEN, Call("POST", PATH, query, "0" * 64), int(time.time()))
        answer = quiet.send("POST", f"{PATH}?{query}", b"", signed | headers, sign="", peer=FAR, source=Endless())
        assert answer.status in (400, 411)
        assert quiet.worker.refusals.counts[kind] == 1
    assert nothing_came(quiet)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x90", os.urandom(300), encode_batch(Batch(2, bytes(16), bytes(16), 1, 1, ()))],
    ids=["empty", "no msgpack", "no fields", "noise", "version 2"],
)
def test_what_is_no_batch_is_refused_whole(quiet, body):
    assert call(quiet, body).status == 400
    assert nothing_came(quiet)
    assert quiet.worker.refusals.counts == {"unreadable": 1}


def test_each_route_takes_its_own_kinds_of_change_only(quiet):
    tombstone = encode_batch(Batch(1, b"o" * 16, bytes(16), 1, 1, (Tombstone("box", b"k", 1 << 40, b"o" * 16, 1),)))
    assert call(quiet, tombstone).status == 400
    assert call(quiet, object_batch(), path="/_internal/replicate/delete").status == 400
    assert nothing_came(quiet)
    assert call(quiet, tombstone, path="/_internal/replicate/delete").status == 200


def test_a_node_does_not_take_changes_of_a_copy_of_itself(quiet):
    answer = call(quiet, object_batch(origin=quiet.worker.node_id))
    assert answer.status == 400
    assert nothing_came(quiet)
    assert quiet.worker.refusals.counts == {"same-node": 1}


@pytest.mark.parametrize(
    "change",
    [
        ObjectState("Box", b"k", 1 << 40, b"o" * 16, 0, "e", 1, {}, {}, {}, {}, "", None),
        ObjectState("box", b"\xff", 1 << 40, b"o" * 16, 0, "e", 1, {}, {}, {}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, 'e"\r\nset-cookie: x', 1, {}, {}, {}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, "e", 1, {"content-type": "a\nb"}, {}, {}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, "e", 1, {}, {"colour": "\u2603"}, {}, {}, "", None),
        ObjectState("box", b"k", (1 << 63) - 1, b"o" * 16, 0, "e", 1, {}, {}, {}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, "e", 1, {"content-length": "5"}, {}, {}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, "e", 1, {}, {"a: b": "c"}, {}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, "e", 1, {}, {}, {"md4": "AAAA"}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, "e", 253_402_300_800_000, {}, {}, {}, {}, "", None),
        ObjectState("box", b"k", 1 << 40, b"o" * 16, 0, "e", 1, {}, {}, {}, {}, "everybody", None),
        BucketState("-box", Registers((Create(1 << 40, b"o" * 16, 1),))),
        BucketState("odd", Registers((Create(1 << 40, b"o" * 16, 1 << 62),))),
    ],
    ids=["bucket", "key", "etag", "header", "metadata", "stamp", "length", "colon", "checksum", "year", "acl", "name", "birth"],
)
def test_what_no_node_can_have_sent_is_refused_by_itself(quiet, change):
    good = ObjectState("box", b"good", 1 << 40, b"o" * 16, 0, "e", 1, {}, {}, {}, {}, "", None)
    answer = call(quiet, encode_batch(Batch(1, b"o" * 16, bytes(16), 1, 1, (change, good))))
    assert answer.status == 200
    assert b"ImpossibleChange" in answer.body
    assert quiet.send("GET", "/box/good").status == 200
    assert len(quiet.worker.index.buckets("", "", 10)) == 1


@pytest.mark.parametrize("name", ["acl", "cors", "ownership", "public-access-block", "tagging"])
def test_a_setting_that_would_spoil_its_bucket_is_refused(quiet, name):
    registers = Registers((Create(1 << 40, b"o" * 16, 1),), settings=(Setting(name, b"", 1 << 41, b"o" * 16),))
    bad = registers._replace(settings=(Setting(name, b"nonsense", 1 << 41, b"o" * 16),))
    for document in (registers, bad) if name != "acl" else (bad,):
        answer = call(quiet, encode_batch(Batch(1, b"o" * 16, bytes(16), 1, 1, (BucketState("box", document),))))
        assert b"ImpossibleChange" in answer.body
    assert nothing_came(quiet)


def test_a_body_that_stops_on_the_wire_changes_nothing_and_is_cut(quiet):
    from web.server import HttpLimits, HttpServer

    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(listener, quiet.app, HttpLimits(progress_timeout_secs=1))
    server.start()
    body = object_batch()
    query = urlencode({"source": PEER})
    headers = signed_headers(TOKEN, Call("POST", PATH, query, sha256(body).hexdigest()), int(time.time()))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(listener.getsockname()) as connection:
        connection.sendall(f"POST {PATH}?{query} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body[:-5])
        connection.settimeout(10)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert b"RequestTimeout" in answer
    assert nothing_came(quiet)
    server.drain(1)
