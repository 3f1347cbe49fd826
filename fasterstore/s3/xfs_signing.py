"""The x-fs scheme: four headers, one HMAC, no canonical form. Signs method, path, query, time and payload; no other header.

x-fs-access-key, x-fs-timestamp (Unix seconds), x-fs-content-sha256 (the body's SHA-256 in hex, or UNSIGNED-PAYLOAD) and
x-fs-signature = hex(HMAC_SHA256(secret, "<METHOD>\\n<PATH>\\n<QUERY>\\n<TIMESTAMP>\\n<PAYLOAD_SHA256>")), path and query exactly as
sent (the query without `?`, empty if there is none). Because headers are unsigned, such a request may never copy or set ACLs, tags
or locks: the caller sees to that by `AuthResult.scheme`.
"""

import re
from collections.abc import Mapping
from hmac import compare_digest
from urllib.parse import unquote_to_bytes

from fasterstore.s3 import canonical
from fasterstore.s3.auth_result import MAX_SKEW_SECS, AuthResult, SecretLookup, too_skewed
from fasterstore.s3.errors import ERRORS, S3Error
from fasterstore.s3.sse_c import hide_keys

SCHEME = "x-fs"
HEADER_NAMES = ("x-fs-access-key", "x-fs-timestamp", "x-fs-content-sha256", "x-fs-signature")

_HASH = re.compile(r"[0-9a-fA-F]{64}")
_TIMESTAMP = re.compile(r"\d{1,11}", re.ASCII)


def string_to_sign(method: str, raw_path: str, raw_query: str, timestamp: str, payload_hash: str) -> str:
    """The five lines that are signed, all as sent."""
    return f"{method}\n{raw_path}\n{raw_query}\n{timestamp}\n{payload_hash}"


def is_xfs_signed(headers: Mapping[str, str]) -> bool:
    """Does the request carry any header of this scheme?"""
    return any(name in headers for name in HEADER_NAMES)


def verify_xfs(method: str, raw_path: str, raw_query: str, headers: Mapping[str, str], now: float, lookup: SecretLookup) -> AuthResult:
    """Verify a request of this scheme.

    `raw_path`, `raw_query` as on the wire (latin-1), `headers` by lower-case name, `now` in Unix seconds. Raises S3Error:
    MissingSecurityHeader, InvalidArgument, InvalidAccessKeyId, RequestTimeTooSkewed, SignatureDoesNotMatch.
    """
    for name in HEADER_NAMES:
        if not headers.get(name):
            raise S3Error("MissingSecurityHeader", MissingHeaderName=name)
    access_key, timestamp, payload_hash, signature = [headers[name] for name in HEADER_NAMES]
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise S3Error(
            "InvalidArgument",
            "x-fs-timestamp must be Unix seconds, not milliseconds.",
            ArgumentName="x-fs-timestamp",
            ArgumentValue=timestamp,
        )
    if payload_hash != canonical.UNSIGNED_PAYLOAD and _HASH.fullmatch(payload_hash) is None:
        raise S3Error(
            "InvalidArgument",
            "x-fs-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.",
            ArgumentName="x-fs-content-sha256",
            ArgumentValue=payload_hash,
        )
    secret = lookup(access_key)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access_key)
    if abs(now - int(timestamp)) > MAX_SKEW_SECS:
        raise too_skewed(canonical.format_iso(int(timestamp)), now)
    key = secret.encode("utf-8")
    to_sign = string_to_sign(method, raw_path, raw_query, timestamp, payload_hash)
    expected = canonical.hmac_hex(key, to_sign)
    if not compare_digest(expected.encode(), signature.lower().encode("latin-1", "replace")):
        raise _mismatch(method, raw_path, raw_query, timestamp, payload_hash, key, signature, access_key)
    return AuthResult(SCHEME, access_key, payload_hash if payload_hash == canonical.UNSIGNED_PAYLOAD else payload_hash.lower())


def _mismatch(
    method: str, raw_path: str, raw_query: str, timestamp: str, payload_hash: str, key: bytes, signature: str, access_key: str
) -> S3Error:
    decoded = unquote_to_bytes(raw_path.encode("latin-1")).decode("latin-1")
    guesses = [
        (f"the method: {other} was signed, {method} was sent", (other, raw_path, raw_query, timestamp, payload_hash))
        for other in ("GET", "HEAD", "PUT", "POST", "DELETE")
        if other != method
    ]
    guesses += [
        ("the path: it was signed decoded, not as sent", (method, decoded, raw_query, timestamp, payload_hash)),
        ("the query: it was signed with its question mark", (method, raw_path, f"?{raw_query}", timestamp, payload_hash)),
        ("the query: it was not signed", (method, raw_path, "", timestamp, payload_hash)),
        ("the path: it was signed together with the query", (method, f"{raw_path}?{raw_query}", "", timestamp, payload_hash)),
        ("the payload hash: UNSIGNED-PAYLOAD was signed", (method, raw_path, raw_query, timestamp, canonical.UNSIGNED_PAYLOAD)),
    ]
    message = ERRORS["SignatureDoesNotMatch"].message
    for what, parts in guesses:
        if compare_digest(canonical.hmac_hex(key, string_to_sign(*parts)).encode(), signature.encode("latin-1", "replace")):
            message += f" What differs: {what}."
            break
    else:
        message += " What differs is the secret key, or one of the parts shown in StringToSign."
    return S3Error(
        "SignatureDoesNotMatch",
        message,
        AWSAccessKeyId=access_key,
        StringToSign=hide_keys(string_to_sign(method, raw_path, raw_query, timestamp, payload_hash)),
        SignatureProvided=signature,
    )
