"""What `scripts/measure/replication.py` counts is what happened: paced PUTs, sampled lags, ratios, and a resync that is whole."""

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from fasterstore.s3.signer import Credentials
from scripts.measure import open_loop, replication, resync
from scripts.measure.closed_loop import Objects, RequestFailed
from scripts.measure.node_pair import client_of, make_pair
from scripts.measure.servers import Node

RESYNC_SHARE = 0.25
"""Of the rate at which 16 clients put the same objects: one round trip for each would be far below."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("measure"), {"FS_WORKERS": "0"})
    made.start()
    try:
        yield made
    finally:
        made.stop()


def _credentials(node: Node) -> Credentials:
    return Credentials(node.access_key, node.secret_key)


def test_the_open_loop_sends_each_request_once_and_none_before_it_is_due(node: Node) -> None:
    objects, answered = Objects(100, "paced"), []
    started = time.perf_counter()

    def note(number: int, at: float) -> None:
        answered.append((number, at))

    done = open_loop.run(node.port, _credentials(node), objects.puts(range(100)), 200, connections=4, answered=note)
    assert sorted(number for number, _ in answered) == list(range(100)) and len(done.latencies_secs) == 100
    assert done.secs >= 99 / 200, "the last one is due then"
    assert all(at - started >= number / 200 for number, at in answered)
    with client_of(node) as client:
        assert all(client.send("HEAD", objects.path(number)).status_code == 200 for number in (0, 99))


def test_a_request_that_waits_for_a_connection_is_charged_from_when_it_was_due(node: Node) -> None:
    objects = Objects(100, "paced")
    done = open_loop.run(node.port, _credentials(node), objects.puts(range(50)), 1_000_000, connections=1)
    assert done.late > 10, "one connection cannot send a million a second"
    assert done.latencies_secs[-1] > 20 * done.latencies_secs[0] or done.latencies_secs[-1] > done.secs / 2


def test_the_open_loop_ends_at_a_refusal(node: Node) -> None:
    with pytest.raises(RequestFailed, match="NoSuchKey"):
        open_loop.run(node.port, _credentials(node), Objects(1, "paced").gets([10**6]), 100)
    assert open_loop.run(node.port, _credentials(node), [], 100).latencies_secs == []


def test_the_lag_of_a_sample_counts_from_its_answer_and_a_missing_one_is_not_passed_over(node: Node) -> None:
    objects = Objects(100, "lagging")
    now = time.perf_counter()
    with client_of(node) as client:
        open_loop.run(node.port, _credentials(node), objects.puts([1, 2]), 1000)
        there = deque([(objects.path(1), now - 5), (objects.path(2), now - 1)])
        lags = replication.wait_visible(client, there, [True], 60)
        assert 5 <= lags[0] < 60 and 1 <= lags[1] < 60
        with pytest.raises(TimeoutError, match=objects.path(3)):
            replication.wait_visible(client, deque([(objects.path(3), now), (objects.path(1), now)]), [True], 0.2)


def test_what_a_peer_costs_is_the_ratio_of_the_medians() -> None:
    def row(kind: str, put: int) -> dict[str, object]:
        return {"kind": kind, "put": put, "put_p99_ms": 1.0, "put_cpu_us": 100, "put_errors": 1}

    rows = [row("alone", 100), row("alone", 300), row("alone", 200), row("with peer", 150), row("with peer", 180), row("with peer", 10)]
    found = replication.rate_summary(rows)
    assert (found["put_ratio"], found["errors"], found["put"]) == (0.75, 6, {"alone": 200, "with peer": 150})


def test_a_resyncs_bytes_are_those_that_were_asked_for() -> None:
    requests = list(resync.puts_of(20_000_000))
    assert len({request.path for request in requests}) == len(requests)
    assert 0.9 < sum(len(request.body) for request in requests) / 20_000_000 <= 1.0
    assert {len(request.body) for request in requests} == {resync.LARGE_BYTES, resync.SMALL_BYTES}


def test_the_counters_of_a_bucket_that_is_not_there_are_zero(node: Node, tmp_path: Path) -> None:
    assert resync.bytes_of(node) == (0, 0)
    open_loop.run(node.port, _credentials(node), Objects(100, resync.BUCKET).puts(range(3)), 1000)
    assert resync.bytes_of(node) == (3, 300)


@pytest.mark.slow
def test_the_lag_of_two_nodes_is_measured_on_puts_at_the_rate_asked_for(tmp_path: Path) -> None:
    found = replication.lag_of_new_nodes(tmp_path, {"FS_WORKERS": "1"}, 200, 5)
    print(f"\n{found}")
    assert found["samples"] == 1000 // (200 // replication.SAMPLES_PER_SEC)
    assert 0 < found["lag_p50_ms"] <= found["lag_p99_ms"] <= found["lag_max_ms"] < 1000 * replication.VISIBLE_WITHIN_SECS
    assert 0 < found["puts_per_sec"] <= 205 and found["sender_mib"] > 20 and found["receiver_mib"] > 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_resync_of_200_mb_is_limited_by_what_puts_are_limited_by_and_not_by_round_trips(tmp_path: Path) -> None:
    settings = {"FS_WORKERS": "2", "FS_CACHE_CAPACITY_MB": "0"}
    found = resync.measure_resync(make_pair(tmp_path, settings), 200_000_000)
    print(f"\n{found}")
    assert found["mb"] >= 195 and found["objects"] > 5000
    assert found["mb_per_sec"] > RESYNC_SHARE * found["put_mb_per_sec"]
    assert max(found["sender_mib"], found["receiver_mib"]) < 400, "memory that grows with what is sent"
