"""Who reads ahead, and what the others hold: nothing, while their readers are waited for."""

import gc
import os
import socket
from time import monotonic

import gevent
import pytest

from fasterstore.errors import DamagedRecord
from fasterstore.storage.record import CHUNK_BYTES, HEADER_BYTES
from tests.certificates import make_certificate, trusting
from tests.web.test_download import place  # noqa: F401 - a fixture
from web.read_ahead import PLACES_BYTES, Places, places
from web.record_source import WINDOW_BYTES
from web.regions import CheckedRegion, shortened
from web.served_certificate import ServedCertificate
from web.server import HttpLimits
from web.streamed_body import StreamedBody
from web.tls_acceptor import TlsAcceptor
from web.wire import NEVER, WRITE

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
SIZE = 40_000_000
STEP = 250_000


def test_no_more_than_so_many_bytes_are_read_ahead():
    some = Places()
    half, other = some.take(PLACES_BYTES // 2), some.take(PLACES_BYTES // 2)
    assert half is not None and other is not None
    assert some.take(1) is None
    some.give_back(half)
    some.give_back(half)
    some.give_back(None)
    half = some.take(PLACES_BYTES // 2)
    assert half is not None
    assert some.take(1) is None


def test_a_place_that_nobody_refers_to_is_free_again():
    some = Places()
    taken = some.take(PLACES_BYTES)
    assert some.take(1) is None and taken is not None
    del taken
    gc.collect()
    assert some.take(1) is not None


def bytes_of(pieces):
    return b"".join(b"".join(piece.pieces()) if isinstance(piece, CheckedRegion) else bytes(piece) for piece in pieces)


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 3 * WINDOW_BYTES + 12345])
def test_without_a_place_what_is_sent_is_read_when_it_is_asked_for(place, all_taken, size):  # noqa: F811
    record = place(size, FS_VERIFY_READS="strict")
    for first, length in ((0, size), (size - 1, 1), (size // 3, size // 2)):
        body = record.open(first, length)
        assert body.held_bytes == 0
        assert b"".join(body) == record.body[first : first + length]
        pieces = list(record.open(first, length).regions())
        assert {type(piece) for piece in pieces} == {CheckedRegion}
        assert bytes_of(pieces) == record.body[first : first + length]
        assert bytes_of([shortened(pieces[0], 1)]) == record.body[first : first + 1]


def test_after_a_window_an_answer_takes_a_place_that_has_become_free_and_gives_it_back(place, all_taken):  # noqa: F811
    record = place(3 * WINDOW_BYTES, FS_VERIFY_READS="strict")
    body = record.open()
    pieces = body.regions()
    sent = bytes_of([next(pieces)])
    while all_taken:
        places.give_back(all_taken.pop())
    piece = next(pieces)
    assert isinstance(piece, bytes)
    assert body.held_bytes == 2 * WINDOW_BYTES
    assert sent + piece + bytes_of(pieces) == record.body
    assert body.held_bytes == 0
    whole = places.take(PLACES_BYTES)
    assert whole is not None, "all was given back"
    places.give_back(whole)


def test_whoever_is_broken_off_or_fails_gives_the_place_back(place):  # noqa: F811
    failures = []
    for _ in range(PLACES_BYTES // (2 * WINDOW_BYTES) + 1):
        record = place(3 * WINDOW_BYTES, FS_VERIFY_READS="strict")
        body = record.open()
        next(body.regions())
        body.close()
        record.flip(HEADER_BYTES + 2 * WINDOW_BYTES)
        with pytest.raises(DamagedRecord) as failure:
            list(record.open().regions())
        record.flip(HEADER_BYTES)
        with pytest.raises(DamagedRecord) as at_once:
            record.open()
        failures += [failure, at_once]  # a traceback holds on to what it went through
    whole = places.take(PLACES_BYTES)
    assert whole is not None
    places.give_back(whole)


def test_damage_never_leaves_without_a_place_either(place, all_taken):  # noqa: F811
    record = place(3 * WINDOW_BYTES, FS_VERIFY_READS="strict")
    record.flip(HEADER_BYTES + WINDOW_BYTES + CHUNK_BYTES)
    given = b""
    with pytest.raises(DamagedRecord):
        for piece in record.open():
            given += piece
    assert given == record.body[: WINDOW_BYTES + CHUNK_BYTES]
    assert record.worker.metrics.damaged_reads == 1
    record.flip(HEADER_BYTES)
    with pytest.raises(DamagedRecord):
        record.open()


class Whole(StreamedBody):
    """SIZE bytes as one region; `reads` is where each read began."""

    def __init__(self, body):
        super().__init__()
        self.body = memoryview(body)
        self.reads = []

    def read(self, first, end):
        self.reads.append(first)
        return self.body[first : min(end, first + STEP)]

    def regions(self):
        yield CheckedRegion(self.read, 0, len(self.body))


@pytest.fixture(params=["plain", "tls"])
def serve_whole(request, serve_http, tmp_path):
    """serve_whole() -> (server, a connected socket that takes little, the body)."""
    opened = []

    def serve(limits):
        body = Whole(os.urandom(SIZE))

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", str(SIZE))])
            return body

        pair = make_certificate(tmp_path) if request.param == "tls" else None
        server = serve_http(application, limits, tls=None if pair is None else TlsAcceptor(ServedCertificate(*pair)))
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.settimeout(10)
        client.connect(server.address)
        if pair is not None:
            client = trusting(pair).wrap_socket(client, server_hostname="localhost")
        opened.append(client)
        client.sendall(GET)
        return server, client, body

    yield serve
    for client in opened:
        client.close()


def test_nothing_is_held_while_the_reader_is_waited_for_and_every_byte_arrives(serve_whole):
    server, client, body = serve_whole(HttpLimits())
    until = monotonic() + 10
    while not [wire for wire in server._wires if wire.phase == WRITE and wire.deadline != NEVER]:
        assert monotonic() < until
        gevent.sleep(0.01)
    (wire,) = server._wires
    assert wire.held_bytes <= 16384 + 1024, "one sealed record at most"
    received = bytearray()
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    received = received.partition(b"\r\n\r\n")[2]
    while len(received) < SIZE:
        piece = client.recv(1 << 20)
        assert piece
        received += piece
    assert received == body.body
    assert len(body.reads) > SIZE // STEP, "what found no room was read again"


def test_a_reader_that_stops_is_reset(serve_whole):
    server, _client, _body = serve_whole(HttpLimits(progress_timeout_secs=0.3, sweep_interval_secs=0.05))
    until = monotonic() + 10
    while server.counters.connections_open or not server.counters.connections_accepted:
        assert monotonic() < until
        gevent.sleep(0.02)
    assert server.counters.deadlines_passed == 1
