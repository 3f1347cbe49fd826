"""The server of one worker under TLS: what holds for plain connections holds here, and what comes before HTTP ends well or is cut."""

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import time

import gevent
import pytest

from tests.certificates import make_certificate, trusting
from tests.web.conftest import QUICK
from web.regions import FileRegion
from web.served_certificate import ServedCertificate
from web.server import HttpLimits
from web.streamed_body import StreamedBody
from web.tls_acceptor import TlsAcceptor
from web.tls_wire import PIECE_BYTES, RECEIVE_BYTES

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def hello(environ, start_response):
    start_response("200 OK", [("X-Peer", str(environ["fs.peer"])), ("X-Scheme", environ["wsgi.url_scheme"])])
    return [b"hello"]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve_tls(serve_http, pair):
    """serve_tls(app, limits) -> (server, its acceptor)."""

    def serve(application, limits=QUICK, **options):
        acceptor = TlsAcceptor(ServedCertificate(*pair))
        return serve_http(application, limits, tls=acceptor, **options), acceptor

    return serve


@pytest.fixture
def connect_tls(connect_raw, pair):
    """connect_tls(server) -> a RawClient that speaks TLS; the end of its connection must be a proper one, or it raises."""

    def connect(server, context=None):
        client = connect_raw(server)
        client.socket = (context or trusting(pair)).wrap_socket(
            client.socket, server_hostname="localhost", suppress_ragged_eofs=False
        )
        return client

    return connect


def settle(condition):
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.01)


# ---- requests


def test_requests_follow_each_other_on_one_connection_and_know_who_asks(serve_tls, connect_tls):
    server, acceptor = serve_tls(hello)
    client = connect_tls(server)
    for count in (1, 3, 1):
        client.send(GET * count)
        for _ in range(count):
            answer = client.answer()
            assert answer.body == b"hello"
            assert answer.headers["x-peer"] == str(("127.0.0.1", client.socket.getsockname()[1]))
            assert answer.headers["x-scheme"] == "https"
    assert (server.counters.requests, server.counters.connections_open, acceptor.agreed, acceptor.failed) == (5, 1, 1, 0)
    client.close()
    settle(lambda: server.counters.connections_open == 0)


def test_a_request_in_records_of_one_byte_is_read_whole(serve_tls, connect_tls):
    client = connect_tls(serve_tls(echo)[0])
    for byte in PUT % 20 + b"twenty bytes of body":
        client.send(bytes((byte,)))
    assert client.answer().body == b"twenty bytes of body"


@pytest.mark.parametrize("size_bytes", [1, PIECE_BYTES, PIECE_BYTES + 1, RECEIVE_BYTES, RECEIVE_BYTES + 1, 3_000_000])
@pytest.mark.parametrize("apart", [False, True], ids=["with the head", "after the head"])
def test_bodies_of_every_size_go_both_ways_unchanged(serve_tls, connect_tls, size_bytes, apart):
    body = os.urandom(size_bytes)
    client = connect_tls(serve_tls(echo)[0])
    for _ in range(2):
        if apart:
            client.send(PUT % size_bytes)
            gevent.sleep(0.02)
            sending = gevent.spawn(client.send, body)
        else:
            sending = gevent.spawn(client.send, PUT % size_bytes + body)
        answer = client.answer()
        sending.join()
        assert answer.body == body


def test_a_client_that_waits_for_100_gets_it_once(serve_tls, connect_tls):
    client = connect_tls(serve_tls(echo)[0])
    client.send((PUT % 5).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert client.socket.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.answer().body == b"hello"


def test_small_answers_leave_head_and_body_in_one_record(serve_tls, connect_tls):
    client = connect_tls(serve_tls(hello)[0])
    client.send(GET)
    assert client.socket.recv(65536).endswith(b"hello")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken(serve_tls, connect_tls, pair, version):
    context = trusting(pair)
    context.minimum_version = context.maximum_version = version
    client = connect_tls(serve_tls(hello)[0], context)
    client.send(GET)
    assert client.answer().status == 200
    assert client.socket.version() == version.name.replace("_", ".")


class Regions(StreamedBody):
    """Pieces of a file and bytes in turn."""

    def __init__(self, pieces):
        super().__init__()
        self._pieces = pieces

    def regions(self):
        yield from self._pieces


@pytest.mark.parametrize("cold", [False, True], ids=["from memory", "from the disk"])
def test_regions_of_files_are_sealed_and_arrive_unchanged(serve_tls, connect_tls, tmp_path, cold):
    content = os.urandom(6_000_000)
    (tmp_path / "file").write_bytes(content)
    with open(tmp_path / "file", "rb") as file:
        if cold:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", str(len(content) - 10 + 3))])
            rest = FileRegion(file.fileno(), 5_000_010, len(content) - 5_000_010)
            return Regions([FileRegion(file.fileno(), 10, 5_000_000), b"abc", rest])

        client = connect_tls(serve_tls(application)[0])
        client.send(GET * 2)
        for _ in range(2):
            body = client.answer().body
            assert body == content[10:5_000_010] + b"abc" + content[5_000_010:]


def test_a_file_that_ends_before_its_region_breaks_the_answer_off(serve_tls, connect_tls, tmp_path):
    (tmp_path / "file").write_bytes(bytes(100_000))
    with open(tmp_path / "file", "rb") as file:

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "200000")])
            return Regions([FileRegion(file.fileno(), 0, 200_000)])

        server, _ = serve_tls(application)
        client = connect_tls(server)
        client.send(GET)
        with pytest.raises(OSError):
            client.rest()
        assert server.counters.resets == 1


