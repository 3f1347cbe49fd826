"""The Principal and NotPrincipal of a statement: who is named, and whether that is the one owner or everybody.

There are two principals here: the owner of all buckets and the anonymous rest. Other accounts, users, roles and services may be named,
so that policies written for AWS can be set; they are nobody. Source: IAM user guide, "AWS JSON policy elements: Principal".
"""

import re
from typing import Any, NamedTuple

from fasterstore.policy.question import ACCOUNT_ID, ROOT_ARN, user_arn
from fasterstore.s3.errors import S3Error

EVERYBODY = "*"

# An account (12 digits on AWS; other stores have names), somebody in it, or the id that AWS shows for one that is gone.
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_ARN = re.compile(r"arn:aws(?:-[a-z]+)*:(?:iam|sts)::[0-9A-Za-z_-]*:(?:root|(?:user|role|assumed-role|federated-user)/[^*?]+)")
_UNIQUE_ID = re.compile(r"A[A-Z]{3}[A-Z0-9]{12,124}", re.ASCII)
_CANONICAL = re.compile(r"[0-9A-Za-z]+", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.ASCII)


class Principals(NamedTuple):
    """Who a statement is about: those named, or (`negated`) all others. `aws` holds account ids, ARNs or EVERYBODY."""

    negated: bool
    aws: frozenset[str]
    canonical: frozenset[str]

    def match_anonymous(self) -> bool:
        """Is the statement about somebody who is not the owner?"""
        return (EVERYBODY in self.aws) != self.negated

    def match_owner(self, access_key: str) -> bool:
        """Is it about the owner, whose access key is given? He is the account, its root and its one user."""
        named = bool(self.aws & {EVERYBODY, ACCOUNT_ID, ROOT_ARN, user_arn(access_key)}) or ACCOUNT_ID in self.canonical
        return named != self.negated


def parse_principals(value: Any, negated: bool) -> Principals:
    """Read the element's JSON. Raises S3Error MalformedPolicy."""
    if value == EVERYBODY:
        return Principals(negated, frozenset((EVERYBODY,)), frozenset())
    if not isinstance(value, dict) or not value:
        raise _invalid()
    aws: list[str] = []
    canonical: list[str] = []
    for kind, named in value.items():
        names = named if isinstance(named, list) else [named]
        if not names or not all(isinstance(name, str) and _may_stand(kind, name) for name in names):
            raise _invalid()
        if kind == "AWS":
            aws += names
        elif kind == "CanonicalUser":
            canonical += names
    return Principals(negated, frozenset(aws), frozenset(canonical))


def _may_stand(kind: str, name: str) -> bool:
    if kind == "AWS":
        return name == EVERYBODY or any(form.fullmatch(name) is not None for form in (_ACCOUNT, _ARN, _UNIQUE_ID))
    if kind == "CanonicalUser":
        return _CANONICAL.fullmatch(name) is not None
    if kind == "Service":
        return _SERVICE.fullmatch(name) is not None
    return kind == "Federated" and bool(name) and EVERYBODY not in name


def _invalid() -> S3Error:
    return S3Error("MalformedPolicy", "Invalid principal in policy")
