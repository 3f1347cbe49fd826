"""A slow evaluator of bucket policies, to compare the compiled one with: written from the IAM user guide, sharing no code with it.

It walks the JSON for each request: no compilation, no sorting of statements, wildcards by recursion, every context key computed at once.
"""

import base64
import datetime
import ipaddress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

OWNERS_NAMES = {"*", "000000000000", "arn:aws:iam::000000000000:root", "arn:aws:iam::000000000000:user/owner-key"}
TAGGED_ACTIONS = {
    f"{verb}Object{version}{what}"
    for verb, what in [("Get", ""), ("Get", "Acl"), ("Put", "Acl"), ("Get", "Tagging"), ("Put", "Tagging"), ("Delete", "Tagging")]
    for version in ("", "Version")
}


@dataclass
class Ask:
    """One request, as plain values."""

    owner: bool
    action: str
    resource: str
    operation: str
    headers: dict = field(default_factory=dict)
    query: dict = field(default_factory=dict)
    source_ip: str = "192.0.2.7"
    secure: bool = False
    now_ms: int = 1_700_000_000_000
    scheme: str = "none"
    existing_tags: dict = field(default_factory=dict)
    request_tags: dict = field(default_factory=dict)


def context_of(ask: Ask) -> dict[str, list[str]]:
    """Every context key that the request has, lower-case (the names of tags as they are)."""
    now = datetime.datetime.fromtimestamp(ask.now_ms // 1000, datetime.UTC)
    keys = {
        "aws:sourceip": [ask.source_ip],
        "aws:securetransport": [str(ask.secure).lower()],
        "aws:currenttime": [now.isoformat().replace("+00:00", "Z")],
        "aws:epochtime": [str(ask.now_ms // 1000)],
        "aws:principaltype": ["User" if ask.owner else "Anonymous"],
        "aws:userid": ["owner-key" if ask.owner else "anonymous"],
        "aws:resourceaccount": ["000000000000"],
        "s3:resourceaccount": ["000000000000"],
        "aws:requestedregion": ["us-east-1"],
        "aws:viaawsservice": ["false"],
        "aws:principalisawsservice": ["false"],
    }
    if ask.owner:
        keys |= {
            "aws:username": ["owner-key"],
            "aws:principalarn": ["arn:aws:iam::000000000000:user/owner-key"],
            "aws:principalaccount": ["000000000000"],
            "s3:authtype": ["REST-QUERY-STRING" if ask.scheme == "sigv4-query" else "REST-HEADER"],
            "s3:signatureversion": ["AWS4-HMAC-SHA256"],
        }
    for header, key in (("user-agent", "aws:useragent"), ("referer", "aws:referer")):
        if header in ask.headers:
            keys[key] = [ask.headers[header]]
    for header in ("acl", "metadata-directive", "storage-class", "server-side-encryption", "copy-source", "grant-read"):
        if f"x-amz-{header}" in ask.headers:
            keys[f"s3:x-amz-{header}"] = [ask.headers[f"x-amz-{header}"].removeprefix("/")]
    for name, key in (("prefix", "s3:prefix"), ("delimiter", "s3:delimiter"), ("max-keys", "s3:max-keys"), ("versionId", "s3:versionid")):
        if name in ask.query:
            keys[key] = [ask.query[name]]
    if ask.action in TAGGED_ACTIONS:
        keys |= {f"s3:existingobjecttag/{name}": [value] for name, value in ask.existing_tags.items()}
    keys |= {f"s3:requestobjecttag/{name}": [value] for name, value in ask.request_tags.items()}
    if ask.request_tags:
        keys["s3:requestobjecttagkeys"] = list(ask.request_tags)
    return keys


def evaluate(policy: dict, ask: Ask) -> str:
    """ "denied", "allowed" or "silent"."""
    context = context_of(ask)
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    new = policy.get("Version") == "2012-10-17"
    effects = {statement["Effect"] for statement in statements if is_about(statement, ask, context, new)}
    return "denied" if "Deny" in effects else "allowed" if "Allow" in effects else "silent"


def is_about(statement: dict, ask: Ask, context: dict, new: bool) -> bool:
    if "Principal" in statement:
        if not names_principal(statement["Principal"], ask.owner):
            return False
    elif names_principal(statement["NotPrincipal"], ask.owner):
        return False
    action = f"s3:{ask.action}".lower()
    if "Action" in statement:
        if not any(wild(literal(one.lower()), action) for one in listed(statement["Action"])):
            return False
    elif any(wild(literal(one.lower()), action) for one in listed(statement["NotAction"])):
        return False
    if "Resource" in statement:
        if not any(is_like(one, ask.resource, context, new) for one in listed(statement["Resource"])):
            return False
    elif any(is_like(one, ask.resource, context, new) for one in listed(statement["NotResource"])):
        return False
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            if not holds(operator, key, [text_of(value) for value in listed(values)], context, new):
                return False
    return True


def names_principal(principal, owner: bool) -> bool:
    if principal == "*":
        return True
    named = set(listed(principal.get("AWS", [])))
    if owner:
        return bool(named & OWNERS_NAMES) or "000000000000" in listed(principal.get("CanonicalUser", []))
    return "*" in named


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def text_of(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def lookup(key: str, context: dict):
    name, slash, tag = key.partition("/")
    return context.get(name.lower() + slash + tag)


def holds(operator: str, key: str, wanted: list[str], context: dict, new: bool) -> bool:
    given = lookup(key, context)
    if operator == "Null":
        return ("true" if given is None else "false") in [value.lower() for value in wanted]
    quantifier = ""
    if ":" in operator:
        quantifier, operator = operator.split(":")
    if_exists = operator.endswith("IfExists")
    operator = operator.removesuffix("IfExists")
    negated = "Not" in operator
    positive = operator.replace("Not", "", 1)
    if given is None:
        if quantifier == "ForAllValues" or if_exists:
            return True
        return negated and quantifier != "ForAnyValue"
    matched = [any(compares(positive, value, one, context, new) for one in wanted) for value in given]
    if quantifier == "ForAllValues":
        return all(one != negated for one in matched)
    if quantifier == "ForAnyValue":
        return any(one != negated for one in matched)
    return any(matched) != negated


def compares(operator: str, value: str, wanted: str, context: dict, new: bool) -> bool:
    if operator in ("StringEquals", "StringEqualsIgnoreCase"):
        pairs = filled_in(wanted, context, new)
        if pairs is None:
            return False
        text = "".join(character for character, _ in pairs)
        return text.lower() == value.lower() if operator.endswith("Case") else text == value
    if operator == "StringLike":
        return is_like(wanted, value, context, new)
    if operator in ("ArnEquals", "ArnLike"):
        pairs = filled_in(wanted, context, new)
        if pairs is None:
            return False
        patterns = [[]]
        for character, is_wild in pairs:
            if character == ":" and len(patterns) < 6:
                patterns.append([])
            else:
                patterns[-1].append((character, is_wild))
        parts = value.split(":", 5)
        return len(parts) == len(patterns) == 6 and all(wild(tuple(one), part) for one, part in zip(patterns, parts, strict=True))
    if operator == "Bool":
        return value.lower() == wanted.lower()
    if operator == "BinaryEquals":
        return base64.b64decode(wanted) == value.encode()
    if operator == "IpAddress":
        address = ipaddress.ip_address(value)
        address = getattr(address, "ipv4_mapped", None) or address
        network = ipaddress.ip_network(wanted, strict=False)
        return address.version == network.version and address in network
    left, right = (number(value), number(wanted)) if operator.startswith("Numeric") else (moment(value), moment(wanted))
    if left is None or right is None:
        return False
    order = operator.removeprefix("Numeric").removeprefix("Date")
    return {
        "Equals": left == right,
        "LessThan": left < right,
        "LessThanEquals": left <= right,
        "GreaterThan": left > right,
        "GreaterThanEquals": left >= right,
    }[order]


def number(text: str):
    try:
        return Fraction(text) if "/" not in text and "e" not in text.lower() and "_" not in text else None
    except ValueError:
        return None


def moment(text: str):
    if number(text) is not None:
        return number(text)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return Fraction(int(found.timestamp() * 1000), 1000)


def literal(text: str):
    """(character, is it a wildcard) pairs of a pattern without variables."""
    return tuple((character, character in "*?") for character in text)


def filled_in(text: str, context: dict, new: bool):
    """The pairs of a text with its variables filled in; None if one of them has no value."""
    pairs = []
    place = 0
    while place < len(text):
        end = text.find("}", place)
        if new and text.startswith("${", place) and end > place + 2:
            inside = text[place + 2 : end]
            name, comma, default = inside.partition(",")
            name = name.strip()
            values = [name] if name in ("*", "?", "$") else lookup(name, context)
            if values is None or len(values) != 1:
                if not comma:
                    return None
                values = [default.strip().strip("'")]
            pairs += [(character, False) for character in values[0]]
            place = end + 1
        else:
            pairs.append((text[place], text[place] in "*?"))
            place += 1
    return tuple(pairs)


def is_like(pattern: str, value: str, context: dict, new: bool) -> bool:
    pairs = filled_in(pattern, context, new)
    return pairs is not None and wild(pairs, value)


def wild(pairs, text: str) -> bool:
    @cache
    def rest(p: int, t: int) -> bool:
        if p == len(pairs):
            return t == len(text)
        character, is_wild = pairs[p]
        if is_wild and character == "*":
            return rest(p + 1, t) or (t < len(text) and rest(p, t + 1))
        if t == len(text):
            return False
        return (is_wild or text[t] == character) and rest(p + 1, t + 1)

    return rest(0, 0)
