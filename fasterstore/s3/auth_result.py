"""What verifying a request yields, for every scheme: who signed, and what the signature says of the body."""

from collections.abc import Callable
from typing import NamedTuple

from fasterstore.s3.canonical import format_iso
from fasterstore.s3.errors import S3Error

SecretLookup = Callable[[str], str | None]
"""Access key -> its secret, None if there is no such key."""

MAX_SKEW_SECS = 15 * 60
"""How far the signer's clock may be from ours, either way."""


class StreamingContext(NamedTuple):
    """What the signatures of aws-chunked pieces are chained to: the day's key, scope, timestamp and the request's signature."""

    signing_key: bytes
    scope: str
    timestamp: str
    seed_signature: str


class AuthResult(NamedTuple):
    """A verified request.

    `scheme` is "sigv4", "sigv4-query" or "x-fs". `payload` is the body's SHA-256 in lower-case hex (to be verified by whoever reads
    it), UNSIGNED-PAYLOAD, or one of the three STREAMING- values; `streaming` is set for those that sign their chunks.
    """

    scheme: str
    access_key: str
    payload: str
    streaming: StreamingContext | None = None


class RegionRule(NamedTuple):
    """`reported` is FS_REGION or its default; a scope of another region is refused only if `strict` (FS_REGION was set)."""

    reported: str = "us-east-1"
    strict: bool = False


def too_skewed(request_time: str, now: float) -> S3Error:
    """RequestTimeTooSkewed with both clocks, as S3 sends it."""
    return S3Error(
        "RequestTimeTooSkewed",
        RequestTime=request_time,
        ServerTime=format_iso(int(now)),
        MaxAllowedSkewMilliseconds=str(MAX_SKEW_SECS * 1000),
    )
