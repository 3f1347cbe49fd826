"""Verifies AWS Signature Version 2: `Authorization: AWS key:signature`, and presigned URLs. For old clients, and only where allowed.

HMAC-SHA1 over method, Content-MD5, Content-Type, date, every x-amz-* header and the resource with those query parameters that choose
an action or change its answer; the body is not covered, and of the query nothing else. That is why FS_ALLOW_SIGV2 is off by default.
In a presigned URL headers may stand in the query; one that was sent wins, here as where it is acted upon.
Source: S3 user guide, "Signing and authenticating REST requests (AWS signature version 2)".
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from hmac import compare_digest
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from fasterstore.s3 import canonical
from fasterstore.s3.actions import ACTIONS
from fasterstore.s3.auth_result import MAX_SKEW_SECS, AuthResult, SecretLookup, too_skewed
from fasterstore.s3.errors import ERRORS, S3Error
from fasterstore.s3.sigv4 import declared_payload
from fasterstore.s3.sse_c import hide_keys

SCHEME = "sigv2"
QUERY_SCHEME = "sigv2-query"
QUERY_AUTH_NAMES = frozenset(("AWSAccessKeyId", "Expires", "Signature"))
MOVED_HEADERS = frozenset(("content-md5", "content-type"))
"""Beside x-amz-*, what signers of URLs move from the headers into the query."""

SIGNED_PARAMETERS = frozenset(
    (
        *(action.subresource for action in ACTIONS.values() if action.subresource not in ("", "list-type")),
        *(f"response-{name}" for name in ("cache-control", "content-disposition", "content-encoding", "content-language")),
        *("response-content-type", "response-expires", "defaultObjectAcl", "partNumber", "select-type", "storageClass", "versionId"),
    )
)
"""The query names that are part of the signed resource. A superset of AWS's list: here whatever chooses an action is on it, so that no
parameter can be added that turns a signed request into another."""

_QUERY_SIGNED = re.compile(r"(?:^|&)(?:AWSAccessKeyId|Signature)=")
_AUTHORIZATION = re.compile(r"AWS ([!-9;-~]+):([A-Za-z0-9+/=]+)")
_EXPIRES = re.compile(r"[0-9]{1,12}")
_MISSING = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"


class _SignedRequest(NamedTuple):
    """The parts of one request that its signature covers; `date` is the header's, or the URL's expiry; "" beside x-amz-date."""

    method: str
    raw_path: str
    pairs: list[tuple[str, str | None]]
    headers: Mapping[str, str]
    date: str

    def string_to_sign(self, path: str, empty_as_sent: bool) -> str:
        """What is signed, latin-1 text, with that spelling of the path and of parameters without a value."""
        headers = self.headers
        lines = [self.method, headers.get("content-md5", ""), headers.get("content-type", ""), self.date]
        lines += [f"{name}:{headers[name].strip()}" for name in sorted(headers) if name.startswith("x-amz-")]
        parts = [name if value is None or not (value or empty_as_sent) else f"{name}={value}" for name, value in self._signed_pairs()]
        return "\n".join([*lines, f"{path}?{'&'.join(parts)}" if parts else path])

    def _signed_pairs(self) -> list[tuple[str, str | None]]:
        # Decoded as the query is read later, so that signature and meaning agree. The order of a repeated name is the sender's.
        found = [(name, None if raw is None else _signed_value(raw)) for name, raw in self.pairs if name in SIGNED_PARAMETERS]
        return sorted(found, key=lambda pair: pair[0])


def is_query_signed(raw_query: str) -> bool:
    """Does the query carry parameters of this scheme?"""
    return ("Signature=" in raw_query or "AWSAccessKeyId=" in raw_query) and _QUERY_SIGNED.search(raw_query) is not None


class Verifier:
    """Verifies both placements against one set of credentials. Holds no state of its own. There is no region in this scheme."""

    __slots__ = ("_lookup",)

    def __init__(self, lookup: SecretLookup) -> None:
        self._lookup = lookup

    def verify_header(
        self, method: str, raw_path: str, raw_query: str, headers: Mapping[str, str], now: float, host_bucket: str = ""
    ) -> AuthResult:
        """Verify a request with an `Authorization: AWS ...` header.

        `raw_path` and `raw_query` as on the wire (latin-1, the query without `?`), `headers` by lower-case name, `now` in Unix
        seconds, `host_bucket` the bucket that the host names, "" in path style. Raises S3Error: InvalidArgument, AccessDenied,
        InvalidToken, InvalidAccessKeyId, RequestTimeTooSkewed, SignatureDoesNotMatch.
        """
        match = _AUTHORIZATION.fullmatch(headers["authorization"])
        if match is None:
            raise S3Error(
                "InvalidArgument", "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature", ArgumentName="Authorization"
            )
        access_key, signature = match.groups()
        secret = self._secret(access_key, headers)
        amz_date = headers.get("x-amz-date")
        text = headers.get("date", "") if amz_date is None else amz_date
        signed_at = _date_secs(text)
        if signed_at is None:
            raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        if abs(now - signed_at) > MAX_SKEW_SECS:
            raise too_skewed(text, now)
        date = text if amz_date is None else ""
        request = _SignedRequest(method, _hosted(raw_path, host_bucket), _pairs(raw_query), headers, date)
        return _compare(SCHEME, request, access_key, secret, signature)

    def verify_query(
        self, method: str, raw_path: str, raw_query: str, headers: Mapping[str, str], now: float, host_bucket: str = ""
    ) -> AuthResult:
        """Verify a presigned URL. Arguments as for `verify_header`.

        Raises S3Error: AccessDenied (also for an expired URL), InvalidArgument, InvalidToken, InvalidAccessKeyId,
        SignatureDoesNotMatch.
        """
        pairs = _pairs(raw_query)
        parameters: dict[str, str] = {}
        for name, raw in pairs:
            if name in QUERY_AUTH_NAMES:
                if name in parameters:
                    raise S3Error("AccessDenied", f"{name} must appear only once")
                # Base64 has pluses, and old clients do not always encode them.
                parameters[name] = unquote(raw or "", encoding="latin-1")
        if any(not parameters.get(name) for name in QUERY_AUTH_NAMES):
            raise S3Error("AccessDenied", _MISSING)
        expires = parameters["Expires"]
        if _EXPIRES.fullmatch(expires) is None:
            raise S3Error("AccessDenied", f"Invalid date (should be seconds since epoch): {expires}")
        moved = moved_headers(raw_query)
        if any("\n" in value for value in moved.values()):
            # What is signed has a line for each: one value must not stand for two headers.
            raise S3Error("AccessDenied", "A header in a signed URL may not hold a line break.")
        signed_headers = moved | dict(headers)
        secret = self._secret(parameters["AWSAccessKeyId"], signed_headers)
        if now > int(expires):
            raise S3Error(
                "AccessDenied",
                "Request has expired",
                Expires=canonical.format_iso(int(expires)),
                ServerTime=canonical.format_iso(int(now)),
            )
        request = _SignedRequest(method, _hosted(raw_path, host_bucket), pairs, signed_headers, expires)
        return _compare(QUERY_SCHEME, request, parameters["AWSAccessKeyId"], secret, parameters["Signature"])

    def _secret(self, access_key: str, headers: Mapping[str, str]) -> str:
        secret = self._lookup(access_key)
        if secret is None:
            raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access_key)
        if headers.get("x-amz-security-token"):
            # Keys here are long-lived; a token means the client took a session's credentials from somewhere.
            raise S3Error("InvalidToken")
        return secret


def moved_headers(raw_query: str) -> dict[str, str]:
    """The headers that a presigned URL carries in its query, by lower-case name, latin-1 text; of a repeated name the first."""
    found: dict[str, str] = {}
    for name, raw in _pairs(raw_query):
        lower = name.lower()
        if (lower.startswith("x-amz-") or lower in MOVED_HEADERS) and lower not in found:
            found[lower] = _decoded(raw or "")
    return found


def sign(secret: str, text: str) -> str:
    """Base64 of the HMAC-SHA1 of latin-1 `text`."""
    return b64encode(hmac.digest(secret.encode("utf-8"), text.encode("latin-1"), "sha1")).decode("ascii")


def _compare(scheme: str, request: _SignedRequest, access_key: str, secret: str, signature: str) -> AuthResult:
    paths = {request.raw_path: None, canonical.canonical_path(request.raw_path): None}
    if request.raw_path.rfind("/") == 0:
        # A bucket is signed with a slash behind it, whether or not one was sent.
        paths |= {f"{path}/": None for path in paths}
    provided = signature.encode("latin-1", "replace")
    for path in paths:
        for empty_as_sent in (True, False):
            if compare_digest(sign(secret, request.string_to_sign(path, empty_as_sent)).encode("ascii"), provided):
                return AuthResult(scheme, access_key, declared_payload(request.headers.get("x-amz-content-sha256")))
    to_sign = hide_keys(request.string_to_sign(request.raw_path, True))
    raise S3Error(
        "SignatureDoesNotMatch",
        ERRORS["SignatureDoesNotMatch"].message,
        AWSAccessKeyId=access_key,
        StringToSign=to_sign,
        SignatureProvided=signature,
        StringToSignBytes=to_sign.encode("latin-1").hex(" "),
    )


def _pairs(raw_query: str) -> list[tuple[str, str | None]]:
    """Decoded names, and values as sent (None where there is no "="). The names decoded: `%61cl` means `acl` when it is read, too."""
    pairs = []
    for piece in raw_query.split("&"):
        if piece:
            name, equals, raw = piece.partition("=")
            pairs.append((_decoded(name), raw if equals else None))
    return pairs


def _decoded(raw: str) -> str:
    """Latin-1 text of the decoded bytes; a plus is a space, as everywhere in a query."""
    return unquote_to_bytes(raw.replace("+", " ").encode("latin-1")).decode("latin-1")


def _signed_value(raw: str) -> str:
    """Decoded, unless it would then read as several parameters: `partNumber=1%26uploadId%3D7` must not pass for those two."""
    decoded = _decoded(raw)
    return raw if any(piece.partition("=")[0] in SIGNED_PARAMETERS for piece in decoded.split("&")[1:]) else decoded


def _hosted(raw_path: str, host_bucket: str) -> str:
    return f"/{host_bucket}{raw_path}" if host_bucket else raw_path


def _date_secs(text: str) -> int | None:
    """Unix seconds of a Date header (RFC 9110) or of YYYYMMDDThhmmssZ; None for neither, and for what was before 1970."""
    seconds = canonical.timestamp_secs(text)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
        seconds = int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return seconds if seconds >= 0 else None
