"""The head of a response, from what the application gave to start_response.

Owns: which status lines and headers an application may send, and the Server and Date lines.
Must never: let a CR, LF or NUL of a value reach the wire, where it would split the response; decide about the body.
Rules: PEP 3333 (no hop-by-hop headers from applications); RFC 9110 sections 5.5, 6.6.1; RFC 9112 section 4.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import NamedTuple

HTTP_NO_CONTENT = 204
HTTP_NOT_MODIFIED = 304
_CACHE_MAX_ENTRIES = 256
_STATUS = re.compile(r"([2-5][0-9]{2}) [ -~]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN, _LENGTH, _CONNECTION, _FORBIDDEN, _OWN = range(5)
_KINDS = {
    "content-length": _LENGTH,
    "connection": _CONNECTION,
    "date": _OWN,
    "server": _OWN,
    "transfer-encoding": _FORBIDDEN,
    "keep-alive": _FORBIDDEN,
    "upgrade": _FORBIDDEN,
    "trailer": _FORBIDDEN,
}

_kinds: dict[str, int] = {}
_statuses: dict[str, int] = {}
_prefix = ""
_prefix_secs = 0


class ResponseDefect(Exception):
    """The application's response cannot be sent as HTTP."""


class ResponseLines(NamedTuple):
    """What an application's status and headers come to."""

    code: int
    lines: list[str]
    """Rendered header lines, each with its CR LF, without Content-Length, Connection, Date and Server."""
    declared_bytes: int | None
    """The Content-Length."""
    closes: bool
    """The application asked for Connection: close."""


def response_prefix() -> str:
    """The Server and Date lines, made once a second."""
    global _prefix, _prefix_secs  # noqa: PLW0603 - a cache that every response reads
    now_secs = int(time.time())
    if now_secs != _prefix_secs:
        _prefix = f"Server: FasterStore\r\nDate: {formatdate(now_secs, usegmt=True)}\r\n"
        _prefix_secs = now_secs
    return _prefix


def read_response(status: str, headers: Iterable[tuple[str, str]]) -> ResponseLines:
    """Judge an application's status ("200 OK") and headers.

    Raises: ResponseDefect for a malformed status, name or Content-Length, and for headers that are the connection's own.
    """
    code = _statuses.get(status)
    if code is None:
        code = _code_of(status)
    declared_bytes: int | None = None
    closes = False
    lines = []
    for name, value in headers:
        kind = _kinds.get(name)
        if kind is None:
            kind = _kind_of(name)
        if kind == _PLAIN:
            lines.append(f"{name}: {value}\r\n")
        elif kind == _LENGTH:
            if declared_bytes is not None:
                raise ResponseDefect("response Content-Length stands there twice")
            declared_bytes = _length_of(value)
        elif kind == _CONNECTION:
            closes = closes or value.lower() == "close"
    return ResponseLines(code, lines, declared_bytes, closes)


def render_head(status: str, lines: list[str]) -> bytes:
    """The head as bytes, to the empty line inclusive. Raises: ResponseDefect when a value would break out of its line."""
    block = "".join(lines)
    count = len(lines)
    if block.count("\n") != count or block.count("\r") != count or "\0" in block:
        raise ResponseDefect("a response header value holds a line break or NUL")
    try:
        return f"HTTP/1.1 {status}\r\n{response_prefix()}{block}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise ResponseDefect("a response header value is not latin-1") from None


def _kind_of(name: str) -> int:
    if _TOKEN.fullmatch(name) is None:
        raise ResponseDefect(f"response header name {name!r} is not a token")
    kind = _KINDS.get(name.lower(), _PLAIN)
    if kind == _FORBIDDEN:
        raise ResponseDefect(f"response header {name!r} is the connection's own")
    if len(_kinds) < _CACHE_MAX_ENTRIES:
        _kinds[name] = kind
    return kind


def _code_of(status: str) -> int:
    match = _STATUS.fullmatch(status)
    if match is None:
        raise ResponseDefect(f"response status {status!r} is malformed")
    code = int(match[1])
    if len(_statuses) < _CACHE_MAX_ENTRIES:
        _statuses[status] = code
    return code


def _length_of(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ResponseDefect(f"response Content-Length {value!r} is not a number")
    return int(value)
