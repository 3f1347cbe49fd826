"""Who may come in: one rule for each kind of route, and nothing is open that does not say so.

Signatures are verified in `fasterstore.s3`; here is what this node makes of the result: whose key opens which routes, from where the
built-in secret is honoured, and what FS_AUTH_ENABLED=false does not open. Never reads a body; a payload hash is checked where the body
is read.
"""

from collections.abc import Mapping
from hmac import compare_digest
from typing import Literal

from fasterstore.s3 import sigv2
from fasterstore.s3.auth_result import AuthResult, RegionRule
from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD
from fasterstore.s3.errors import S3Error
from fasterstore.s3.post_signature import verify_form
from fasterstore.s3.sigv4 import declared_payload, is_query_signed
from fasterstore.settings import Settings
from web.context import ANONYMOUS, Request
from web.internal_access import InternalGate
from web.refusal_log import RefusalLog

Access = Literal["open", "metrics", "s3", "admin", "internal"]
QUERY_SCHEMES = frozenset(("sigv4-query", sigv2.QUERY_SCHEME))
"""Schemes of signed URLs, which may hold headers."""

_FORWARDING_HEADERS = ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")
_FORWARDING_PREFIX = "x-forwarded-"
_BUILT_IN_SECRET = (
    "The built-in secret key is honoured only for clients on the node's own machine. "
    "Set FS_ACCESS_KEY and FS_SECRET_KEY on the node to reach it from elsewhere."
)
_BUILT_IN_ADMIN_SECRET = (
    "The built-in secret key is honoured only for clients on the node's own machine. "
    "Set FS_ADMIN_ACCESS_KEY and FS_ADMIN_SECRET_KEY on the node to reach /_admin from elsewhere."
)


def is_local(request: Request) -> bool:
    """Is the client a process of this machine that speaks for itself? A proxy here speaks for somebody else."""
    if not is_loopback(request.peer_ip):
        return False
    return not any(name.startswith(_FORWARDING_PREFIX) or name in _FORWARDING_HEADERS for name in request.headers)


def is_loopback(address: str) -> bool:
    """Is that the text of an IPv4 or IPv6 loopback address, mapped IPv4 included?"""
    return address.startswith(("127.", "::ffff:127.")) or address == "::1"


class Gatekeeper:
    """Decides about each request by the access its route declares."""

    __slots__ = ("_admin", "_internal", "_s3", "_settings")

    def __init__(self, settings: Settings, refusals: RefusalLog) -> None:
        region = RegionRule(settings.region, settings.region_was_set)
        self._settings = settings
        self._internal = InternalGate(settings, refusals)
        # Two sets of credentials: an admin key with a secret of its own may share the name of the other.
        self._s3 = Authenticator({settings.access_key: settings.secret_key}.get, region, settings.allow_sigv2)
        self._admin = Authenticator({settings.admin_access_key: settings.admin_secret_key}.get, region)

    def admit(self, access: Access, request: Request, now_ms: int) -> AuthResult:
        """The identity under which `request` goes on.

        Raises: S3Error AccessDenied and all that `Authenticator.authenticate` raises.
        """
        if access == "s3":
            return self._admit_s3(request, now_ms)
        if access == "open":
            return ANONYMOUS
        if access == "metrics":
            return self._admit_metrics(request)
        if access == "admin":
            return self._admit_admin(request, now_ms)
        # "internal", and whatever a route may one day say by mistake.
        return self._internal.admit(request, now_ms, is_local(request))

    def _admit_s3(self, request: Request, now_ms: int) -> AuthResult:
        settings = self._settings
        if not settings.auth_enabled:
            return _unverified(request)
        identity = self._s3.authenticate(
            request.method, request.raw_path, request.raw_query, request.headers, now_ms / 1000, request.host_bucket
        )
        if identity is None:
            # Let in as nobody: `web/authorise.py` denies whatever is not granted to everybody.
            return _nobody(request)
        if settings.uses_built_in_secret and not is_local(request):
            raise S3Error("AccessDenied", _BUILT_IN_SECRET)
        if identity.scheme in QUERY_SCHEMES:
            if identity.scheme == sigv2.QUERY_SCHEME:
                request.headers = sigv2.moved_headers(request.raw_query) | request.headers
            elif request.query:
                request.adopt_presigned_headers()
        return identity

    def _admit_admin(self, request: Request, now_ms: int) -> AuthResult:
        settings = self._settings
        if not settings.auth_enabled and is_local(request):
            return _unverified(request)
        identity = self._admin.authenticate(request.method, request.raw_path, request.raw_query, request.headers, now_ms / 1000)
        if identity is None:
            raise S3Error("AccessDenied")
        if settings.admin_uses_built_in_secret and not is_local(request):
            raise S3Error("AccessDenied", _BUILT_IN_ADMIN_SECRET)
        return identity

    def _admit_metrics(self, request: Request) -> AuthResult:
        token = self._settings.metrics_token
        if token is not None:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not _same(given.strip(), token):
                raise S3Error("AccessDenied", "Send FS_METRICS_TOKEN as Authorization: Bearer <token>.")
        return ANONYMOUS


def admit_form(settings: Settings, request: Request, fields: Mapping[str, str]) -> AuthResult:
    """The identity that the signature of a form's policy proves; `fields` by lower-case name.

    Raises: S3Error AccessDenied for the built-in secret from elsewhere, and all that `verify_form` raises.
    """
    region = RegionRule(settings.region, settings.region_was_set)
    identity = verify_form(fields, {settings.access_key: settings.secret_key}.get, region, settings.allow_sigv2)
    if settings.uses_built_in_secret and not is_local(request):
        raise S3Error("AccessDenied", _BUILT_IN_SECRET)
    return identity


def _same(given: str, expected: str) -> bool:
    return compare_digest(given.encode("latin-1", "replace"), expected.encode())


def _unverified(request: Request) -> AuthResult:
    """Signatures are not asked for. What the client says of its body still frames it, and is still checked against the bytes."""
    headers = request.headers
    if "x-fs-signature" in headers:
        if "authorization" in headers or is_query_signed(request.raw_query):
            raise S3Error("InvalidRequest", "Only one auth mechanism allowed.")
        payload = headers.get("x-fs-content-sha256", UNSIGNED_PAYLOAD)
        return AuthResult("x-fs", headers.get("x-fs-access-key", ""), payload if payload == UNSIGNED_PAYLOAD else payload.lower())
    return _nobody(request)


def _nobody(request: Request) -> AuthResult:
    """Who sent this is not known; how its body is framed is."""
    return AuthResult("none", "", declared_payload(request.headers.get("x-amz-content-sha256")))
