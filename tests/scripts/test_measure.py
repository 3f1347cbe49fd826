"""The measuring scripts: what they count is what happened."""

import os
import subprocess
import sys
from time import sleep

import pytest

from fasterstore.s3.signer import Credentials
from scripts.measure import cost_by_size, encryption, presigned_load, process_tree
from scripts.measure.closed_loop import Objects, RequestFailed, run
from scripts.measure.servers import Node, Start
from tools.client import Client

WRK_OUTPUT = """Running 2s test @ http://127.0.0.1:9000
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    12.43ms    3.04ms  40.00ms   80.00%
    Req/Sec     2.45k   131.00     2.61k    75.00%
  Latency Distribution
     50%  850.00us
     75%   13.00ms
     90%   17.00ms
     99%    1.04s
  4877 requests in 2.00s, 1.50MB read
  Socket errors: connect 0, read 1, write 2, timeout 3
  Non-2xx or 3xx responses: 10
Requests/sec:   2437.62
Transfer/sec:    768.00KB
"""


def test_wrks_figures_are_read_with_their_units_and_all_its_errors() -> None:
    read = presigned_load._figures("PUT", WRK_OUTPUT)
    assert read == {"put": 2438, "put_p50_ms": 0.85, "put_p99_ms": 1040.0, "put_errors": 16}
    with pytest.raises(ValueError, match="no rate"):
        presigned_load._figures("PUT", "unable to connect")


def test_a_tree_holds_the_children_of_children_and_their_memory() -> None:
    # sh stays the parent of sleep because it has another command to run.
    process = subprocess.Popen(["sh", "-c", "sleep 60; true"])
    try:
        while len(found := process_tree.members(process.pid)) < 2:
            sleep(0.01)
        assert found[0] == process.pid
        assert process.pid in process_tree.members(os.getpid())
        assert process_tree.tree_pss_bytes(process.pid) > process_tree.pss_bytes(process.pid) > 0
    finally:
        for pid in reversed(found):
            os.kill(pid, 9)
        process.wait()
    assert process_tree.pss_bytes(process.pid) == 0
    assert process_tree.cpu_secs(process.pid) == 0


def test_cpu_time_grows_with_work() -> None:
    before = process_tree.cpu_secs(os.getpid())
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    while process_tree.cpu_secs(os.getpid()) == before:
        sum(range(100_000))


def test_the_loop_sends_every_request_once_and_stops_at_a_refusal(tmp_path) -> None:
    node, objects = Node(tmp_path, {"FS_WORKERS": "1"}), Objects(100)
    start = node.start()
    try:
        assert 0 < start.ready_secs <= start.whole_secs
        credentials = Credentials(node.access_key, node.secret_key)
        assert len(run(node.port, credentials, objects.puts(range(50)), connections=8).latencies_secs) == 50
        with Client(node.endpoint, node.access_key, node.secret_key) as client:
            for number in (0, 49):
                assert len(client.send("GET", objects.path(number)).content) == 100
            assert client.send("GET", objects.path(50)).status_code == 404
        assert len(run(node.port, credentials, objects.gets(range(50)), connections=64).latencies_secs) == 50
        assert len(run(node.port, credentials, objects.deletes(range(50)), connections=8).latencies_secs) == 50
        with pytest.raises(RequestFailed, match="NoSuchKey"):
            run(node.port, credentials, objects.gets([0]))
        assert run(node.port, credentials, objects.gets([])).latencies_secs == []
        assert len(process_tree.members(node.pid)) == 3
    finally:
        node.stop()
    assert node.start().ready_secs > 0, "it starts again on what it left"
    node.kill()


def test_a_cost_or_a_start_above_its_limit_is_named() -> None:
    rows = [
        {"store": store, "operation": operation, "cpu_us": cost, "wall_us": cost}
        for store, cost in (("small", 100.0), ("large", 150.0))
        for operation in cost_by_size.OPERATIONS
    ]
    slow, fast = Start(2.5, 2.6), Start(0.5, 2.6)
    summary = {**cost_by_size.ratios(rows), "ready_after_stop_secs": [fast, slow], "ready_after_kill_secs": [fast]}
    assert summary["get_cpu_us_ratio"] == 1.5
    assert len(cost_by_size.failures(summary, 1.3, None)) == 3
    assert cost_by_size.failures(summary, 1.5, 3.0) == []
    assert cost_by_size.failures(summary, None, 2.0) == ["ready_after_stop_secs: 2.5 s; 2.0 s are allowed"]


def test_what_encryption_costs_is_the_ratio_of_the_medians() -> None:
    def row(kind: str, put: int, get: int) -> dict[str, object]:
        return {"kind": kind, "put": put, "get": get, "put_cpu_us": 100, "get_cpu_us": 50, "put_errors": 0, "get_errors": 1}

    rows = [row("plain", 100, 10), row("plain", 300, 20), row("plain", 200, 30), row("encrypted", 150, 19), row("encrypted", 150, 15)]
    found = encryption.summary(rows)
    assert (found["put_ratio"], found["get_ratio"], found["errors"]) == (0.75, 0.85, 5)
    assert found["put"] == {"plain": 200, "encrypted": 150}
