"""A real server on an ephemeral loopback port, and a raw client that counts answers."""

import http.client
import socket
from dataclasses import dataclass

import pytest

from web.read_ahead import places
from web.server import HttpLimits, HttpServer

QUICK = HttpLimits(
    header_deadline_secs=0.3,
    progress_timeout_secs=0.6,
    min_body_rate_bytes=1000,
    rate_window_secs=0.3,
    linger_secs=0.3,
    sweep_interval_secs=0.05,
)


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


class RawClient:
    """One TCP connection that sends bytes as they are and reads answers by http.client."""

    def __init__(self, address, timeout=5.0):
        self.socket = socket.create_connection(address[:2], timeout=timeout)

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, method="GET"):
        response = http.client.HTTPResponse(self.socket, method=method)
        # HTTPResponse buffers beyond its own end; one byte at a time keeps the next answer in the socket.
        response.fp.close()
        response.fp = self.socket.makefile("rb", buffering=0)
        response.fp = _LineReader(response.fp)
        response.begin()
        body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def rest(self):
        """All bytes to the end of the connection; a reset raises."""
        pieces = []
        while piece := self.socket.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self):
        self.socket.close()


class _LineReader:
    """The file that HTTPResponse wants, reading never more than asked."""

    def __init__(self, raw):
        self._raw = raw

    def readline(self, limit=-1):
        line = bytearray()
        while not line.endswith(b"\n") and (byte := self._raw.read(1)):
            line += byte
        return bytes(line)

    def read(self, size=-1):
        pieces = bytearray()
        while size < 0 or len(pieces) < size:
            piece = self._raw.read(65536 if size < 0 else size - len(pieces))
            if not piece:
                break
            pieces += piece
        return bytes(pieces)

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        self._raw.close()

    def flush(self):
        pass


@pytest.fixture
def serve_http():
    """serve_http(app, limits=..., host=...) -> a started HttpServer; stopped after the test."""
    servers = []

    def serve(application, limits=QUICK, host="127.0.0.1", **options):
        listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
        server = HttpServer(listener, application, limits, **options)
        server.start()
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def connect_raw():
    """connect_raw(server) -> RawClient; closed after the test."""
    clients = []

    def connect(server, timeout=5.0):
        client = RawClient(server.address, timeout)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def all_taken():
    """As with many readers: no place to read ahead is free, until those of this list are given back."""
    held = []
    while (taken := places.take(1 << 18)) is not None:
        held.append(taken)
    yield held
    for taken in held:
        places.give_back(taken)