# ---- ends


def test_a_finished_answer_ends_with_a_proper_goodbye(serve_tls, connect_tls):
    client = connect_tls(serve_tls(hello)[0])
    client.send(CLOSING)
    assert client.rest().endswith(b"hello")


def test_an_answer_that_could_not_be_finished_has_no_goodbye(serve_tls, connect_tls):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "300")])
        return iter([b"abc"])

    server, _ = serve_tls(application)
    client = connect_tls(server)
    client.send(GET)
    with pytest.raises(OSError):
        client.rest()
    assert server.counters.resets == 1


def test_a_reader_that_stops_reading_is_cut_without_a_goodbye(serve_tls, connect_tls):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "50000000")])
        return [bytes(50_000_000)]

    server, _ = serve_tls(application)
    client = connect_tls(server)
    client.send(GET)
    settle(lambda: server.counters.deadlines_passed == 1 and server.counters.connections_open == 0)
    with pytest.raises(OSError):
        client.rest()


def test_a_head_that_does_not_end_in_time_is_told_so_under_tls(serve_tls, connect_tls):
    client = connect_tls(serve_tls(hello)[0])
    client.send(GET[:10])
    assert b"<Code>RequestTimeout</Code>" in client.rest()


def test_a_body_that_stops_is_told_so_under_tls(serve_tls, connect_tls):
    client = connect_tls(serve_tls(echo)[0])
    client.send(PUT % 100 + b"a few bytes")
    assert b"<Code>RequestTimeout</Code>" in client.rest()


def test_an_idle_connection_is_closed_with_a_goodbye(serve_tls, connect_tls):
    client = connect_tls(serve_tls(hello)[0])
    client.send(GET)
    client.answer()
    assert client.rest() == b""


def test_a_record_that_was_tampered_with_ends_the_connection(serve_tls, connect_raw, pair):
    server, _ = serve_tls(echo)
    raw = connect_raw(server).socket
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(pair).wrap_bio(down, up, server_hostname="localhost")
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(up.read())
            down.write(raw.recv(65536))
    client.write(PUT % 4000 + b"x" * 4000)
    sealed = bytearray(up.read())
    sealed[-100] ^= 1
    raw.sendall(sealed)
    while raw.recv(65536):
        pass
    assert server.counters.requests == 0


# ---- before HTTP


@pytest.mark.parametrize("sent", ["", "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"], ids=["no head", "in a body"])
def test_a_client_that_goes_on_asking_for_new_keys_is_cut_off(serve_tls, sent):
    server, _ = serve_tls(echo, HttpLimits(header_deadline_secs=60))
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.address[1]}", "-tls1_3"]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        settle(lambda: server.counters.connections_open)
        client.stdin.write(sent.encode())
        client.stdin.flush()
        asked = 0
        while client.poll() is None and asked < 3000:
            gevent.sleep(0.002)
            with contextlib.suppress(BrokenPipeError):
                client.stdin.write(b"K\n")  # its command for KeyUpdate, one for each read
                client.stdin.flush()
            asked += 1
        assert client.poll() is not None
        assert server.counters.connections_open == 0
        assert asked > 100
    finally:
        client.kill()
        client.wait()
        with contextlib.suppress(BrokenPipeError):
            client.stdin.close()


def test_a_plain_request_is_told_to_speak_tls(serve_tls, connect_raw):
    server, acceptor = serve_tls(hello)
    client = connect_raw(server)
    client.send(GET)
    data = client.rest()
    assert data.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in data
    assert data.count(b"HTTP/1.1") == 1
    client = connect_raw(server)
    client.send(GET.replace(b"GET", b"HEAD"))
    assert client.rest().endswith(b"\r\n\r\n")
    assert (server.counters.requests, acceptor.agreed, acceptor.failed) == (0, 0, 2)


