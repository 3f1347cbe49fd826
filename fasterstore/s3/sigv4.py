"""Verifies AWS Signature Version 4: the Authorization header and presigned URLs.

Works on the request as it was on the wire and on a clock that is passed in. It never decodes the body: `AuthResult.payload` says
what must still be verified. Every x-amz-* header that was sent, and Host, must be signed; without that a header such as
x-amz-copy-source could be added to somebody's presigned URL. The canonical URI and query are accepted as sent, or decoded and
encoded again, because clients differ in what they sign; both mean the same resource.

Source: S3 API Reference, "Authenticating Requests: Using the Authorization Header" and "Using Query Parameters".
"""

import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hmac import compare_digest
from typing import NamedTuple
from urllib.parse import unquote

from fasterstore.s3 import canonical
from fasterstore.s3.auth_result import MAX_SKEW_SECS, AuthResult, RegionRule, SecretLookup, StreamingContext, too_skewed
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sigv4_mismatch import SignedRequest, signature_mismatch

EXPIRES_MAX_SECS = 7 * 24 * 3600

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([^,\s]+)\s*")
_CREDENTIAL = re.compile(r"(.+)/(\d{8})/([^/]+)/([^/]+)/([^/]+)", re.ASCII)
_QUERY_SIGNED = re.compile(r"(?:^|&)X-Amz-(?:Algorithm|Credential|Signature)=")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_PAYLOAD_HASH = re.compile(r"[0-9a-fA-F]{64}")
_NAMED_PAYLOADS = frozenset(
    (
        canonical.UNSIGNED_PAYLOAD,
        canonical.STREAMING_SIGNED,
        canonical.STREAMING_SIGNED_TRAILER,
        canonical.STREAMING_UNSIGNED_TRAILER,
    )
)
_CHUNK_SIGNED = frozenset((canonical.STREAMING_SIGNED, canonical.STREAMING_SIGNED_TRAILER))
QUERY_AUTH_NAMES = frozenset(
    (
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
    )
)
"""The query parameters of a presigned URL itself; every other one is the request's."""
_QUERY_REQUIRED = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires")


CACHED_MAX_CHARS = 1024
"""Longer texts are parsed each time: what has no valid signature yet must not fill a cache with megabytes."""


class Credential(NamedTuple):
    """`AKID/YYYYMMDD/REGION/SERVICE/aws4_request` in its parts; `scope` is all but the key."""

    access_key: str
    date: str
    region: str
    service: str
    terminal: str
    scope: str


@lru_cache(maxsize=256)
def _parse_credential(text: str) -> Credential | None:
    match = _CREDENTIAL.fullmatch(text)
    if match is None:
        return None
    access_key, date, region, service, terminal = match.groups()
    return Credential(access_key, date, region, service, terminal, f"{date}/{region}/{service}/{terminal}")


@lru_cache(maxsize=256)
def _parse_signed_headers(text: str) -> tuple[tuple[str, ...], frozenset[str]] | None:
    names = tuple(text.split(";"))
    if any(not name or name != name.lower() for name in names) or list(names) != sorted(set(names)):
        return None
    return names, frozenset(names)


def is_query_signed(raw_query: str) -> bool:
    """Does the query carry SigV4 parameters?"""
    return "X-Amz-" in raw_query and _QUERY_SIGNED.search(raw_query) is not None


