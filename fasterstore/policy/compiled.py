"""A policy compiled for deciding: its statements sorted by who asks and for which action, patterns and conditions as functions.

An explicit Deny wins over every Allow; what no statement is about is neither (IAM user guide, "Policy evaluation logic"). Made once for
each version of a bucket; a decision looks only at the statements about its principal and action.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from fasterstore.policy.condition_keys import asks_for_request_tags
from fasterstore.policy.conditions import Test, compile_condition
from fasterstore.policy.document import Document, Statement
from fasterstore.policy.iam_actions import ALL_ACTIONS, union_of
from fasterstore.policy.principals import Principals
from fasterstore.policy.question import Question
from fasterstore.policy.status import is_public
from fasterstore.policy.variables import Text, has_variable
from fasterstore.policy.wildcards import Matcher, matcher


class Verdict(Enum):
    """What a policy says to a question."""

    DENIED = "denied"
    ALLOWED = "allowed"
    SILENT = "silent"


class _Rule(NamedTuple):
    """A statement about one principal, without its effect. `fixed` and `varying` are its resources; `inverted`: all but these."""

    actions: frozenset[str]
    fixed: tuple[Matcher, ...]
    varying: tuple[Callable[[Question], Matcher | None], ...]
    inverted: bool
    tests: tuple[Test, ...]

    def applies(self, question: Question) -> bool:
        """Is the statement about this question? Its principal and action are known to be right."""
        return self._names(question) != self.inverted and (not self.tests or all(test(question) for test in self.tests))

    def _names(self, question: Question) -> bool:
        resource = question.resource
        for matches in self.fixed:
            if matches(resource):
                return True
        for pattern in self.varying:
            filled_in = pattern(question)
            if filled_in is not None and filled_in(resource):
                return True
        return False


_Rules = tuple[tuple[_Rule, ...], tuple[_Rule, ...]]
"""Those that deny, those that allow."""


class CompiledPolicy:
    """One policy, ready to decide. `is_public`: S3 calls it so; `needs_request_tags`: it asks for tags that a request brings."""

    __slots__ = ("_about", "_by_action", "is_public", "needs_request_tags")

    def __init__(self, document: Document, owner_access_key: str) -> None:
        """`owner_access_key` is in the ARN by which statements name the owner."""
        # Indexed by "is it the owner?", as below.
        self._about: tuple[_Rules, _Rules] = (
            _rules(document, lambda principals: principals.match_anonymous()),
            _rules(document, lambda principals: principals.match_owner(owner_access_key)),
        )
        self._by_action: tuple[dict[str, _Rules], dict[str, _Rules]] = ({}, {})
        self.is_public = is_public(document)
        self.needs_request_tags = any(
            asks_for_request_tags(condition.key) for statement in document.statements for condition in statement.conditions
        )

    def decide(self, question: Question) -> Verdict:
        """What the policy says."""
        denying, allowing = self._by_action[question.is_owner].get(question.action) or self._sorted_out(question.is_owner, question.action)
        for rule in denying:
            if rule.applies(question):
                return Verdict.DENIED
        for rule in allowing:
            if rule.applies(question):
                return Verdict.ALLOWED
        return Verdict.SILENT

    def may_allow_anonymous(self, action: str) -> bool:
        """Is there a statement that allows the anonymous this action on anything, under whatever conditions?"""
        return bool(self._sorted_out(False, action)[1])

    def _sorted_out(self, is_owner: bool, action: str) -> _Rules:
        """The rules about one action, kept for the next question: few of all actions are ever asked about."""
        denying, allowing = self._about[is_owner]
        rules = tuple(rule for rule in denying if action in rule.actions), tuple(rule for rule in allowing if action in rule.actions)
        self._by_action[is_owner][action] = rules
        return rules


def _rules(document: Document, match: Callable[[Principals], bool]) -> _Rules:
    about = [statement for statement in document.statements if match(statement.principals)]
    compiled = [(statement.allows, _rule(statement, document.has_variables)) for statement in about]
    return tuple(rule for allows, rule in compiled if not allows), tuple(rule for allows, rule in compiled if allows)


def _rule(statement: Statement, has_variables: bool) -> _Rule:
    named = union_of(statement.actions)
    varying = [text for text in statement.resources if has_variables and has_variable(text)]
    return _Rule(
        actions=ALL_ACTIONS - named if statement.not_actions else named,
        fixed=tuple(matcher(text) for text in statement.resources if text not in varying),
        varying=tuple(Text(text, has_variables).pattern() for text in varying),
        inverted=statement.not_resources,
        tests=tuple(compile_condition(condition, has_variables) for condition in statement.conditions),
    )
