"""Slow clients: a reader's progress is what it takes, too little is cut, and together the slow ones hold no more than their budget."""

import contextlib
import socket
from time import monotonic

import gevent
import pytest

from web.server import HttpLimits
from web.streamed_body import StreamedBody

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 60_000_000


def large(environ, start_response):
    start_response("200 OK", [("Content-Length", str(LARGE))])
    return [bytes(LARGE)]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


def read_slowly(server, bytes_per_sec, secs):
    """Read an answer at that rate; returns whether the connection was still good after `secs`."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(5)
    client.connect(server.address)
    with contextlib.closing(client):
        client.sendall(GET)
        end = monotonic() + secs
        while monotonic() < end:
            try:
                if not client.recv(max(int(bytes_per_sec * 0.02), 1)):
                    return False
            except ConnectionResetError:
                return False
            gevent.sleep(0.02)
        return True


def test_a_slow_reader_goes_on_though_the_kernel_has_no_room_for_more(serve_http):
    limits = HttpLimits(progress_timeout_secs=0.5, min_body_rate_bytes=1000, sweep_interval_secs=0.05)
    server = serve_http(large, limits)
    # The socket's buffer holds megabytes: at this rate there is no room for the next piece within any of these half seconds.
    assert read_slowly(server, 100_000, 2.5)
    assert server.counters.deadlines_passed == 0


@pytest.mark.parametrize("whole_regions", [False, True])
def test_a_reader_that_trickles_is_reset_though_it_never_stops(whole_regions, serve_http, tmp_path):
    from web.regions import FileRegion

    (tmp_path / "file").write_bytes(bytes(1 << 20))
    file = open(tmp_path / "file", "rb")  # noqa: SIM115 - must outlive the server's greenlet

    class Regions:
        def regions(self):
            while True:
                yield FileRegion(file.fileno(), 0, 1 << 20)

        def __iter__(self):
            return iter(())

    def regions(environ, start_response):
        start_response("200 OK", [("Content-Length", str(10**12))])
        return Regions()

    limits = HttpLimits(progress_timeout_secs=0.5, min_body_rate_bytes=1_000_000, sweep_interval_secs=0.05)
    server = serve_http(regions if whole_regions else large, limits)
    assert not read_slowly(server, 50_000, 3.0)
    gevent.sleep(0.05)
    assert server.counters.deadlines_passed == 1
    assert server.counters.connections_open == 0
    file.close()


def test_without_a_minimum_a_trickling_reader_is_let_be(serve_http):
    server = serve_http(large, HttpLimits(progress_timeout_secs=0.5, min_body_rate_bytes=0, sweep_interval_secs=0.05))
    assert read_slowly(server, 50_000, 2.0)


BUDGET = HttpLimits(slow_after_secs=0.3, slow_rate_bytes=20_000, slow_memory_bytes=1_000_000, sweep_interval_secs=0.05, linger_secs=0.1)


def open_all(connect_raw, server, count, data):
    clients = [connect_raw(server) for _ in range(count)]
    for client in clients:
        client.send(data)
    return clients


def ended(clients):
    """The first bytes of each answer that came, None for those that are still waited for."""
    found = []
    for client in clients:
        client.socket.settimeout(0.01)
        try:
            found.append(client.socket.recv(65536))
        except TimeoutError:
            found.append(None)
        except ConnectionResetError:
            found.append(b"")
    return found


def test_stalled_uploads_hold_no_more_than_the_budget_and_the_others_are_told_to_try_again(serve_http, connect_raw):
    server = serve_http(echo, BUDGET)
    clients = open_all(connect_raw, server, 30, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(3000))
    gevent.sleep(0.8)
    answers = [answer for answer in ended(clients) if answer is not None]
    assert len(answers) == 20, "ten times 100,000 bytes are within it"
    assert all(b"<Code>RequestTimeout</Code>" in answer for answer in answers)
    assert server.counters.slow_ended == 20
    assert server.counters.connections_open == 10


def test_stalled_heads_count_by_what_has_come_of_them(serve_http, connect_raw):
    server = serve_http(echo, BUDGET)
    small = open_all(connect_raw, server, 50, b"GET /a HTTP/1.1\r\nHost: x\r\n")
    big = open_all(connect_raw, server, 50, b"GET /a HTTP/1.1\r\nHost: x\r\na: " + b"b" * 5000)
    gevent.sleep(0.6)
    assert server.counters.slow_ended == 0
    more = open_all(connect_raw, server, 30, b"GET /a HTTP/1.1\r\nHost: x\r\na: " + b"b" * 50_000)
    gevent.sleep(0.6)
    assert server.counters.slow_ended > 0
    left = 30 - sum(answer is not None for answer in ended(more))
    assert left * 50_000 <= 1_000_000 + 50_000
    assert server.counters.connections_open == len(small) + len(big) + 30 - server.counters.slow_ended


def test_stalled_readers_of_answers_in_memory_are_reset_beyond_the_budget(serve_http, connect_raw):
    def answer(environ, start_response):
        start_response("200 OK", [])
        return [bytes(8_000_000)]

    server = serve_http(answer, HttpLimits(**{**_as_dict(BUDGET), "slow_memory_bytes": 40_000_000}))
    clients = open_all(connect_raw, server, 8, GET)
    gevent.sleep(0.8)
    assert server.counters.slow_ended == 3
    assert server.counters.connections_open == 5
    assert len(clients) == 8


def test_who_goes_on_fast_enough_is_never_ended_for_memory(serve_http, connect_raw):
    server = serve_http(echo, BUDGET)
    stalled = open_all(connect_raw, server, 12, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(1000))
    steady = connect_raw(server)
    steady.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100):
        steady.send(bytes(1000))
        gevent.sleep(0.01)
    assert steady.answer().status == 200
    assert server.counters.slow_ended >= 2
    assert len(stalled) == 12


def _as_dict(limits):
    return {name: getattr(limits, name) for name in type(limits).__dataclass_fields__}


def test_what_an_answer_has_read_ahead_counts_too(serve_http, connect_raw):
    class Ahead(StreamedBody):
        held_bytes = 2_000_000

        def regions(self):
            while True:
                yield bytes(100_000)

    def answer(environ, start_response):
        start_response("200 OK", [("Content-Length", str(10**10))])
        return Ahead()

    server = serve_http(answer, HttpLimits(**{**_as_dict(BUDGET), "slow_memory_bytes": 10_000_000}))
    clients = open_all(connect_raw, server, 8, GET)
    gevent.sleep(1.5)
    assert (server.counters.slow_ended, server.counters.connections_open) == (4, 4)
    assert len(clients) == 8


RUSH = HttpLimits(
    rush_memory_bytes=1_000_000, rush_body_max_bytes=200_000, slow_after_rush_secs=0.15, rush_sweep_secs=0.02, sweep_interval_secs=0.05,
    linger_secs=0.1,
)  # fmt: skip


def test_in_a_rush_bodies_beyond_the_bound_wait_and_the_stalled_make_room(serve_http, connect_raw):
    server = serve_http(echo, RUSH)
    clients = open_all(connect_raw, server, 30, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(99_999))
    held = []
    for _ in range(30):
        gevent.sleep(0.02)
        held.append(server.memory.used_bytes)
    assert max(held) <= 1_000_000, "though three times as much has been sent"
    answers = [answer for answer in ended(clients) if answer is not None]
    assert len(answers) == 20, "ten times 100,000 bytes are within it"
    assert all(b"<Code>RequestTimeout</Code>" in answer for answer in answers)
    assert (server.counters.slow_ended, server.counters.body_waits) == (20, 20)
    assert (server.memory.used_bytes, server.memory.wanted_bytes) == (1_000_000, 0)


def test_an_upload_behind_a_flood_waits_and_is_served(serve_http, connect_raw):
    server = serve_http(echo, RUSH)
    open_all(connect_raw, server, 30, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000))
    good = connect_raw(server)
    good.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
    assert good.socket.recv(100).startswith(b"HTTP/1.1 100 ")
    good.send(bytes(100_000))
    assert good.answer().status == 200


def test_who_gives_up_waiting_or_goes_away_gives_its_room_back(serve_http, connect_raw):
    server = serve_http(echo, HttpLimits(**{**_as_dict(RUSH), "slow_after_rush_secs": 60.0}))
    clients = open_all(connect_raw, server, 30, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    gevent.sleep(0.1)
    assert server.memory.wanted_bytes == 2_000_000
    for client in clients:
        client.close()
    gevent.sleep(0.2)
    assert (server.memory.used_bytes, server.memory.wanted_bytes, server.counters.connections_open) == (0, 0, 0)


def test_in_a_rush_who_goes_on_is_not_ended_and_long_bodies_have_a_second(serve_http, connect_raw):
    server = serve_http(echo, RUSH)
    streamed = open_all(connect_raw, server, 2, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + bytes(1000))
    gevent.sleep(0.05)
    steady = open_all(connect_raw, server, 7, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(20):
        for client in steady:
            client.send(bytes(5000))
        gevent.sleep(0.02)
    assert [client.answer().status for client in steady] == [200] * 7
    assert server.counters.slow_ended == 0
    assert server.counters.body_waits > 0
    assert len(streamed) == 2


def test_in_a_rush_large_heads_are_ended_too(serve_http, connect_raw):
    server = serve_http(echo, RUSH)
    clients = open_all(connect_raw, server, 40, b"GET /a HTTP/1.1\r\nHost: x\r\na: " + b"b" * 50_000)
    gevent.sleep(0.6)
    left = sum(answer is None for answer in ended(clients))
    assert left * 50_000 <= 1_000_000 < (left + 2) * 50_000
