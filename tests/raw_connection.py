"""One TCP connection to a node that sends bytes as they are and reads one answer at a time, "100 Continue" included."""

import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

from fasterstore.s3 import signer
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD
from tests.node import RunningNode


class Answer(NamedTuple):
    """Status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    content: bytes


class RawConnection:
    """Reads no further than the end of the answer that was asked for. Close it, or use it as a context manager."""

    def __init__(self, node: RunningNode, timeout_secs: float = 10.0) -> None:
        self.socket = socket.create_connection((node.host, node.port), timeout=timeout_secs)
        self._held = b""

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.socket.sendall(data)

    def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer; `to_head`: it has no body whatever its headers say. Raises EOFError if there is none."""
        while b"\r\n\r\n" not in self._held:
            self._receive()
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(status_line.split()[1])
        length = 0 if to_head or status < 200 or status in (204, 304) else int(headers["content-length"])
        while len(self._held) < length:
            self._receive()
        body, self._held = self._held[:length], self._held[length:]
        return Answer(status, headers, body)

    def rest(self) -> bytes:
        """Everything until the other side closes. A reset raises ConnectionResetError."""
        pieces = [self._held]
        self._held = b""
        while piece := self.socket.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)

    def is_silent(self, secs: float) -> bool:
        """Whether nothing comes for that long (seconds): neither a byte nor the end."""
        if self._held:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(secs)
        try:
            self._held = self.socket.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)
        return False

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _receive(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"closed after {self._held[:200]!r}")
        self._held += piece


def request_bytes(method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """An HTTP/1.1 request, byte for byte as given."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def signed_request(
    node: RunningNode,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    payload: str = UNSIGNED_PAYLOAD,
    scheme: str = "sigv4",
) -> bytes:
    """A signed request with `body`; a content-length is added unless `headers` frame the body themselves."""
    path, _, query = target.partition("?")
    sent = {"host": f"{node.host}:{node.port}", **{name.lower(): value for name, value in (headers or {}).items()}}
    if (body or method == "PUT") and not {"content-length", "transfer-encoding"} & sent.keys():
        sent["content-length"] = str(len(body))
    now = int(time.time())
    if scheme == "sigv4":
        sent |= signer.sign_v4_headers(method, path, query, sent, payload, node.credentials, now)[0]
    else:
        sent |= signer.sign_xfs(method, path, query, payload, node.credentials, now)
    return request_bytes(method, target, sent, body)
