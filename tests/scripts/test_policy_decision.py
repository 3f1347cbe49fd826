"""The measuring of decisions: it runs, and its policies are the ones that a bucket could have."""

import json
import subprocess
import sys
from pathlib import Path

from fasterstore.policy.validate import read_policy
from scripts.measure import policy_decision

ROOT = Path(__file__).resolve().parents[2]


def test_a_tiny_run_prints_every_figure_in_microseconds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.measure.policy_decision", "--rounds", "20"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    decided = {"question_us", "decide_plain_us", "decide_ten_statements_us"}
    assert set(figures) == decided | {"authorise_owner_without_settings_us", "authorise_owner_with_policy_us"}
    assert all(figure >= 0 for figure in figures.values())


def test_what_is_decided_are_valid_policies_of_one_and_ten_statements() -> None:
    for statements, count in ((policy_decision.PLAIN, 1), (policy_decision.TEN, 10)):
        assert len(read_policy(policy_decision.document(statements), "box").statements) == count
