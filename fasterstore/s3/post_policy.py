"""The policy of a browser form: a JSON document that says until when and what its form may upload. Values in, a refusal or nothing out.

    {"expiration": "2030-01-01T00:00:00Z",
     "conditions": [{"bucket": "box"}, ["eq", "$acl", "private"], ["starts-with", "$key", "user/"], ["content-length-range", 0, 1048576]]}

Every field of the form must be named by a condition, so that nothing can be added to a form that was given away. Must only be asked
about a policy whose signature holds (`post_signature`).
Source: S3 API Reference, "Creating a POST policy" (sigv4-HTTPPOSTConstructPolicy); names of fields are compared without case, as S3 does.
"""

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fasterstore.s3.errors import S3Error
from fasterstore.s3.sse_c import CUSTOMER_KEY

EQUALS, STARTS_WITH, LENGTH_RANGE = "eq", "starts-with", "content-length-range"
_OPERANDS = 3

_UNCHECKED = frozenset(("policy", "signature", "awsaccesskeyid", "x-amz-signature"))
# What a checksum field may say of the bytes is only that they are these: it widens nothing, and clients add it to ready-made forms.
_UNCHECKED_PREFIXES = ("x-ignore-", "x-amz-checksum-", "x-amz-sdk-checksum-")
_EXPIRATION = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?Z", re.ASCII)
# The one escape that S3 knows and JSON does not: a literal dollar sign.
_ESCAPED_DOLLAR = re.compile(r"(?<!\\)((?:\\\\)*)\\\$")


class Condition(NamedTuple):
    """`operator` is EQUALS or STARTS_WITH, `field` a lower-case name without its "$"."""

    operator: str
    field: str
    value: str

    def holds(self, given: str) -> bool:
        """Does a field with that value satisfy it?"""
        if self.operator == EQUALS:
            return given == self.value
        if self.field == "content-type":
            # A list of types, each of which must begin so.
            return all(part.strip().startswith(self.value) for part in given.split(","))
        return given.startswith(self.value)

    def __str__(self) -> str:
        value = "(not shown)" if self.field == CUSTOMER_KEY else self.value
        return json.dumps([self.operator, f"${self.field}", value], ensure_ascii=False)


class PostPolicy(NamedTuple):
    """A policy. `expires_at` is Unix seconds; the file has `min_bytes` to `max_bytes` (None: as S3 allows)."""

    expires_at: float
    conditions: tuple[Condition, ...]
    min_bytes: int = 0
    max_bytes: int | None = None

    def check(self, fields: Mapping[str, str], bucket: str, now: float) -> None:
        """Does the form keep to it? `fields` by lower-case name, `key` with its file name already in place; `now` in Unix seconds.

        Raises: S3Error AccessDenied.
        """
        if now >= self.expires_at:
            raise _denied("Policy expired.")
        given = {**fields, "bucket": bucket}
        for condition in self.conditions:
            value = given.get(condition.field)
            if value is None or not condition.holds(value):
                raise _denied(f"Policy Condition failed: {condition}")
        covered = {condition.field for condition in self.conditions}
        extra = [name for name in given if name not in covered and name not in _UNCHECKED and not name.startswith(_UNCHECKED_PREFIXES)]
        if extra:
            raise _denied(f"Extra input fields: {', '.join(sorted(extra))}")
        if fields.get("bucket", bucket) != bucket:
            raise _denied("The field bucket names another bucket than the one that the form was sent to.")

    def check_size(self, size_bytes: int) -> None:
        """Is a file of that length allowed? Raises: S3Error EntityTooSmall, EntityTooLarge."""
        if size_bytes < self.min_bytes:
            raise S3Error("EntityTooSmall", ProposedSize=str(size_bytes), MinSizeAllowed=str(self.min_bytes))
        if self.max_bytes is not None and size_bytes > self.max_bytes:
            raise S3Error("EntityTooLarge", ProposedSize=str(size_bytes), MaxSizeAllowed=str(self.max_bytes))


def parse_policy(encoded: str) -> PostPolicy:
    """The policy in a form's field: base64 of UTF-8 JSON. Raises: S3Error InvalidPolicyDocument."""
    try:
        text = b64decode("".join(encoded.split()), validate=True).decode("utf-8")
    except (Base64Error, ValueError):
        raise _invalid("It is not base64 of UTF-8 text.") from None
    try:
        document = json.loads(_ESCAPED_DOLLAR.sub(r"\1$", text))
    except (ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("It must be a JSON object.")
    if "expiration" not in document:
        raise _invalid("Policy missing expiration.")
    conditions = document.get("conditions")
    if not isinstance(conditions, list) or not conditions:
        raise _invalid("Policy missing conditions.")
    expires_at = _expiration(document["expiration"])
    found: list[Condition] = []
    min_bytes, max_bytes = 0, None
    for condition in conditions:
        if isinstance(condition, dict):
            found.append(_simple(condition))
        elif isinstance(condition, list) and condition and isinstance(condition[0], str) and condition[0].lower() == LENGTH_RANGE:
            low, high = _length_range(condition)
            min_bytes = max(min_bytes, low)
            max_bytes = high if max_bytes is None else min(max_bytes, high)
        else:
            found.append(_complex(condition))
    return PostPolicy(expires_at, tuple(found), min_bytes, max_bytes)


def _expiration(value: Any) -> float:
    match = _EXPIRATION.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is not None:
            year, month, day, hour, minute, second = map(int, match.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        pass
    raise _invalid(f"Invalid 'expiration' value: '{value}'")


def _simple(condition: dict[str, Any]) -> Condition:
    if len(condition) != 1:
        raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
    ((name, value),) = condition.items()
    if not isinstance(value, str):
        raise _invalid("Invalid Simple-Condition: value must be a string.")
    return Condition(EQUALS, name.lower(), value)


def _complex(condition: Any) -> Condition:
    if not isinstance(condition, list):
        raise _invalid("Invalid Condition: a condition is an object or a list.")
    if len(condition) != _OPERANDS or not all(isinstance(part, str) for part in condition):
        raise _invalid("Invalid Condition: a list must hold an operator, a field and a value.")
    operator, field, value = condition
    operator = operator.lower()
    if operator not in (EQUALS, STARTS_WITH):
        raise _invalid(f"Invalid Condition: unknown operation '{operator}'.")
    if not field.startswith("$"):
        raise _invalid(f"Invalid Condition: the field '{field}' must begin with '$'.")
    return Condition(operator, field[1:].lower(), value)


def _length_range(condition: list[Any]) -> tuple[int, int]:
    bounds = []
    for part in condition[1:]:
        if isinstance(part, str) and part.isascii() and part.isdigit() and len(part) <= len(str(1 << 63)):
            bounds.append(int(part))
        elif isinstance(part, int) and not isinstance(part, bool) and part >= 0:
            bounds.append(part)
    if len(condition) != _OPERANDS or len(bounds) != _OPERANDS - 1:
        raise _invalid("Invalid content-length-range: it takes a least and a greatest length in bytes.")
    return bounds[0], bounds[1]


def _denied(text: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {text}")


def _invalid(text: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {text}")
