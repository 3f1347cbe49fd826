"""The rules by which a request head is read or refused.

Owns: everything that says where a request ends and to whom it is addressed. llhttp (httptools) reads the head and refuses
bare LF, obs-fold, space before a colon, control characters, odd Content-Length values, doubled lengths, and a length beside
Transfer-Encoding; these rules refuse what it lets pass: HTTP/0.9, 1.2 and 2.0, RTSP, absolute-form, asterisk-form and
fragments in the target, CONNECT and upgrade bodies read as something else, codings other than chunked, chunked in
HTTP/1.0, lengths over 2**63, a missing, doubled or malformed Host, doubled headers of which only one may be meant,
and names that a gateway would fold into a framing header.
Must never: guess. What two parsers could read in two ways is refused once, and the connection closes. No sockets here.
Rules: RFC 9112 sections 2.2, 3, 5, 6; RFC 9110 sections 5, 7.2, 10.1.1.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from web.refusal import HttpRefusal, bad_request

LENGTH_MAX_BYTES = 2**63 - 1
NAME_CACHE_MAX_ENTRIES = 512
NAME_CACHE_MAX_BYTES = 64

_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{0,31}) (/[!-\"$-~]*) HTTP/1\.([01])\r\n")
_VERSION = re.compile(rb"[!-~]+ [!-~]+ HTTP/[0-9]\.[0-9]\r?\n")
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_DIGITS = re.compile(r"[0-9]{1,19}")

_SINGLE = frozenset(
    (
        "authorization", "content-length", "content-md5", "content-type", "date", "expect", "host", "if-match",
        "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range", "transfer-encoding", "upgrade",
        "x-amz-content-sha256", "x-amz-date", "x-amz-decoded-content-length", "x-amz-security-token", "x-amz-trailer",
        "x-fs-access-key", "x-fs-content-sha256", "x-fs-signature", "x-fs-timestamp", "x-fs-internal-token",
    )
)
"""Headers that a request may carry once: two of them would leave open which one was signed or meant."""

_CGI_KEYS: dict[str, str | None] = {"content-length": "CONTENT_LENGTH", "content-type": "CONTENT_TYPE", "transfer-encoding": None}
# The connection decodes chunked itself: an application that saw Transfer-Encoding would decode a second time (Bottle does).

_names: dict[bytes, tuple[str, str | None]] = {}


def _name_of(raw: bytes) -> tuple[str, str | None]:
    """The lower-case name and the environ key, None for no key; remembered for the first few hundred short names."""
    lower = raw.decode("latin-1").lower()
    if "_" in lower:
        # "a_b" and "a-b" are one environ key, so a sender could overwrite what another header said: no key for the former.
        if lower.replace("_", "-") in _SINGLE:
            raise bad_request(f"the header name {lower!r} is not allowed")
        key = None
    elif lower in _CGI_KEYS:
        key = _CGI_KEYS[lower]
    else:
        key = "HTTP_" + lower.upper().replace("-", "_")
    if len(_names) < NAME_CACHE_MAX_ENTRIES and len(raw) <= NAME_CACHE_MAX_BYTES:
        _names[raw] = (lower, key)
    return lower, key


class RequestHead:
    """One request head, read. `environ` is completed in place; the other fields are what the connection goes by."""

    __slots__ = ("chunked", "content_length", "environ", "expects_continue", "header_count", "headers", "is_head", "keep_alive", "minor")

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.headers: dict[str, str] = {}
        self.header_count = 0
        self.content_length = 0
        self.chunked = False
        self.expects_continue = False
        self.keep_alive = True
        self.is_head = False
        self.minor = 1

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp's callback. Repeated headers join by a bare comma, as S3 combines and SigV4 canonicalises them."""
        lower, key = _names.get(name) or _name_of(name)
        text = value.decode("latin-1").rstrip(" \t")
        self.header_count += 1
        headers = self.headers
        if lower in headers:
            if lower in _SINGLE:
                raise bad_request(f"the header {lower!r} stands there twice")
            text = f"{headers[lower]},{text}"
        headers[lower] = text
        if key is not None:
            self.environ[key] = text


