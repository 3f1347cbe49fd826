"""One peer, as this node calls it: signed requests, bounded answers, every failure a value.

Used by the replicator in the storage process and by receivers in web workers that pull bytes. Owns one HTTP session with a few kept
connections. Never follows a redirect, never takes a proxy, a password or a certificate authority from the environment, never retries;
never sends the token itself. What bounds a call is lack of progress: `timeout_secs` for each wait, and for each PIECE_BYTES that come.
Usable from several greenlets at once.
"""

import ssl
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from time import monotonic, time
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from blake3 import blake3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from fasterstore.internal_signing import SOURCE_PARAMETER, Call, signed_headers
from fasterstore.replication.peer_answer import BatchAnswer, PeerFailure, PeerStatus, read_batch_answer, read_status

PIECE_BYTES = 64 * 1024
ANSWER_MAX_BYTES = 4 * 1024 * 1024
"""A page of states, digests or outcomes is far smaller; a longer one is given up."""
HASH_BYTES = 32
OBJECT_PATH = "/_internal/replicate/object"
DELETE_PATH = "/_internal/replicate/delete"
SNAPSHOT_PATH = "/_internal/replicate/snapshot"
DIGEST_PATH = "/_internal/replicate/digest"
STATUS_PATH = "/_internal/replicate/status"
BLOB_PATH = "/_internal/blob/"

_Pairs = list[tuple[str, str]]


class _Adapter(HTTPAdapter):
    """Verifies by the given context: requests alone would take the authorities that came with it, not the system's."""

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)  # type: ignore[arg-type]

    def build_connection_pool_key_attributes(self, request, verify, cert=None):  # type: ignore[no-untyped-def]
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        pool["ssl_context"] = self._context
        pool.pop("ca_certs", None)
        return host, pool


class PeerClient:
    """Calls of one peer.

    `peer` and `source` are origin URLs: the peer's, and this node's own FS_ADVERTISE_ADDR, which the peer must have among its peers.
    `ca_path` is a PEM file of certificate authorities, None for the system's. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        peer: str,
        source: str,
        token: str,
        *,
        timeout_secs: float,
        ca_path: str | None = None,
        pool_size: int = 8,
        clock: Callable[[], float] = time,
    ) -> None:
        """Raises: OSError, ssl.SSLError if `ca_path` cannot be read."""
        self.peer = peer.rstrip("/")
        self._source = source
        self._token = token
        self._timeout_secs = timeout_secs
        self._clock = clock
        self._session = requests.Session()
        self._session.trust_env = False
        scheme = urlsplit(self.peer).scheme
        adapter = _Adapter(ssl.create_default_context(cafile=ca_path), pool_size) if scheme == "https" else HTTPAdapter(
            pool_connections=1, pool_maxsize=pool_size, max_retries=0
        )  # fmt: skip
        self._session.mount(f"{scheme}://", adapter)

    def __repr__(self) -> str:
        return f"PeerClient({self.peer!r})"

    def close(self) -> None:
        """Close every kept connection."""
        self._session.close()

    def apply(self, body: bytes, change_count: int, *, removes: bool = False) -> BatchAnswer | PeerFailure:
        """Send a packed Batch of so many changes: objects with their buckets, or with `removes` tombstones and buckets.

        Returns once all of it is on stable storage there.
        """
        answer = self._document("POST", DELETE_PATH if removes else OBJECT_PATH, [], body)
        return answer if isinstance(answer, PeerFailure) else read_batch_answer(answer, change_count)

    def status(self) -> PeerStatus | PeerFailure:
        """Who the peer is and what it has seen of us."""
        answer = self._document("GET", STATUS_PATH, [])
        return answer if isinstance(answer, PeerFailure) else read_status(answer)

    def digest(self, body: bytes) -> bytes | PeerFailure:
        """The peer's digests of the packed ranges, packed (`fasterstore.replication.digest`)."""
        return self._document("POST", DIGEST_PATH, [], body)

    def snapshot(self, after_bucket: str = "", after_key: bytes = b"", limit: int = 1000) -> bytes | PeerFailure:
        """A packed page of at most `limit` states of the peer that lie behind that place, in order, without bytes of objects."""
        pairs = [("after_bucket", after_bucket), ("after_key", after_key.hex()), ("limit", str(limit))]
        return self._document("GET", SNAPSHOT_PATH, pairs)

    def open_blob(self, blob_id: bytes, number: int, log_uuid: bytes, first: int, length: int) -> "BlobStream | PeerFailure":
        """The bytes `first` .. `first + length` of a blob, as the log of that uuid knows it. Close the stream when done."""
        pairs = [("log", log_uuid.hex()), ("number", str(number))]
        wanted = {"range": f"bytes={first}-{first + length - 1}"}
        response = self._send("GET", BLOB_PATH + blob_id.hex(), pairs, b"", wanted)
        if isinstance(response, PeerFailure):
            return response
        stated = response.headers.get("content-length", "")
        if response.status_code != HTTPStatus.PARTIAL_CONTENT or stated != str(length + HASH_BYTES):
            failure = self._refused(response)
            response.close()
            return failure
        return BlobStream(self.peer, response, length, self._timeout_secs)

    def _document(self, method: str, path: str, pairs: _Pairs, body: bytes = b"") -> bytes | PeerFailure:
        response = self._send(method, path, pairs, body, {})
        if isinstance(response, PeerFailure):
            return response
        try:
            if response.status_code != HTTPStatus.OK:
                return self._refused(response)
            return _read_all(self.peer, response, self._timeout_secs)
        finally:
            # Whole answers have given their connection back; of any other the rest must not be taken for the next answer.
            response.close()

    def _send(self, method: str, path: str, pairs: _Pairs, body: bytes, headers: dict[str, str]) -> requests.Response | PeerFailure:
        query = urlencode([*pairs, (SOURCE_PARAMETER, self._source)])
        call = Call(method, path, query, sha256(body).hexdigest())
        headers = headers | signed_headers(self._token, call, int(self._clock())) | {"user-agent": "fasterstore"}
        if method == "POST":
            headers |= {"content-length": str(len(body)), "content-type": "application/msgpack"}
        # Built by hand: requests' own preparation might rewrite the target that was signed.
        prepared = requests.PreparedRequest()
        prepared.method = method
        prepared.url = f"{self.peer}{path}?{query}"
        prepared.headers = CaseInsensitiveDict(headers)
        prepared.hooks = {"response": []}
        prepared.body = body or None
        try:
            return self._session.send(prepared, stream=True, timeout=self._timeout_secs, allow_redirects=False)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            return PeerFailure("timeout", 0, f"{self.peer} did not answer in {self._timeout_secs:g} s")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return PeerFailure("unreachable", 0, f"{self.peer}: {_innermost(error)}")

    def _refused(self, response: requests.Response) -> PeerFailure:
        status = response.status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return PeerFailure("busy", status, f"{self.peer} answered {status}")
        if status >= HTTPStatus.BAD_REQUEST:
            return PeerFailure("refused", status, f"{self.peer} refused with {status}")
        return PeerFailure("unreadable", status, f"{self.peer} answered {status}, which is no answer to this")


