"""Ambiguous requests: never handed to the application, answered exactly once, and the connection closed."""

import re

import pytest

from tests.framing_corpus import BROKEN_CHUNKS, REFUSED_HEADS, head
from web.framing import read_head
from web.refusal import HttpRefusal

SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def statuses(data):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", data)]


@pytest.mark.parametrize("name", REFUSED_HEADS)
def test_an_ambiguous_head_is_answered_once_and_never_reaches_the_application(name, serve_http, connect_raw):
    calls = []

    def application(environ, start_response):
        calls.append(environ["REQUEST_URI"])
        start_response("200 OK", [])
        return [b"accepted"]

    server = serve_http(application)
    client = connect_raw(server)
    client.send(REFUSED_HEADS[name] + SECOND)
    data = client.rest()
    assert calls == []
    assert len(statuses(data)) == 1
    assert statuses(data)[0] in (400, 417, 501, 505)
    assert b"Connection: close\r\n" in data
    assert b"<RequestId>" in data
    assert b"x-amz-request-id: " in data
    assert server.counters.refused_heads == 1


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_a_broken_chunked_body_is_answered_once_and_nothing_after_it_is_read(name, serve_http, connect_raw):
    calls = []
    bodies = []

    def application(environ, start_response):
        calls.append(environ["REQUEST_URI"])
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [b"accepted"]

    client = connect_raw(serve_http(application))
    client.send(head(b"Transfer-Encoding: chunked") + BROKEN_CHUNKS[name] + SECOND)
    data = client.rest()
    assert calls == ["/box/k"]
    assert bodies == []
    assert statuses(data) == [400]
    assert b"Connection: close\r\n" in data


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01", b"GET /b/k HTTP/1.1\nHost: x\n\n", b"GET /b/k\r\n", b"GET /b HTTP/1.1\r\nHost: x\n\n", b"\n"]
)
def test_what_can_never_become_a_head_is_refused_without_waiting_for_its_end(raw, serve_http, connect_raw):
    def application(environ, start_response):
        raise AssertionError("reached")

    server = serve_http(application)
    client = connect_raw(server)
    client.send(raw)
    assert statuses(client.rest()) == [400]
    assert server.counters.deadlines_passed == 0


def test_the_corpus_is_large_enough():
    assert len(REFUSED_HEADS) + len(BROKEN_CHUNKS) >= 60


def test_the_corpus_test_would_see_an_accepted_request(serve_http, connect_raw):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"accepted"]

    client = connect_raw(serve_http(application))
    client.send(head(first=b"GET /b/k HTTP/1.1") + b"GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert statuses(client.rest()) == [200, 200]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (head(b"Transfer-Encoding: gzip, chunked"), 501),
        (head(b"Transfer-Encoding: xchunked"), 501),
        (head(b"Transfer-Encoding: chunked, chunked"), 400),
        (head(b"Content-Length: 1", b"Transfer-Encoding: gzip"), 400),
        (head(first=b"GET /b HTTP/1.2"), 505),
        (head(first=b"CONNECT x:80 HTTP/1.1"), 501),
        (head(first=b"FETCH /b HTTP/1.1"), 501),
        (head(b"Expect: 100-continu\xe9"), 417),
        (head(host=None), 400),
    ],
)
def test_a_refusal_says_which_rule_was_broken(raw, status):
    with pytest.raises(HttpRefusal) as caught:
        read_head(raw, {})
    assert caught.value.status == status


@pytest.mark.parametrize(
    "raw",
    [
        head(b"Content-Length: 005"),
        head(b"Content-Length: \t5 \t"),
        head(b"Transfer-Encoding: CHUNKED"),
        head(host=b"Host: [::1]:9000"),
        head(host=b"Host: under_score.docker:9000"),
        head(b"x-amz-meta-name: \xc3\xa4\xff"),
        head(b"x-amz-meta-snake_case: a"),
        head(b"x-empty:"),
        head(first=b"GET /b/%00%FF%2F..//../a?list-type=2&prefix=%0A HTTP/1.1"),
        head(first=b'GET /b/a"<>\\^`{|}[];=@!$&()*+,~ HTTP/1.1'),
        head(first=b"GET /b HTTP/1.0", host=None),
        head(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        head(first=b"M-SEARCH /b HTTP/1.1"),
    ],
)
def test_what_s3_clients_send_is_read(raw):
    assert read_head(raw, {}).headers is not None


@pytest.mark.parametrize("value", [b"", b"200", b"x"])
def test_an_expectation_of_another_kind_is_left_aside(value):
    assert not read_head(head(b"Expect: " + value, b"Content-Length: 5"), {}).expects_continue


def test_a_head_becomes_environ_and_headers():
    environ = {}
    read = read_head(
        head(
            b"Content-Type: text/plain",
            b"Content-Length: 7",
            b"X-Amz-Meta-A: one ",
            b"x-amz-meta-a:  two",
            b"x-amz-meta-b_c: \xc3\xa4",
            b"x-amz-meta-empty:",
            b"Expect: 100-Continue",
            first=b"PUT /b/%C3%A4%20x?partNumber=1&a=%2F HTTP/1.1",
            host=b"Host: x:9000",
        ),
        environ,
    )
    assert environ["REQUEST_METHOD"] == "PUT"
    assert environ["REQUEST_URI"] == "/b/%C3%A4%20x?partNumber=1&a=%2F"
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/b/ä x"
    assert environ["QUERY_STRING"] == "partNumber=1&a=%2F"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "7"
    assert environ["HTTP_X_AMZ_META_A"] == "one,two"
    assert "HTTP_X_AMZ_META_B_C" not in environ
    assert environ["fs.headers"] is read.headers
    assert read.headers["x-amz-meta-b_c"].encode("latin-1").decode() == "ä"
    assert read.headers["x-amz-meta-empty"] == ""
    assert (read.content_length, read.chunked, read.expects_continue, read.keep_alive) == (7, False, True, True)


def test_the_application_does_not_see_a_coding_that_is_already_taken_off():
    environ = {}
    read = read_head(head(b"Transfer-Encoding: chunked"), environ)
    assert read.chunked
    assert "HTTP_TRANSFER_ENCODING" not in environ


@pytest.mark.parametrize(
    ("first", "option", "kept"),
    [
        (b"GET / HTTP/1.1", b"X: y", True),
        (b"GET / HTTP/1.1", b"Connection: close", False),
        (b"GET / HTTP/1.1", b"Connection: TE, Close", False),
        (b"GET / HTTP/1.0", b"X: y", False),
        (b"GET / HTTP/1.0", b"Connection: Keep-Alive", True),
        (b"GET / HTTP/1.0", b"Connection: keep-alive, close", False),
    ],
)
def test_connection_options_decide_about_keep_alive(first, option, kept):
    assert read_head(head(option, first=first), {}).keep_alive is kept


def test_many_different_header_names_are_read_and_not_all_remembered():
    from web import framing

    for number in range(2000):
        read = read_head(head(b"x-name-%d: v" % number), {})
        assert read.headers[f"x-name-{number}"] == "v"
    assert len(framing._names) <= framing.NAME_CACHE_MAX_ENTRIES
