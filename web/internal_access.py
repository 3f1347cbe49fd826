"""Who may call /_internal: another node of this store, which proves that it knows FS_INTERNAL_TOKEN, or an operator who says it here.

Closed while the token is the built-in one. A proof (`fasterstore.internal_signing`) is what nodes send. The bare token is honoured only
where nobody can listen: over TLS, or from this machine. The caller's `source` must be one of FS_REPLICATION_PEERS, always for a proof;
by the bare token one may read without being a peer. A node that encrypts what it stores tells nothing in the clear, to a peer neither.
Never reads a body: the hash that was proved is checked where the body is read
(`web.internal_body`).
"""

import re

from fasterstore.internal_signing import HASH_HEADER, MAX_SKEW_SECS, SOURCE_PARAMETER, TOKEN_HEADER, Call, is_proof, is_token, refusal_of
from fasterstore.s3.auth_result import AuthResult
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD, format_iso
from fasterstore.s3.errors import S3Error
from fasterstore.settings import Settings
from web.context import Request
from web.refusal_log import RefusalLog

SCHEME = "internal"
_READS = ("GET", "HEAD")
_HASH = re.compile(r"[0-9a-f]{64}")
_CLOSED = "/_internal is closed until FS_INTERNAL_TOKEN is set to a value of your own."
_IN_THE_CLEAR = (
    f"The token itself is honoured only over TLS or from the node's own machine. Sign the request: {TOKEN_HEADER}: v1:<seconds>:<HMAC>."
)
_NEEDS_TLS = (
    "This node encrypts what it stores, so other nodes reach it over https:// only. "
    "If a proxy ends TLS, it must send X-Forwarded-Proto and be one of FS_TRUSTED_PROXIES."
)


class InternalGate:
    """Judges calls of /_internal by the node's token and peers."""

    __slots__ = ("_refusals", "_settings")

    def __init__(self, settings: Settings, refusals: RefusalLog) -> None:
        self._settings = settings
        self._refusals = refusals

    def admit(self, request: Request, now_ms: int, is_local: bool) -> AuthResult:
        """The identity of an admitted call, with what is known of its body. `is_local`: it comes from this machine, through no proxy.

        Raises: S3Error AccessDenied, RequestTimeTooSkewed.
        """
        settings = self._settings
        if settings.uses_built_in_internal_token:
            raise S3Error("AccessDenied", _CLOSED)
        stated = request.headers.get(HASH_HEADER, "")
        value = request.headers.get(TOKEN_HEADER, "")
        if is_proof(value):
            call = Call(request.method, request.raw_path, request.raw_query, stated)
            self._judge_proof(request, refusal_of(settings.internal_token, value, call, now_ms / 1000), now_ms)
        else:
            self._judge_token(request, value, is_local)
        self._judge_source(request, is_proof(value))
        if settings.encryption_key is not None and not (request.is_secure or is_local):
            # What is told and taken here is plaintext, whatever URL the peer has for this node.
            self._refusals.refused("plain-http", f"{request.peer_ip} calls over plain HTTP, and this node's objects are encrypted")
            raise S3Error("AccessDenied", _NEEDS_TLS)
        return AuthResult(SCHEME, "", stated if _HASH.fullmatch(stated) else UNSIGNED_PAYLOAD)

    def _judge_proof(self, request: Request, refusal: str, now_ms: int) -> None:
        if refusal == "skewed":
            self._refusals.refused(
                "clock-skew", f"a call of {request.peer_ip} was signed more than {MAX_SKEW_SECS} s from now: a replay, or clocks differ"
            )
            raise S3Error(
                "RequestTimeTooSkewed", ServerTime=format_iso(now_ms // 1000), MaxAllowedSkewMilliseconds=str(MAX_SKEW_SECS * 1000)
            )
        if refusal:
            self._refusals.refused("wrong-token", f"a call of {request.peer_ip} is not signed with this node's FS_INTERNAL_TOKEN")
            raise S3Error("AccessDenied")

    def _judge_token(self, request: Request, value: str, is_local: bool) -> None:
        if not is_token(self._settings.internal_token, value):
            self._refusals.refused("wrong-token", f"a call of {request.peer_ip} has not this node's FS_INTERNAL_TOKEN")
            raise S3Error("AccessDenied")
        if not (request.is_secure or is_local):
            self._refusals.refused(
                "token-in-the-clear", f"{request.peer_ip} sent FS_INTERNAL_TOKEN itself over plain HTTP: change it on all nodes"
            )
            raise S3Error("AccessDenied", _IN_THE_CLEAR)

    def _judge_source(self, request: Request, is_signed: bool) -> None:
        source = request.query.get(SOURCE_PARAMETER, "")
        if source in self._settings.replication_peers:
            return
        if not source and not is_signed and request.method in _READS:
            return
        self._refusals.refused("foreign-source", f"{request.peer_ip} calls as {source or 'nobody'}, which is not in FS_REPLICATION_PEERS")
        raise S3Error(
            "AccessDenied", f"{SOURCE_PARAMETER} must be the FS_ADVERTISE_ADDR of the caller, and one of this node's FS_REPLICATION_PEERS."
        )
