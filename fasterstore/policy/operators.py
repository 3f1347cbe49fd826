"""The condition operators by name, and how each compares one value of a request with one of the policy.

`StringNotLike` is the negation of `StringLike`: an operator is a comparison, whether it is negated, and what an absent key means. Source:
IAM user guide, "IAM JSON policy elements: Condition operators" and "Set operators for multivalued context keys".
"""

from typing import NamedTuple

# Comparison, negated.
_NAMES: dict[str, tuple[str, bool]] = {
    "StringEquals": ("equals", False),
    "StringNotEquals": ("equals", True),
    "StringEqualsIgnoreCase": ("equals-ignoring-case", False),
    "StringNotEqualsIgnoreCase": ("equals-ignoring-case", True),
    "StringLike": ("like", False),
    "StringNotLike": ("like", True),
    "NumericEquals": ("number ==", False),
    "NumericNotEquals": ("number ==", True),
    "NumericLessThan": ("number <", False),
    "NumericLessThanEquals": ("number <=", False),
    "NumericGreaterThan": ("number >", False),
    "NumericGreaterThanEquals": ("number >=", False),
    "DateEquals": ("date ==", False),
    "DateNotEquals": ("date ==", True),
    "DateLessThan": ("date <", False),
    "DateLessThanEquals": ("date <=", False),
    "DateGreaterThan": ("date >", False),
    "DateGreaterThanEquals": ("date >=", False),
    "Bool": ("truth", False),
    "BinaryEquals": ("bytes", False),
    "IpAddress": ("address", False),
    "NotIpAddress": ("address", True),
    "ArnEquals": ("arn", False),
    "ArnLike": ("arn", False),
    "ArnNotEquals": ("arn", True),
    "ArnNotLike": ("arn", True),
    "Null": ("null", False),
}
_IF_EXISTS = "IfExists"
ALL, ANY = "ForAllValues", "ForAnyValue"


class Operator(NamedTuple):
    """A parsed operator: `comparison` (the table's word), `negated`, `quantifier` (ALL, ANY or ""), `if_exists`."""

    comparison: str
    negated: bool
    quantifier: str
    if_exists: bool


def parse_operator(name: str) -> Operator | None:
    """The operator called `name`, with its set prefix and IfExists suffix; None if there is none. Case counts, as on AWS."""
    quantifier, colon, rest = name.rpartition(":")
    if colon and quantifier not in (ALL, ANY):
        return None
    if_exists = rest.endswith(_IF_EXISTS)
    found = _NAMES.get(rest.removesuffix(_IF_EXISTS))
    if found is None or (found[0] == "null" and (if_exists or quantifier)):
        return None
    return Operator(found[0], found[1], quantifier, if_exists)
