"""FS_RATE_LIMIT_PER_SEC on real nodes: one connection gets the whole limit, all together no more, and what is exempt."""

import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
import requests
from botocore.client import Config

from fasterstore.token_lease import OWN_SECS as BRIDGED_SECS
from tests.raw_connection import Answer, RawConnection, request_bytes, signed_request
from tools.supervisor import SUSPECT_NAME

RATE_PER_SEC = 100
MEASURE_SECS = 3.0
PIPELINED = 8
"""Requests sent at once on a connection, so that a busy machine brings more than the limit too."""


@pytest.fixture
def limited(start_node):
    """A node of two workers with the limit, and a small object."""
    node = start_node(workers=2, FS_RATE_LIMIT_PER_SEC=str(RATE_PER_SEC))
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    return node


def hammer(connections: list[RawConnection], request: bytes, secs: float) -> list[Answer]:
    """Send `request` on all connections again and again."""
    return hammer_and_watch(connections, request, secs)[0]


def hammer_and_watch(connections: list[RawConnection], request: bytes, secs: float) -> tuple[list[Answer], float]:
    """The answers, and the seconds in which requests came without a pause that the buckets do not bridge."""
    answers: list[Answer] = []
    started = last = time.monotonic()
    paused_secs = 0.0
    while last < started + secs:
        for connection in connections:
            connection.send(request * PIPELINED)
        answers += [connection.answer() for connection in connections for _ in range(PIPELINED)]
        now = time.monotonic()
        paused_secs += max(now - last - BRIDGED_SECS, 0.0)
        last = now
    return answers, last - started - paused_secs


def hammer_until_refused(connections: list[RawConnection], request: bytes) -> None:
    """Until the tokens of whoever sends `request` are used up."""
    deadline = time.monotonic() + 20
    while 503 not in statuses(hammer(connections, request, 0.1)):
        assert time.monotonic() < deadline


def statuses(answers: list[Answer]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for answer in answers:
        counts[answer.status] = counts.get(answer.status, 0) + 1
    return counts


def add(counts: dict[int, int], more: dict[int, int]) -> dict[int, int]:
    return {status: counts.get(status, 0) + more.get(status, 0) for status in counts | more}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 8])
def test_a_connection_alone_gets_the_whole_limit_and_many_get_no_more(limited, connect, count):
    connections = [connect(limited) for _ in range(count)]
    request = signed_request(limited, "GET", "/box/key")
    hammer_until_refused(connections, request)  # what the buckets held at first is used up
    started = time.monotonic()
    answers, steady_secs = hammer_and_watch(connections, request, MEASURE_SECS)
    counts = statuses(answers)
    assert 0.85 * RATE_PER_SEC * steady_secs <= counts[200] <= 1.15 * RATE_PER_SEC * (time.monotonic() - started)
    assert counts.keys() == {200, 503}
    refused = next(answer for answer in answers if answer.status == 503)
    assert b"<Code>SlowDown</Code>" in refused.content
    assert refused.headers["retry-after"] == "1"
    assert refused.headers.get("connection") != "close"


def test_what_is_granted_and_refused_is_counted(limited, connect):
    connection, request = connect(limited), signed_request(limited, "GET", "/box/key")
    counts = statuses(hammer([connection], request, 1.0))
    while 503 not in counts:
        counts = add(counts, statuses(hammer([connection], request, 0.5)))
    found = limited.metrics()
    nothing = frozenset()
    assert found["fasterstore_rate_limit_granted_total", nothing] == counts[200] + 2, "the bucket and the object were made before"
    assert found["fasterstore_rate_limit_refused_total", nothing] == counts[503]
    assert 0 < found["fasterstore_rate_limiter_leases_total", nothing] < counts[200] + counts[503]
    assert limited.metric("fasterstore_s3_requests_total", api="GetObject", code="503") == counts[503]
    assert limited.metric("fasterstore_actor_messages_total", actor="rate-limiter") > 0


def test_a_write_is_refused_before_its_body_is_sent(limited, connect):
    head = signed_request(limited, "PUT", "/box/large", {"content-length": "1000000", "expect": "100-continue"})
    answers = []
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(hammer, [connect(limited) for _ in range(4)], signed_request(limited, "GET", "/box/key"), 3.0)
        while not flood.done():
            with RawConnection(limited) as upload:
                upload.send(head)
                answers.append(upload.answer())
    counts = statuses(answers)
    assert counts[503] > 0
    assert counts.keys() <= {100, 503}
    refused = next(answer for answer in answers if answer.status == 503)
    assert b"<Code>SlowDown</Code>" in refused.content
    assert refused.headers["connection"] == "close", "the body may or may not come"


