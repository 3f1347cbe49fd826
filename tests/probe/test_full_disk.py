"""A volume with no room left: every refused PUT says so in S3's words, everything is read, deletes and compaction go on, and so do
writes as soon as there is room. The node never ends, and leaves nothing behind.
"""

import hashlib
import os
import random
import time
from collections import Counter
from pathlib import Path

import gevent
import pytest
import requests

from tests.node import RunningNode
from tests.probe.ledger import Ledger
from tests.probe.load import BUCKET, verify
from tests.probe.loop_volume import small_volume
from tests.probe.planting import planted
from tests.refusal import assert_refused
from tools.client import Client

pytestmark = pytest.mark.faults

MIB = 1 << 20
SETTINGS = {
    "FS_MIN_FREE_MB": "16",
    "FS_SEGMENT_TARGET_SIZE_MB": "1",
    "FS_READ_GRACE_SECS": "0",
    "FS_STORAGE_COMPACT_INTERVAL_SECS": "86400",
    "FS_STORAGE_COMPACT_DISK_PERCENT": "100",
}
SIZES = (1000, 60_000, 100_000, 700_000)
"""In the message, in an extent, collected in memory and streamed."""
REFUSALS = 40
"""In a row: no size goes through any more."""
ROUNDS_MAX = 20
RESUMES_SECS = 1.0
RESUMES_ON_A_BUSY_MACHINE_SECS = 5.0
VOLUMES = [
    pytest.param("tmpfs", 64 * MIB, (), id="tmpfs"),
    pytest.param("ext4", 96 * MIB, ("-m", "0"), id="ext4"),
    pytest.param("ext4", 512 * MIB, ("-m", "0", "-N", "64"), id="ext4-inodes"),
    pytest.param("tmpfs", 512 * MIB, ("nr_inodes=48",), id="tmpfs-inodes"),
]


class Filler:
    """Puts objects and keeps what was acknowledged."""

    def __init__(self, client: Client, ledger: Ledger, before: "Filler | None" = None) -> None:
        """`before`: the one that this one goes on from, with another client."""
        self._client = client
        self._ledger = ledger
        self._dice = random.Random(5)
        self._count = before._count if before else 0
        self.refused = before.refused if before else Counter[int]()

    def put(self) -> bool:
        """One PUT of any size; True if it was acknowledged. A refusal must be S3's, for want of room."""
        self._count += 1
        key, body = self._ledger.key(f"key/{self._count}"), self._dice.randbytes(self._dice.choice(SIZES))
        value = hashlib.md5(body).hexdigest()
        self._ledger.begin(key, value)
        answer = self._client.request("PUT", BUCKET, key.name, (), None, body)
        if answer.status_code == requests.codes.ok:
            self._ledger.acknowledged(key, value)
            return True
        self._ledger.refused(key)
        self.refused[answer.status_code] += 1
        assert_refused(answer, 507, "XMinioStorageFull")
        return False

    def until_full(self) -> None:
        """Until nothing goes through any more."""
        in_a_row = 0
        while in_a_row < REFUSALS:
            in_a_row = 0 if self.put() else in_a_row + 1

    def delete(self, share: float) -> Counter[int]:
        """So many of the keys that are there; what was answered how often."""
        there = [key for key in self._ledger.keys.values() if key.possible != {None}]
        answers = Counter[int]()
        for key in self._dice.sample(there, int(len(there) * share)):
            self._ledger.begin(key, None)
            answer = self._client.request("DELETE", BUCKET, key.name)
            answers[answer.status_code] += 1
            if answer.status_code == requests.codes.no_content:
                self._ledger.acknowledged(key, None)
            else:
                assert_refused(answer, 507, "XMinioStorageFull")
                self._ledger.refused(key)
        return answers

    def resumed_secs(self) -> float:
        """How long until a PUT goes through; after it all do."""
        started = time.monotonic()
        while not self.put():
            gevent.sleep(0.02)
            assert time.monotonic() < started + 30, "there is room again, and PUTs are still refused"
        secs = time.monotonic() - started
        assert all([self.put() for _ in range(2 * len(SIZES))]), "PUTs go through and are refused again"
        return secs


