"""Is a policy public, as S3 means it?

It is unless each statement that allows something to everybody confines them to fixed values (no wildcard, no variable) of a key that
tells where a request comes from, or to addresses in ranges that are not very broad. Statements that deny do not count. Source: S3 user
guide, "Blocking public access to your Amazon S3 storage", "The meaning of public".
"""

from fasterstore.policy.comparisons import parse_network
from fasterstore.policy.document import Condition, Document
from fasterstore.policy.operators import ALL
from fasterstore.policy.variables import has_variable

_FIXING_KEYS = frozenset(
    (
        "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:sourceaccount", "aws:userid", "aws:principalorgid",
        "aws:principalarn", "aws:principalaccount", "s3:x-amz-server-side-encryption-aws-kms-key-id", "s3:dataaccesspointarn",
        "s3:dataaccesspointaccount",
    )
)  # fmt: skip
_FIXING_COMPARISONS = frozenset(("equals", "equals-ignoring-case", "like", "arn"))
_BROADEST = {4: 8, 6: 32}
"""By IP version: the shortest prefix, in bits, of a range that counts as confining."""


def is_public(document: Document) -> bool:
    """Does the policy allow the public anything, in S3's meaning?"""
    return any(
        statement.allows and statement.principals.match_anonymous() and not any(_confines(condition) for condition in statement.conditions)
        for statement in document.statements
    )


def _confines(condition: Condition) -> bool:
    operator = condition.operator
    if operator.negated or operator.if_exists or operator.quantifier == ALL:
        # Satisfied by requests that say nothing, or anything but the value.
        return False
    key = condition.key.lower()
    if key == "aws:sourceip":
        return operator.comparison == "address" and all(_is_narrow(value) for value in condition.values)
    return key in _FIXING_KEYS and operator.comparison in _FIXING_COMPARISONS and all(_is_fixed(value) for value in condition.values)


def _is_narrow(value: str) -> bool:
    network = parse_network(value)
    return network is not None and network.prefixlen >= _BROADEST[network.version]


def _is_fixed(value: str) -> bool:
    # "anonymous" is what aws:userid says of everybody.
    return "*" not in value and "?" not in value and not has_variable(value) and value != "anonymous"