class BlobStream:
    """Bytes of a blob on their way, in order; `verify` says whether they were the ones that the peer sent."""

    def __init__(self, peer: str, response: requests.Response, length: int, timeout_secs: float) -> None:
        self._peer = peer
        self._response = response
        self._left = length
        self._timeout_secs = timeout_secs
        self._kept = b""

    def readinto(self, view: memoryview) -> PeerFailure | None:
        """Fill all of `view`, which must not be longer than what is left. None when it is full."""
        failure = self._fill(view)
        self._left -= len(view)
        return failure

    def verify(self, digest: bytes) -> PeerFailure | None:
        """After the last byte: None if the 32 bytes that follow are `digest`, the BLAKE3 of all that was read."""
        stated = bytearray(HASH_BYTES)
        failure = self._fill(memoryview(stated))
        if failure is None and stated != digest:
            failure = PeerFailure("wrong-bytes", HTTPStatus.PARTIAL_CONTENT, f"{self._peer} sent bytes that are not what their hash says")
        return failure

    def close(self) -> None:
        """Give the connection back, or close it if anything is left."""
        self._response.close()

    def _fill(self, view: memoryview) -> PeerFailure | None:
        filled = 0
        began = monotonic()
        while filled < len(view):
            piece = self._kept
            if not piece:
                read = _read_some(self._peer, self._response)
                if isinstance(read, PeerFailure):
                    return read
                if not read:
                    return PeerFailure("unreachable", 0, f"{self._peer} ended the bytes too soon")
                piece = read
                if monotonic() - began > self._timeout_secs * (1 + filled // PIECE_BYTES):
                    return PeerFailure("timeout", 0, f"{self._peer} sends too slowly")
            count = min(len(piece), len(view) - filled)
            view[filled : filled + count] = piece[:count]
            self._kept = piece[count:]
            filled += count
        return None


def blob_digest(*pieces: bytes | memoryview) -> bytes:
    """The 32 bytes that follow the bytes of a blob: their plain BLAKE3, so that each node can compute it."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


def _read_some(peer: str, response: requests.Response) -> bytes | PeerFailure:
    try:
        piece: bytes = response.raw.read1(PIECE_BYTES, decode_content=False)
    except (urllib3.exceptions.TimeoutError, TimeoutError):
        return PeerFailure("timeout", 0, f"{peer} stopped sending")
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return PeerFailure("unreachable", 0, f"{peer}: {_innermost(error)}")
    return piece


def _read_all(peer: str, response: requests.Response, timeout_secs: float) -> bytes | PeerFailure:
    pieces: list[bytes] = []
    size_bytes = 0
    while True:
        piece = _read_some(peer, response)
        if isinstance(piece, PeerFailure):
            return piece
        if not piece:
            return b"".join(pieces)
        size_bytes += len(piece)
        if size_bytes > ANSWER_MAX_BYTES:
            return PeerFailure("unreadable", response.status_code, f"{peer} answers without an end")
        pieces.append(piece)


def _innermost(error: BaseException) -> str:
    """The last cause in one line: what requests wraps round it repeats the whole URL."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException) or error.args and isinstance(error.args[0], BaseException):
        error = reason if isinstance(reason, BaseException) else error.args[0]
        reason = getattr(error, "reason", None)
    return f"{type(error).__name__}: {str(error).rpartition(': ')[2]}"[:200]
