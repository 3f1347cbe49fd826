"""Conditional writes away from a bucket's home: 503 that names the home, nothing stored; everything else goes on as it was."""

import hashlib
import json
import time
from base64 import b64encode

import pytest
from defusedxml.ElementTree import fromstring

from actors.messages import Refused
from actors.replication_messages import ApplyChanges
from actors.runtime import GeventActor
from fasterstore.replication.board import PeerCell, PeerState
from fasterstore.replication.merge import Create, Registers
from fasterstore.replication.received import ReceivedBucket

PEER = "http://127.0.0.1:9001"
PEER_ID = b"P" * 16
WITH_PEER = {"FS_REPLICATION_PEERS": PEER, "FS_INTERNAL_TOKEN": "a-token-of-our-own"}
ETAG = '"' + hashlib.md5(b"bytes").hexdigest() + '"'


def give_bucket(store, name, origin=PEER_ID):
    """The bucket as a peer made it."""
    now_ms = int(time.time() * 1000)
    registers = Registers((Create(now_ms << 16, origin, now_ms),))
    answer = store.directory.get("metadata-journal").ask(ApplyChanges(b"L" * 16, [ReceivedBucket(name, registers)], [], []))
    assert answer.buckets == [""]


@pytest.fixture
def away(new_store):
    """A node with a peer whose bucket `theirs` holds `key`; `box` is its own."""
    made = new_store(**WITH_PEER)
    made.make_bucket("box")
    give_bucket(made, "theirs")
    made.worker.replication.write(PEER, PeerCell(PeerState.SHIPPING, node_id=PEER_ID))
    assert made.send("PUT", "/theirs/key", b"bytes").status == 200
    return made


def upload(store, bucket):
    begun = fromstring(store.send("POST", f"/{bucket}/parts?uploads").body)
    upload_id = next(element.text for element in begun if element.tag.endswith("UploadId"))
    etag = store.send("PUT", f"/{bucket}/parts?partNumber=1&uploadId={upload_id}", b"part").headers["etag"]
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    return f"/{bucket}/parts?uploadId={upload_id}", document.encode()


def conditional_writes(store, bucket):
    """Every kind of conditional write, with conditions that hold."""
    target, document = upload(store, bucket)
    yield "PUT", f"/{bucket}/new", b"x", {"if-none-match": "*"}
    yield "PUT", f"/{bucket}/key", b"bytes", {"if-match": ETAG}
    yield "PUT", f"/{bucket}/fresh", b"more", {"x-amz-write-offset-bytes": "0"}
    yield "PUT", f"/{bucket}/copied", b"", {"x-amz-copy-source": f"/{bucket}/key", "if-none-match": "*"}
    yield "PUT", f"/{bucket}/moved?renameObject", b"", {"x-amz-rename-source": f"/{bucket}/key", "x-amz-rename-source-if-match": ETAG}
    yield "POST", target, document, {"if-none-match": "*"}
    yield "DELETE", f"/{bucket}/moved", b"", {"if-match": ETAG}


def test_each_of_them_is_503_with_the_name_of_the_home_and_changes_nothing(away):
    for method, target, body, headers in conditional_writes(away, "theirs"):
        if method == "DELETE":
            target = "/theirs/key"
        answer = away.send(method, target, body, headers)
        assert answer.status == 503, target
        found = {element.tag: element.text for element in fromstring(answer.body)}
        assert (found["Code"], found["HomeNode"], found["HomeAddress"]) == ("ServiceUnavailable", PEER_ID.hex(), PEER)
        assert PEER in found["Message"] and "set-home" in found["Message"]
    listed = fromstring(away.send("GET", "/theirs").body)
    assert [key.text for key in listed.iter() if key.tag.endswith("}Key")] == ["key"]
    assert away.send("GET", "/theirs/key").body == b"bytes"


def test_at_home_they_are_judged_as_ever(away):
    away.send("PUT", "/box/key", b"bytes")
    for method, target, body, headers in conditional_writes(away, "box"):
        assert away.send(method, target, body, headers).status in (200, 204), target


def test_a_condition_is_not_even_looked_at_away_from_home(away):
    """What is here may be out of date: 412 would be a guess."""
    assert away.send("PUT", "/theirs/key", b"x", {"if-none-match": "*"}).status == 503
    assert away.send("PUT", "/theirs/other", b"x", {"if-match": ETAG}).status == 503


def test_reads_with_conditions_and_writes_without_go_on_anywhere(away):
    assert away.send("GET", "/theirs/key", headers={"if-none-match": ETAG}).status == 304
    assert away.send("PUT", "/theirs/key", b"other").status == 200
    assert away.send("DELETE", "/theirs/key").status == 204