def compact(client: Client) -> int:
    """Rounds until one gets to its end; how many. What one unlinks is free when the last reader has let go of it, some seconds later."""
    for rounds in range(1, ROUNDS_MAX + 1):
        before = client.send("GET", "/_admin/compaction").json()["rounds"]
        answer = client.send("POST", "/_admin/compaction").json()
        deadline = time.monotonic() + 60
        while answer["rounds"] == before or answer["state"] == "running":
            assert time.monotonic() < deadline, answer
            gevent.sleep(0.02)
            answer = client.send("GET", "/_admin/compaction").json()
        if not answer["last_round"]["error"]:
            return rounds
        gevent.sleep(1)
    raise AssertionError(f"compaction does not get to its end: {answer}")


def _check(node: RunningNode, ledger: Ledger) -> None:
    verify(node, ledger, list(ledger.keys.values()), settle=False)
    assert not ledger.violations, ledger.violations[:5]


@pytest.mark.parametrize(("kind", "size_bytes", "options"), VOLUMES)
def test_a_full_disk_refuses_puts_reads_everything_and_takes_deletes_and_compaction(
    kind: str, size_bytes: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    with small_volume(tmp_path, kind, size_bytes, options) as path:
        node = RunningNode(path / "data", SETTINGS, workers=1)
        node.log_path = tmp_path / "node.log"
        try:
            with node.start():
                print(f"\n{kind} {options}: {_story(node, path)}")
        finally:
            node.kill()
        log = node.log()
    assert "defect" not in log and "Traceback" not in log, log[-4000:]


def _story(node: RunningNode, path: Path) -> str:
    client, ledger, processes = node.client(), Ledger(), set(node.pids())
    client.create_bucket(BUCKET)
    filler = Filler(client, ledger)
    filler.until_full()
    full = ledger.counts.acknowledged
    _check(node, ledger)
    node.kill()
    node.start()
    client, processes = node.client(), set(node.pids())
    filler = Filler(client, ledger, filler)
    _check(node, ledger)

    deleted = filler.delete(0.6)
    assert set(deleted) == {requests.codes.no_content}, f"with the reserve there, a DELETE is refused: {deleted}"
    _check(node, ledger)
    rounds = compact(client)
    secs = filler.resumed_secs()
    _check(node, ledger)
    assert set(node.pids()) == processes, "a process ended"

    # Somebody else's file takes all the rest, the reserve with it.
    others = path / "others"
    _fill(others)
    stuck = filler.delete(0.2)
    for _ in range(REFUSALS // 4):
        filler.put()
    _check(node, ledger)
    assert set(node.pids()) == processes, "a process ended"
    others.unlink()
    again_secs = filler.resumed_secs()
    assert max(secs, again_secs) < RESUMES_ON_A_BUSY_MACHINE_SECS

    filler.delete(1.0)
    compact(client)
    compact(client)  # what the first one moved is dead now
    left = sum(os.stat(file).st_blocks * 512 for file in (node.data_dir / "segments").iterdir())
    assert client.request("DELETE", BUCKET).status_code == requests.codes.no_content
    assert left < 6 * MIB, f"{left} bytes of segments are left behind, and no object"
    return (
        f"{full} PUTs fitted, then {dict(filler.refused)} refused; DELETEs {dict(deleted)}, with no byte left {dict(stuck)}; "
        f"{rounds} rounds of compaction; "
        f"PUTs again after {secs:.2f} and {again_secs:.2f} s (wanted {RESUMES_SECS}); {left >> 10} KiB left of no object"
    )


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_a_full_disk_finds_a_planted_node_that_takes_it_for_a_failed_one(tmp_path: Path) -> None:
    with small_volume(tmp_path, "tmpfs", 64 * MIB) as path:
        node = RunningNode(path / "data", SETTINGS | planted("full_disk_is_fatal"), workers=1)
        node.log_path = tmp_path / "node.log"
        try:
            node.start()
            with pytest.raises((AssertionError, requests.RequestException)):
                _story(node, path)
        finally:
            node.kill()
