"""Ambiguous requests: never handed to the application, answered exactly once, and the connection closed."""

import re

import pytest

from web.framing import read_head
from web.refusal import HttpRefusal

SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED_END = b"0\r\n\r\n"


def head(*lines, first=b"PUT /b/k HTTP/1.1", host=b"Host: x"):
    return b"\r\n".join((first, host, *lines) if host else (first, *lines)) + b"\r\n\r\n"


REFUSED = {
    # lengths
    "length with plus": head(b"Content-Length: +5") + b"abcde",
    "length with minus": head(b"Content-Length: -5") + b"abcde",
    "length with underscore": head(b"Content-Length: 1_0") + b"abcdefghij",
    "length in hex": head(b"Content-Length: 0x5") + b"abcde",
    "length as a list": head(b"Content-Length: 5,5") + b"abcde",
    "length as a spaced list": head(b"Content-Length: 5, 5") + b"abcde",
    "length with a space inside": head(b"Content-Length: 5 5") + b"abcde",
    "length with a vertical tab": head(b"Content-Length: \x0b5") + b"abcde",
    "length with a fraction": head(b"Content-Length: 5.0") + b"abcde",
    "length empty": head(b"Content-Length:") + b"abcde",
    "length of words": head(b"Content-Length: five") + b"abcde",
    "length in other digits": head("Content-Length: ５".encode()) + b"abcde",
    "length over 64 bits": head(b"Content-Length: 99999999999999999999999"),
    "length of 2**64-1": head(b"Content-Length: 18446744073709551615"),
    "length of 2**63": head(b"Content-Length: 9223372036854775808"),
    "length twice, equal": head(b"Content-Length: 5", b"Content-Length: 5") + b"abcde",
    "length twice, different": head(b"Content-Length: 5", b"Content-Length: 6") + b"abcdef",
    "length twice, other case": head(b"Content-Length: 5", b"content-length: 0") + b"abcde",
    "length under an underscore name": head(b"Content_Length: 5") + b"abcde",
    # length and coding
    "length then chunked": head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + CHUNKED_END,
    "chunked then length": head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + CHUNKED_END,
    "chunked and length 0": head(b"Transfer-Encoding: chunked", b"Content-Length: 0") + CHUNKED_END,
    "length and identity": head(b"Content-Length: 5", b"Transfer-Encoding: identity") + b"abcde",
    # codings
    "coding xchunked": head(b"Transfer-Encoding: xchunked") + CHUNKED_END,
    "coding identity": head(b"Transfer-Encoding: identity") + CHUNKED_END,
    "coding gzip": head(b"Transfer-Encoding: gzip") + CHUNKED_END,
    "coding gzip, chunked": head(b"Transfer-Encoding: gzip, chunked") + CHUNKED_END,
    "coding chunked, chunked": head(b"Transfer-Encoding: chunked, chunked") + CHUNKED_END,
    "coding chunked, identity": head(b"Transfer-Encoding: chunked, identity") + CHUNKED_END,
    "coding twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + CHUNKED_END,
    "coding twice, second identity": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + CHUNKED_END,
    "coding twice, first identity": head(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked") + CHUNKED_END,
    "coding with a parameter": head(b"Transfer-Encoding: chunked;q=1") + CHUNKED_END,
    "coding empty": head(b"Transfer-Encoding:") + CHUNKED_END,
    "coding with an empty element": head(b"Transfer-Encoding: ,chunked") + CHUNKED_END,
    "coding quoted": head(b'Transfer-Encoding: "chunked"') + CHUNKED_END,
    "coding behind a vertical tab": head(b"Transfer-Encoding: \x0bchunked") + CHUNKED_END,
    "coding behind a NUL": head(b"Transfer-Encoding: chunked\x00") + CHUNKED_END,
    "coding name with a space": head(b"Transfer-Encoding : chunked") + CHUNKED_END,
    "coding name with a leading space": head(b" Transfer-Encoding: chunked") + CHUNKED_END,
    "coding under an underscore name": head(b"Transfer_Encoding: chunked") + CHUNKED_END,
    "coding folded": head(b"Transfer-Encoding:", b" chunked") + CHUNKED_END,
    "coding in HTTP/1.0": head(b"Transfer-Encoding: chunked", first=b"PUT /b/k HTTP/1.0") + CHUNKED_END,
    "coding hidden behind a bare CR": head(b"X: y\rTransfer-Encoding: chunked") + CHUNKED_END,
    "coding hidden behind a bare LF": head(b"X: y\nTransfer-Encoding: chunked") + CHUNKED_END,
    # lines
    "bare LF everywhere": b"GET /b/k HTTP/1.1\nHost: x\n\n",
    "bare LF after the request line": b"GET /b/k HTTP/1.1\nHost: x\r\n\r\n",
    "bare LF after a header": b"GET /b/k HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare LF LF as the end": b"GET /b/k HTTP/1.1\r\nHost: x\n\n",
    "CR LF LF as the end": b"GET /b/k HTTP/1.1\r\nHost: x\r\n\n",
    "CR CR LF": b"GET /b/k HTTP/1.1\r\nHost: x\r\r\n\r\n",
    "folded header": head(b"A: b", b" c"),
    "folded header by tab": head(b"A: b", b"\tc"),
    "first header folded": b"GET /b/k HTTP/1.1\r\n Host: x\r\n\r\n",
    "space before colon": head(b"A : b"),
    "tab before colon": head(b"A\t: b"),
    "space in a name": head(b"A b: c"),
    "no colon": head(b"A"),
    "empty name": head(b": b"),
    "NUL in a value": head(b"A: b\x00c"),
    "control character in a value": head(b"A: b\x01c"),
    "DEL in a value": head(b"A: b\x7fc"),
    "non-ASCII name": head("Ä: b".encode()),
    "NUL in a name": head(b"A\x00: b"),
    # host
    "no host": head(host=None),
    "empty host": head(host=b"Host:"),
    "host twice, equal": head(b"Host: x"),
    "host twice, different": head(b"Host: y"),
    "host list": head(host=b"Host: x, y"),
    "host with a path": head(host=b"Host: x/y"),
    "host with user": head(host=b"Host: u@x"),
    "host with a word as port": head(host=b"Host: x:http"),
    # request line
    "absolute-form": head(first=b"GET http://x/b/k HTTP/1.1"),
    "authority-form": head(first=b"GET x:80 HTTP/1.1"),
    "asterisk-form": head(first=b"OPTIONS * HTTP/1.1"),
    "CONNECT": head(first=b"CONNECT x:80 HTTP/1.1"),
    "CONNECT of a path": head(first=b"CONNECT /b HTTP/1.1"),
    "no leading slash": head(first=b"GET b/k HTTP/1.1"),
    "fragment": head(first=b"GET /b/k#f HTTP/1.1"),
    "raw non-ASCII target": head(first="GET /ü HTTP/1.1".encode()),
    "NUL in the target": head(first=b"GET /b\x00k HTTP/1.1"),
    "control character in the target": head(first=b"GET /b\x01k HTTP/1.1"),
    "DEL in the target": head(first=b"GET /b\x7fk HTTP/1.1"),
    "tab in the target": head(first=b"GET /b\tk HTTP/1.1"),
    "space in the target": head(first=b"GET /b k HTTP/1.1"),
    "bare CR in the target": head(first=b"GET /b\rk HTTP/1.1"),
    "two spaces before the target": head(first=b"GET  /b HTTP/1.1"),
    "two spaces before the version": head(first=b"GET /b  HTTP/1.1"),
    "space after the version": head(first=b"GET /b HTTP/1.1 "),
    "space before the method": head(first=b" GET /b HTTP/1.1"),
    "lower-case method": head(first=b"get /b HTTP/1.1"),
    "unknown method": head(first=b"FETCH /b HTTP/1.1"),
    "HTTP/0.9 without a version": b"GET /b/k\r\n",
    "HTTP/0.9": head(first=b"GET /b HTTP/0.9"),
    "HTTP/1.2": head(first=b"GET /b HTTP/1.2"),
    "HTTP/2.0": head(first=b"GET /b HTTP/2.0"),
    "HTTP/1.10": head(first=b"GET /b HTTP/1.10"),
    "HTTP/01.1": head(first=b"GET /b HTTP/01.1"),
    "lower-case version": head(first=b"GET /b http/1.1"),
    "RTSP": head(first=b"OPTIONS /b RTSP/1.0"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two empty lines first": b"\r\n\r\nGET /b/k HTTP/1.1\r\nHost: x\r\n\r\n",
    # other headers
    "authorization twice": head(b"Authorization: a", b"Authorization: b"),
    "payload hash twice": head(b"x-amz-content-sha256: a", b"X-Amz-Content-Sha256: b"),
    "disguised expectation": head(b"Expect: y 100-continue", b"Content-Length: 5"),
    "doubled expectation": head(b"Expect: 100-continue, 100-continue", b"Content-Length: 5"),
    "too many headers": head(*(b"h%d: v" % number for number in range(300))),
}

CHUNK_LINES = {
    "plus": b"+5\r\nabcde\r\n0\r\n\r\n",
    "minus": b"-5\r\nabcde\r\n0\r\n\r\n",
    "0x": b"0x5\r\nabcde\r\n0\r\n\r\n",
    "underscore": b"1_0\r\nabcdefghijklmnop\r\n0\r\n\r\n",
    "leading space": b" 5\r\nabcde\r\n0\r\n\r\n",
    "trailing space": b"5 \r\nabcde\r\n0\r\n\r\n",
    "seventeen digits": b"10000000000000005\r\nabcde\r\n0\r\n\r\n",
    "2**64-1": b"ffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
    "empty size": b"\r\nabcde\r\n0\r\n\r\n",
    "extension": b"5;a=b\r\nabcde\r\n0\r\n\r\n",
    "extension with a bare LF": b"5;\nxx\r\nabcde\r\n0\r\n\r\n",
    "bare LF after the size": b"5\nabcde\r\n0\r\n\r\n",
    "bare CR after the size": b"5\rabcde\r\n0\r\n\r\n",
    "bare LF after the data": b"5\r\nabcde\n0\r\n\r\n",
    "no line end after the data": b"5\r\nabcde0\r\n\r\n",
    "more data than the size": b"3\r\nabcde\r\n0\r\n\r\n",
    "bare LF at the end": b"5\r\nabcde\r\n0\n\n",
    "extension on the last chunk": b"5\r\nabcde\r\n0;a\r\n\r\n",
    "trailer": b"5\r\nabcde\r\n0\r\nX-Amz-Checksum-Crc32: AAAAAA==\r\n\r\n",
    "trailer that is a framing header": b"5\r\nabcde\r\n0\r\nContent-Length: 5\r\n\r\n",
}


def statuses(data):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", data)]


@pytest.mark.parametrize("name", REFUSED)
def test_an_ambiguous_head_is_answered_once_and_never_reaches_the_application(name, serve_http, connect_raw):
    calls = []

    def application(environ, start_response):
        calls.append(environ["REQUEST_URI"])
        start_response("200 OK", [])
        return [b"accepted"]

    server = serve_http(application)
    client = connect_raw(server)
    client.send(REFUSED[name] + SECOND)
    data = client.rest()
    assert calls == []
    assert len(statuses(data)) == 1
    assert statuses(data)[0] in (400, 417, 501, 505)
    assert b"Connection: close\r\n" in data
    assert b"<RequestId>" in data
    assert b"x-amz-request-id: " in data
    assert server.counters.refused_heads == 1


@pytest.mark.parametrize("name", CHUNK_LINES)
def test_a_broken_chunked_body_is_answered_once_and_nothing_after_it_is_read(name, serve_http, connect_raw):
    calls = []
    bodies = []

    def application(environ, start_response):
        calls.append(environ["REQUEST_URI"])
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [b"accepted"]

    client = connect_raw(serve_http(application))
    client.send(head(b"Transfer-Encoding: chunked") + CHUNK_LINES[name] + SECOND)
    data = client.rest()
    assert calls == ["/b/k"]
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
    assert len(REFUSED) + len(CHUNK_LINES) >= 60


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
