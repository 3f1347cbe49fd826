"""One connection: order, keep-alive, bodies, 100-continue, deadlines, and what an application may do wrong."""

import contextlib
import socket

import gevent
import pytest

from web.connection import UNBROKEN_REQUESTS
from web.request_body import RequestBodyError
from web.server import HttpLimits

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Uri", environ["REQUEST_URI"]), ("X-Length", str(environ["wsgi.input"].length))])
    return [body]


def ignore_body(environ, start_response):
    start_response("403 Forbidden", [("X-Uri", environ["REQUEST_URI"])])
    return [b"no"]


def test_pipelined_requests_are_answered_in_order_on_one_connection(serve_http, connect_raw):
    server = serve_http(echo)
    client = connect_raw(server)
    client.send(GET % b"1" + PUT % (b"2", 5) + b"abcde" + GET % b"3" + PUT % (b"4", 0) + GET % b"5")
    answers = [client.answer() for _ in range(5)]
    assert [answer.headers["x-uri"] for answer in answers] == ["/1", "/2", "/3", "/4", "/5"]
    assert [answer.body for answer in answers] == [b"", b"abcde", b"", b"", b""]
    assert [answer.headers["x-length"] for answer in answers] == ["0", "5", "0", "0", "0"]
    assert server.counters.requests == 5
    assert server.counters.connections_accepted == 1


def test_others_get_a_turn_while_one_connection_has_requests_without_end(serve_http, connect_raw):
    others_at = []

    def application(environ, start_response):
        if server.counters.requests == 1:
            gevent.spawn(lambda: others_at.append(server.counters.requests))
        start_response("200 OK", [("X-Uri", environ["REQUEST_URI"])])
        return []

    server = serve_http(application)
    client = connect_raw(server)
    client.send(b"".join(GET % b"%d" % number for number in range(100)))
    assert [client.answer().headers["x-uri"] for _ in range(100)] == [f"/{number}" for number in range(100)]
    assert others_at[0] <= UNBROKEN_REQUESTS


def test_a_request_that_comes_byte_by_byte_is_read_whole(serve_http, connect_raw):
    client = connect_raw(serve_http(echo, HttpLimits()))
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"\r\n" + PUT % (b"k", 3) + b"abc" + GET % b"next":
        client.send(bytes([byte]))
        gevent.sleep(0)
    assert client.answer().body == b"abc"
    assert client.answer().headers["x-uri"] == "/next"


def test_a_large_body_arrives_unchanged_and_the_next_request_is_found_behind_it(serve_http, connect_raw):
    body = bytes(range(256)) * 20000
    client = connect_raw(serve_http(echo))
    sender = gevent.spawn(client.send, PUT % (b"big", len(body)) + body + GET % b"after")
    assert client.answer().body == body
    assert client.answer().headers["x-uri"] == "/after"
    sender.join()


def test_a_chunked_body_arrives_unchanged_and_the_next_request_is_found_behind_it(serve_http, connect_raw):
    body = bytes(range(256)) * 2000
    chunks = b"".join(b"%X\r\n%s\r\n" % (len(body[at : at + 7001]), body[at : at + 7001]) for at in range(0, len(body), 7001))
    client = connect_raw(serve_http(echo))
    request = b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n" + GET % b"after"
    sender = gevent.spawn(client.send, request)
    answer = client.answer()
    assert answer.body == body
    assert answer.headers["x-length"] == "None"
    assert client.answer().headers["x-uri"] == "/after"
    sender.join()


def test_reads_of_every_kind_see_the_same_body(serve_http, connect_raw):
    seen = []

    def application(environ, start_response):
        body = environ["wsgi.input"]
        buffer = bytearray(4)
        seen.append([body.read(2), body.readline(), body.readinto(buffer), bytes(buffer), list(body), body.read(5), body.readinto(buffer)])
        start_response("200 OK", [])
        return []

    client = connect_raw(serve_http(application))
    text = b"ab\ncdef\ngh\nij"
    client.send(PUT % (b"a", len(text)) + text)
    client.answer()
    client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(text), text))
    client.answer()
    assert seen[0] == seen[1] == [b"ab", b"\n", 4, b"cdef", [b"\n", b"gh\n", b"ij"], b"", 0]


