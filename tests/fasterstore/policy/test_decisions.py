"""The compiled policy decides as the slow reference does, and as IAM's own examples say."""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from fasterstore.policy.compiled import CompiledPolicy
from fasterstore.policy.document import parse_document
from tests.fasterstore.policy.cases import asks, policies, question_of
from tests.fasterstore.policy.reference import evaluate

DECISIONS_MIN = 20_000
POLICIES = 900
ASKS_PER_POLICY = 25


def compiled(policy):
    return CompiledPolicy(parse_document(json.dumps(policy).encode()), "owner-key")


@pytest.mark.slow
def test_the_compiled_policy_decides_as_the_reference_does():
    counts = Counter()

    @settings(max_examples=POLICIES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(policies(), asks(ASKS_PER_POLICY))
    def compare(policy, asked):
        fast = compiled(policy)
        for ask in asked:
            expected = evaluate(policy, ask)
            assert fast.decide(question_of(ask)).value == expected, (policy, ask)
            counts[expected] += 1

    compare()
    assert counts.total() >= DECISIONS_MIN
    # A comparison in which nearly nothing matches would prove little.
    assert min(counts["denied"], counts["allowed"], counts["silent"]) >= counts.total() // 25, counts
