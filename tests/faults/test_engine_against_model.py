"""Thousands of random steps of the real storage actors against a dict; same seed, same steps.

`make test` does a few thousand, `make test-faults` more, `make test-faults-long` ten times as many.
"""

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machine import EngineAgainstModel
from tests.faults.planted import MODEL_BUGS, Bug
from tests.faults.planted_space import SPACE_MODEL_BUGS
from tests.faults.scale import FAULT_SCALE
from tests.faults.violation import Violation

SEEDS_TO_FIND_A_BUG = 6
QUIET = settings(
    database=None,
    deadline=None,
    verbosity=Verbosity.normal,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    stateful_step_count=50,
)


def machine(number: int) -> type[EngineAgainstModel]:
    """A kind of machine whose steps are told by `number`."""
    made: type[EngineAgainstModel] = seed(number)(type(f"Machine{number}", (EngineAgainstModel,), {}))
    return made


@pytest.mark.lasts(10)
@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_the_engine_answers_as_the_model_does(number: int) -> None:
    run_state_machine_as_test(machine(number), settings=settings(QUIET, max_examples=40))


@pytest.mark.lasts(70)
@pytest.mark.faults
@pytest.mark.parametrize("number", range(2, 2 + 2 * FAULT_SCALE))
def test_the_engine_answers_as_the_model_does_for_long(number: int) -> None:
    run_state_machine_as_test(machine(number), settings=settings(QUIET, max_examples=400))


@pytest.mark.slow
@pytest.mark.parametrize("bug", MODEL_BUGS + SPACE_MODEL_BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    with bug(), pytest.raises(Violation):
        for number in range(SEEDS_TO_FIND_A_BUG):
            try:
                run_state_machine_as_test(machine(number), settings=settings(QUIET, max_examples=100, phases=[Phase.generate]))
            except Exception as error:
                # Whatever comes out of a bug but the right answers has found it: a defect somewhere, or another outcome each time.
                raise Violation(f"{type(error).__name__}: {error}") from error
