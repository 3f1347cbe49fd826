"""kill -9 at random moments under load, while checkpoints and compaction run: nothing acknowledged is lost or changed, nothing
half-written is ever seen, and the node is ready again at once.

The kernel outlives the processes here, and with it the page cache: what a missing fsync loses, `test_power_cut` finds.
"""

import os
import time
from pathlib import Path

import pytest

from scripts.measure import closed_loop
from tests.faults.scale import FAULT_SCALE
from tests.node import RunningNode
from tests.probe.kill_rounds import run_rounds
from tests.probe.planting import planted

SETTINGS = {
    "FS_READ_GRACE_SECS": "0",
    "FS_STORAGE_COMPACT_INTERVAL_SECS": "1",
    "FS_STORAGE_COMPACT_DISK_PERCENT": "100",
    "FS_SEGMENT_TARGET_SIZE_MB": "1",
    "FS_METADATA_COMPACT_INTERVAL_SECS": "1",
}
"""What nothing uses goes while the rounds are on, and segments with it."""
QUICK_ROUNDS = 10
PLANTED_ROUNDS = 30
"""At most; most planted bugs are found within a few."""
FAULT_ROUNDS = 40 * FAULT_SCALE
KEYS = 100_000
KEY_BYTES = 100
STARTS = 3
WRITES_BEFORE_KILL = 2000
READY_SECS = 2.0
EMPTY_READY_SECS = 0.8
"""What a start without any data takes where nothing else runs: as many times as it takes here, the machine is busy."""


def _check(tmp_path: Path, rounds: int, seed: str, workers: int) -> None:
    node = RunningNode(tmp_path / "data", SETTINGS, workers=workers)
    with node.start():
        ledger, killed = run_rounds(node, rounds, seed)
        segments = max(int(path.stem, 16) for path in (node.data_dir / "segments").iterdir())
        left = len(list((node.data_dir / "segments").iterdir()))
        log = node.log()
    print(f"\nkilled {dict(killed)}: {ledger.counts}, {len(ledger.keys)} keys, {len(ledger.violations)} violations")
    print(f"{left} segment files are left of {segments}")
    assert not ledger.violations, "\n".join([*ledger.violations[:20], log[-4000:]])
    assert left < segments / 2, "too little compaction to show anything"
    assert ledger.counts.acknowledged > 20 * rounds, "too little load to show anything"
    assert min(ledger.counts.copied, ledger.counts.in_parts) > rounds, "too few copies and uploads to show anything"
    assert "defect" not in log, log[-8000:]


@pytest.mark.lasts(25)
@pytest.mark.slow
def test_kill_9_of_storage_worker_or_node_loses_nothing_acknowledged(tmp_path: Path) -> None:
    _check(tmp_path, QUICK_ROUNDS, "ci", 2)


@pytest.mark.lasts(95)
@pytest.mark.faults
@pytest.mark.parametrize("workers", [2, 0])
def test_many_rounds_of_kill_9_lose_nothing_acknowledged(workers: int, tmp_path: Path) -> None:
    _check(tmp_path, FAULT_ROUNDS, os.urandom(4).hex(), workers)


@pytest.mark.lasts(65)
@pytest.mark.faults
def test_a_node_with_many_keys_is_ready_at_once_after_kill_9(tmp_path: Path) -> None:
    empty_secs = min(_start_secs(RunningNode(tmp_path / f"empty-{number}", workers=2)) for number in range(STARTS))
    node, objects = RunningNode(tmp_path / "data", workers=2), closed_loop.Objects(KEY_BYTES)
    with node.start():
        closed_loop.run(node.port, node.credentials, objects.puts(range(KEYS)))
        times = []
        for number in range(STARTS):
            first = KEYS + number * WRITES_BEFORE_KILL
            closed_loop.run(node.port, node.credentials, objects.puts(range(first, first + WRITES_BEFORE_KILL)))
            node.kill()
            times.append(_start_secs(node, kill=False))
        assert node.usage("measure")[0] == KEYS + STARTS * WRITES_BEFORE_KILL
    allowed = READY_SECS * max(1.0, empty_secs / EMPTY_READY_SECS)
    print(f"\nready again after {times} s with {KEYS} keys, an empty node after {empty_secs} s; wanted {READY_SECS}, here {allowed:.1f}")
    assert min(times) <= allowed


def _start_secs(node: RunningNode, *, kill: bool = True) -> float:
    started = time.perf_counter()
    node.start()
    secs = round(time.perf_counter() - started, 2)
    if kill:
        node.kill()
    return secs


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["ack_before_write", "segment_reused", "unlinked_before_moved"])
def test_the_rounds_find_a_planted(bug: str, tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", SETTINGS | planted(bug), workers=2)
    try:
        node.start()
        ledger, killed = run_rounds(node, PLANTED_ROUNDS, bug, stop_at_first=True)
    finally:
        node.kill()
    print(f"\n{bug} found after {killed.total()} kills: {ledger.violations[:2]}")
    assert ledger.violations