@pytest.mark.parametrize(
    ("request_line", "kept"),
    [
        (b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close", False),
        (b"GET /a HTTP/1.0", False),
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive", True),
    ],
)
def test_bytes_after_a_request_that_closes_are_not_served(request_line, kept, serve_http, connect_raw):
    server = serve_http(echo)
    client = connect_raw(server)
    client.send(request_line + b"\r\n\r\n" + b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    data = client.rest()
    assert data.count(b"HTTP/1.1 200 OK") == (2 if kept else 1)
    assert server.counters.requests == (2 if kept else 1)


def test_the_100_is_sent_by_the_first_read_and_not_before(serve_http, connect_raw):
    sent = []

    def application(environ, start_response):
        body = environ["wsgi.input"]
        sent.append(body.sent_continue)
        gevent.sleep(0.1)
        data = body.read()
        sent.append(body.sent_continue)
        start_response("200 OK", [])
        return [data]

    client = connect_raw(serve_http(application), timeout=0.05)
    client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(5)
    assert client.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert client.answer().body == b"abc"
    assert sent == [False, True]


def test_no_100_is_sent_when_the_body_is_already_there(serve_http, connect_raw):
    client = connect_raw(serve_http(echo))
    client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc" + GET % b"b")
    assert client.answer().body == b"abc"
    assert client.answer().headers["x-uri"] == "/b"


def test_a_refusal_in_place_of_the_100_closes_because_the_body_may_or_may_not_come(serve_http, connect_raw):
    client = connect_raw(serve_http(ignore_body))
    client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(GET % b"s"))
    gevent.sleep(0.05)
    client.send(GET % b"s")
    data = client.rest()
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"403 Forbidden" in data
    assert b"Connection: close" in data


def test_a_small_unread_body_is_dropped_and_the_connection_lives_on(serve_http, connect_raw):
    client = connect_raw(serve_http(ignore_body))
    client.send(PUT % (b"a", 60000) + bytes(30000))
    assert client.answer().headers["x-uri"] == "/a"
    client.send(bytes(30000) + GET % b"b")
    assert client.answer().headers["x-uri"] == "/b"


def test_a_large_unread_body_closes_the_connection_after_the_answer_arrived(serve_http, connect_raw):
    client = connect_raw(serve_http(ignore_body))
    client.send(PUT % (b"a", 1_000_000) + bytes(200_000))
    data = client.rest()
    assert data.startswith(b"HTTP/1.1 403 Forbidden")
    assert b"Connection: close" in data


def test_a_head_that_does_not_end_in_time_gets_a_request_timeout_however_busy_the_sender_is(serve_http, connect_raw):
    server = serve_http(echo)
    client = connect_raw(server)

    def trickle():
        with contextlib.suppress(OSError):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
            while True:
                client.send(b"a: b\r\n")
                gevent.sleep(0.05)

    sender = gevent.spawn(trickle)
    data = client.rest()
    sender.kill()
    assert data.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>RequestTimeout</Code>" in data
    assert server.counters.deadlines_passed == 1
    assert server.counters.requests == 0


def test_an_idle_connection_is_closed_without_a_word(serve_http, connect_raw):
    server = serve_http(echo)
    client = connect_raw(server)
    client.send(GET % b"a")
    client.answer()
    assert client.rest() == b""
    assert server.counters.deadlines_passed == 0


@pytest.mark.parametrize("trickle_bytes", [0, 1])
def test_a_body_that_stops_or_trickles_gets_a_request_timeout(trickle_bytes, serve_http, connect_raw):
    server = serve_http(echo)
    client = connect_raw(server)
    client.send(PUT % (b"a", 100_000))

    def trickle():
        with contextlib.suppress(OSError):
            while True:
                client.send(bytes(trickle_bytes))
                gevent.sleep(0.05)

    sender = gevent.spawn(trickle)
    data = client.rest()
    sender.kill()
    assert data.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>RequestTimeout</Code>" in data
    assert server.counters.deadlines_passed == 1


def test_time_that_the_application_takes_is_no_ones_deadline(serve_http, connect_raw):
    def application(environ, start_response):
        gevent.sleep(0.8)
        first = environ["wsgi.input"].read(2)
        gevent.sleep(0.8)
        start_response("200 OK", [])
        return [first + environ["wsgi.input"].read()]

    client = connect_raw(serve_http(application))
    client.send(PUT % (b"a", 100_000) + bytes(100_000))
    assert len(client.answer().body) == 100_000


def test_a_reader_that_stops_reading_is_reset(serve_http, connect_raw):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "100000000")])
        return [bytes(100_000_000)]

    server = serve_http(application)
    client = connect_raw(server)
    client.send(GET % b"a")
    gevent.sleep(1.2)
    with pytest.raises(ConnectionResetError):
        client.rest()
    assert server.counters.deadlines_passed == 1
    assert server.counters.connections_open == 0


@pytest.mark.parametrize("when", ["body", "response", "head"])
def test_a_peer_that_disappears_is_counted_and_nothing_else_happens(when, serve_http, connect_raw, caplog):
    def application(environ, start_response):
        environ["wsgi.input"].read()
        gevent.sleep(0.1)
        start_response("200 OK", [("Content-Length", "50000000")])
        return [bytes(50_000_000)]

    server = serve_http(application)
    client = connect_raw(server)
    client.send({"body": PUT % (b"a", 10) + b"abc", "response": GET % b"a", "head": b"GET / HT"}[when])
    gevent.sleep(0.02)
    client.close()
    gevent.sleep(0.4)
    assert server.counters.disconnects == 1
    assert server.counters.connections_open == 0
    assert server.counters.defects == 0
    assert caplog.text == ""


