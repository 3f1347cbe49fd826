"""Small requests in a closed loop, each sent exactly once, at little cost to the client: seeds objects, and times operations.

One thread, one selector, a connection each for a fixed number of requests in flight. Signs by x-fs, which costs one HMAC on either
side. For bodies that fit a socket's buffer; any answer that is not a success ends the loop with an exception.
"""

import random
import selectors
import socket
from collections.abc import Iterable, Iterator
from time import perf_counter, time
from typing import NamedTuple

from fasterstore.s3 import canonical, signer

TIMEOUT_SECS = 60.0
_RECEIVE_BYTES = 1 << 16
_END_OF_HEAD = b"\r\n\r\n"
_SUCCESSES = (b"200", b"204")


class Request(NamedTuple):
    """One request: `path` encoded as it goes out."""

    method: str
    path: str
    body: bytes = b""


class Run(NamedTuple):
    """What a loop came to: wall time, and each request's time from the first byte sent to the last received, ascending."""

    secs: float
    latencies_secs: list[float]


class RequestFailed(Exception):
    """An answer other than success; the text is its head."""


class Connection:
    """One request at a time, without waiting: `send`, then `receive` whenever the socket has bytes."""

    __slots__ = ("received", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0

    def send(self, request: Request, host: str, credentials: signer.Credentials) -> None:
        """Sign it and send it. Raises OSError."""
        signed = signer.sign_xfs(request.method, request.path, "", canonical.UNSIGNED_PAYLOAD, credentials, int(time()))
        head = f"{request.method} {request.path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(request.body)}\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        self.sent_at = perf_counter()
        self.socket.sendall(f"{head}{lines}\r\n".encode("latin-1") + request.body)

    def receive(self) -> bool:
        """Take what is there; True once the answer is whole. Raises RequestFailed, OSError."""
        piece = self.socket.recv(_RECEIVE_BYTES)
        if not piece:
            raise RequestFailed("the connection was closed")
        self.received += piece
        head, end, body = self.received.partition(_END_OF_HEAD)
        if not end:
            return False
        if head[9:12] not in _SUCCESSES:
            raise RequestFailed(self.received.decode("latin-1"))
        if len(body) < _content_length(head):
            return False
        self.received = b""
        return True


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0


def run(port: int, credentials: signer.Credentials, requests: Iterable[Request], connections: int = 64) -> Run:
    """Send every request once, `connections` at a time, to a server on loopback.

    Raises:
        RequestFailed: an answer was not 200 or 204.
        TimeoutError: no answer for TIMEOUT_SECS.
        OSError: a connection broke.
    """
    host, waiting, latencies = f"127.0.0.1:{port}", iter(requests), []
    selector = selectors.DefaultSelector()
    opened: list[Connection] = []
    started = perf_counter()
    in_flight = 0
    try:
        for request in waiting:
            connection = Connection(port)
            opened.append(connection)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(request, host, credentials)
            in_flight += 1
            if in_flight == connections:
                break
        while in_flight:
            ready = selector.select(TIMEOUT_SECS)
            if not ready:
                raise TimeoutError(f"no answer for {TIMEOUT_SECS:.0f} s")
            for key, _ in ready:
                connection = key.data
                if not connection.receive():
                    continue
                latencies.append(perf_counter() - connection.sent_at)
                following = next(waiting, None)
                if following is None:
                    in_flight -= 1
                else:
                    connection.send(following, host, credentials)
        return Run(perf_counter() - started, sorted(latencies))
    finally:
        selector.close()
        for connection in opened:
            connection.socket.close()


class Objects:
    """The objects of a measurement: number N has a path and a body that no other number has. The first PUT makes the bucket."""

    def __init__(self, size_bytes: int, bucket: str = "measure") -> None:
        self._bucket = bucket
        self._filler = random.randbytes(max(size_bytes - 16, 0))

    def path(self, number: int) -> str:
        """Its path, in one of a thousand folders."""
        return f"/{self._bucket}/folder-{number % 1000:03d}/object-{number:09d}"

    def puts(self, numbers: Iterable[int]) -> Iterator[Request]:
        """A PUT for each number."""
        for number in numbers:
            yield Request("PUT", self.path(number), b"%016d" % number + self._filler)

    def gets(self, numbers: Iterable[int]) -> Iterator[Request]:
        """A GET for each number."""
        return (Request("GET", self.path(number)) for number in numbers)

    def deletes(self, numbers: Iterable[int]) -> Iterator[Request]:
        """A DELETE for each number."""
        return (Request("DELETE", self.path(number)) for number in numbers)
