"""Where a response ends, and what the peer gets when the application yields too much or too little."""

import socket
import struct

import gevent
import pytest

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def answering(status, headers, result):
    def application(environ, start_response):
        start_response(status, list(headers))
        return result() if callable(result) else result

    return application


def test_a_list_without_a_length_gets_one_and_the_standard_headers(serve_http, connect_raw):
    client = connect_raw(serve_http(answering("200 OK", [("ETag", '"a"')], [b"abc", b"de"])))
    client.send(GET * 2)
    for _ in range(2):
        answer = client.answer()
        assert answer.body == b"abcde"
        assert answer.headers["content-length"] == "5"
        assert answer.headers["server"] == "FasterStore"
        assert answer.headers["date"].endswith(" GMT")
        assert "connection" not in answer.headers


def test_head_and_a_small_body_leave_in_one_segment(serve_http, connect_raw):
    client = connect_raw(serve_http(answering("200 OK", [], [bytes(4096)])))
    client.send(GET)
    gevent.sleep(0.05)
    info = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    segments_with_data_in = struct.unpack_from("I", info, 144 + 8)[0]  # tcpi_data_segs_in, after tcpi_notsent_bytes and tcpi_min_rtt
    assert segments_with_data_in == 1
    assert len(client.answer().body) == 4096


@pytest.mark.parametrize("result", [[b"abc"], lambda: iter([b"a", b"bc"])])
def test_head_gets_the_length_and_no_body(result, serve_http, connect_raw):
    client = connect_raw(serve_http(answering("200 OK", [("Content-Length", "3")], result)))
    client.send(GET.replace(b"GET", b"HEAD") + GET)
    answer = client.answer("HEAD")
    assert (answer.headers["content-length"], answer.body) == ("3", b"")
    assert client.answer().body == b"abc"


def test_head_may_have_a_length_with_an_empty_list(serve_http, connect_raw):
    client = connect_raw(serve_http(answering("200 OK", [("Content-Length", "300")], [])))
    client.send(GET.replace(b"GET", b"HEAD") * 2)
    assert [client.answer("HEAD").headers["content-length"] for _ in range(2)] == ["300", "300"]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("result", [[b"abc"], lambda: iter([b"abc"]), []])
def test_204_and_304_carry_no_body_even_if_the_application_gives_one(status, result, serve_http, connect_raw):
    client = connect_raw(serve_http(answering(status, [], result)))
    client.send(GET + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    data = client.rest()
    assert data.count(b"HTTP/1.1 " + status.encode()) == 2
    assert b"abc" not in data
    if status.startswith("204"):
        assert b"Content-Length" not in data


def test_an_iterable_without_a_length_is_chunked_or_ends_with_the_connection(serve_http, connect_raw):
    server = serve_http(answering("200 OK", [], lambda: iter([b"", b"abc", b"", b"de"])))
    client = connect_raw(server)
    client.send(GET * 2)
    for _ in range(2):
        answer = client.answer()
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body == b"abcde"
    old = connect_raw(server)
    old.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    data = old.rest()
    assert data.endswith(b"\r\n\r\nabcde")
    assert b"Connection: close" in data


def test_an_empty_iterable_has_length_0(serve_http, connect_raw):
    client = connect_raw(serve_http(answering("200 OK", [], lambda: iter([]))))
    client.send(GET * 2)
    assert [client.answer().headers["content-length"] for _ in range(2)] == ["0", "0"]


@pytest.mark.parametrize("result", [[b"abcdef"], lambda: iter([b"ab", b"cdef"]), lambda: iter([b"abc", b"def"])])
def test_more_than_the_declared_length_is_cut_and_logged(result, serve_http, connect_raw, caplog):
    client = connect_raw(serve_http(answering("200 OK", [("Content-Length", "3")], result)))
    client.send(GET + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert client.answer().body == b"abc"
    assert client.rest().endswith(b"\r\n\r\nabc")
    assert "cut to its Content-Length" in caplog.text


def test_less_than_the_declared_length_resets_the_connection(serve_http, connect_raw):
    server = serve_http(answering("200 OK", [("Content-Length", "300")], lambda: iter([b"abc"])))
    client = connect_raw(server)
    client.send(GET)
    with pytest.raises(ConnectionResetError):
        client.rest()
    assert server.counters.resets == 1


def test_the_legacy_write_callable_works(serve_http, connect_raw):
    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"abc")
        write(b"de")
        return [b"f"]

    client = connect_raw(serve_http(application))
    client.send(GET * 2)
    assert [client.answer().body for _ in range(2)] == [b"abcdef", b"abcdef"]


def test_a_large_list_body_arrives_unchanged(serve_http, connect_raw):
    body = bytes(range(256)) * 40000
    client = connect_raw(serve_http(answering("200 OK", [], [body])))
    client.send(GET * 2)
    assert client.answer().body == body
    assert client.answer().body == body


def test_an_application_may_close_the_connection(serve_http, connect_raw):
    client = connect_raw(serve_http(answering("200 OK", [("Connection", "close")], [b"a"])))
    client.send(GET * 2)
    data = client.rest()
    assert data.count(b"HTTP/1.1 200") == 1
    assert data.count(b"Connection: close") == 1


def test_latin_1_header_values_leave_as_they_are(serve_http, connect_raw):
    client = connect_raw(serve_http(answering("200 OK", [("x-amz-meta-a", "\u00c3\u00a4")], [])))
    client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert "x-amz-meta-a: ä\r\n".encode() in client.rest()
