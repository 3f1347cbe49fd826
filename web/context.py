"""The typed request: below it `bottle.request` and the WSGI environ are not seen.

Built once per request from the environ of our own connection handler (`fs.headers`, `fs.peer`, `REQUEST_URI`) or of any other WSGI
server. Owns the parsing of target and query; never reads the body, never decides what is allowed.
"""

from typing import Any, Protocol
from urllib.parse import quote, unquote

from fasterstore.metadata.index import Located
from fasterstore.model import BucketRow
from fasterstore.s3.auth_result import AuthResult
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD
from fasterstore.s3.errors import S3Error
from fasterstore.s3.names import parse_hosted_path, parse_path
from fasterstore.s3.sigv4 import QUERY_AUTH_NAMES
from web.body_memory import Account, unbounded
from web.client_address import Origin

_PATH_SAFE = "/-._~"
ANONYMOUS = AuthResult("none", "", UNSIGNED_PAYLOAD)
"""Nobody signed the request, and nothing is known of its body."""

_NO_QUERY: dict[str, str] = {}
_CGI_PREFIX = "HTTP_"


class BodyInput(Protocol):
    """`wsgi.input`, as far as every server offers it."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        ...


class Request:
    """One request.

    `method` is as sent; `raw_path` and `raw_query` are the percent-encoded wire text (latin-1), without "?"; `query` maps decoded
    names to decoded values (the first of a repeated name); `headers` maps lower-case names to latin-1 values; `peer_ip` is the
    address of the socket's other end, `client_ip` the client's (another one only behind a trusted proxy); `is_secure`: the client
    spoke TLS. `host_bucket` is the bucket that the host names ("" in path style). `bucket` is "" and `key` None where the request names
    none; `key` is UTF-8 bytes, from 1.
    `content_length` is the body's length on the wire in bytes, None if it was not sent. `started_at` is perf_counter seconds.
    `is_counted`: it has taken its token of FS_RATE_LIMIT_PER_SEC, or was refused one.
    `account` is the memory taken for the body.
    `identity` and `action` are filled in by the wrapper in `web/app.py`; `bucket_known`, `bucket_row` and `located` are
    `web/lookup.py`'s.
    """

    __slots__ = (
        "account", "action", "bucket", "bucket_known", "bucket_row", "bytes_in", "client_ip", "content_length", "headers", "host_bucket",
        "identity", "input", "is_counted", "is_secure", "key", "located", "method", "peer_ip", "query", "raw_path", "raw_query",
        "request_id", "started_at",
    )  # fmt: skip

    def __init__(self, environ: dict[str, Any], request_id: str, started_at: float) -> None:
        """Raises S3Error InvalidURI if the query is not percent-encoded UTF-8, InvalidRequest for a Content-Length that is none."""
        self.request_id = request_id
        self.started_at = started_at
        self.method: str = environ["REQUEST_METHOD"]
        self.identity = ANONYMOUS
        self.action = "Unknown"
        self.bucket = ""
        self.key: bytes | None = None
        self.query = _NO_QUERY
        self.bytes_in = 0
        self.is_counted = False
        self.bucket_known = False
        self.bucket_row: BucketRow | None = None
        self.located: Located | None = None
        self.input: BodyInput = environ["wsgi.input"]
        self.account: Account = environ.get("fs.account") or unbounded()
        headers = environ.get("fs.headers")
        self.headers: dict[str, str] = headers_from_cgi(environ) if headers is None else headers
        peer = environ.get("fs.peer")
        self.peer_ip: str = environ.get("REMOTE_ADDR", "") if peer is None else peer[0]
        origin: Origin | None = environ.get("fs.origin")
        if origin is None:
            self.client_ip = self.peer_ip
            self.is_secure = environ.get("wsgi.url_scheme") == "https"
            self.host_bucket = ""
        else:
            self.client_ip, self.is_secure, self.host_bucket = origin
        self.raw_path, self.raw_query = _target(environ)
        self.content_length = _content_length(self.headers.get("content-length"))
        if self.raw_query:
            self.query = parse_query(self.raw_query)

    def split_resource(self) -> None:
        """Fill in `bucket` and `key` from host and path. Raises S3Error InvalidURI, InvalidBucketName or KeyTooLongError."""
        if self.host_bucket:
            self.bucket = self.host_bucket
            key = parse_hosted_path(self.raw_path)
        else:
            self.bucket, key = parse_path(self.raw_path)
        self.key = key or None

    def adopt_presigned_headers(self) -> None:
        """Take `x-amz-*` names of a presigned query as the headers that the signer meant by them; a header that was sent wins.

        Signers move such headers into the URL, and S3 acts on them there. Only right after the query's signature was verified.
        """
        moved = {
            name.lower(): value.encode("utf-8").decode("latin-1") for name, value in self.query.items() if name[:6].lower() == "x-amz-"
        }
        if moved:
            self.headers = moved | self.headers


def parse_query(raw_query: str) -> dict[str, str]:
    """Decoded names to decoded values; a name without "=" has the value "". Raises S3Error InvalidURI.

    The parameters of a presigned URL are left out: whoever checks the signature reads the raw text. "+" means a space, as in S3. Of a
    repeated name the first counts.
    """
    query: dict[str, str] = {}
    for part in raw_query.split("&"):
        name, _, value = part.partition("=")
        if name in QUERY_AUTH_NAMES or not part:
            continue
        if "%" in part or "+" in part:
            name, value = _decoded_query(name), _decoded_query(value)
        if name not in query:
            query[name] = value
    return query


def headers_from_cgi(environ: dict[str, Any]) -> dict[str, str]:
    """Lower-case header names to values, from the HTTP_* variables of a server that is not ours."""
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith(_CGI_PREFIX)}
    for variable, name in (("CONTENT_TYPE", "content-type"), ("CONTENT_LENGTH", "content-length")):
        value = environ.get(variable)
        if value:
            headers[name] = value
    return headers


def _target(environ: dict[str, Any]) -> tuple[str, str]:
    """Raw path and raw query. Without REQUEST_URI the path is re-encoded: `%2F` and `/` are then the same, which no S3 rule forbids."""
    target: str | None = environ.get("REQUEST_URI")
    if target is None:
        path: str = environ["PATH_INFO"]
        return quote(path.encode("latin-1"), safe=_PATH_SAFE), environ.get("QUERY_STRING", "")
    if target[:1] != "/" and "://" in target:
        # Absolute form (RFC 9112, 3.2.2), as sent to proxies.
        rest = target.split("://", 1)[1]
        at = min((place for place in (rest.find("/"), rest.find("?")) if place >= 0), default=len(rest))
        target = rest[at:] if rest[at : at + 1] == "/" else "/" + rest[at:]
    path, _, query = target.partition("?")
    return path, query


def _content_length(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise S3Error("InvalidRequest", "Content-Length must be a number.")
    return int(text)


def _decoded_query(raw: str) -> str:
    if "+" in raw:
        raw = raw.replace("+", " ")
    if "%" not in raw:
        return raw
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The query must be percent-encoded UTF-8.") from None
