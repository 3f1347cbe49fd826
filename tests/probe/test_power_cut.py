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
from tests.faults.scale import FAULT_SCALE
from tests.node import RunningNode
from tests.probe.loop_volume import volume
from tests.probe.planting import planted
from tests.probe.power_cuts import run_cuts, suspect_check

QUICK_CUTS = 3
PLANTED_CUTS = 8
"""At most; a planted bug is found by the first few."""
FAULT_CUTS = 12 * FAULT_SCALE
"""On each of the two file systems."""
FAULT_KILLS_AND_CUTS = 8 * FAULT_SCALE


def _check(tmp_path: Path, kind: str, cuts: int, seed: str, *, kill_first: bool = False) -> None:
    with volume(tmp_path, kind) as disk:
        node = RunningNode(disk.path, workers=2)
        try:
            ledger = run_cuts(node, disk, cuts, seed, kill_first=kill_first, after_cut=suspect_check(node))
        finally:
            node.kill()
        log = node.log()
    what = f"{cuts} times kill -9 and then a power cut" if kill_first else f"{cuts} power cuts"
    print(f"\n{what} on {kind}: {ledger.counts}, {len(ledger.keys)} keys, {len(ledger.violations)} violations")
    assert not ledger.violations, "\n".join([*ledger.violations[:20], log[-4000:]])
    assert ledger.counts.acknowledged > 20 * cuts, "too little load to show anything"
    assert "defect in" not in log, "an actor was surprised by a failing volume"


@pytest.mark.lasts(12)
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cuts"), [("ext4", QUICK_CUTS), ("xfs", QUICK_CUTS)])
def test_a_power_cut_loses_nothing_acknowledged(kind: str, cuts: int, tmp_path: Path) -> None:
    _check(tmp_path, kind, cuts, "ci")


@pytest.mark.lasts(40)
@pytest.mark.faults
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_many_power_cuts_lose_nothing_acknowledged(kind: str, tmp_path: Path) -> None:
    _check(tmp_path, kind, FAULT_CUTS, os.urandom(4).hex())


@pytest.mark.lasts(40)
@pytest.mark.faults
def test_what_was_served_after_kill_9_is_there_after_a_power_cut(tmp_path: Path) -> None:
    """Also what was never acknowledged, if a reader has seen it."""
    _check(tmp_path, "ext4", FAULT_KILLS_AND_CUTS, os.urandom(4).hex(), kill_first=True)


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["no_sync", "ack_before_sync"])
def test_the_cuts_find_a_planted(bug: str, tmp_path: Path) -> None:
    _find(bug, tmp_path, kill_first=False)


@pytest.mark.faults
def test_a_kill_before_the_cut_finds_a_planted_start_that_trusts_the_page_cache(tmp_path: Path) -> None:
    _find("page_cache_served", tmp_path, kill_first=True)


def _find(bug: str, tmp_path: Path, *, kill_first: bool) -> None:
    with volume(tmp_path, "ext4") as disk:
        node = RunningNode(disk.path, planted(bug), workers=2)
        try:
            ledger = run_cuts(node, disk, PLANTED_CUTS, bug, stop_at_first=True, kill_first=kill_first)
        finally:
            node.kill()
    print(f"\n{bug}: {ledger.violations[:2]}")
    # Lost, or missed at the start already: what the witness says was durable is not in the log, and the node refuses to go on.
    assert ledger.counts.lost or any("was durable" in violation for violation in ledger.violations)


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