@pytest.mark.parametrize("data", [b"\x00" * 100, b"\x80\x2e\x01\x03\x01", b"\xff"])
def test_what_is_neither_tls_nor_http_is_closed_without_a_word(serve_tls, connect_raw, data):
    server, acceptor = serve_tls(hello)
    client = connect_raw(server)
    client.send(data)
    assert client.rest() == b""
    assert acceptor.failed == 1


def test_a_broken_handshake_gets_an_alert_and_no_http(serve_tls, connect_raw):
    server, acceptor = serve_tls(hello)
    client = connect_raw(server)
    client.send(b"\x16\x03\x01\x00\x05hello")
    alert = client.rest()
    assert (alert[0], len(alert)) == (21, 7)
    settle(lambda: server.counters.connections_open == 0)
    assert acceptor.failed == 1


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "one byte", "half a hello"])
def test_a_handshake_that_stalls_is_cut_at_the_deadline_of_a_head(serve_tls, connect_raw, sent):
    server, acceptor = serve_tls(hello)
    client = connect_raw(server)
    client.send(sent)
    began = time.monotonic()
    assert client.rest() == b""
    assert time.monotonic() - began >= QUICK.header_deadline_secs - 0.01
    settle(lambda: server.counters.connections_open == 0)
    assert acceptor.failed == (1 if sent else 0)


def test_a_handshake_that_trickles_gets_no_more_time_for_it(serve_tls, connect_raw):
    server, acceptor = serve_tls(hello)
    client = connect_raw(server)
    client.send(b"\x16\x03\x01\x3f\x00")
    with pytest.raises(OSError), gevent.Timeout(5):
        while True:
            client.send(b"\x01")
            gevent.sleep(0.03)
    assert acceptor.failed == 1


def test_stalled_handshakes_do_not_disturb_the_others(serve_tls, connect_raw, connect_tls):
    server, _ = serve_tls(hello, HttpLimits(sweep_interval_secs=0.05))
    for number in range(200):
        connect_raw(server).send(b"\x16\x03\x01\x02\x00\x01"[: number % 7])
    client = connect_tls(server)
    client.send(GET * 20)
    assert [client.answer().status for _ in range(20)] == [200] * 20
    assert server.counters.connections_open == 201


def test_a_peer_that_resets_in_the_middle_of_the_handshake_leaves_nothing(serve_tls, connect_raw):
    server, acceptor = serve_tls(hello)
    client = connect_raw(server)
    client.send(b"\x16\x03\x01\x02\x00")
    settle(lambda: server.counters.connections_open == 1)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    settle(lambda: server.counters.connections_open == 0)
    assert acceptor.failed == 1


def test_connections_over_the_limit_are_closed_and_cost_no_handshake(serve_tls, connect_raw, connect_tls):
    server, acceptor = serve_tls(hello, max_connections=1)
    kept = connect_tls(server)
    kept.send(GET)
    kept.answer()
    assert connect_raw(server).rest() == b""
    assert (server.counters.connections_over_limit, acceptor.agreed) == (1, 1)


# ---- a certificate that changes, and the drain


def test_new_connections_get_the_new_certificate_and_old_ones_live_on(serve_tls, connect_tls, tmp_path):
    server, acceptor = serve_tls(hello)
    old = connect_tls(server)
    old.send(GET)
    old.answer()
    other = make_certificate(tmp_path, "other")
    acceptor.certificate = ServedCertificate(*other)
    new = connect_tls(server, trusting(other))
    for client in (old, new):
        client.send(GET)
        assert client.answer().body == b"hello"


def test_a_drain_ends_what_is_idle_and_finishes_what_runs(serve_tls, connect_raw, connect_tls):
    def slow(environ, start_response):
        gevent.sleep(0.3)
        return hello(environ, start_response)

    server, _ = serve_tls(slow, HttpLimits())
    fresh = connect_raw(server)
    idle = connect_tls(server)
    idle.send(GET)
    idle.answer()
    busy = connect_tls(server)
    busy.send(GET * 2)
    settle(lambda: server.counters.requests == 2)
    drain = gevent.spawn(server.drain, 5.0)
    assert fresh.rest() == b""
    assert idle.rest() == b""
    data = busy.rest()
    assert data.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close\r\n" in data
    assert data.endswith(b"hello")
    assert drain.get() == 0


def test_an_upload_that_had_just_begun_at_the_drain_is_taken_whole(serve_tls, connect_tls):
    server, _ = serve_tls(echo, HttpLimits())
    client = connect_tls(server)
    client.send(PUT % 6 + b"abc")
    settle(lambda: server.counters.requests == 1)
    drain = gevent.spawn(server.drain, 5.0)
    gevent.sleep(0.05)
    client.send(b"def")
    assert client.rest().endswith(b"abcdef")
    assert drain.get() == 0
