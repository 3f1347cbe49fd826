"""A condition compiled: a function from a question to true or false.

An absent key makes a condition false, a negated one true, and one with IfExists true; ForAllValues is true of no values, ForAnyValue false.
A key with several values and no set operator holds if any of them matches, negated if none does. Source: IAM user guide, "IAM JSON
policy elements: Condition operators" and "Set operators for multivalued context keys".
"""

from collections.abc import Callable

from fasterstore.policy.comparisons import Comparison, comparison_of
from fasterstore.policy.condition_keys import Reader, reader_of
from fasterstore.policy.document import Condition
from fasterstore.policy.operators import ALL, ANY, Operator
from fasterstore.policy.question import Question

Test = Callable[[Question], bool]
"""Does the condition hold?"""


def compile_condition(condition: Condition, has_variables: bool) -> Test:
    """The function of one condition. `has_variables`: as in `Document`."""
    operator, read = condition.operator, reader_of(condition.key)
    if operator.comparison == "null":
        return _null(read, condition.values)
    compare = comparison_of(operator.comparison, condition.values, has_variables)
    if operator.quantifier:
        return _quantified(operator, read, compare)
    negated = operator.negated
    when_absent = negated or operator.if_exists

    def test(question: Question) -> bool:
        values = read(question)
        if not values:
            return when_absent
        for value in values:
            if compare(value, question):
                return not negated
        return negated

    return test


def _quantified(operator: Operator, read: Reader, compare: Comparison) -> Test:
    negated = operator.negated
    when_absent = operator.quantifier == ALL or operator.if_exists
    every = {ALL: all, ANY: any}[operator.quantifier]

    def test(question: Question) -> bool:
        values = read(question)
        return every(compare(value, question) != negated for value in values) if values else when_absent

    return test


def _null(read: Reader, values: tuple[str, ...]) -> Test:
    """Null: true for an absent key, false for one that is there."""
    wanted = frozenset(value.lower() for value in values)
    return lambda question: ("false" if read(question) else "true") in wanted
