"""Text inside XML 1.0: escaping, elements, the declaration. Knows no S3 document and parses nothing."""

import re
from collections.abc import Iterable

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

_SPECIAL = re.compile("[&<>\"'\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\r": "&#13;"}


def _replace(match: re.Match[str]) -> str:
    # What XML 1.0 cannot hold in any form (section 2.2) becomes U+FFFD: a parser would refuse the whole document otherwise.
    return _ENTITIES.get(match.group(), "\ufffd")


def escape(text: str) -> str:
    """`text` for use as content or attribute value; characters that XML 1.0 cannot hold become U+FFFD."""
    return _SPECIAL.sub(_replace, text)


def element(name: str, text: str) -> str:
    """`<name>escaped text</name>`. `name` is ours and trusted."""
    return f"<{name}>{escape(text)}</{name}>"


def document(root: str, parts: Iterable[str], namespace: str = S3_NAMESPACE) -> bytes:
    """A whole UTF-8 document with `root` around already rendered `parts`; no xmlns when `namespace` is empty."""
    attribute = f' xmlns="{namespace}"' if namespace else ""
    return f"{DECLARATION}<{root}{attribute}>{''.join(parts)}</{root}>".encode()
