"""Processes that end, hang, outlive each other: what the node's clients see of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gevent
import pytest
import requests

from tests.node import NodeEnded, RunningNode
from tests.probe.eventually import eventually, gone
from tests.probe.slow_upload import SlowUpload
from tools.client import Client

pytestmark = pytest.mark.slow

BUCKET = "lives"
LARGE = bytes(range(256)) * 4096


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    made = RunningNode(tmp_path / "data", workers=2)
    made.start()
    made.client().create_bucket(BUCKET)
    yield made
    made.kill()


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Those processes stand still meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if not gone(pid):
                os.kill(pid, signal.SIGCONT)


def each_on_a_new_connection(node: RunningNode, requests_count: int) -> Iterator[Client]:
    """Clients that have no connection yet: the kernel gives each to any worker."""
    for _ in range(requests_count):
        with node.client(timeout_secs=5) as client:
            yield client


def is_ready(client: Client) -> bool:
    """What the worker of that client's connection says of itself."""
    return client.send("GET", "/readyz").status_code == 200


def is_waiting(client: Client) -> bool:
    """The same worker waits for storage."""
    return "waiting for the storage process" in client.send("GET", "/readyz").text


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_node_of_any_number_of_workers_serves_and_keeps_what_it_was_given(workers: int, tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", workers=workers)
    with node.start():
        assert len(node.pids()) == 1 + (1 + workers if workers else 1)
        client = node.client()
        client.create_bucket(BUCKET)
        client.put(BUCKET, "small", b"small")
        client.put(BUCKET, "large", LARGE)
        storage = node.storage_pid()
        assert storage is not None
        os.kill(storage, signal.SIGKILL)
        eventually(lambda: node.storage_pid() not in (None, storage) and node.is_ready(), "storage is not replaced")
        for after in each_on_a_new_connection(node, 4):
            eventually(partial(is_ready, after), "a worker does not come back")
            assert after.get(BUCKET, "small").content == b"small"
            assert after.get(BUCKET, "large").content == LARGE
    assert node.stop() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_no_hub_exists_when_the_node_forks(workers: int, tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", workers=workers)
    with node.start():
        supervisor, *children = ((pid, Path(f"/proc/{pid}/maps").read_text()) for pid in node.pids())
        for library in ("gevent", "greenlet", "apsw", "blake3", "httptools", "msgpack"):
            assert library not in supervisor[1], f"the supervisor has loaded {library}"
        assert all("gevent" in maps for _, maps in children), "the test cannot see what a process has loaded"


def test_a_killed_worker_is_replaced_and_requests_go_on(node: RunningNode) -> None:
    killed = node.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    for number, client in enumerate(each_on_a_new_connection(node, 10)):
        client.put(BUCKET, str(number), b"after")
    eventually(lambda: gone(killed) and len(node.worker_pids()) == 2, "the worker is not replaced")
    assert killed not in node.worker_pids()


def test_without_storage_requests_are_503_and_then_served_by_a_new_epoch(node: RunningNode) -> None:
    client = node.client()
    client.put(BUCKET, "key", b"value")
    storage = node.storage_pid()
    assert storage is not None
    with stopped(node.pid):  # nobody restarts it meanwhile
        os.kill(storage, signal.SIGKILL)
        eventually(lambda: client.send("GET", "/readyz").status_code == 503, "/readyz does not see that storage is gone")
        for other in each_on_a_new_connection(node, 6):
            eventually(partial(is_waiting, other), "/readyz does not say what is waited for")
            assert other.send("GET", "/healthz").status_code == 200
            for method in ("GET", "PUT", "DELETE"):
                answer = other.request(method, BUCKET, "key", body=b"x" if method == "PUT" else b"")
                assert answer.status_code == 503 and "Retry-After" in answer.headers, (method, answer.text)
    node.wait_ready()
    for other in each_on_a_new_connection(node, 4):
        eventually(partial(is_ready, other), "a worker does not connect again")
        assert other.get(BUCKET, "key").content == b"value"
    assert "epoch 2 ready" in node.log()


def test_an_ask_in_flight_when_storage_dies_is_503_and_never_sent_again(node: RunningNode) -> None:
    storage = node.storage_pid()
    assert storage is not None
    with stopped(storage):
        asking = [gevent.spawn(_put_status, node, f"key-{number}", b"value" * (1 + 40_000 * (number % 2))) for number in range(6)]
        gevent.sleep(0.5)
        assert not any(greenlet.dead for greenlet in asking), "answered by a process that stands still"
        os.kill(storage, signal.SIGKILL)
        for greenlet in asking:
            status, text = greenlet.get(timeout=10)
            assert status == 503 and "unknown" in text, text
    eventually(lambda: node.storage_pid() not in (None, storage) and node.is_ready(), "storage is not replaced")
    gevent.sleep(0.5)
    for number, client in enumerate(each_on_a_new_connection(node, 6)):
        eventually(partial(is_ready, client), "a worker does not connect again")
        assert client.request("GET", BUCKET, f"key-{number}").status_code == 404, "the dead process had not read it: it was sent again"


def _put_status(node: RunningNode, key: str, body: bytes) -> tuple[int, str]:
    with node.client(timeout_secs=15) as client:
        answer = client.request("PUT", BUCKET, key, body=body)
        return answer.status_code, answer.text


def test_a_worker_that_outlived_its_storage_process_cannot_commit_with_its_old_grant(node: RunningNode) -> None:
    one, other = node.worker_pids()
    with stopped(other):
        upload = SlowUpload(node, BUCKET, "old-grant", LARGE)
        upload.wait_half_sent()
    storage = node.storage_pid()
    assert storage is not None
    with stopped(one):
        os.kill(storage, signal.SIGKILL)
        eventually(lambda: node.storage_pid() not in (None, storage), "storage is not replaced")
        with node.client(timeout_secs=5) as client:
            eventually(partial(is_ready, client), "the other worker does not connect again")
            for number in range(4):
                client.put(BUCKET, f"new-{number}", LARGE + bytes([number]))
    upload.go_on()
    answer = upload.answer()
    assert answer.status_code == 503, answer.text
    with node.client() as client:
        eventually(partial(is_ready, client), "the worker does not connect again")
        assert client.request("GET", BUCKET, "old-grant").status_code == 404
        for number in range(4):
            assert client.get(BUCKET, f"new-{number}").content == LARGE + bytes([number])


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_lets_a_running_request_finish(workers: int, tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", workers=workers)
    with node.start():
        node.client().create_bucket(BUCKET)
        upload = SlowUpload(node, BUCKET, "slow", LARGE)
        upload.wait_half_sent()
        children = node.pids()[1:]
        os.kill(node.pid, signal.SIGTERM)
        gevent.sleep(0.5)
        assert node.is_running() and node.storage_pid() is not None, "the node did not wait for a request in flight"
        upload.go_on()
        assert upload.answer().status_code == 200
        eventually(lambda: not node.is_running(), "the node does not end after its last request")
        assert node.stop() == 0
        assert all(map(gone, children))
        node.start()
        assert node.client().get(BUCKET, "slow").content == LARGE


@pytest.mark.parametrize("workers", [0, 2])
def test_the_second_sigterm_stops_at_once(workers: int, tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", workers=workers)
    with node.start():
        node.client().create_bucket(BUCKET)
        node.client().put(BUCKET, "key", b"value")
        upload = SlowUpload(node, BUCKET, "slow", LARGE)
        upload.wait_half_sent()
        children = node.pids()[1:]
        os.kill(node.pid, signal.SIGTERM)
        gevent.sleep(0.3)
        assert node.is_running()
        os.kill(node.pid, signal.SIGTERM)
        eventually(lambda: not node.is_running(), "the second SIGTERM did not stop the node", timeout_secs=5)
        assert all(map(gone, children))
        upload.go_on()
        with pytest.raises(requests.RequestException):
            upload.answer()
        node.start()
        assert node.client().get(BUCKET, "key").content == b"value"
        assert node.client().request("GET", BUCKET, "slow").status_code == 404


def test_a_killed_supervisor_leaves_no_process_behind(node: RunningNode) -> None:
    children = node.pids()[1:]
    assert len(children) == 3
    with stopped(children[-1]):  # one that cannot notice anything by itself
        os.kill(node.pid, signal.SIGKILL)
        eventually(lambda: all(map(gone, children)), "a child outlived its supervisor", timeout_secs=5)
    node.kill()
    node.start()


def test_a_second_node_on_the_same_data_dir_is_refused_and_the_first_goes_on(node: RunningNode) -> None:
    second = RunningNode(node.data_dir, workers=1)
    second.log_path = node.log_path.with_name("second.log")
    with pytest.raises(NodeEnded, match="another node serves this data dir") as ended:
        second.start()
    assert ended.value.code == 1
    node.client().put(BUCKET, "key", b"value")


def test_a_worker_that_stands_still_hangs_nobody_else(node: RunningNode) -> None:
    with stopped(node.worker_pids()[0]):
        for number, client in enumerate(each_on_a_new_connection(node, 20)):
            client.put(BUCKET, str(number), LARGE if number % 5 == 0 else b"value")
        assert node.client().send("GET", "/metrics").status_code == 200
    for number, client in enumerate(each_on_a_new_connection(node, 20)):
        assert client.get(BUCKET, str(number)).content == (LARGE if number % 5 == 0 else b"value")
