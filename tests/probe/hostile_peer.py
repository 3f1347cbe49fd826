"""A peer that means no good: it knows the token or not, calls a node as it likes, and answers the node's own calls as it likes.

Serves on loopback; `answer` decides what a call of the node gets, byte for byte. Owns its listener and connections.
"""

import contextlib
import http.client
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from urllib.parse import urlencode

import gevent

from fasterstore.internal_signing import Call, signed_headers
from fasterstore.replication.change import Batch, BlobContent, Change, ObjectState, Piece, encode_batch
from fasterstore.replication.peer_status import encode_status
from tests.node import RunningNode

Answer = Callable[[str, str], Iterable[bytes]]
"""Of method and target: the pieces of what is sent back; the connection is closed after the last."""
ANSWER_SECS = 30.0
OBJECT_PATH, DELETE_PATH = "/_internal/replicate/object", "/_internal/replicate/delete"
NODE_ID, LOG_UUID = b"hostile-node-id!", b"hostile-log-uuid"


def http_answer(status: str, headers: dict[str, str], body: bytes) -> Iterator[bytes]:
    """An ordinary answer."""
    head = {"content-length": str(len(body)), **headers}
    yield "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in head.items()), "", ""]).encode() + body


class HostilePeer:
    """One peer of one node. `address` is to be among the node's FS_REPLICATION_PEERS."""

    def __init__(self, token: str) -> None:
        """`token` is the node's: a peer that was trusted once."""
        self.token = token
        self.answer: Answer = self.ordinary
        self.calls: list[str] = []
        """Method and target of every call that came."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = gevent.spawn(self._accept)

    def __enter__(self) -> "HostilePeer":
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._accepting.kill()
        self._listener.close()

    def ordinary(self, _method: str, target: str) -> Iterable[bytes]:
        """What says who it is, and refuses all else for now."""
        if target.startswith("/_internal/replicate/status"):
            return http_answer("200 OK", {}, encode_status(NODE_ID, LOG_UUID, 0, 0))
        return http_answer("503 Service Unavailable", {}, b"")

    # ---- calls ----

    def call(
        self,
        node: RunningNode,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        token: str | None = None,
        source: str | None = None,
        signed: bytes | None = None,
        at: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Call the node: (status, body) of its answer.

        All is right but what is given otherwise: `signed` is the body whose hash is proved, `at` when (Unix seconds), `headers` replace
        those of the proof.
        """
        query = urlencode({"source": self.address if source is None else source})
        claim = Call(method, path, query, sha256(body if signed is None else signed).hexdigest())
        proof = signed_headers(self.token if token is None else token, claim, int(time.time() if at is None else at))
        connection = http.client.HTTPConnection(node.host, node.port, timeout=ANSWER_SECS)
        try:
            connection.request(method, f"{path}?{query}", body or None, {**proof, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def proof_headers(self, method: str, path: str, body: bytes) -> tuple[str, dict[str, str]]:
        """Query and headers of a right call, for one that is sent by hand."""
        query = urlencode({"source": self.address})
        return query, signed_headers(self.token, Call(method, path, query, sha256(body).hexdigest()), int(time.time()))

    # ---- being called ----

    def _accept(self) -> None:
        while True:
            gevent.spawn(self._serve, self._listener.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as sent:
            method, target, _ = sent.readline().decode("latin-1").split(" ", 2)
            length = 0
            while line := sent.readline().strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            sent.read(length)
            self.calls.append(f"{method} {target}")
            for piece in self.answer(method, target):
                connection.sendall(piece)


def batch(*changes: Change) -> bytes:
    """An encoded batch of the peer."""
    return encode_batch(Batch(1, NODE_ID, LOG_UUID, 1, len(changes), changes))


def object_of(bucket: str, key: str, body: bytes, *, inline: bool, stamp: int | None = None, etag: str = "") -> ObjectState:
    """An object whose bytes come along or are to be pulled, with a stamp of now."""
    now_ms = int(time.time() * 1000)
    piece = Piece(sha256(body).digest(), int.from_bytes(os.urandom(4), "big") + 1, 0, len(body), len(body))
    content = BlobContent(piece, body if inline else None)
    given = now_ms << 16 if stamp is None else stamp
    return ObjectState(
        bucket, key.encode(), given, NODE_ID, len(body), etag or "0" * 32, now_ms, {}, {}, {}, {}, "", content
    )  # fmt: skip