def test_of_keys_that_are_deleted_together_only_those_with_conditions_are_refused(away):
    away.send("PUT", "/theirs/second", b"bytes")
    document = f"<Delete><Object><Key>key</Key><ETag>{ETAG}</ETag></Object><Object><Key>second</Key></Object></Delete>".encode()
    digest = b64encode(hashlib.md5(document).digest()).decode()
    answer = away.send("POST", "/theirs?delete", document, {"content-md5": digest})
    assert answer.status == 200
    assert b"<Deleted><Key>second</Key></Deleted>" in answer.body
    assert b"<Key>key</Key><Code>ServiceUnavailable</Code>" in answer.body and PEER.encode() in answer.body
    assert away.send("HEAD", "/theirs/key").status == 200


def test_conditions_may_be_judged_anywhere_if_the_operator_says_so(new_store):
    made = new_store(**WITH_PEER, FS_CONDITIONAL="local")
    give_bucket(made, "theirs")
    assert made.send("PUT", "/theirs/key", b"bytes", {"if-none-match": "*"}).status == 200
    assert made.send("PUT", "/theirs/key", b"bytes", {"if-none-match": "*"}).status == 412


def test_a_node_without_peers_judges_all_conditions(store):
    give_bucket(store, "theirs")
    assert store.send("PUT", "/theirs/key", b"bytes", {"if-none-match": "*"}).status == 200


def test_a_home_that_has_not_answered_yet_is_named_by_its_id_alone(away):
    away.worker.replication.write(PEER, PeerCell(PeerState.UNREACHABLE))
    answer = away.send("PUT", "/theirs/new", b"x", {"if-none-match": "*"})
    assert answer.status == 503 and PEER_ID.hex().encode() in answer.body and b"HomeAddress" not in answer.body


def test_set_home_moves_the_home_here_and_back(away):
    def home(target, method="POST"):
        answer = away.send(method, f"/_admin/replication?{target}")
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    here = {"bucket": "theirs", "home": away.worker.node_id.hex(), "address": away.settings.advertise_addr, "confirmed": True}
    there = {"bucket": "theirs", "home": PEER_ID.hex(), "address": PEER, "confirmed": True}
    assert {**home("bucket=theirs", "GET"), "confirmed": True} == there
    assert home("action=set-home&bucket=theirs&node=here") == here
    assert away.send("PUT", "/theirs/new", b"x", {"if-none-match": "*"}).status == 200
    assert home("action=set-home&bucket=theirs&node=http%3A%2F%2F127.0.0.1%3A9001") == there
    assert away.send("PUT", "/theirs/newer", b"x", {"if-none-match": "*"}).status == 503
    assert home(f"action=set-home&bucket=theirs&node={away.worker.node_id.hex()}") == here


class Unconfirmed(GeventActor):
    """The journal of a node whose answers wait for a peer that never comes."""

    def __init__(self, journal):
        super().__init__()
        self._journal = journal

    def on_receive(self, message):
        self._journal.ask(message)
        return Refused("ReplicationTimeout", "no peer has confirmed it in time")


def test_a_home_is_moved_also_if_no_peer_can_confirm_it(away):
    unconfirmed = Unconfirmed.start(away.directory.get("metadata-journal"))
    away.directory.register("metadata-journal", unconfirmed)
    answer = away.send("POST", "/_admin/replication?action=set-home&bucket=theirs&node=here")
    unconfirmed.stop()
    found = json.loads(answer.body)
    assert (answer.status, found["home"], found["confirmed"]) == (200, away.worker.node_id.hex(), False)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("action=set-home&bucket=theirs&node=" + "0c" * 16, "InvalidArgument"),
        ("action=set-home&bucket=theirs&node=http%3A%2F%2F127.0.0.1%3A9", "InvalidArgument"),
        ("action=set-home&bucket=theirs", "InvalidArgument"),
        ("action=set-home&node=here", "InvalidArgument"),
        ("action=set-home&bucket=nobucket&node=here", "NoSuchBucket"),
        ("action=set-home&bucket=theirs&node=here&peer=x", "InvalidArgument"),
        ("action=resync&peer=http%3A%2F%2F127.0.0.1%3A9", "InvalidArgument"),
        ("action=diff&heal=perhaps", "InvalidArgument"),
        ("action=forget", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
def test_other_orders_are_refused_and_the_home_stays(away, target, code):
    answer = away.send("POST", f"/_admin/replication?{target}")
    assert (answer.status >= 400, code.encode() in answer.body) == (True, True)
    assert away.send("PUT", "/theirs/new", b"x", {"if-none-match": "*"}).status == 503


def test_a_node_without_peers_says_that_it_has_none_and_that_its_buckets_are_at_home(store):
    assert json.loads(store.send("GET", "/_admin/replication").body) == {"node_id": store.worker.node_id.hex(), "peers": []}
    assert json.loads(store.send("GET", "/_admin/replication?bucket=box").body)["home"] == store.worker.node_id.hex()
    assert store.send("GET", "/_admin/replication?bucket=nobucket").status == 404
    assert store.send("PUT", "/_admin/replication").status == 405
    assert store.send("GET", "/_admin/replication", sign="").status == 403
