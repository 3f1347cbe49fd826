"""What two real nodes do for those who run them: one is lost, rebuilt, away for too long, taken out; acknowledgement waits for the peer;
conditions are judged at home. On loopback, through relays that can be cut."""

import hashlib
import json
import secrets
import shutil
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
import requests

from tests import customer_keys
from tests.certificates import make_certificate
from tests.probe.both_sides import contents, wait_identical
from tests.probe.command import run_command
from tests.probe.eventually import eventually
from tests.probe.network import SIDES, Loopback, other
from tests.probe.pair import TwoNodes
from tests.probe.two_settings import change, put_tags, read_setting
from tests.probe.upload import Upload
from tools.client import Client, ResponseError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUCKET = "stories"
AGREE_SECS = 30.0
TIMEOUT_SECS = 3
SEALED = bytes(range(255, -1, -1)) * 500
"""Of an object under a customer's key."""
LOG_FILE_BYTES = 32 << 20
"""The journal begins another file after so many; older ones can go then."""


@contextmanager
def two_nodes(folder: Path, **settings: str) -> Iterator[tuple[TwoNodes, Client, Client]]:
    """A running pair with a client of each, and a bucket made on a."""
    with TwoNodes(folder, Loopback(), settings=settings) as pair, pair.client("a") as a, pair.client("b") as b:
        a.create_bucket(BUCKET)
        agree(a, b)
        yield pair, a, b


def agree(a: Client, b: Client) -> None:
    """Both hold the same within the time allowed."""
    left, _ = wait_identical(a, b, time.monotonic() + AGREE_SECS)
    assert not left, "\n".join(left[:10])


def cut(pair: TwoNodes) -> None:
    for side in SIDES:
        pair.network.cut(side, connects_only=False)


def fill(client: Client) -> dict[str, bytes]:
    """Objects of every kind, put where their bucket's home is: key to bytes."""
    bodies = {"small": b"small", "empty": b"", "large": bytes(range(256)) * 4000, "folder/deep/key": b"k" * 70_000}
    for key, body in bodies.items():
        client.put(BUCKET, key, body, {"x-amz-meta-mark": key.replace("/", "-"), "content-type": "text/plain"})
    put_tags(client, BUCKET, "small", {"colour": "green"})
    upload = Upload(client, BUCKET, "in parts")
    upload.begin({"x-amz-meta-mark": "parts"})
    parts = [bytes([number]) * size for number, size in enumerate((5 << 20, 5 << 20, 100_000))]
    for number, part in enumerate(parts, 1):
        upload.put(number, part)
    upload.complete((1, 2, 3))
    client.put(BUCKET, "appended to", b"one")
    client.put(BUCKET, "appended to", b"two", {"x-amz-write-offset-bytes": "3"})
    client.request("PUT", BUCKET, "folder/deep/key", (("acl", ""),), {"x-amz-acl": "public-read"})
    client.put(BUCKET, "sealed", SEALED, customer_keys.bring(customer_keys.A))
    change(client, BUCKET, "cors", "filled")
    return {**bodies, "in parts": b"".join(parts), "appended to": b"onetwo"}