def declared_payload(value: str | None) -> str:
    """The checked value of x-amz-content-sha256: lower-case hex or one of the named values; None gives UNSIGNED-PAYLOAD.

    Raises S3Error InvalidArgument. Also of use without authentication: it says how the body is framed.
    """
    if value is None or value in _NAMED_PAYLOADS:
        return value or canonical.UNSIGNED_PAYLOAD
    if _PAYLOAD_HASH.fullmatch(value) is not None:
        return value.lower()
    if value.startswith("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
        raise S3Error("NotImplemented", "Signature Version 4A is not implemented. Please use AWS4-HMAC-SHA256.")
    raise S3Error(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        ArgumentName="x-amz-content-sha256",
        ArgumentValue=value,
    )


class Verifier:
    """Verifies both placements of SigV4 against one set of credentials. Holds no state of its own."""

    __slots__ = ("_lookup", "_region")

    def __init__(self, lookup: SecretLookup, region: RegionRule) -> None:
        self._lookup = lookup
        self._region = region

    def verify_header(self, method: str, raw_path: str, raw_query: str, headers: Mapping[str, str], now: float) -> AuthResult:
        """Verify a request with an `Authorization: AWS4-HMAC-SHA256 ...` header.

        `raw_path` and `raw_query` as on the wire (latin-1, the query without `?`), `headers` by lower-case name, `now` in Unix
        seconds. Raises S3Error: AuthorizationHeaderMalformed, AccessDenied, InvalidRequest, InvalidArgument, InvalidToken,
        InvalidAccessKeyId, RequestTimeTooSkewed, SignatureDoesNotMatch.
        """
        match = _AUTHORIZATION.fullmatch(headers["authorization"])
        if match is None:
            raise _header_malformed(headers["authorization"])
        credential_text, signed_text, signature = match.groups()
        credential = self.credential(credential_text, "AuthorizationHeaderMalformed", "The authorization header is malformed; ")
        timestamp, signed_at = _header_time(headers)
        if timestamp[:8] != credential.date:
            raise S3Error(
                "AuthorizationHeaderMalformed",
                f'The authorization header is malformed; Invalid credential date "{credential.date}". '
                f'This date is not the same as X-Amz-Date: "{timestamp[:8]}".',
            )
        content_hash = headers.get("x-amz-content-sha256")
        if content_hash is None:
            # S3 asks for it always. Without a body there is one answer, and curl before 8.0 leaves it to us, as MinIO does.
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
            content_hash = canonical.EMPTY_SHA256
        payload = declared_payload(content_hash)
        names = _require_signed(signed_text, headers, "AuthorizationHeaderMalformed")
        secret = self.secret(credential, headers.get("x-amz-security-token"))
        if abs(now - signed_at) > MAX_SKEW_SECS:
            raise too_skewed(timestamp, now)
        request = SignedRequest(
            method,
            raw_path,
            canonical.query_pairs(raw_query) if raw_query else [],
            canonical.canonical_headers(names, headers),
            signed_text,
            content_hash,
            timestamp,
            credential.scope,
        )
        return self._compare("sigv4", request, credential, secret, signature, payload, headers)

    def verify_query(self, method: str, raw_path: str, raw_query: str, headers: Mapping[str, str], now: float) -> AuthResult:
        """Verify a presigned URL. Arguments as for `verify_header`.

        Raises S3Error: AuthorizationQueryParametersError, AccessDenied (also for an expired URL, and one whose life is negative or
        longer than a week), InvalidArgument, InvalidToken, InvalidAccessKeyId, SignatureDoesNotMatch.
        """
        parameters: dict[str, str] = {}
        pairs = []
        for pair in canonical.query_pairs(raw_query):
            name, value = pair
            if name in QUERY_AUTH_NAMES:
                if name in parameters:
                    raise _query_error(f"{name} must appear only once")
                parameters[name] = unquote(value) if "%" in value else value
                if name == "X-Amz-Signature":
                    continue
            pairs.append(pair)
        for name in _QUERY_REQUIRED:
            if not parameters.get(name):
                raise _query_error(
                    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
                    "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
                )
        if parameters["X-Amz-Algorithm"] != canonical.ALGORITHM:
            raise _query_error('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
        credential = self.credential(
            parameters["X-Amz-Credential"], "AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter; "
        )
        timestamp = parameters["X-Amz-Date"]
        signed_at = canonical.timestamp_secs(timestamp)
        if signed_at is None:
            raise _query_error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
        if timestamp[:8] != credential.date:
            raise _query_error(f'Invalid credential date "{credential.date}". This date is not the same as X-Amz-Date: "{timestamp[:8]}".')
        expires_secs = _expires_secs(parameters["X-Amz-Expires"])
        content_hash = parameters.get("X-Amz-Content-Sha256") or headers.get("x-amz-content-sha256") or canonical.UNSIGNED_PAYLOAD
        payload = declared_payload(content_hash)
        signed_text = parameters["X-Amz-SignedHeaders"]
        names = _require_signed(signed_text, headers, "AuthorizationQueryParametersError")
        secret = self.secret(credential, parameters.get("X-Amz-Security-Token") or headers.get("x-amz-security-token"))
        if now > signed_at + expires_secs or not expires_secs:
            raise S3Error(
                "AccessDenied",
                "Request has expired",
                None,
                **{
                    "X-Amz-Expires": str(expires_secs),
                    "Expires": canonical.format_iso(signed_at + expires_secs),
                    "ServerTime": canonical.format_iso(int(now)),
                },
            )
        if signed_at - now > MAX_SKEW_SECS:
            raise S3Error(
                "AccessDenied",
                "Request is not yet valid",
                None,
                **{"X-Amz-Date": timestamp, "ServerTime": canonical.format_iso(int(now))},
            )
        request = SignedRequest(
            method, raw_path, pairs, canonical.canonical_headers(names, headers), signed_text, content_hash, timestamp, credential.scope
        )
        return self._compare("sigv4-query", request, credential, secret, parameters["X-Amz-Signature"], payload, headers)

    def credential(self, text: str, code: str, prefix: str) -> Credential:
        """The parts of a credential whose scope is ours. Raises: S3Error `code`, its message behind `prefix`."""
        credential = _parse_credential(text) if len(text) <= CACHED_MAX_CHARS else None
        if credential is None:
            raise S3Error(
                code,
                f'{prefix}the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
            )
        if credential.terminal != "aws4_request":
            raise S3Error(code, f'{prefix}incorrect terminal "{credential.terminal}". This endpoint uses "aws4_request".')
        if credential.service != "s3":
            raise S3Error(code, f'{prefix}incorrect service "{credential.service}". This endpoint belongs to "s3".')
        if self._region.strict and credential.region != self._region.reported:
            raise S3Error(
                code,
                f"{prefix}the region '{credential.region}' is wrong; expecting '{self._region.reported}'",
                Region=self._region.reported,
            )
        return credential

    def secret(self, credential: Credential, token: str | None) -> str:
        """The secret of a credential; `token` is the session's, if one was sent. Raises: S3Error InvalidAccessKeyId, InvalidToken."""
        secret = self._lookup(credential.access_key)
        if secret is None:
            raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=credential.access_key)
        if token:
            # Keys here are long-lived; a token means the client took a session's credentials from somewhere.
            raise S3Error("InvalidToken")
        return secret

    def _compare(
        self,
        scheme: str,
        request: SignedRequest,
        credential: Credential,
        secret: str,
        signature: str,
        payload: str,
        headers: Mapping[str, str],
    ) -> AuthResult:
        key = canonical.signing_key(secret, credential.date, credential.region, credential.service)
        if _SIGNATURE.fullmatch(signature) is not None:
            for path, query in _spellings(request):
                if compare_digest(canonical.hmac_hex(key, request.string_to_sign(path, query)), signature):
                    streaming = None
                    if payload in _CHUNK_SIGNED:
                        streaming = StreamingContext(key, credential.scope, request.timestamp, signature)
                    return AuthResult(scheme, credential.access_key, payload, streaming)
        raise signature_mismatch(request, key, signature, credential.access_key, headers)


def _spellings(request: SignedRequest) -> Iterator[tuple[str, str]]:
    """The forms of path and query that a client may have signed, likeliest first, each once."""
    sent_query = canonical.join_sorted(request.pairs) if len(request.pairs) > 1 else "&".join([f"{n}={v}" for n, v in request.pairs])
    yield request.raw_path, sent_query
    path = canonical.canonical_path(request.raw_path)
    query = canonical.join_sorted(canonical.encode_pairs_again(request.pairs))
    if path != request.raw_path:
        yield path, sent_query
    if query != sent_query:
        yield request.raw_path, query
        if path != request.raw_path:
            yield path, query


def _header_malformed(authorization: str) -> S3Error:
    missing = [part for part in ("Credential", "SignedHeaders", "Signature") if f"{part}=" not in authorization]
    if missing:
        text = f"The authorization header is malformed; it does not contain {', '.join(missing)}."
    else:
        text = (
            "The authorization header is malformed; expecting "
            '"AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=..." in this order.'
        )
    return S3Error("AuthorizationHeaderMalformed", text)


def _query_error(text: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", text)


def _header_time(headers: Mapping[str, str]) -> tuple[str, int]:
    """(timestamp as signed, Unix seconds) from x-amz-date, or from Date in either of its forms."""
    text = headers.get("x-amz-date") or headers.get("date")
    if text:
        seconds = canonical.timestamp_secs(text)
        if seconds is not None:
            return text, seconds
        if "x-amz-date" not in headers:
            try:
                seconds = int(parsedate_to_datetime(text).timestamp())
            except (ValueError, OverflowError, TypeError):
                seconds = None
            if seconds is not None and seconds >= 0:
                return canonical.format_timestamp(seconds), seconds
    raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")


def _expires_secs(text: str) -> int:
    if not text.isascii() or not text.lstrip("-").isdigit():
        raise _query_error("X-Amz-Expires should be a number")
    # Numbers, but of no life that a URL can have: refused as a URL that has expired is.
    if text.startswith("-"):
        raise S3Error("AccessDenied", "X-Amz-Expires must be non-negative")
    if len(text) > 10 or int(text) > EXPIRES_MAX_SECS:
        raise S3Error(
            "AccessDenied",
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        )
    return int(text)


def _require_signed(signed_text: str, headers: Mapping[str, str], code: str) -> tuple[str, ...]:
    parse = _parse_signed_headers if len(signed_text) <= CACHED_MAX_CHARS else _parse_signed_headers.__wrapped__
    parsed = parse(signed_text)
    if parsed is None:
        raise S3Error(code, "SignedHeaders must be lower-case header names, sorted, separated by semicolons.")
    names, signed = parsed
    for name in headers:
        if name.startswith("x-amz-") and name not in signed:
            break
    else:
        if "host" in signed:
            return names
    unsigned = [name for name in headers if (name.startswith("x-amz-") or name == "host") and name not in signed]
    raise S3Error(
        "AccessDenied",
        "There were headers present in the request which were not signed",
        HeadersNotSigned=", ".join(sorted(unsigned) or ["host"]),
    )