def test_health_metrics_and_the_operator_are_exempt(limited, connect):
    connection = connect(limited)
    hammer_until_refused([connection], signed_request(limited, "GET", "/box/key"))
    for path in ("/healthz", "/readyz", "/minio/health/live", "/metrics"):
        assert statuses(hammer([connection], request_bytes("GET", path, {"host": "h"}), 0.2)).keys() == {200}, path
    assert limited.client().send("GET", "/_admin/actors").status_code == 200


def test_strangers_share_one_limit_that_is_not_that_of_a_key(limited, connect):
    connection = connect(limited)
    anonymous = request_bytes("GET", "/box/key", {"host": "h"})
    forged = request_bytes(
        "GET",
        "/box/key",
        {
            "host": "h",
            "x-amz-date": "20260101T000000Z",
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            "authorization": f"AWS4-HMAC-SHA256 Credential={limited.credentials.access_key}/20260101/us-east-1/s3/aws4_request, "
            f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
        },
    )
    hammer_until_refused([connection], anonymous)
    assert statuses(hammer([connection], anonymous, 0.2)).keys() <= {403, 503}
    hammer_until_refused([connection], forged)  # a wrong signature takes from the strangers' limit
    connection.send(signed_request(limited, "GET", "/box/key"))
    assert connection.answer().status == 200, "and never from the owner's"


def test_without_a_limit_nothing_is_refused_and_nothing_runs_for_it(start_node, connect):
    node = start_node(FS_RATE_LIMIT_PER_SEC="0")
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    counts = statuses(hammer([connect(node)], signed_request(node, "GET", "/box/key"), 0.5))
    assert counts.keys() == {200}
    assert not [name for name, labels in node.metrics() if "rate_limit" in name or ("actor", "rate-limiter") in labels]


def test_a_node_in_one_process_has_the_same_limit(start_node, connect):
    node = start_node(workers=0, FS_RATE_LIMIT_PER_SEC="50")
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    connection = connect(node)
    request = signed_request(node, "GET", "/box/key")
    hammer_until_refused([connection], request)
    started = time.monotonic()
    answers, steady_secs = hammer_and_watch([connection], request, 2.0)
    assert 0.85 * 50 * steady_secs - 3 <= statuses(answers)[200] <= 1.15 * 50 * (time.monotonic() - started) + 3


def test_while_storage_is_away_for_good_reads_go_on_at_the_workers_shares(limited, connect):
    limited.stop()
    (limited.data_dir / SUSPECT_NAME).write_text("planted by a test\n")
    limited.start(wait_ready=False)
    deadline = time.monotonic() + 10
    while (answer := limited.client().request("GET", "box", "key")).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.content == b"body"
    request = signed_request(limited, "GET", "/box/key")
    connection = connect(limited)
    hammer_until_refused([connection], request)
    started = time.monotonic()
    answers, steady_secs = hammer_and_watch([connection], request, 2.0)
    counts, share_per_sec = statuses(answers), RATE_PER_SEC / 2
    assert 0.85 * share_per_sec * steady_secs - 3 <= counts[200] <= 1.15 * share_per_sec * (time.monotonic() - started) + 3


def test_a_signed_form_takes_from_the_limit_of_its_key(limited, connect):
    s3 = boto3.client(
        "s3",
        endpoint_url=limited.endpoint,
        aws_access_key_id=limited.credentials.access_key,
        aws_secret_access_key=limited.credentials.secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    form = s3.generate_presigned_post("box", "formed", ExpiresIn=600)
    strangers = [connect(limited) for _ in range(4)]
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(hammer, strangers, request_bytes("GET", "/box/key", {"host": "h"}), 3.0)
        time.sleep(0.3)
        uploads = []
        while not flood.done():
            uploads.append(requests.post(form["url"], data=form["fields"], files={"file": b"bytes"}, timeout=10).status_code)
            time.sleep(0.05)
    assert statuses(flood.result())[503] > 0
    assert uploads
    assert set(uploads) == {204}
