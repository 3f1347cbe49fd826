"""CORS rules of a bucket: read from the client's document, kept, and matched against a request of another origin.

Kept as the bucket's setting "cors": JSON, one list [id, methods, origins, headers, exposed headers, max age in seconds or null] per
rule, in the client's order. The first rule that fits decides.
Source: S3 user guide, "Elements of a CORS configuration"; API page PutBucketCors; Fetch standard, "CORS protocol"; wording as AWS's.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import children, parse_document, text_of
from fasterstore.s3.xml_text import document, element

RULES_MAX = 100
ID_MAX_CHARS = 255
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
ANY_ORIGIN = "*"
VARY = ("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_AGE = re.compile(r"[0-9]{1,9}")


class Rule(NamedTuple):
    """One rule as the client gave it; `headers` (allowed) and `exposed` keep their case. `max_age_secs` None: not given."""

    rule_id: str
    methods: tuple[str, ...]
    origins: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_secs: int | None = None


class Pattern(NamedTuple):
    """Text with at most one `*`: what stands before it, and behind it (None: there is none, all must be equal)."""

    head: str
    tail: str | None

    def fits(self, text: str) -> bool:
        """Does `text` match?"""
        if self.tail is None:
            return text == self.head
        return len(text) >= len(self.head) + len(self.tail) and text.startswith(self.head) and text.endswith(self.tail)


class CompiledRule:
    """A rule with its patterns split and its answer headers written."""

    __slots__ = ("_headers", "_methods", "_origins", "_rest")

    def __init__(self, rule: Rule) -> None:
        self._methods = frozenset(rule.methods)
        self._origins = tuple((origin == ANY_ORIGIN, _pattern(origin)) for origin in rule.origins)
        self._headers = tuple(_pattern(name.lower()) for name in rule.headers)
        rest = [("Access-Control-Allow-Methods", ", ".join(rule.methods))]
        if rule.exposed:
            rest.append(("Access-Control-Expose-Headers", ", ".join(rule.exposed)))
        if rule.max_age_secs is not None:
            rest.append(("Access-Control-Max-Age", str(rule.max_age_secs)))
        self._rest = tuple(rest)

    def answer(self, origin: str, method: str, wanted: Sequence[str]) -> list[tuple[str, str]] | None:
        """The headers that let `origin` use `method` with the request headers `wanted` (lower-case); None if the rule does not fit.

        An origin that only `*` allows is answered by `*`, and gets no credentials: browsers refuse the two together.
        """
        if method not in self._methods:
            return None
        fitting = next((is_any for is_any, pattern in self._origins if pattern.fits(origin)), None)
        if fitting is None or not all(any(pattern.fits(name) for pattern in self._headers) for name in wanted):
            return None
        headers = [("Access-Control-Allow-Origin", ANY_ORIGIN if fitting else origin), *self._rest]
        if wanted:
            headers.append(("Access-Control-Allow-Headers", ", ".join(wanted)))
        if not fitting:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        return headers


def compile_rules(stored: bytes) -> tuple[CompiledRule, ...]:
    """The setting "cors", ready for `answer_of`."""
    return tuple(CompiledRule(rule) for rule in unpack_rules(stored))


def answer_of(rules: Iterable[CompiledRule], origin: str, method: str, wanted: Sequence[str] = ()) -> list[tuple[str, str]] | None:
    """The headers of the first rule that fits (arguments as for CompiledRule.answer), None if none does."""
    for rule in rules:
        headers = rule.answer(origin, method, wanted)
        if headers is not None:
            return headers
    return None


def wanted_headers(value: str | None) -> tuple[str, ...] | None:
    """The lower-case names in an Access-Control-Request-Headers; None if one of them is no header's name."""
    if value is None or not value.strip():
        return ()
    names = tuple(name.strip().lower() for name in value.split(","))
    return names if all(_TOKEN.fullmatch(name) for name in names) else None


