"""/healthz, /readyz and /metrics of a running node: who may ask, what they say, and that the figures are those of the traffic."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import requests

from tests.node import node_environment
from tests.probe.eventually import eventually
from tests.raw_connection import RawConnection, request_bytes
from tests.refusal import assert_refused

HELP_ME_WAIT_SECS = 5.0


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_open_to_get_and_head(node, connect, path):
    connection = connect()
    connection.send(request_bytes("GET", path, {"host": "probe"}))
    get = connection.answer()
    connection.send(request_bytes("HEAD", path, {"host": "probe"}))
    head = connection.answer(to_head=True)
    assert (get.status, head.status) == (200, 200)
    assert get.content
    assert head.headers["content-length"] == str(len(get.content))
    assert get.headers["x-amz-request-id"] != head.headers["x-amz-request-id"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_no_other_method_is_open(node, path, method):
    answer = requests.request(method, node.endpoint + path, timeout=10)
    # A stranger may be told that there can be no bucket of that name.
    assert (answer.status_code, "AccessDenied" in answer.text or "InvalidBucketName" in answer.text) in ((403, True), (400, True))


def test_metrics_answer_head_too(node):
    answer = requests.head(f"{node.endpoint}/metrics", timeout=10)
    assert answer.status_code == 200
    assert not answer.content


def test_readyz_says_what_is_waited_for_while_storage_is_away(start_node):
    node = start_node()
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    os.kill(node.storage_pid(), signal.SIGKILL)
    deadline = time.monotonic() + HELP_ME_WAIT_SECS
    answer = requests.get(f"{node.endpoint}/readyz", timeout=10)
    while answer.status_code == 200 and time.monotonic() < deadline:
        answer = requests.get(f"{node.endpoint}/readyz", timeout=10)
    assert answer.status_code == 503
    assert "storage process" in answer.text
    assert answer.headers["retry-after"]
    assert requests.get(f"{node.endpoint}/healthz", timeout=10).status_code == 200
    refused = client.request("GET", "box", "key")
    if refused.status_code != 200:  # storage may be back by now
        assert assert_refused(refused, 503, "ServiceUnavailable")["Message"]
        assert refused.headers["retry-after"]
    node.wait_ready()
    assert client.get("box", "key").content == b"body"
    assert client.put("box", "key", b"new").status_code == 200


def test_the_figures_are_those_of_the_traffic(start_node):
    node = start_node(workers=2)
    client = node.client()
    small, large = b"x" * 1000, b"y" * 3_000_000
    client.create_bucket("box")
    client.create_bucket("other")
    for number in range(4):
        client.put("box", f"small-{number}", small + bytes([number]))
    client.put("box", "large", large)
    for _ in range(3):
        for number in range(4):
            client.get("box", f"small-{number}")
    client.get("box", "large")
    client.get("box", "large", {"range": "bytes=0-9"})
    client.head("box", "large")
    client.request("GET", "box", "missing")
    client.request("PUT", "box", "refused", body=b"x", payload_hash="0" * 64)
    client.delete("box", "small-0")
    client.list_buckets()
    with node.client(secret_key="a-wrong-secret") as stranger:
        stranger.request("GET", "box", "large")

    found = node.metrics()

    def value(name, **labels):
        return found[name, frozenset(labels.items())]

    def total(name, **labels):
        return sum(value for (name_found, has), value in found.items() if name_found == name and set(labels.items()) <= has)

    counts = {
        (dict(has)["api"], dict(has)["code"]): value for (name, has), value in found.items() if name == "fasterstore_s3_requests_total"
    }
    assert counts == {
        ("CreateBucket", "200"): 2,
        ("PutObject", "200"): 5,
        ("PutObject", "400"): 1,
        ("GetObject", "200"): 13,
        ("GetObject", "206"): 1,
        ("GetObject", "404"): 1,
        ("GetObject", "403"): 1,
        ("HeadObject", "200"): 1,
        ("DeleteObject", "204"): 1,
        ("ListBuckets", "200"): 1,
    }
    for histogram in ("fasterstore_s3_request_seconds", "fasterstore_s3_ttfb_seconds"):
        assert value(f"{histogram}_count", api="PutObject") == 6
        assert value(f"{histogram}_count", api="GetObject") == 16
        assert value(f"{histogram}_bucket", api="PutObject", le="+Inf") == 6
        assert value(f"{histogram}_sum", api="PutObject") > 0
    assert value("fasterstore_s3_received_bytes_total") == 4 * 1001 + 3_000_000 + 1
    assert value("fasterstore_s3_sent_bytes_total") == 12 * 1001 + 3_000_000 + 10
    assert value("fasterstore_bucket_objects", bucket="box") == 4
    assert value("fasterstore_bucket_bytes", bucket="box") == 3 * 1001 + 3_000_000
    assert value("fasterstore_bucket_objects", bucket="other") == 0
    assert value("fasterstore_wal_fsync_seconds_count") >= 1
    assert value("fasterstore_wal_fsync_seconds_sum") > 0
    assert value("fasterstore_journal_batch_requests_sum") >= 8
    assert total("fasterstore_cache_hits_total") >= 4
    assert total("fasterstore_cache_hits_total") + total("fasterstore_cache_misses_total") == 12
    assert total("fasterstore_read_only") == 0
    mailboxes = {(dict(has)["process"], dict(has)["actor"]) for name, has in found if name == "fasterstore_actor_mailbox_depth"}
    assert mailboxes == {
        ("storage", "segment-writer"),
        ("storage", "metadata-journal"),
        ("storage", "compactor"),
        ("storage", "scrubber"),
        ("storage", "snapshots"),
        ("storage", "observer"),
        ("storage", "rate-limiter"),
        *((worker, actor) for worker in ("worker-1", "worker-2") for actor in ("cache", "observer")),
    }


def test_a_deleted_bucket_is_no_longer_counted(node, client):
    client.create_bucket("short-lived")
    label = ("fasterstore_bucket_objects", frozenset({("bucket", "short-lived")}))
    assert label in node.metrics()
    client.delete_bucket("short-lived")
    assert label not in node.metrics()


def test_an_open_download_is_counted_until_it_ends(start_node):
    node = start_node()
    client = node.client()
    client.create_bucket("box")
    client.put("box", "large", b"x" * 30_000_000)
    with RawConnection(node) as connection:
        connection.send(
            request_bytes("GET", client.presign("GET", "box", "large")[len(node.endpoint) :], {"host": f"{node.host}:{node.port}"})
        )
        connection.socket.recv(1000)
        assert node.metric("fasterstore_s3_downloads_open") == 1
    deadline = time.monotonic() + HELP_ME_WAIT_SECS
    while node.metric("fasterstore_s3_downloads_open") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert node.metric("fasterstore_s3_downloads_open") == 0


def test_the_json_log_is_one_object_a_line(start_node):
    node = start_node(FS_LOG_JSON="true")
    node.stop()
    lines = [json.loads(line) for line in node.log().splitlines()]
    assert lines
    assert all({"level", "message"} <= line.keys() for line in lines)


def test_readyz_says_what_snapshots_hold_while_space_is_short(start_node):
    node = start_node()
    verb = [sys.executable, "-m", "fasterstore", "snapshot", "monday"]
    subprocess.run(verb, env=node_environment(node.data_dir, 1), check=True, capture_output=True, timeout=60)
    assert requests.get(f"{node.endpoint}/readyz", timeout=10).text == "ready\n"
    node.stop()
    node.settings["FS_MIN_FREE_MB"] = str(1 << 24)
    node.start()
    eventually(lambda: "snapshots hold" in requests.get(f"{node.endpoint}/readyz", timeout=10).text, "it says so")
    answer = requests.get(f"{node.endpoint}/readyz", timeout=10)
    assert answer.status_code == 200
    assert "--drop" in answer.text and "monday" not in answer.text
