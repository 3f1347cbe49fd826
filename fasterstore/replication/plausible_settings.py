"""Which documents of a bucket's settings the readers of this build can answer with. Pure.

A bucket whose CORS rules or ACL cannot be read answers nobody, and the change spreads to every peer. A policy is not judged here: one that
cannot be read denies everything, which an operator can mend. Names that this build does not know are kept, and passed on, unread.
"""

import json
import re
from collections.abc import Callable

from fasterstore.s3.acl import CANNED
from fasterstore.s3.cors import RULES_MAX, compile_rules, unpack_rules

_OWNERSHIPS = frozenset((b"BucketOwnerEnforced", b"BucketOwnerPreferred", b"ObjectWriter"))
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BLOCK = re.compile(rb"[01]{4}")


def is_acl(name: str) -> bool:
    """Is that a canned ACL as it is kept, "" being private?"""
    return not name or name in CANNED


def is_readable(name: str, document: bytes) -> bool:
    """Can the setting of that name be `document`?"""
    judge = _JUDGES.get(name)
    if judge is None:
        return True
    try:
        return judge(document)
    except Exception:
        # A stranger's JSON may be of any shape: what its reader raises is not one of a few errors.
        return False


def _is_cors(document: bytes) -> bool:
    rules = unpack_rules(document)
    # What is exposed is sent as it is; origins and headers are only compared.
    sent = [name for rule in rules for name in rule.exposed]
    return 0 < len(compile_rules(document)) <= RULES_MAX and all(map(_NAME.fullmatch, sent))


def _is_tagging(document: bytes) -> bool:
    tags = json.loads(document)
    return isinstance(tags, dict) and all(isinstance(value, str) for value in tags.values())


_JUDGES: dict[str, Callable[[bytes], bool]] = {
    "acl": lambda document: is_acl(document.decode("ascii")),
    "cors": _is_cors,
    "ownership": lambda document: document in _OWNERSHIPS,
    "public-access-block": lambda document: _BLOCK.fullmatch(document) is not None,
    "tagging": _is_tagging,
}
