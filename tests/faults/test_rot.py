"""Random damage to every kind of file: it is always noticed, and never served."""

import os
import random
import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults import rot
from tests.faults.engine import laboratory
from tests.faults.planted import BUGS, Bug, log_frames_are_not_verified, records_are_not_verified
from tests.faults.scale import FAULT_SCALE
from tests.memory_folder import memory_folder

pytestmark = pytest.mark.faults

SHARES = 4
PIECES = 180
"""Of damage, in each share."""
KINDS = ("flip", "flip", "flip", "truncate", "zero", "swap", "misdirect")
WEIGHTS = {"segments": 5, "journal": 4, "index": 4, "snapshots": 2, "": 2}
"""How often a folder's files are hurt; "" are those of the data dir itself."""


def run(seed: str, pieces: int, *, stopped: bool) -> list[rot.Verdict]:
    """Build a store, hurt it so many times."""
    rng, verdicts = random.Random(seed), []
    with memory_folder() as folder, laboratory():
        store = rot.build(Path(folder), stopped=stopped)
        for number in range(pieces):
            at, scratch = Path(folder) / f"hurt-{number}", Path(folder) / f"started-{number}"
            rot._copy(store.path, at)
            damage = rot.hurt(store, at, rng.choice(KINDS), _pick(store, rng), rng)
            verdicts.append(rot.judge(store, damage, at, scratch))
            shutil.rmtree(at)
            shutil.rmtree(scratch, ignore_errors=True)
    return verdicts


def _pick(store: rot.Store, rng: random.Random) -> str:
    by_folder: dict[str, list[str]] = {}
    for name in store.written:
        by_folder.setdefault(os.path.dirname(name), []).append(name)
    folders = sorted(by_folder)
    return rng.choice(by_folder[rng.choices(folders, [WEIGHTS[folder] for folder in folders])[0]])


@pytest.mark.lasts(25)
@pytest.mark.parametrize("share", range(SHARES))
def test_damage_to_any_file_is_noticed_and_never_served(share: int) -> None:
    verdicts = run(f"rot {share}", PIECES * FAULT_SCALE, stopped=share % 2 == 0)
    noticed = Counter(verdict.noticed.split(":")[0] for verdict in verdicts)
    print(f"\n{len(verdicts)} pieces of damage, {dict(Counter(verdict.damage.kind for verdict in verdicts))}: {dict(noticed)}")
    wrong = [verdict for verdict in verdicts if verdict.wrong]
    assert not wrong, "\n".join(map(str, wrong[:10]))
    silent = [verdict for verdict in verdicts if not verdict.noticed]
    assert not silent, "\n".join(map(str, silent[:10]))
    assert noticed["unused"] < len(verdicts) / 4, "too little of it was damage to show anything"


@pytest.mark.parametrize("bug", [records_are_not_verified, log_frames_are_not_verified], ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    assert bug in BUGS
    with ExitStack() as stack:
        stack.enter_context(bug())
        verdicts = run("planted", 120, stopped=False)
    assert any(verdict.wrong or not verdict.noticed for verdict in verdicts)
