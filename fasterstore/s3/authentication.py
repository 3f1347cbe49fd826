"""Which scheme signed this request, if any: picks the verifier, refuses two at once. Default-deny is the caller's.

Returns None only for a request that carries no sign of any authentication.
"""

from collections.abc import Mapping

from fasterstore.s3 import sigv2
from fasterstore.s3.auth_result import AuthResult, RegionRule, SecretLookup
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sigv4 import Verifier, is_query_signed
from fasterstore.s3.xfs_signing import is_xfs_signed, verify_xfs

UNSUPPORTED = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
"""Said of Signature Version 2 where it is not allowed."""


class Authenticator:
    """Verifies requests of every scheme against one set of credentials."""

    __slots__ = ("_lookup", "_sigv2", "_sigv4")

    def __init__(self, lookup: SecretLookup, region: RegionRule = RegionRule(), allow_sigv2: bool = False) -> None:  # noqa: B008
        self._lookup = lookup
        self._sigv4 = Verifier(lookup, region)
        self._sigv2 = sigv2.Verifier(lookup) if allow_sigv2 else None

    def authenticate(
        self, method: str, raw_path: str, raw_query: str, headers: Mapping[str, str], now: float, host_bucket: str = ""
    ) -> AuthResult | None:
        """Who signed this request; None if nobody did.

        `raw_path` and `raw_query` as on the wire (latin-1, the query without `?`), `headers` by lower-case name, `now` in Unix
        seconds, `host_bucket` the bucket that the host names ("" in path style). Raises S3Error: InvalidRequest for two schemes at
        once, for Signature Version 2 where it is not allowed, or for x-fs on a virtual host; InvalidArgument for header and query at
        once or another Authorization type; and all that the verifiers raise.
        """
        authorization = headers.get("authorization")
        by_v4 = bool(raw_query) and is_query_signed(raw_query)
        by_v2 = bool(raw_query) and sigv2.is_query_signed(raw_query)
        if is_xfs_signed(headers):
            if authorization is not None or by_v4 or by_v2:
                raise S3Error("InvalidRequest", "Only one auth mechanism allowed; the x-fs headers and AWS signatures were both sent.")
            if host_bucket:
                # The host is not signed, and on a virtual host it is the bucket.
                raise S3Error("InvalidRequest", "The x-fs scheme does not sign the host: name the bucket in the path.")
            return verify_xfs(method, raw_path, raw_query, headers, now, self._lookup)
        if (authorization is not None) + by_v4 + by_v2 > 1:
            raise S3Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter "
                "or the Authorization header should be specified",
                ArgumentName="Authorization",
            )
        if by_v4:
            return self._sigv4.verify_query(method, raw_path, raw_query, headers, now)
        if by_v2:
            return self._need_sigv2().verify_query(method, raw_path, raw_query, headers, now, host_bucket)
        if authorization is None:
            return None
        if authorization.startswith("AWS4-HMAC-SHA256"):
            return self._sigv4.verify_header(method, raw_path, raw_query, headers, now)
        if authorization.startswith("AWS "):
            return self._need_sigv2().verify_header(method, raw_path, raw_query, headers, now, host_bucket)
        if authorization.startswith("AWS"):
            raise S3Error("InvalidRequest", UNSUPPORTED)
        raise S3Error("InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization")

    def _need_sigv2(self) -> sigv2.Verifier:
        if self._sigv2 is None:
            raise S3Error("InvalidRequest", UNSUPPORTED)
        return self._sigv2
