"""The power goes under load: nothing acknowledged is lost, nothing half-written is seen, and nothing is acknowledged afterwards.

A directory that is not synced is not seen by these rounds: on ext4 and XFS the sync of any file commits the names made before it,
and an acknowledged write is always followed by one. `test_a_rename...` shows that the volume would show it; the crash states of the
in-memory disk, which keeps no such order, judge the engine itself.
"""

import os
from pathlib import Path

import pytest

from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.disk import RealDisk
from tests.node import ROOT, RunningNode
from tests.probe.loop_volume import volume
from tests.probe.power_cuts import run_cuts

PLANTED = f"{Path(__file__).parent / 'planted'}:{ROOT}"
CI_CUTS = 8
FAULT_CUTS = int(os.environ.get("FAULT_ROUNDS", "40")) // 4


def _check(tmp_path: Path, kind: str, cuts: int, seed: str) -> None:
    with volume(tmp_path, kind) as disk:
        node = RunningNode(disk.path, workers=2)
        try:
            ledger = run_cuts(node, disk, cuts, seed)
        finally:
            node.kill()
        log = node.log()
    print(f"\n{cuts} power cuts on {kind}: {ledger.counts}, {len(ledger.keys)} keys, {len(ledger.violations)} violations")
    assert not ledger.violations, "\n".join([*ledger.violations[:20], log[-4000:]])
    assert ledger.counts.acknowledged > 20 * cuts, "too little load to show anything"
    assert "defect in" not in log, "an actor was surprised by a failing volume"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cuts"), [("ext4", CI_CUTS), ("xfs", CI_CUTS // 2)])
def test_a_power_cut_loses_nothing_acknowledged(kind: str, cuts: int, tmp_path: Path) -> None:
    _check(tmp_path, kind, cuts, "ci")


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_many_power_cuts_lose_nothing_acknowledged(kind: str, tmp_path: Path) -> None:
    _check(tmp_path, kind, FAULT_CUTS, os.urandom(4).hex())


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["no_sync", "ack_before_sync"])
def test_the_cuts_find_a_planted(bug: str, tmp_path: Path) -> None:
    with volume(tmp_path, "ext4") as disk:
        node = RunningNode(disk.path, {"PYTHONPATH": PLANTED, "PLANTED_BUG": bug}, workers=2)
        try:
            ledger = run_cuts(node, disk, CI_CUTS, bug, stop_at_first=True)
        finally:
            node.kill()
    print(f"\n{bug}: {ledger.violations[:2]}")
    assert ledger.violations


class _ForgetsNames(RealDisk):
    """The planted bug: no folder is ever synced."""

    def fsync_dir(self, path: str) -> None:
        pass


@pytest.mark.parametrize(("disk_type", "survives"), [(RealDisk, True), (_ForgetsNames, False)])
def test_a_rename_survives_the_cut_only_with_the_sync_of_its_folder(disk_type: type[RealDisk], survives: bool, tmp_path: Path) -> None:
    with volume(tmp_path, "ext4") as disk:
        document = disk.path / "format.json"
        write_atomically(RealDisk(), str(document), b"before")
        os.sync()
        write_atomically(disk_type(), str(document), b"after")
        disk.cut()
        disk.remount()
        assert document.read_bytes() == (b"after" if survives else b"before")
