"""What clients see while the storage process does not answer, is asked for too much, or may not write any more."""

import os
import select
import signal

import pytest
import requests

from tests.raw_connection import RawConnection, signed_request
from tests.refusal import assert_refused
from tools.supervisor import SUSPECT_NAME


@pytest.fixture
def paused():
    """paused(pid): stop that process; it goes on after the test at the latest."""
    stopped = []

    def stop(pid):
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    yield stop
    for pid in stopped:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def test_past_the_credit_of_a_worker_uploads_are_slowed_down(start_node, paused):
    node = start_node()
    node.client().create_bucket("box")
    storage = node.storage_pid()
    paused(storage)
    body = b"x" * 60_000
    connections = [RawConnection(node, 30) for _ in range(400)]  # 24 MB are under way, 16 MiB are granted
    for number, connection in enumerate(connections):
        connection.send(signed_request(node, "PUT", f"/box/{number}", body=body + str(number).encode()))
    answered, _, _ = select.select([connection.socket for connection in connections], [], [], 20)
    assert answered, "only a refusal can come while storage stands still"
    os.kill(storage, signal.SIGCONT)
    answers = [connection.answer() for connection in connections]
    for connection in connections:
        connection.close()
    slowed = [answer for answer in answers if answer.status != 200]
    assert slowed
    for answer in slowed:
        assert_refused(answer, 503, "SlowDown")
        assert answer.headers["retry-after"]
    assert len(slowed) < 200
    assert node.usage("box")[0] == len(answers) - len(slowed)


def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_open(start_node, paused):
    node = start_node(FS_REQUEST_TIMEOUT_SECS="1")
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    storage = node.storage_pid()
    paused(storage)
    for size in (10, 400_000):
        found = assert_refused(client.request("PUT", "box", "new", body=b"x" * size), 503, "ServiceUnavailable")
        assert "outcome" in found["Message"]
    assert_refused(client.request("DELETE", "box", "key"), 503, "ServiceUnavailable")
    # Reads do not ask it.
    assert client.get("box", "key").content == b"body"
    assert client.list_buckets() == ["box"]
    assert requests.get(f"{node.endpoint}/metrics", timeout=10).status_code == 200
    os.kill(storage, signal.SIGCONT)
    client.put("box", "after", b"after")
    assert client.get("box", "after").content == b"after"


@pytest.mark.parametrize("workers", [1, 0])
def test_a_suspect_volume_is_served_read_only_until_the_mark_is_removed(start_node, workers):
    node = start_node(workers)
    client = node.client()
    client.create_bucket("box")
    bodies = {"small": b"s" * 100, "large": os.urandom(3_000_000)}
    for key, body in bodies.items():
        client.put("box", key, body)
    node.stop()
    (node.data_dir / SUSPECT_NAME).write_text("fdatasync failed\n")
    node.start(wait_ready=False)
    client = node.client()
    ready = requests.get(f"{node.endpoint}/readyz", timeout=10)
    assert ready.status_code == 503
    for word in ("read-only", "fdatasync failed", SUSPECT_NAME):
        assert word in ready.text
    for key, body in bodies.items():
        assert client.get("box", key).content == body
        assert client.head("box", key).headers["content-length"] == str(len(body))
    assert client.list_buckets() == ["box"]
    for method, key, body in (("PUT", "new", b"x"), ("PUT", "new", b"x" * 400_000), ("DELETE", "small", b""), ("PUT", "", b"")):
        found = assert_refused(client.request(method, "box" if key else "new-box", key, body=body), 503, "ServiceUnavailable")
        assert "read-only" in found["Message"]
    assert node.metric("fasterstore_read_only") == 1
    node.stop()
    (node.data_dir / SUSPECT_NAME).unlink()
    node.start()
    assert node.client().put("box", "new", b"x").status_code == 200
    assert node.metric("fasterstore_read_only") == 0
