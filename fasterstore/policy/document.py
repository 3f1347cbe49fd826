"""A policy document as a value: read from JSON, its grammar checked, nothing yet asked about a bucket.

What is refused is refused in AWS's words where they are known: MalformedPolicy with the text that S3 sends. A stored policy is read by
this module only, so a rule that `validate.py` may add one day cannot make a stored one unreadable. Source: IAM user guide, "Grammar of
the IAM JSON policy language"; S3 user guide, "Bucket policies" (20 KB, measured without white space between tokens).
"""

import json
import re
from typing import Any, NamedTuple, NoReturn

from fasterstore.policy.operators import Operator, parse_operator
from fasterstore.policy.principals import Principals, parse_principals
from fasterstore.s3.errors import S3Error

MAX_BYTES = 20_480
BODY_MAX_BYTES = 2 * MAX_BYTES
"""What is read of a PutBucketPolicy: the limit, and as much white space."""
NEW_VERSION, OLD_VERSION = "2012-10-17", "2008-10-17"

_SYNTAX = "Invalid policy syntax."
_STATEMENT_FIELDS = frozenset(("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"))
# A string that does not end is taken to the end of the text: looked for again at each of its quotes it would take seconds.
_WHITE_SPACE = re.compile(rb'("(?:[^"\\]|\\.)*"?)|[ \t\r\n]+', re.DOTALL)


class Condition(NamedTuple):
    """One line of a condition block; `key` as written, `values` as texts."""

    operator: Operator
    key: str
    values: tuple[str, ...]


class Statement(NamedTuple):
    """One statement. `not_actions` and `not_resources`: the lists say what it is not about."""

    sid: str
    allows: bool
    principals: Principals
    actions: tuple[str, ...]
    not_actions: bool
    resources: tuple[str, ...]
    not_resources: bool
    conditions: tuple[Condition, ...]


class Document(NamedTuple):
    """A whole policy. `has_variables`: its version is one in which `${...}` is a variable."""

    has_variables: bool
    statements: tuple[Statement, ...]


class _Number(str):
    """A number in JSON as it was written: conditions compare texts."""

    __slots__ = ()


def malformed(text: str) -> S3Error:
    """The refusal of a policy, in S3's words."""
    return S3Error("MalformedPolicy", text)


def too_large() -> S3Error:
    """The refusal of a policy of more than MAX_BYTES."""
    return malformed(f"Normalized policy document exceeds the maximum allowed size of {MAX_BYTES} bytes")


def parse_document(body: bytes) -> Document:
    """Read a policy.

    Args:
        body: the JSON text, UTF-8; its first byte must be `{`.

    Raises:
        S3Error MalformedPolicy: with AWS's text.
    """
    if body[:1] != b"{":
        raise S3Error("MalformedPolicy")
    if len(body) > BODY_MAX_BYTES or len(_WHITE_SPACE.sub(rb"\1", body)) > MAX_BYTES:
        raise too_large()
    root = _json_of(body)
    for name in root:
        if name not in ("Version", "Id", "Statement"):
            raise malformed(_SYNTAX)
    version = root.get("Version", OLD_VERSION)
    if version not in (NEW_VERSION, OLD_VERSION):
        raise malformed("The policy must contain a valid version string")
    if "Id" in root:
        _text(root["Id"])
    if "Statement" not in root:
        raise malformed("Missing required field Statement")
    statements = root["Statement"]
    if statements == []:
        raise malformed("Could not parse the policy: Statement is empty!")
    return Document(
        version == NEW_VERSION, tuple(_statement(one) for one in (statements if isinstance(statements, list) else [statements]))
    )


def _json_of(body: bytes) -> dict[str, Any]:
    try:
        root = json.loads(
            body.decode("utf-8"), object_pairs_hook=_members, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
        )
        # A lone surrogate is no text: it could not even be written back.
        json.dumps(root, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise malformed("This policy contains invalid Json") from None
    assert isinstance(root, dict)
    return root


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands there twice has two meanings: refused, as AWS does."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _statement(value: Any) -> Statement:
    if not isinstance(value, dict) or not value.keys() <= _STATEMENT_FIELDS:
        raise malformed(_SYNTAX)
    allows = _effect(value)
    not_principals, principals = _either(value, "Principal")
    not_actions, actions = _either(value, "Action")
    not_resources, resources = _either(value, "Resource")
    if allows and not_principals:
        raise malformed("Allow with NotPrincipal is not allowed.")
    return Statement(
        sid=_text(value["Sid"]) if "Sid" in value else "",
        allows=allows,
        principals=parse_principals(principals, not_principals),
        actions=_texts(actions),
        not_actions=not_actions,
        resources=_texts(resources),
        not_resources=not_resources,
        conditions=_conditions(value.get("Condition", {})),
    )


def _effect(value: dict[str, Any]) -> bool:
    if "Effect" not in value:
        raise malformed("Missing required field Effect")
    effect = _text(value["Effect"])
    if effect not in ("Allow", "Deny"):
        raise malformed(f"Invalid effect: {effect}")
    return effect == "Allow"


def _either(value: dict[str, Any], name: str) -> tuple[bool, Any]:
    """(is it the Not form?, its content) of an element that must stand there in one of its two forms."""
    negated = f"Not{name}"
    if name in value:
        if negated in value:
            raise malformed(_SYNTAX)
        return False, value[name]
    if negated not in value:
        raise malformed(f"Missing required field {name}")
    return True, value[negated]


def _text(value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise malformed(_SYNTAX)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    """One text or a list of texts."""
    return tuple(_text(one) for one in (value if isinstance(value, list) else [value]))


def _conditions(block: Any) -> tuple[Condition, ...]:
    if not isinstance(block, dict):
        raise malformed(_SYNTAX)
    conditions = []
    for name, keys in block.items():
        operator = parse_operator(name)
        if operator is None:
            raise malformed(f"Invalid Condition type : {name}")
        if not isinstance(keys, dict):
            raise malformed(_SYNTAX)
        conditions += [Condition(operator, key, _condition_values(values)) for key, values in keys.items()]
    return tuple(conditions)


def _condition_values(values: Any) -> tuple[str, ...]:
    """Texts, numbers and truth values, one or a list; quotation marks are optional for the latter two."""
    return tuple(_condition_value(one) for one in (values if isinstance(values, list) else [values]))


def _condition_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise malformed(_SYNTAX)
    return str(value)