def test_a_peer_that_finishes_sending_in_the_middle_of_a_body_is_told(serve_http, connect_raw):
    client = connect_raw(serve_http(echo))
    client.send(PUT % (b"a", 10) + b"abc")
    client.socket.shutdown(socket.SHUT_WR)
    data = client.rest()
    assert data.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>IncompleteBody</Code>" in data


def test_an_application_may_answer_a_failed_body_itself_and_the_connection_still_closes(serve_http, connect_raw):
    def application(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except RequestBodyError as error:
            start_response("400 Bad Request", [])
            return [error.code.encode()]

    client = connect_raw(serve_http(application))
    client.send(PUT % (b"a", 10) + b"abc")
    client.socket.shutdown(socket.SHUT_WR)
    data = client.rest()
    assert data.endswith(b"\r\n\r\nIncompleteBody")
    assert b"Connection: close\r\n" in data


def test_a_head_that_is_too_large_is_refused(serve_http, connect_raw):
    server = serve_http(echo)
    for raw in (b"GET /" + b"a" * 70_000, b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"b" * 70_000 + b"\r\n\r\n"):
        client = connect_raw(server)
        client.send(raw)
        data = client.rest()
        assert data.startswith(b"HTTP/1.1 400 ")
        assert b"<Code>RequestHeaderSectionTooLarge</Code>" in data
    assert server.counters.refused_heads == 2


@pytest.mark.parametrize(("first", "refused", "ending"), [(b"HEAD", b"GET", b"</Error>"), (b"GET", b"HEAD", b"\r\n\r\n")])
def test_a_refusal_has_a_body_by_its_own_method_not_by_that_of_the_request_before(first, refused, ending, serve_http, connect_raw):
    client = connect_raw(serve_http(echo))
    client.send(first + b" /1 HTTP/1.1\r\nHost: x\r\n\r\n" + refused + b" /2 HTTP/1.1\r\nHost: x\na: b")
    data = client.rest()
    assert b"HTTP/1.1 400 " in data
    assert data.endswith(ending)


def test_a_large_head_within_the_limit_is_served(serve_http, connect_raw):
    client = connect_raw(serve_http(echo))
    client.send(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(client.answer().headers["x-uri"]) == 40_001


def raises(environ, start_response):
    raise RuntimeError("planted")


def raises_timeout(environ, start_response):
    raise gevent.Timeout(1)


def never_starts(environ, start_response):
    return [b"x"]


def splits(environ, start_response):
    start_response("200 OK", [("x-amz-meta-a", "b\r\nSet-Cookie: c")])
    return [b"x"]


def splits_by_lf(environ, start_response):
    start_response("200 OK", [("x-amz-meta-a", "b\nSet-Cookie: c")])
    return [b"x"]


def splits_status(environ, start_response):
    start_response("200 OK\r\nSet-Cookie: c", [])
    return [b"x"]


def splits_name(environ, start_response):
    start_response("200 OK", [("a: b\r\nSet-Cookie", "c")])
    return [b"x"]


def frames_itself(environ, start_response):
    start_response("200 OK", [("Transfer-Encoding", "chunked")])
    return [b"0\r\n\r\n"]


def two_lengths(environ, start_response):
    start_response("200 OK", [("Content-Length", "1"), ("content-length", "2")])
    return [b"x"]


def too_short(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"x"]


def fails_at_first_piece(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    raise RuntimeError("planted")
    yield b"x"


def unencodable(environ, start_response):
    start_response("200 OK", [("x-amz-meta-a", "\u20ac")])
    return [b"x"]


@pytest.mark.parametrize(
    "application",
    [
        raises,
        raises_timeout,
        never_starts,
        splits,
        splits_by_lf,
        splits_status,
        splits_name,
        frames_itself,
        two_lengths,
        too_short,
        fails_at_first_piece,
        unencodable,
    ],
)
def test_a_defect_before_the_head_went_out_is_a_500_and_a_close(application, serve_http, connect_raw):
    server = serve_http(application)
    client = connect_raw(server)
    client.send(GET % b"a" + GET % b"b")
    data = client.rest()
    assert data.startswith(b"HTTP/1.1 500 ")
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"<Code>InternalError</Code>" in data
    assert b"Set-Cookie" not in data
    assert b"planted" not in data
    assert server.counters.defects == 1


def test_a_presigned_query_is_not_written_to_the_log(serve_http, connect_raw, caplog):
    client = connect_raw(serve_http(raises))
    client.send(GET % b"a?X-Amz-Signature=5ec7e7")
    client.rest()
    assert "/a" in caplog.text
    assert "5ec7e7" not in caplog.text


def test_a_list_app_s_close_is_called(serve_http, connect_raw):
    closed = []

    class Result:
        def __iter__(self):
            yield b"ab"

        def close(self):
            closed.append(True)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return Result()

    client = connect_raw(serve_http(application))
    client.send(GET % b"a")
    assert client.answer().body == b"ab"
    assert closed == [True]