def test_what_one_node_takes_the_other_has_and_either_way(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (_, a, b):
        bodies = fill(a)
        agree(a, b)
        for key, body in bodies.items():
            assert b.get(BUCKET, key).content == body
            assert b.head(BUCKET, key).headers["ETag"] == a.head(BUCKET, key).headers["ETag"]
        assert b.get(BUCKET, "sealed", customer_keys.bring(customer_keys.A)).content == SEALED
        assert b.request("GET", BUCKET, "sealed", (), customer_keys.bring(customer_keys.B)).status_code == 403
        b.delete(BUCKET, "large")
        b.put(BUCKET, "small", b"from the other side")
        change(b, BUCKET, "cors", None)
        agree(a, b)
        assert a.get(BUCKET, "small").content == b"from the other side"
        assert a.request("GET", BUCKET, "large").status_code == 404 and read_setting(a, BUCKET, "cors") is None
        for client, key, wanted in ((a, "small", "REPLICA"), (b, "small", "COMPLETED"), (b, "in parts", "REPLICA")):
            eventually(lambda: client.head(BUCKET, key).headers["x-amz-replication-status"] == wanted, f"{key} is not {wanted}")  # noqa: B023


def test_encrypted_nodes_with_keys_of_their_own_hold_the_same_over_tls(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path / "tls")
    tls = {"FS_TLS_CERT_PATH": pair.cert, "FS_TLS_KEY_PATH": pair.key, "FS_CA_CERT": pair.cert}
    nodes = TwoNodes(tmp_path, Loopback(), settings=tls)
    for side in SIDES:
        nodes.nodes[side].settings["FS_ENCRYPTION_KEY_BASE64"] = b64encode(secrets.token_bytes(32)).decode()
    with nodes, nodes.client("a") as a, nodes.client("b") as b:
        a.create_bucket(BUCKET)
        bodies = fill(a)
        agree(a, b)
        for key, body in bodies.items():
            assert b.get(BUCKET, key).content == body
        assert b.get(BUCKET, "sealed", customer_keys.bring(customer_keys.A)).content == SEALED
        for side in SIDES:
            segments = b"".join(path.read_bytes() for path in (nodes.nodes[side].data_dir / "segments").iterdir())
            assert bodies["large"][:4096] not in segments and b"k" * 4096 not in segments


def test_an_empty_node_in_the_place_of_a_lost_one_is_filled(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        bodies = fill(a)
        b.put(BUCKET, "of the lost one", b"body")
        b.delete(BUCKET, "empty")
        agree(a, b)
        pair.kill("b")
        shutil.rmtree(pair.nodes["b"].data_dir)
        a.put(BUCKET, "while it was gone", b"body")
        pair.start("b")
        agree(a, b)
        assert b.get(BUCKET, "in parts").content == bodies["in parts"] and b.get(BUCKET, "of the lost one").content == b"body"
        b.put(BUCKET, "after", b"after")
        b.delete(BUCKET, "small")
        agree(a, b)
        assert a.get(BUCKET, "after").content == b"after" and a.request("GET", BUCKET, "small").status_code == 404


def test_a_resync_goes_on_after_either_side_was_killed_in_the_middle_of_it(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        pair.kill("b")
        shutil.rmtree(pair.nodes["b"].data_dir)
        bodies = {f"{number:03d}": secrets.token_bytes(300_000) for number in range(150)}
        for key, body in bodies.items():
            a.put(BUCKET, key, body)
        pair.start("b")
        for side, objects in (("b", 20), ("a", 60)):
            eventually(lambda: pair.nodes["b"].usage(BUCKET)[0] >= objects, "nothing comes", 30)  # noqa: B023
            pair.kill(side)
            pair.start(side)
        agree(a, b)
        for key, body in bodies.items():
            assert b.get(BUCKET, key).content == body


def test_bytes_that_go_bad_on_one_disk_come_back_from_the_other_node(tmp_path: Path) -> None:
    with two_nodes(tmp_path, FS_CACHE_CAPACITY_MB="0") as (pair, a, b):
        bodies = {"small": secrets.token_bytes(5000), "large": secrets.token_bytes(700_000)}
        for key, body in bodies.items():
            a.put(BUCKET, key, body)
        agree(a, b)
        pair.stop("b")
        for body in bodies.values():
            assert _flipped(pair.nodes["b"].data_dir / "segments", body), "the record is not where it is looked for"
        pair.start("b")
        for key, body in bodies.items():

            def whole() -> bool:
                try:
                    answer = b.request("GET", BUCKET, key)  # noqa: B023
                except requests.RequestException:
                    return False  # cut off before a bad byte
                assert answer.status_code >= 500 or answer.content == body, "wrong bytes"  # noqa: B023
                return answer.status_code == 200

            eventually(whole, f"{key} does not come back", 90)
        code, said = run_command(pair.nodes["b"], "check", "--full", "--data-dir", str(pair.nodes["b"].data_dir))
        assert code == 0, said


def _flipped(segments: Path, body: bytes) -> bool:
    """Whether a byte in the middle of that body was changed in the segment that holds it."""
    for path in segments.iterdir():
        place = path.read_bytes().find(body)
        if place >= 0:
            with open(path, "r+b") as file:
                file.seek(place + len(body) // 2)
                file.write(bytes([body[len(body) // 2] ^ 1]))
            return True
    return False


def test_a_peer_that_was_away_for_longer_than_the_log_is_kept_gets_everything_again(tmp_path: Path) -> None:
    settings = {"FS_WAL_RETENTION_MB": "1", "FS_METADATA_COMPACT_INTERVAL_SECS": "1"}
    with two_nodes(tmp_path, **settings) as (pair, a, b):
        bodies = fill(a)
        agree(a, b)
        pair.stop("b")
        a.delete(BUCKET, "large")
        oldest = min((pair.nodes["a"].data_dir / "journal").glob("*.wal"), key=lambda path: path.name)
        filler = "f" * 15_000
        for number in range(LOG_FILE_BYTES // len(filler) + 500):
            change(a, BUCKET, "policy", f"{filler}{number}")
        eventually(lambda: not oldest.exists(), "the log is kept for ever", 90)
        since = len(pair.nodes["a"].log())
        pair.start("b")
        agree(a, b)
        assert "is sent everything" in pair.nodes["a"].log()[since:]
        assert b.request("GET", BUCKET, "large").status_code == 404, "a delete that the log no longer tells of"
        assert b.get(BUCKET, "in parts").content == bodies["in parts"]


def test_taking_a_peer_out_and_putting_it_back_deletes_nothing(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        fill(a)
        agree(a, b)
        before = {side: contents(client) for side, client in (("a", a), ("b", b))}
        peers = {side: pair.nodes[side].settings.pop("FS_REPLICATION_PEERS") for side in SIDES}
        for side in SIDES:
            pair.stop(side)
            pair.start(side)
        assert {"a": contents(a), "b": contents(b)} == before
        a.put(BUCKET, "only a", b"a")
        b.put(BUCKET, "only b", b"b")
        gevent.sleep(2)
        assert b.request("GET", BUCKET, "only a").status_code == 404, "they go on without each other"
        for side in SIDES:
            pair.stop(side)
            pair.nodes[side].settings["FS_REPLICATION_PEERS"] = peers[side]
            pair.start(side)
        agree(a, b)
        held = {name: value for name, value in contents(a).items() if name in before["a"]}
        assert held == before["a"] and b.get(BUCKET, "only a").content == b"a" and a.get(BUCKET, "only b").content == b"b"


def test_a_bucket_deleted_on_one_side_stays_if_the_other_put_an_object_into_it_meanwhile(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        a.put(BUCKET, "old", b"old")
        agree(a, b)
        cut(pair)
        b.put(BUCKET, "new", b"new")
        a.delete(BUCKET, "old")
        a.delete_bucket(BUCKET)
        pair.network.heal()
        agree(a, b)
        for client in (a, b):
            assert client.get(BUCKET, "new").content == b"new" and client.request("GET", BUCKET, "old").status_code == 404


def test_a_bucket_that_is_deleted_goes_from_both_and_its_name_can_be_used_again(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (_, a, b):
        change(a, BUCKET, "cors", "old")
        a.put(BUCKET, "old", b"old")
        agree(a, b)
        b.delete(BUCKET, "old")
        eventually(lambda: a.request("GET", BUCKET, "old").status_code == 404, "the delete does not arrive")
        a.delete_bucket(BUCKET)
        eventually(lambda: BUCKET not in b.list_buckets(), "the bucket stays on the other node")
        b.create_bucket(BUCKET)
        b.put(BUCKET, "new", b"new")
        agree(a, b)
        assert a.get(BUCKET, "new").content == b"new" and read_setting(a, BUCKET, "cors") is None, "no setting outlives its bucket"


# ---- acknowledged by both ----------------------------------------------------------------------------------------------------------


def test_with_ack_one_an_answer_means_that_the_peer_has_it_on_stable_storage(tmp_path: Path) -> None:
    with two_nodes(tmp_path, FS_REPLICATION_ACK="one", FS_REQUEST_TIMEOUT_SECS="5") as (pair, a, b):
        written = {}
        for number in range(30):
            body = hashlib.sha256(b"%d" % number).digest() * (1 if number % 3 else 5000)
            a.put(BUCKET, f"key-{number}", body)
            written[f"key-{number}"] = body
            assert b.get(BUCKET, f"key-{number}").content == body, "visible at the other node before the answer"
        pair.kill("a")  # and its disk with it
        pair.kill("b")
        pair.start("b")
        for key, body in written.items():
            assert b.get(BUCKET, key).content == body


def test_with_ack_one_and_no_peer_a_write_is_unknown_and_stays_here(tmp_path: Path) -> None:
    with two_nodes(tmp_path, FS_REPLICATION_ACK="one", FS_REQUEST_TIMEOUT_SECS=str(TIMEOUT_SECS)) as (pair, a, b):
        pair.stop("b")
        started = time.monotonic()
        with pytest.raises(ResponseError) as refused:
            a.put(BUCKET, "unknown", b"body")
        assert refused.value.status == 503 and TIMEOUT_SECS - 1 < time.monotonic() - started < 5 * TIMEOUT_SECS
        assert a.get(BUCKET, "unknown").content == b"body", "the local commit stays"
        pair.start("b")
        agree(a, b)
        a.put(BUCKET, "known", b"body")
        assert b.get(BUCKET, "known").content == b"body"


def test_with_ack_one_and_a_limit_writes_are_answered_alone_after_it_and_it_is_said(tmp_path: Path) -> None:
    settings = {"FS_REPLICATION_ACK": "one", "FS_REQUEST_TIMEOUT_SECS": str(TIMEOUT_SECS), "FS_ACK_DEGRADE_SECS": "4"}
    with two_nodes(tmp_path, **settings) as (pair, a, b):
        pair.stop("b")
        node = pair.nodes["a"]

        def answered() -> bool:
            try:
                a.put(BUCKET, "alone", b"body")
                return True
            except ResponseError as error:
                assert error.status == 503
                return False

        eventually(answered, "writes are never answered without the peer", 30)
        started = time.monotonic()
        a.put(BUCKET, "alone too", b"body")
        assert time.monotonic() - started < TIMEOUT_SECS
        assert node.metric("fasterstore_replication_degraded") == 1
        assert "this node only" in node.client().send("GET", "/readyz").text
        pair.start("b")
        agree(a, b)
        eventually(lambda: node.metric("fasterstore_replication_degraded") == 0, "it stays degraded", 30)
        a.put(BUCKET, "with it", b"body")
        assert b.get(BUCKET, "with it").content == b"body"


# ---- conditions --------------------------------------------------------------------------------------------------------------------


def test_a_condition_is_judged_at_the_buckets_home_alone_until_that_is_moved(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        only_new = {"if-none-match": "*"}
        a.put(BUCKET, "once", b"a", only_new)
        agree(a, b)
        with pytest.raises(ResponseError) as refused:
            b.put(BUCKET, "twice", b"b", only_new)
        assert refused.value.status == 503 and pair.nodes["a"].settings["FS_ADVERTISE_ADDR"] in refused.value.response.text
        with pytest.raises(ResponseError) as failed:
            a.put(BUCKET, "once", b"a", only_new)
        assert failed.value.status == 412
        moved = b.send("POST", "/_admin/replication", f"action=set-home&bucket={BUCKET}&node=here")
        assert moved.status_code == 200, moved.text
        b.put(BUCKET, "twice", b"b", only_new)

        def sent_away() -> bool:
            try:
                a.put(BUCKET, "thrice", b"a", {"if-match": "0" * 32})
            except ResponseError as error:
                return error.status == 503
            return False

        eventually(sent_away, "the old home goes on judging")


def test_a_node_says_how_far_its_peer_is_behind_and_that_it_does_not_answer(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        node = pair.nodes["a"]
        eventually(lambda: node.metric("fasterstore_replication_lag_entries") == 0, "it never gets there")
        pair.stop("b")
        for number in range(10):
            a.put(BUCKET, f"key-{number}", b"body")
        eventually(lambda: node.metric("fasterstore_replication_lag_entries") >= 10, "no lag is told")
        assert node.metric("fasterstore_replication_lag_bytes") > 0
        eventually(lambda: node.metric("fasterstore_replication_lag_seconds") > 1, "no seconds are told")
        eventually(lambda: "does not answer" in a.send("GET", "/readyz").text, "/readyz does not say it", 20)
        (peer,) = json.loads(a.send("GET", "/_admin/replication").content)["peers"]
        assert pair.nodes["b"].settings["FS_ADVERTISE_ADDR"] in json.dumps(peer)
        pair.start("b")
        agree(a, b)
        eventually(lambda: node.metric("fasterstore_replication_lag_entries") == 0, "the lag stays", 20)
        eventually(lambda: a.send("GET", "/readyz").text == "ready\n", "/readyz goes on about it", 20)


def test_the_nodes_own_comparison_finds_nothing_where_they_agree(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        fill(a)
        b.put(BUCKET, "of b", b"b")
        agree(a, b)
        for side in SIDES:
            for arguments in (("diff",), ("status", "--wait", "20")):
                code, text = run_command(pair.nodes[side], "replication", *arguments)
                assert code == 0, text
        assert run_command(pair.nodes["a"], "replication", "resync")[0] == 0
        agree(a, b)


def test_neither_node_needs_the_other_to_read_or_write(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as (pair, a, b):
        fill(a)
        agree(a, b)
        clients = {"a": a, "b": b}
        for side in SIDES:
            pair.kill(side)
            alive = clients[other(side)]
            started = time.monotonic()
            for number in range(20):
                alive.put(BUCKET, f"while {side} was dead {number}", b"body")
                alive.get(BUCKET, "small")
            assert time.monotonic() - started < 10
            pair.start(side)
            agree(a, b)
