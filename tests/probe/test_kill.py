"""kill -9 at random moments under load: nothing acknowledged is lost or changed, nothing half-written is ever seen.

The kernel outlives the processes here, and with it the page cache: what a missing fsync loses, `test_power_cut` finds.
"""

import os
from pathlib import Path

import pytest

from tests.node import RunningNode
from tests.probe.kill_rounds import run_rounds
from tests.probe.planting import planted

SETTINGS = {"FS_READ_GRACE_SECS": "1"}
"""Parts that nothing uses go while the rounds are on."""
CI_ROUNDS = 30
FAULT_ROUNDS = int(os.environ.get("FAULT_ROUNDS", "40"))


def _check(tmp_path: Path, rounds: int, seed: str, workers: int) -> None:
    node = RunningNode(tmp_path / "data", SETTINGS, workers=workers)
    with node.start():
        ledger, killed = run_rounds(node, rounds, seed)
        log = node.log()
    print(f"\nkilled {dict(killed)}: {ledger.counts}, {len(ledger.keys)} keys, {len(ledger.violations)} violations")
    assert not ledger.violations, "\n".join([*ledger.violations[:20], log[-4000:]])
    assert ledger.counts.acknowledged > 20 * rounds, "too little load to show anything"
    assert min(ledger.counts.copied, ledger.counts.in_parts) > rounds, "too few copies and uploads to show anything"
    assert "defect" not in log, log[-8000:]


@pytest.mark.slow
def test_kill_9_of_storage_worker_or_node_loses_nothing_acknowledged(tmp_path: Path) -> None:
    _check(tmp_path, CI_ROUNDS, "ci", 2)


@pytest.mark.faults
@pytest.mark.parametrize("workers", [2, 0])
def test_many_rounds_of_kill_9_lose_nothing_acknowledged(workers: int, tmp_path: Path) -> None:
    _check(tmp_path, FAULT_ROUNDS, os.urandom(4).hex(), workers)


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["ack_before_write", "segment_reused"])
def test_the_rounds_find_a_planted(bug: str, tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", planted(bug), workers=2)
    try:
        node.start()
        ledger, killed = run_rounds(node, CI_ROUNDS, bug, stop_at_first=True)
    finally:
        node.kill()
    print(f"\n{bug} found after {killed.total()} kills: {ledger.violations[:2]}")
    assert ledger.violations
