"""A peer that serves blobs wrongly: over its own sockets, since no code of ours would. Each answer is made by a script of the test."""

import socket
from collections.abc import Callable
from typing import Any

from actors.runtime import sleep, spawn
from fasterstore.replication.blob_frames import FRAME_BYTES, frame_hash, framed_bytes

Script = Callable[[socket.socket, bytes, int], None]
"""Called with the connection, the bytes that were asked for, and which request of this peer it is, from 0."""


def frames(data: bytes) -> bytes:
    """The bytes as an honest peer frames them."""
    cut = [data[first : first + FRAME_BYTES] for first in range(0, len(data), FRAME_BYTES)]
    return b"".join(frame + frame_hash(frame) for frame in cut)


def head(length: int) -> bytes:
    """The head of an answer with so many bytes of a blob."""
    return f"HTTP/1.1 206 Partial Content\r\nContent-Length: {framed_bytes(length)}\r\nConnection: close\r\n\r\n".encode()


class HostilePeer:
    """Listens on loopback and answers every request for `body`'s bytes by the script."""

    def __init__(self, body: bytes, script: Script) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._body = body
        self._script = script
        self.ranges: list[tuple[int, int]] = []
        """(first byte, length) of each request."""
        self._serving: Any = spawn(self._serve)

    def close(self) -> None:
        """Stop listening."""
        self._serving.kill()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            spawn(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            line = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"range:"))
            first, last = (int(text) for text in line.rpartition(b"=")[2].split(b"-"))
            self.ranges.append((first, last + 1 - first))
            self._script(connection, self._body[first : last + 1], len(self.ranges) - 1)


def hold_until_closed(connection: socket.socket) -> None:
    """Say nothing more until the other end lets go."""
    while connection.recv(4096):
        sleep(0)
