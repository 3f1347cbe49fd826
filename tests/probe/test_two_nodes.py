"""Two real nodes that both take writes, between partitions, pauses, kills, restarts and wrong clocks: both hold the same within 30 s after
each, nothing acknowledged is lost unless a later stamp replaced it, and what was deleted stays so.

The rounds run in a process of their own, in network namespaces where those are allowed, else on loopback: the output says which.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scale import FAULT_SCALE
from tests.node import ROOT
from tests.probe.two_nodes import FAULTS, plan

CI_ROUNDS = 20
FAULT_ROUNDS = 40 * FAULT_SCALE
PLANTED_ROUNDS = 10
ROUND_MAX_SECS = 45


def _run(folder: Path, rounds: int, seed: str, *options: str) -> tuple[list[dict[str, Any]], dict[str, Any], int]:
    """Each round's line, the last line, and the exit code."""
    command = [sys.executable, "-m", "tests.probe.two_nodes", "--rounds", str(rounds), "--seed", seed, "--folder", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120 + rounds * ROUND_MAX_SECS)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines and "network" in lines[-1], done.stdout[-2000:] + done.stderr[-6000:]
    shown = {name: value for name, value in lines[-1].items() if name != "logs"}
    print(f"\n{json.dumps(shown)[:4000]}\nagreed after {[line['agreed_secs'] for line in lines if 'agreed_secs' in line]} s")
    if no_clock := lines[-1]["no_clock"]:
        print(f"no round with a wrong clock: {no_clock}")
    return [line for line in lines if "round" in line], lines[-1], done.returncode


def _check(folder: Path, rounds: int, seed: str, *options: str, least_a_round: int = 20) -> None:
    ran, found, code = _run(folder, rounds, seed, *options)
    assert not found["violations"] and code == 0, "\n".join(found["violations"][:10]) + json.dumps(found["logs"], indent=1)[-6000:]
    assert len(ran) == rounds
    befell = {name for line in ran for name, _ in line["faults"]}
    assert befell >= {name for name, fault in FAULTS.items() if not (fault.sets_clock and found["no_clock"])} or rounds < CI_ROUNDS
    cut = [line for line in ran if len(line["faults"]) == 1 and line["lacking"]]
    assert all(entries > 0 for line in cut for entries in line["lacking"].values()), f"a cut that cuts nothing: {cut}"
    assert found["acknowledged"] > least_a_round * rounds, "too little load to show anything"
    assert found["contended"] > rounds and found["superseded"] > rounds / 2, "too few keys that both sides wrote"
    assert found["stamped"] > least_a_round / 4 * rounds, "too few stamps looked up"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_agree_after_every_fault_and_lose_nothing_acknowledged(tmp_path: Path) -> None:
    _check(tmp_path, CI_ROUNDS, "ci")


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_so_they_do_where_namespaces_are_refused(tmp_path: Path) -> None:
    _check(tmp_path, 4, "loopback", "--loopback")


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_so_they_do_when_each_write_waits_for_the_peer(tmp_path: Path) -> None:
    _check(tmp_path, 6, "ack", "--ack", "one", least_a_round=8)


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_many_rounds_of_faults_between_two_nodes(tmp_path: Path) -> None:
    _check(tmp_path, FAULT_ROUNDS, tmp_path.name, "--workers", "2")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", ["acked_unapplied", "last_arrival_wins", "no_tombstones"])
def test_the_rounds_find_a_planted(bug: str, tmp_path: Path) -> None:
    ran, found, code = _run(tmp_path, PLANTED_ROUNDS, bug, "--planted", bug, "--agree-secs", "15")
    assert code == 1 and found["violations"], f"{len(ran)} rounds found nothing"


@pytest.mark.slow
def test_nodes_that_do_not_know_each_other_are_found_not_to_agree(tmp_path: Path) -> None:
    _, found, code = _run(tmp_path, 1, "strangers", "--strangers", "--agree-secs", "3")
    assert code == 1 and "made-on-a" in found["violations"][0]


def test_every_fault_comes_on_either_side_before_two_come_at_once() -> None:
    planned = plan(CI_ROUNDS, "ci", clocks=True)
    assert sorted(planned[: 2 * len(FAULTS)]) == sorted([(name, side)] for name in FAULTS for side in "ab")
    assert all(len(faults) == 2 for faults in planned[2 * len(FAULTS) :]) and len(planned) == CI_ROUNDS
    assert not {name for faults in plan(100, "ci", clocks=False) for name, _ in faults if FAULTS[name].sets_clock}
