"""One peer, as this node calls it (`actors.peer.PeerClient` over HTTP): signed requests, bounded answers, two ways to fail.

Used by the replicator in the storage process, and by web workers that pull bytes. Owns a few kept connections. Never follows a redirect,
never takes a proxy, a password or requests' certificate authorities from the environment (without FS_CA_CERT those of OpenSSL count, which
reads SSL_CERT_FILE), never tries again; never sends the token itself. What bounds a call is lack of progress, `timeout_secs` at most, a
least pace, and ANSWER_MAX_BYTES. Usable from several greenlets at once.
"""

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from http import HTTPStatus
from time import monotonic, time
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection

from actors.peer import PeerRefused, PeerStatus, PeerUnreachable
from actors.runtime import Timeout
from fasterstore.errors import UnsupportedFormat
from fasterstore.internal_signing import SOURCE_PARAMETER, Call, signed_headers
from fasterstore.replication.anti_entropy import Page
from fasterstore.replication.blob_frames import framed_bytes
from fasterstore.replication.change import BatchAnswer
from fasterstore.replication.change_reading import MalformedBatch, decode_answer
from fasterstore.replication.digest import KeyRange, MalformedDigest, RangeDigest, pack_question, unpack_answer
from fasterstore.replication.peer_status import decode_status
from fasterstore.replication.state_page import PAGE_HARD_MAX_BYTES, decode_page, question
from web.peer_stream import BlobStream, innermost, paced_secs, read_some

ANSWER_MAX_BYTES = 8 * 1024 * 1024
"""A page of states, digests or outcomes is smaller; a longer answer is given up."""
LIFE_SIGN = b" "
"""Comes before the answer to a batch, each second, while the peer pulls bytes."""
OBJECT_PATH = "/_internal/replicate/object"
DELETE_PATH = "/_internal/replicate/delete"
SNAPSHOT_PATH = "/_internal/replicate/snapshot"
DIGEST_PATH = "/_internal/replicate/digest"
STATUS_PATH = "/_internal/replicate/status"
BLOB_PATH = "/_internal/blob/"

CONNECT_SECS = 3.0
STALL_SECS = 10.0
"""A peer that applies a batch, or sends a blob, gives a sign of life each second."""
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000),
)
_ERROR_MAX_BYTES = 4096
_CODE, _MESSAGE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>"), re.compile(r"<Message>([^<]{1,200})")
_Pairs = list[tuple[str, str]]


