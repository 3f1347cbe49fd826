"""Which scheme signed this request, if any: picks the verifier, refuses two at once. Default-deny is the caller's.

Returns None only for a request that carries no sign of any authentication.
"""

from collections.abc import Mapping

from fasterstore.s3.auth_result import AuthResult, RegionRule, SecretLookup
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sigv4 import Verifier, is_query_signed
from fasterstore.s3.xfs_signing import is_xfs_signed, verify_xfs

_UNSUPPORTED = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."


class Authenticator:
    """Verifies requests of every scheme against one set of credentials."""

    __slots__ = ("_lookup", "_sigv4")

    def __init__(self, lookup: SecretLookup, region: RegionRule = RegionRule()) -> None:  # noqa: B008
        self._lookup = lookup
        self._sigv4 = Verifier(lookup, region)

    def authenticate(self, method: str, raw_path: str, raw_query: str, headers: Mapping[str, str], now: float) -> AuthResult | None:
        """Who signed this request; None if nobody did.

        `raw_path` and `raw_query` as on the wire (latin-1, the query without `?`), `headers` by lower-case name, `now` in Unix
        seconds. Raises S3Error: InvalidRequest for two schemes at once or Signature Version 2, InvalidArgument for header and query
        at once or another Authorization type, and all that the verifiers raise.
        """
        authorization = headers.get("authorization")
        in_query = bool(raw_query) and is_query_signed(raw_query)
        if is_xfs_signed(headers):
            if authorization is not None or in_query:
                raise S3Error("InvalidRequest", "Only one auth mechanism allowed; the x-fs headers and AWS signatures were both sent.")
            return verify_xfs(method, raw_path, raw_query, headers, now, self._lookup)
        if authorization is not None:
            if in_query:
                raise S3Error(
                    "InvalidArgument",
                    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter "
                    "or the Authorization header should be specified",
                    ArgumentName="Authorization",
                )
            if authorization.startswith("AWS4-HMAC-SHA256"):
                return self._sigv4.verify_header(method, raw_path, raw_query, headers, now)
            if authorization.startswith("AWS"):
                raise S3Error("InvalidRequest", _UNSUPPORTED)
            raise S3Error("InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization")
        if in_query:
            return self._sigv4.verify_query(method, raw_path, raw_query, headers, now)
        if "AWSAccessKeyId=" in raw_query and "Signature=" in raw_query:
            raise S3Error("InvalidRequest", _UNSUPPORTED)
        return None
