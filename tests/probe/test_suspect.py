"""After a failed write or sync the node acknowledges nothing any more and goes on reading, over restarts, until an operator acts."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
import requests

from tests.node import RunningNode
from tests.probe.eventually import eventually
from tests.probe.injected_fault import injected_fault
from tests.probe.ledger import Ledger
from tests.probe.load import BUCKET, verify
from tools.client import Client, ResponseError
from tools.supervisor import SUSPECT_NAME

SMALL_SEGMENT, LARGE_SEGMENT = "segments/0000000000000001.seg", "segments/0000000000000002.seg"
WAL = "journal/0000000000000001.wal"
WRITERS = 4
WORKER_NEWS_SECS = 1.0
FAULT_SECS = 15.0
END_SECS = 15.0

_AT_LENGTH = pytest.mark.faults
FAULTS = [
    pytest.param("storage", SMALL_SEGMENT, "fdatasync", 1, id="first-segment-sync"),
    pytest.param("storage", SMALL_SEGMENT, "fdatasync", 4, id="fourth-segment-sync", marks=_AT_LENGTH),
    pytest.param("storage", SMALL_SEGMENT, "pwritev,pwritev2", 2, id="segment-write"),
    pytest.param("storage", LARGE_SEGMENT, "fdatasync", 2, id="extent-sync"),
    pytest.param("storage", LARGE_SEGMENT, "pwrite64", 1, id="extent-header", marks=_AT_LENGTH),
    pytest.param("worker", LARGE_SEGMENT, "pwrite64", 2, id="extent-payload"),
    pytest.param("storage", WAL, "fdatasync", 1, id="first-wal-sync", marks=_AT_LENGTH),
    pytest.param("storage", WAL, "fdatasync", 5, id="fifth-wal-sync"),
    pytest.param("storage", WAL, "pwrite64", 3, id="wal-write", marks=_AT_LENGTH),
    pytest.param("storage", "journal/witness", "fdatasync", 1, id="witness-sync"),
    pytest.param("storage", "index/index.db-wal", "pwrite64", 3, id="index-commit"),
    pytest.param("storage", "index/index.db", "fdatasync", 1, id="index-checkpoint"),
]


class _Writers:
    """Sends small and large PUTs until the first one that is not acknowledged; notes when each acknowledged one was asked."""

    def __init__(self, node: RunningNode, ledger: Ledger) -> None:
        self._node = node
        self._ledger = ledger
        self.asked: list[float] = []
        self._greenlets = [gevent.spawn(self._write, number) for number in range(WRITERS)]

    def join(self, timeout_secs: float) -> None:
        """Wait until every writer was refused."""
        gevent.joinall(self._greenlets, timeout=timeout_secs, raise_error=True)
        assert all(greenlet.dead for greenlet in self._greenlets), "the fault changed nothing: writes are still acknowledged"

    def _write(self, number: int) -> None:
        deadline = time.monotonic() + FAULT_SECS
        with self._node.client(timeout_secs=END_SECS) as client:
            for count in range(10_000):
                size_bytes = 100_000 if count % 3 == number % 3 else 1000
                asked = time.time()
                if not put(client, self._ledger, f"{number}/{count}", f"{number} {count} ".encode() * (size_bytes // 8)):
                    return
                self.asked.append(asked)
                if time.monotonic() > deadline:
                    return


def put(client: Client, ledger: Ledger, name: str, body: bytes) -> bool:
    """PUT and note the outcome; True if it was acknowledged. Any refusal other than a 503 or a lost connection is raised."""
    key, value = ledger.key(name), hashlib.md5(body).hexdigest()
    ledger.begin(key, value)
    try:
        client.put(BUCKET, name, body)
    except ResponseError as error:
        ledger.unknown(key, value)
        assert error.status == 503 and error.code == "ServiceUnavailable", f"{name}: {error}"
        return False
    except requests.RequestException:
        ledger.unknown(key, value)
        return False
    ledger.acknowledged(key, value)
    return True


@pytest.fixture
def node(process: str, tmp_path: Path) -> Iterator[RunningNode]:
    # A fault of a worker: it is the only one, so it gets every request.
    made = RunningNode(tmp_path / "data", {"FS_METADATA_COMPACT_INTERVAL_SECS": "1"}, workers=1 if process == "worker" else 2)
    made.start()
    made.client().create_bucket(BUCKET)
    yield made
    made.kill()


@pytest.mark.slow
@pytest.mark.parametrize(("process", "file", "call", "when"), FAULTS)
def test_a_failed_write_or_sync_ends_all_writes_and_no_reads(
    process: str, file: str, call: str, when: int, node: RunningNode, tmp_path: Path
) -> None:
    ledger = Ledger()
    client = node.client()
    assert put(client, ledger, "small", b"small" * 100) and put(client, ledger, "large", b"large" * 30_000)
    storage = node.storage_pid()
    assert storage is not None
    traced = storage if process == "storage" else node.worker_pids()[0]
    with injected_fault(traced, node.data_dir / file, call, when, tmp_path / "strace") as fault:
        writers = _Writers(node, ledger)
        writers.join(FAULT_SECS + END_SECS)
        assert fault.happened_at is not None, "no call failed"
        eventually(lambda: not os.path.exists(f"/proc/{storage}"), "the storage process goes on after a fault of its disk")
    happened_at = fault.happened_at
    assert happened_at is not None
    # The storage process knows of its own faults at once; a worker's must reach it first. What it acknowledges until then it has synced.
    grace_secs = WORKER_NEWS_SECS if process == "worker" else 0.0
    late = [asked - happened_at for asked in writers.asked if asked > happened_at + grace_secs]
    assert not late, f"acknowledged although asked after the fault: {late} s"

    _check_read_only(node, ledger)
    os.kill(node.worker_pids()[0], signal.SIGKILL)
    eventually(lambda: len(node.worker_pids()) == node.workers, "the worker is not replaced")
    _check_read_only(node, ledger)
    node.stop()
    node.start(wait_ready=False)
    _check_read_only(node, ledger)
    assert node.storage_pid() is None

    node.stop()
    (node.data_dir / SUSPECT_NAME).unlink()
    node.start()
    verify(node, ledger, list(ledger.keys.values()), settle=True)
    assert not ledger.violations
    assert put(node.client(), ledger, "again", b"again")
    verify(node, ledger, [ledger.key("again")], settle=False)
    assert not ledger.violations


def _check_read_only(node: RunningNode, ledger: Ledger) -> None:
    """Every worker: /readyz says why and what to do, writes are 503, everything acknowledged is read."""
    with node.client(timeout_secs=END_SECS) as client:

        def says_why() -> bool:
            answer = client.send("GET", "/readyz")
            return answer.status_code == 503 and "read-only until an operator acts" in answer.text and SUSPECT_NAME in answer.text

        for _ in range(6):  # a new connection each time: the kernel gives it to any worker
            eventually(says_why, "/readyz does not say that the node is read-only")
            client.close()
        for count in range(4):
            assert not put(client, ledger, f"refused {count}", b"refused"), "a write was acknowledged on a suspect volume"
            answer = client.request("DELETE", BUCKET, "small")
            assert answer.status_code == 503, answer.text
            client.close()
        assert client.send("GET", "/healthz").status_code == 200
        assert client.list_buckets() == [BUCKET]
        assert client.head(BUCKET, "large").headers["Content-Length"] == "150000"
    verify(node, ledger, list(ledger.keys.values()), settle=False)
    assert not ledger.violations, ledger.violations[:5]
