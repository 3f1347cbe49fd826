"""Power cuts at every kind of moment of random runs of the real storage actors, and restarts on whatever they may leave.

`make test` judges a thousand states, `make test-faults` more than ten thousand, `make test-faults-long` ten times as many.
"""

import pytest

from tests.faults.chain import judge_chain
from tests.faults.planted import BUGS, Bug
from tests.faults.planted_space import SPACE_BUGS
from tests.faults.scale import FAULT_SCALE
from tests.faults.violation import Violation

CHAINS = 4
STATES_PER_CHAIN = 250
FAULT_STATES_PER_CHAIN = 2600
TRIES_TO_FIND_A_BUG = 20
STATES_TO_FIND_A_BUG = 90


@pytest.mark.lasts(10)
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CHAINS))
def test_every_acknowledged_write_and_nothing_half_done_survives_a_power_cut(seed: int) -> None:
    assert judge_chain(seed, STATES_PER_CHAIN) == STATES_PER_CHAIN


@pytest.mark.lasts(90)
@pytest.mark.faults
@pytest.mark.parametrize("seed", range(CHAINS, CHAINS + CHAINS * FAULT_SCALE))
def test_every_acknowledged_write_and_nothing_half_done_survives_many_more_power_cuts(seed: int) -> None:
    assert judge_chain(seed, FAULT_STATES_PER_CHAIN) == FAULT_STATES_PER_CHAIN


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS + SPACE_BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    with bug() as disk_class, pytest.raises(Violation):
        for seed in range(TRIES_TO_FIND_A_BUG):
            judge_chain(seed, STATES_TO_FIND_A_BUG, disk_class)