def read_head(raw: bytes, environ: dict[str, Any], max_header_count: int = 200) -> RequestHead:
    """Read one head, from the first byte of the request line to the empty line inclusive.

    Args: raw, bytes that end with the first CR LF CR LF; environ, a fresh WSGI environ to complete.
    Returns: the head. Raises: HttpRefusal (400, 417, 501, 505) for anything not beyond doubt.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise refuse_request_line(raw)
    head = RequestHead(environ)
    fault: Exception | None = None
    try:
        HttpRequestParser(head).feed_data(raw)
    except HttpParserUpgrade:
        pass  # An offer of another protocol, which RFC 9110 section 7.8 lets a server ignore; the framing below stays HTTP/1.
    except HttpParserInvalidMethodError:
        raise HttpRefusal(501, "NotImplemented", "the method is not known") from None
    except HttpParserError as error:
        refusal = error.__context__
        if isinstance(refusal, HttpRefusal):
            raise refusal from None
        fault = error
    method = line[1].decode("ascii")
    minor = 1 if line[3] == b"1" else 0
    headers = head.headers
    if "transfer-encoding" in headers:
        _judge_transfer_encoding(head, minor)
    if fault is not None:
        raise bad_request(f"malformed request head: {fault}")
    if head.header_count > max_header_count:
        raise HttpRefusal(400, "RequestHeaderSectionTooLarge", f"there are more than {max_header_count} header lines")
    if head.header_count != raw.count(b"\r\n") - 2:
        raise bad_request("a header line is unreadable")
    if method == "CONNECT":
        raise HttpRefusal(501, "NotImplemented", "CONNECT is not offered here")
    _complete(head, method, line[2], minor)
    return head


def _complete(head: RequestHead, method: str, target: bytes, minor: int) -> None:
    headers = head.headers
    host = headers.get("host")
    if host is None:
        if minor:
            raise bad_request("the Host header is missing")
    elif _HOST.fullmatch(host) is None:
        raise bad_request("the Host header is malformed")
    length = headers.get("content-length")
    if length is not None:
        if _DIGITS.fullmatch(length) is None or (size_bytes := int(length)) > LENGTH_MAX_BYTES:
            raise bad_request("the Content-Length is malformed")
        head.content_length = size_bytes
    expect = headers.get("expect")
    if expect is not None and minor:
        if expect.lower() == "100-continue":
            head.expects_continue = True
        elif "100" in expect:
            # A disguised 100-continue is how answers are parted from requests between two servers. Any other expectation may be left
            # aside (RFC 9110, 10.1.1).
            raise HttpRefusal(417, "InvalidRequest", "this is not how 100-continue is expected")
    connection = headers.get("connection")
    if connection is None:
        head.keep_alive = minor == 1
    else:
        options = [option.strip() for option in connection.lower().split(",")]
        head.keep_alive = "close" not in options and (minor == 1 or "keep-alive" in options)
    head.minor = minor
    head.is_head = method == "HEAD"
    environ = head.environ
    uri = target.decode("ascii")
    path, _, query = uri.partition("?")
    environ["REQUEST_METHOD"] = method
    environ["REQUEST_URI"] = uri
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if minor else "HTTP/1.0"
    environ["fs.headers"] = headers


def _judge_transfer_encoding(head: RequestHead, minor: int) -> None:
    codings = [coding.strip().lower() for coding in head.headers["transfer-encoding"].split(",")]
    if "content-length" in head.headers:
        raise bad_request("Content-Length and Transfer-Encoding exclude each other")
    if minor == 0:
        raise bad_request("HTTP/1.0 has no Transfer-Encoding")
    if codings != ["chunked"]:
        if codings.count("chunked") > 1 or "" in codings:
            raise bad_request("the Transfer-Encoding is malformed")
        raise HttpRefusal(501, "NotImplemented", "the only transfer coding known is chunked")
    head.chunked = True


def refuse_request_line(raw: bytes) -> HttpRefusal:
    """The refusal for a first line that is not `METHOD /target HTTP/1.0|1.1`."""
    end = raw.find(b"\n")
    line = raw[: end + 1] if end >= 0 else raw
    if _VERSION.fullmatch(line) and not line.rstrip().endswith((b"HTTP/1.0", b"HTTP/1.1")):
        return HttpRefusal(505, "InvalidRequest", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if line.startswith(b"CONNECT "):
        return HttpRefusal(501, "NotImplemented", "CONNECT is not offered here")
    return bad_request("the request line is malformed or its target is not a path")


def refuse_unfinished(raw: bytes) -> HttpRefusal | None:
    """What can be refused before the empty line has come; None to read on.

    Without this, a TLS hello or a head with bare LF lines would wait for the deadline instead of getting its answer.
    """
    if not b"A" <= raw[:1] <= b"Z":
        return bad_request("the request line is malformed")
    first_lf = raw.find(b"\n")
    if first_lf < 0:
        return None
    if _REQUEST_LINE.match(raw) is None:
        return refuse_request_line(raw)
    if raw.count(b"\n") != raw.count(b"\r\n"):
        return bad_request("a line of the head ends without CR")
    return None
