"""The client's side of both signing schemes: makes headers and URLs that `sigv4` and `xfs_signing` accept. No clock, no sockets.

Paths and queries are given as they will be on the wire (`canonical.encode_path`, `canonical.encode_query`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from fasterstore.s3 import canonical, xfs_signing
from fasterstore.s3.auth_result import StreamingContext

# What a proxy or the HTTP library may add or change on the way must not be signed.
_NEVER_SIGNED = frozenset(("authorization", "connection", "expect", "transfer-encoding", "user-agent", "accept-encoding"))


class Credentials(NamedTuple):
    """An access key, its secret, and the region that SigV4 scopes name."""

    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r}, region={self.region!r})"


def sign_v4_headers(
    method: str,
    raw_path: str,
    raw_query: str,
    headers: Mapping[str, str],
    payload_hash: str,
    credentials: Credentials,
    now: int,
) -> tuple[dict[str, str], StreamingContext]:
    """The headers to add (authorization, x-amz-date, x-amz-content-sha256), and what aws-chunked pieces are chained to.

    `headers` by lower-case name must hold `host`; all but those a proxy may change are signed. `payload_hash` is hex,
    UNSIGNED-PAYLOAD or a STREAMING- value; `now` Unix seconds.
    """
    timestamp = canonical.format_timestamp(now)
    added = {"x-amz-date": timestamp, "x-amz-content-sha256": payload_hash}
    signed = {name: value for name, value in headers.items() if name not in _NEVER_SIGNED} | added
    names = sorted(signed)
    signed_text = ";".join(names)
    query = canonical.join_sorted(canonical.encode_pairs_again(canonical.query_pairs(raw_query)))
    request = canonical.canonical_request(
        method, canonical.canonical_path(raw_path), query, canonical.canonical_headers(names, signed), signed_text, payload_hash
    )
    scope = f"{timestamp[:8]}/{credentials.region}/s3/aws4_request"
    key = canonical.signing_key(credentials.secret_key, timestamp[:8], credentials.region, "s3")
    signature = canonical.hmac_hex(key, canonical.string_to_sign(timestamp, scope, request))
    added["authorization"] = (
        f"{canonical.ALGORITHM} Credential={credentials.access_key}/{scope},SignedHeaders={signed_text},Signature={signature}"
    )
    return added, StreamingContext(key, scope, timestamp, signature)


def presign_v4(
    method: str,
    raw_path: str,
    raw_query: str,
    headers: Mapping[str, str],
    credentials: Credentials,
    now: int,
    expires_secs: int,
    payload_hash: str = canonical.UNSIGNED_PAYLOAD,
) -> str:
    """The query of a presigned URL: `raw_query` with SigV4's parameters and signature.

    `headers` by lower-case name are all signed and must be sent with the request; `host` must be among them. `now` Unix seconds.
    """
    timestamp = canonical.format_timestamp(now)
    scope = f"{timestamp[:8]}/{credentials.region}/s3/aws4_request"
    names = sorted(headers)
    parameters = canonical.encode_query(
        (
            ("X-Amz-Algorithm", canonical.ALGORITHM),
            ("X-Amz-Credential", f"{credentials.access_key}/{scope}"),
            ("X-Amz-Date", timestamp),
            ("X-Amz-Expires", str(expires_secs)),
            ("X-Amz-SignedHeaders", ";".join(names)),
        )
    )
    full = f"{raw_query}&{parameters}" if raw_query else parameters
    query = canonical.join_sorted(canonical.encode_pairs_again(canonical.query_pairs(full)))
    request = canonical.canonical_request(
        method, canonical.canonical_path(raw_path), query, canonical.canonical_headers(names, headers), ";".join(names), payload_hash
    )
    key = canonical.signing_key(credentials.secret_key, timestamp[:8], credentials.region, "s3")
    return f"{full}&X-Amz-Signature={canonical.hmac_hex(key, canonical.string_to_sign(timestamp, scope, request))}"


def sign_xfs(method: str, raw_path: str, raw_query: str, payload_hash: str, credentials: Credentials, now: int) -> dict[str, str]:
    """The four x-fs headers. `payload_hash` is hex or UNSIGNED-PAYLOAD; `now` Unix seconds."""
    to_sign = xfs_signing.string_to_sign(method, raw_path, raw_query, str(now), payload_hash)
    values = (
        credentials.access_key,
        str(now),
        payload_hash,
        canonical.hmac_hex(credentials.secret_key.encode("utf-8"), to_sign),
    )
    return dict(zip(xfs_signing.HEADER_NAMES, values, strict=True))
