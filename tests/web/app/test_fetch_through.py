"""Reads of what a peer has and this node does not yet have: answered all the same, but only while it is being caught up."""

import json
import os
import socket

import pytest

from actors.replication_messages import SetPeers
from actors.runtime import spawn
from tests.customer_keys import bring
from tests.web.app.multipart_client import PART_BYTES, Upload
from tests.web.app.peers import Node, Pair
from web import fetch_through

MIB = 1024 * 1024


@pytest.fixture
def pair(new_store):
    made = Pair(new_store)
    made.a.store.make_bucket("box")
    made.b.worker.scan_heard_ms[0] = made.b.worker.now_ms()
    yield made
    made.close()


def read(node, target, **options):
    answer = node.store.send("GET", target, **options)
    return answer.status, answer.body


@pytest.mark.parametrize("size_bytes", [0, 5, 65_537, MIB + 1, 3 * MIB + 9])
def test_a_key_that_is_only_at_the_peer_is_read_from_there(pair, size_bytes):
    body = os.urandom(size_bytes)
    sent = pair.a.store.send("PUT", "/box/k", body, {"content-type": "text/odd", "x-amz-meta-colour": "blue"})
    head = pair.b.store.send("HEAD", "/box/k")
    assert head.status == 200
    answer = pair.b.store.send("GET", "/box/k")
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, body, sent.headers["etag"])
    assert (answer.headers["content-type"], answer.headers["x-amz-meta-colour"]) == ("text/odd", "blue")
    assert head.headers["content-length"] == str(size_bytes)
    assert {one.headers["x-amz-replication-status"] for one in (head, answer)} == {"REPLICA"}


def test_what_is_short_has_come_to_stay(pair):
    pair.a.store.send("PUT", "/box/k", b"short")
    assert read(pair.b, "/box/k") == (200, b"short")
    pair.a.server.drain(1)
    assert read(pair.b, "/box/k") == (200, b"short")
    assert pair.b.worker.index.bucket("box") is not None


@pytest.mark.parametrize(
    ("wanted", "first", "last"), [("bytes=5-9", 5, 9), ("bytes=1048570-1048585", 1048570, 1048585), ("bytes=-7", -7, None)]
)
def test_a_range_of_a_long_object_is_fetched_alone(pair, wanted, first, last):
    body = os.urandom(4 * MIB)
    pair.a.store.send("PUT", "/box/k", body)
    sent_before = pair.a.worker.metrics.bytes_out
    status, got = read(pair.b, "/box/k", headers={"range": wanted})
    assert (status, got) == (206, body[first:] if last is None else body[first : last + 1])
    assert pair.a.worker.metrics.bytes_out - sent_before == len(got)


def test_conditions_and_parts_are_as_if_it_were_here(pair):
    upload = Upload(pair.a.store)
    bodies = [os.urandom(PART_BYTES), os.urandom(100)]
    for number, body in enumerate(bodies, 1):
        upload.put(number, body)
    upload.complete()
    etag = pair.a.store.send("HEAD", "/box/k").headers["etag"]
    assert read(pair.b, "/box/k", headers={"if-none-match": etag})[0] == 304
    assert read(pair.b, "/box/k", headers={"if-match": '"other"'})[0] == 412
    assert read(pair.b, "/box/k") == (200, b"".join(bodies))
    assert read(pair.b, "/box/k?partNumber=2") == (206, bodies[1])


def test_what_a_customers_key_seals_is_opened_with_it(pair):
    key, body = os.urandom(32), os.urandom(2 * MIB)
    pair.a.store.send("PUT", "/box/k", body, bring(key))
    assert read(pair.b, "/box/k")[0] == 400
    assert read(pair.b, "/box/k", headers=bring(key)) == (200, body)


def test_a_key_that_nobody_has_and_one_that_was_deleted_here_are_404(pair):
    assert read(pair.b, "/box/none")[0] == 404
    assert pair.b.store.send("GET", "/never-made/k").status == 404
    pair.a.store.send("PUT", "/box/k", b"x")
    assert read(pair.b, "/box/k")[0] == 200
    pair.b.store.send("DELETE", "/box/k")
    assert read(pair.b, "/box/k")[0] == 404


def test_a_stranger_is_told_nothing_and_has_nothing_fetched(pair):
    pair.a.store.send("PUT", "/box/k", b"x")
    assert pair.b.store.send("GET", "/box/k", sign="").status in (403, 404)
    assert pair.b.worker.index.bucket("box") is None


def test_a_node_that_has_been_told_everything_asks_nobody(pair):
    pair.a.store.send("PUT", "/box/k", b"x")
    pair.b.worker.scan_heard_ms[0] = pair.b.worker.now_ms() - 30_001
    assert read(pair.b, "/box/k")[0] == 404


def test_a_peer_that_is_away_is_asked_once_in_a_while_only(pair):
    pair.a.server.drain(1)
    for _ in range(5):
        assert read(pair.b, "/box/k")[0] == 404
    assert pair.b.worker.refusals.counts == {"cannot-pull": 1}


def test_a_peer_that_hangs_is_not_waited_for_longer_than_a_reader_waits(new_store, monkeypatch):
    monkeypatch.setattr(fetch_through, "ASKED_SECS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hanging, socket.create_server(("127.0.0.1", 0)) as own:
        node = Node(new_store, own, f"http://127.0.0.1:{hanging.getsockname()[1]}")
        node.worker.scan_heard_ms[0] = node.worker.now_ms()
        asked = spawn(read, node, "/box/k")
        asked.join(timeout=2.5)
        assert asked.ready()
        assert asked.value[0] == 404
        assert node.worker.refusals.counts == {"cannot-pull": 1}
        node.close()


def test_a_long_object_that_was_deleted_here_is_not_read_from_there(pair):
    pair.b.store.directory.get("metadata-journal").ask(SetPeers([pair.a.address]))
    pair.a.store.send("PUT", "/box/k", os.urandom(2 * MIB))
    assert pair.ship(pair.a.state("box", b"k")) == ["applied"]
    pair.b.store.send("DELETE", "/box/k")
    assert read(pair.b, "/box/k")[0] == 404


def test_a_policy_that_is_still_at_the_peer_holds_here_too(pair):
    pair.a.store.send("PUT", "/box/k", os.urandom(2 * MIB), {"x-amz-tagging": "secret=yes"})
    pair.a.store.send("PUT", "/box/open", os.urandom(2 * MIB))
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::box/*",
        "Condition": {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert pair.a.store.send("PUT", "/box?policy", policy).status == 204
    assert read(pair.b, "/box/k")[0] == 403
    assert read(pair.b, "/box/open")[0] == 200
