"""A disk that takes 200 ms for every sync, and more writes than it can take: queues and memory stay bounded, what is too much is
refused at once by 503 SlowDown, and the node says that it is well.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.measure.process_tree import tree_pss_bytes
from tests.node import RunningNode
from tests.probe.planting import planted
from tests.raw_connection import Answer, RawConnection, signed_request
from tools.percentiles import percentile

pytestmark = pytest.mark.faults

SYNC_DELAY_USECS = 200_000
CONNECTIONS = 400
BODY_BYTES = 60_000
LOAD_SECS = 8.0
BACK_OFF_SECS = 0.5
"""How long a writer rests after SlowDown: without it, it would only show how fast a node can refuse."""
CREDIT_BYTES = 16 << 20
MEMORY_MAX_BYTES = CREDIT_BYTES + (96 << 20)
"""More than before the load: what may be under way, and as much again in the buffers of connections and process."""
SLOWDOWN_SECS, HEALTH_SECS = 0.1, 0.25
BUSY = 8.0
"""The client's own work on a machine of two cores is in every figure: so much slower they may be before a test fails."""
HEALTH_PROBE = """
import http.client, json, sys, time
times, end = [], time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
    connection.close()
    times.append((time.monotonic() - started, status))
    time.sleep(0.02)
print(json.dumps(times))
"""


class Load(NamedTuple):
    """What the writers saw: seconds of the answers by status, and answers that are neither success nor SlowDown."""

    secs: dict[int, list[float]]
    others: Counter[str]
    mailbox_max: int
    memory_bytes: int
    """More than before."""
    health_secs: list[float]


@contextmanager
def slow_syncs(pid: int, folder: Path) -> Iterator[None]:
    """While open, each sync of that process takes so much longer. Skips the test if strace is not installed."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    said = folder / "strace.err"
    command = ["strace", "-f", "-q", "-o", os.devnull, "-e", "trace=fdatasync,fsync", "-e", "signal=none"]
    command += ["-e", f"inject=fdatasync,fsync:delay_enter={SYNC_DELAY_USECS}", "-p", str(pid)]
    with open(said, "wb") as errors:
        strace = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        deadline = time.monotonic() + 10
        while f"TracerPid:\t{strace.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
            assert strace.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.01)
        yield
    finally:
        strace.terminate()
        strace.wait(10)


def overload(node: RunningNode, tmp_path: Path) -> Load:
    """So many connections, each with a PUT under way all the time."""
    client = node.client()
    client.create_bucket("slow")
    before = tree_pss_bytes(node.pid)
    secs: dict[int, list[float]] = {200: [], 503: []}
    others, mailbox, memory, count = Counter[str](), 0, 0, 0
    storage = node.storage_pid()
    assert storage is not None
    body = os.urandom(BODY_BYTES - 16)
    with slow_syncs(storage, tmp_path):
        probe = subprocess.Popen(
            [sys.executable, "-c", HEALTH_PROBE, str(node.port), str(LOAD_SECS)], stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]}
        )
        connections = {}
        for _ in range(CONNECTIONS):
            connection = RawConnection(node, 60)
            connections[connection.socket] = (connection, time.monotonic())
            count += 1
            connection.send(signed_request(node, "PUT", f"/slow/{count}", body=body + b"%016d" % count))
        end = looked = time.monotonic()
        end += LOAD_SECS
        resting: deque[tuple[float, RawConnection]] = deque()
        last_answer = time.monotonic()
        while connections or resting:
            answered, _, _ = select.select(list(connections), [], [], 0.05)
            assert time.monotonic() < last_answer + 60, "no answer for a minute"
            for ready in answered:
                connection, sent = connections.pop(ready)
                answer = connection.answer()
                last_answer = time.monotonic()
                _note(answer, last_answer - sent, secs, others)
                resting.append((last_answer + (BACK_OFF_SECS if answer.status == 503 else 0.0), connection))
            for _ in range(len(resting)):
                due, connection = resting.popleft()
                if time.monotonic() > end:
                    connection.close()
                elif due > time.monotonic():
                    resting.append((due, connection))
                else:
                    count += 1
                    connections[connection.socket] = (connection, time.monotonic())
                    connection.send(signed_request(node, "PUT", f"/slow/{count}", body=body + b"%016d" % count))
            if time.monotonic() > looked + 0.5:
                looked = time.monotonic()
                memory = max(memory, tree_pss_bytes(node.pid) - before)
                actors = client.send("GET", "/_admin/actors").json()["actors"]
                mailbox = max([mailbox, *(row.get("mailbox") or 0 for row in actors)])
        said, _ = probe.communicate(timeout=60)
    health = json.loads(said)
    assert {status for _, status in health} == {200}
    return Load(secs, others, mailbox, memory, [one for one, _ in health])


def _note(answer: Answer, secs: float, by_status: dict[int, list[float]], others: Counter[str]) -> None:
    if answer.status == 200 or (answer.status == 503 and b"<Code>SlowDown</Code>" in answer.content):
        by_status[answer.status].append(secs)
    else:
        others[f"{answer.status} {answer.content[:200]!r}"] += 1


def complaints(load: Load) -> list[str]:
    """What of it breaks a promise."""
    found = [f"{count} times {what}" for what, count in load.others.items()]
    if not load.secs[200] or not load.secs[503]:
        return [*found, f"nothing was stored, or nothing was refused: { ({status: len(secs) for status, secs in load.secs.items()}) }"]
    slowed, health = percentile(sorted(load.secs[503]), 50), percentile(sorted(load.health_secs), 99)
    print(
        f"\n{len(load.secs[200])} PUTs stored, {len(load.secs[503])} answered SlowDown after {slowed:.3f} s in the middle "
        f"(wanted {SLOWDOWN_SECS}); health p99 {health:.3f} s (wanted {HEALTH_SECS}); mailbox at most {load.mailbox_max}; "
        f"memory at most {load.memory_bytes >> 20} MiB more"
    )
    if slowed > SLOWDOWN_SECS * BUSY:
        found.append(f"SlowDown took {slowed:.2f} s")
    if health > HEALTH_SECS * BUSY:
        found.append(f"the health endpoint took {health:.2f} s")
    if load.mailbox_max > CONNECTIONS:
        found.append(f"a mailbox held {load.mailbox_max} messages")
    if load.memory_bytes > MEMORY_MAX_BYTES:
        found.append(f"{load.memory_bytes >> 20} MiB more memory")
    return found


def test_overload_of_a_slow_disk_is_refused_at_once_and_bounded(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data", {"FS_RATE_LIMIT_PER_SEC": "0"}, workers=1).start() as node:
        load = overload(node, tmp_path)
        assert not complaints(load)
        assert node.usage("slow")[0] == len(load.secs[200])


def test_a_slow_disk_finds_planted_unbounded_queues(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data", {"FS_RATE_LIMIT_PER_SEC": "0", **planted("no_credit")}, workers=1).start() as node:
        assert complaints(overload(node, tmp_path))