class _Adapter(HTTPAdapter):
    """Connections that notice in seconds that the other end is gone, and verify certificates by the given context alone.

    A cut line is silent: the kernel would send again for minutes, ever more rarely, and still wait when the line has long been whole.
    requests alone would add the authorities that came with it to the system's.
    """

    def __init__(self, context: ssl.SSLContext | None, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        options = [*HTTPConnection.default_socket_options, *_SOCKET_OPTIONS]
        super().init_poolmanager(*args, **kwargs, socket_options=options, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context has all that is trusted, and says that certificates and host names are required."""

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        host, _pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {} if self._context is None else {"ssl_context": self._context}


class PeerClient:
    """Calls of one peer. Every method raises PeerUnreachable or PeerRefused.

    `address` and `source` are origin URLs: the peer's, and this node's own FS_ADVERTISE_ADDR, which the peer must have among its peers.
    `ca_path` is a PEM file of certificate authorities, None for the system's. `clock` gives Unix seconds.
    `log_uuid` is this node's (16 bytes): what the peer knows of that log is in its status.
    """

    def __init__(
        self,
        address: str,
        source: str,
        token: str,
        *,
        timeout_secs: float,
        ca_path: str | None = None,
        pool_size: int = 8,
        clock: Callable[[], float] = time,
        log_uuid: bytes = b"",
    ) -> None:
        """Raises: OSError (ssl.SSLError among them) if `ca_path` cannot be read or holds no certificate."""
        self.address = address
        self._source = source
        self._token = token
        self._timeout_secs = timeout_secs
        self._stall_secs = min(timeout_secs, STALL_SECS)
        self._clock = clock
        self._log_uuid = log_uuid
        # An adapter and no session: it knows no redirects, cookies, proxies or environment.
        self._adapter = _Adapter(ssl.create_default_context(cafile=ca_path) if urlsplit(address).scheme == "https" else None, pool_size)

    def __repr__(self) -> str:
        return f"PeerClient({self.address!r})"

    def close(self) -> None:
        """Let go of every kept connection; what is under way ends by itself."""
        self._adapter.close()

    def status(self) -> PeerStatus:
        """Who the peer is, and what it knows of this node."""
        pairs = [("log", self._log_uuid.hex())] if self._log_uuid else []
        return PeerStatus(*self._understood(decode_status, self._document("GET", STATUS_PATH, pairs)))

    def send_objects(self, body: bytes, changes: int) -> BatchAnswer:
        """Send an encoded Batch of so many changes, objects and buckets; returns when all that is applied is on stable storage there."""
        return self._apply(OBJECT_PATH, body, changes)

    def send_deletes(self, body: bytes, changes: int) -> BatchAnswer:
        """The same with tombstones and buckets."""
        return self._apply(DELETE_PATH, body, changes)

    def digest(self, ranges: Sequence[KeyRange]) -> list[RangeDigest]:
        """The peer's digests of these ranges."""
        answer = self._document("POST", DIGEST_PATH, [], pack_question(ranges))
        return self._understood(unpack_answer, answer, ranges)

    def snapshot_page(self, asked: KeyRange, limit: int) -> Page:
        """At most `limit` (up to PAGE_STATES) of the peer's states of a range, in order, objects without their bytes."""
        answer = self._document("GET", SNAPSHOT_PATH, question(asked, limit), max_bytes=PAGE_HARD_MAX_BYTES)
        return self._understood(decode_page, answer)

    def open_blob(self, blob_id: bytes, number: int, log_uuid: bytes, first: int, length: int) -> BlobStream:
        """The bytes `first` .. `first + length` of the blob that the log of that uuid knows by id and number. Close the stream."""
        pairs = [("log", log_uuid.hex()), ("number", str(number))]
        response = self._send(
            "GET", BLOB_PATH + blob_id.hex(), pairs, b"", {"range": f"bytes={first}-{first + length - 1}"}, self._stall_secs
        )
        stated = response.headers.get("content-length", "")
        if response.status_code != HTTPStatus.PARTIAL_CONTENT or stated != str(framed_bytes(length)):
            try:
                raise self._refusal(response)
            finally:
                response.close()
        return BlobStream(self.address, response, length, self._stall_secs)

    def _apply(self, path: str, body: bytes, changes: int) -> BatchAnswer:
        answer = self._document("POST", path, [], body, self._stall_secs, is_paced=False).lstrip(LIFE_SIGN)
        return self._understood(decode_answer, answer, changes)

    def _understood(self, decode: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return decode(*arguments)
        except (MalformedBatch, MalformedDigest, UnsupportedFormat) as error:
            raise PeerRefused(f"the answer of {self.address} cannot be read: {error}") from None

    def _document(
        self,
        method: str,
        path: str,
        pairs: _Pairs,
        body: bytes = b"",
        wait_secs: float = 0,
        max_bytes: int = ANSWER_MAX_BYTES,
        *,
        is_paced: bool = True,
    ) -> bytes:
        response = self._send(method, path, pairs, body, {}, wait_secs or self._timeout_secs)
        try:
            if response.status_code != HTTPStatus.OK:
                raise self._refusal(response)
            return b"".join(self._pieces(response, max_bytes, is_paced=is_paced))
        finally:
            # A whole answer has given its connection back; the rest of any other must not be taken for the next answer.
            response.close()

    def _send(self, method: str, path: str, pairs: _Pairs, body: bytes, headers: dict[str, str], wait_secs: float) -> requests.Response:
        query = urlencode([*pairs, (SOURCE_PARAMETER, self._source)])
        call = Call(method, path, query, sha256(body).hexdigest())
        headers = headers | signed_headers(self._token, call, int(self._clock())) | {"user-agent": "fasterstore"}
        if method == "POST":
            headers |= {"content-length": str(len(body)), "content-type": "application/msgpack"}
        # Built by hand: requests' own preparation might rewrite the target that was signed.
        prepared = requests.PreparedRequest()
        prepared.method = method
        prepared.url = f"{self.address}{path}?{query}"
        prepared.headers = CaseInsensitiveDict(headers)
        prepared.hooks = {"response": []}
        prepared.body = body or None
        # The timeout of the socket begins anew with each byte of the head.
        whole_secs = CONNECT_SECS + paced_secs(wait_secs, len(body))
        bound = Timeout(whole_secs)
        try:
            with bound:
                return self._adapter.send(prepared, stream=True, timeout=(CONNECT_SECS, wait_secs))
        except Timeout as passed:
            if passed is not bound:
                raise
            raise PeerUnreachable(f"{self.address} did not answer in {whole_secs:g} s") from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise PeerUnreachable(f"{self.address} did not answer in {wait_secs:g} s") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise PeerUnreachable(f"{self.address}: {innermost(error)}") from None

    def _pieces(self, response: requests.Response, max_bytes: int, *, is_paced: bool = True) -> Iterator[bytes]:
        left, began = max_bytes, monotonic()
        while piece := read_some(self.address, response):
            left -= len(piece)
            if left < 0:
                raise PeerRefused(f"{self.address} answers without an end")
            if is_paced and monotonic() - began > paced_secs(self._timeout_secs, max_bytes - left):
                raise PeerUnreachable(f"{self.address} sends too slowly")
            yield piece

    def _refusal(self, response: requests.Response) -> Exception:
        """What an answer means that is not the one asked for. 5xx and 429 may pass; all else needs an operator, or another question."""
        status = response.status_code
        passes = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
        text = f"{self.address} answered {status}"
        if status >= HTTPStatus.BAD_REQUEST:
            try:
                document = b"".join(self._pieces(response, _ERROR_MAX_BYTES)).decode("utf-8", "replace")
            except (PeerRefused, PeerUnreachable):
                document = ""
            code, message = _CODE.search(document), _MESSAGE.search(document)
            text += f" {code[1]}" if code else ""
            text += f": {''.join(filter(str.isprintable, message[1]))}" if message else ""
        if passes:
            return PeerUnreachable(text)
        return NotThere(text) if status == HTTPStatus.NOT_FOUND else PeerRefused(text)


class NotThere(PeerRefused):
    """404: the peer has no such blob, or no such route."""