def parse_cors(body: bytes) -> tuple[Rule, ...]:
    """The rules of a CORSConfiguration document. Raises S3Error MalformedXML, InvalidRequest."""
    rules = tuple(_rule(node) for node in children(parse_document(body, "CORSConfiguration"), "CORSRule"))
    if not rules:
        raise S3Error("MalformedXML")
    if len(rules) > RULES_MAX:
        raise S3Error("InvalidRequest", f"The number of CORS rules should not exceed allowed limit of {RULES_MAX} rules.")
    named = [rule.rule_id for rule in rules if rule.rule_id]
    if len(set(named)) < len(named):
        raise S3Error("InvalidRequest", "Rule ID must be unique. Found same ID for more than one rule")
    return rules


def render_cors(rules: Iterable[Rule]) -> bytes:
    """CORSConfiguration (API page GetBucketCors)."""
    parts = []
    for rule in rules:
        parts.append("<CORSRule>")
        if rule.rule_id:
            parts.append(element("ID", rule.rule_id))
        parts += [element("AllowedMethod", method) for method in rule.methods]
        parts += [element("AllowedOrigin", origin) for origin in rule.origins]
        parts += [element("AllowedHeader", name) for name in rule.headers]
        parts += [element("ExposeHeader", name) for name in rule.exposed]
        if rule.max_age_secs is not None:
            parts.append(element("MaxAgeSeconds", str(rule.max_age_secs)))
        parts.append("</CORSRule>")
    return document("CORSConfiguration", parts)


def pack_rules(rules: Iterable[Rule]) -> bytes:
    """Rules as the setting "cors"."""
    return json.dumps(list(rules), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def unpack_rules(stored: bytes) -> tuple[Rule, ...]:
    """The reverse of `pack_rules`."""
    return tuple(
        Rule(rule_id, tuple(methods), tuple(origins), tuple(headers), tuple(exposed), max_age_secs)
        for rule_id, methods, origins, headers, exposed, max_age_secs in json.loads(stored)
    )


def _rule(node: Element) -> Rule:
    """One CORSRule. Raises S3Error MalformedXML, InvalidRequest."""
    rule_id = text_of(node, "ID") or ""
    if len(rule_id) > ID_MAX_CHARS:
        raise S3Error("InvalidRequest", f"The ID of a CORS rule should not exceed allowed limit of {ID_MAX_CHARS} characters.")
    methods, origins = _texts(node, "AllowedMethod"), _texts(node, "AllowedOrigin")
    headers, exposed = _texts(node, "AllowedHeader"), _texts(node, "ExposeHeader")
    max_age = text_of(node, "MaxAgeSeconds")
    if not methods or not origins or (max_age is not None and _MAX_AGE.fullmatch(max_age.strip()) is None):
        raise S3Error("MalformedXML")
    for method in methods:
        if method not in METHODS:
            raise S3Error("InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {method}")
    for kind, texts in (("AllowedOrigin", origins), ("AllowedHeader", headers)):
        for text in texts:
            if text.count("*") > 1:
                raise S3Error("InvalidRequest", f'{kind} "{text}" can not have more than one wildcard.')
    for name in exposed:
        if "*" in name:
            raise S3Error(
                "InvalidRequest", f'ExposeHeader "{name}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
            )
        if _TOKEN.fullmatch(name) is None:
            raise S3Error("InvalidRequest", f'ExposeHeader "{name}" contains invalid character.')
    for name in headers:
        if _TOKEN.fullmatch(name) is None:
            raise S3Error("InvalidRequest", f'AllowedHeader "{name}" contains invalid character.')
    return Rule(rule_id, methods, origins, headers, exposed, None if max_age is None else int(max_age))


def _texts(node: Element, name: str) -> tuple[str, ...]:
    """The texts of all children of that name. Raises S3Error MalformedXML for an empty one, or one with children."""
    found = tuple((child.text or "").strip() if not len(child) else "" for child in children(node, name))
    if "" in found:
        raise S3Error("MalformedXML")
    return found


def _pattern(text: str) -> Pattern:
    head, star, tail = text.partition("*")
    return Pattern(head, tail if star else None)
