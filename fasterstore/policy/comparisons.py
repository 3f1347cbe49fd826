"""How one value of a request compares with the values of a condition: a function for each comparison of `operators.py`.

Made once from the policy's values, called with a request's value and the question (variables need it). A value that is not of the
comparison's type (a word where a number belongs) equals nothing and is neither less nor greater than anything.
"""

import operator
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from fasterstore.policy.dates import parse_date_ms
from fasterstore.policy.question import Question
from fasterstore.policy.variables import Text
from fasterstore.policy.wildcards import Wild, token_matcher

Comparison = Callable[[str, Question], bool]
"""Does this value of the request match any of the policy's values?"""

_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{1,30})?|\.\d{1,30})", re.ASCII)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARN_PARTS = 6


def comparison_of(word: str, values: tuple[str, ...], has_variables: bool) -> Comparison:
    """The function for the table's word and the policy's values; a value that the comparison cannot use matches nothing."""
    kind, _, order = word.partition(" ")
    if kind == "number":
        return _ordered(_ORDERS[order], parse_number, values)
    if kind == "date":
        return _ordered(_ORDERS[order], parse_date_ms, values)
    return _MAKERS[kind](values, has_variables)


def parse_number(text: str) -> Decimal | None:
    """A whole number or a decimal fraction; None for anything else."""
    return Decimal(text) if _NUMBER.fullmatch(text) is not None else None


def parse_network(text: str) -> IPv4Network | IPv6Network | None:
    """An address or a CIDR range, whose host bits may be set; None for anything else. A zone or a netmask is neither."""
    _, slash, length = text.partition("/")
    if "%" in text or (slash and not (length.isascii() and length.isdigit())):
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def parse_bytes(text: str) -> bytes | None:
    """Base64; None for anything else."""
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None


def _equals(values: tuple[str, ...], has_variables: bool) -> Comparison:
    texts = [Text(value, has_variables) for value in values]
    constants = frozenset(text.constant for text in texts if text.constant is not None)
    varying = [text for text in texts if text.constant is None]
    if not varying:
        return lambda value, _question: value in constants
    return lambda value, question: value in constants or any(text.expand(question) == value for text in varying)


def _equals_ignoring_case(values: tuple[str, ...], has_variables: bool) -> Comparison:
    texts = [Text(value, has_variables) for value in values]

    def compare(value: str, question: Question) -> bool:
        folded = value.lower()
        return any((text := one.expand(question)) is not None and text.lower() == folded for one in texts)

    return compare


def _like(values: tuple[str, ...], has_variables: bool) -> Comparison:
    patterns = [Text(value, has_variables).pattern() for value in values]
    return lambda value, question: any((matches := pattern(question)) is not None and bool(matches(value)) for pattern in patterns)


def _arn(values: tuple[str, ...], has_variables: bool) -> Comparison:
    """Part by part, between the colons: a star does not reach over one, except in the last part."""
    texts = [Text(value, has_variables) for value in values]

    def compare(value: str, question: Question) -> bool:
        parts = value.split(":", _ARN_PARTS - 1)
        return len(parts) == _ARN_PARTS and any(_is_like_arn(text.tokens(question), parts) for text in texts)

    return compare


def _is_like_arn(pattern: list[str] | None, parts: list[str]) -> bool:
    if pattern is None:
        return False
    wanted: list[list[str]] = [[]]
    for token in pattern:
        if isinstance(token, Wild):
            wanted[-1].append(token)
            continue
        first, *rest = token.split(":", _ARN_PARTS - len(wanted))
        wanted[-1].append(first)
        wanted += [[piece] for piece in rest]
    return len(wanted) == _ARN_PARTS and all(token_matcher(one)(part) for one, part in zip(wanted, parts, strict=True))


def _truth(values: tuple[str, ...], _has_variables: bool) -> Comparison:
    wanted = frozenset(value.lower() for value in values)
    return lambda value, _question: value.lower() in wanted


def _bytes(values: tuple[str, ...], _has_variables: bool) -> Comparison:
    wanted = frozenset(parse_bytes(value) for value in values) - {None}
    return lambda value, _question: value.encode() in wanted


def _address(values: tuple[str, ...], _has_variables: bool) -> Comparison:
    networks = [network for value in values if (network := parse_network(value)) is not None]
    ranges = [(network.version, int(network.network_address), int(network.netmask)) for network in networks]

    def compare(value: str, _question: Question) -> bool:
        version, number = _address_of(value)
        return any(version == of and number & mask == first for of, first, mask in ranges)

    return compare


@lru_cache(maxsize=4096)
def _address_of(text: str) -> tuple[int, int]:
    """(version, number) of an address; an IPv4 client on an IPv6 socket is an IPv4 client. Version 0 for what is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return 0, 0
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def _ordered(order: Callable[[Any, Any], bool], parse: Callable[[str], Any], values: tuple[str, ...]) -> Comparison:
    wanted = [parsed for value in values if (parsed := parse(value)) is not None]

    def compare(value: str, _question: Question) -> bool:
        given = parse(value)
        return given is not None and any(order(given, one) for one in wanted)

    return compare


_MAKERS: dict[str, Callable[[tuple[str, ...], bool], Comparison]] = {
    "equals": _equals,
    "equals-ignoring-case": _equals_ignoring_case,
    "like": _like,
    "arn": _arn,
    "truth": _truth,
    "bytes": _bytes,
    "address": _address,
}
