"""Bodies made of file regions: sent by sendfile, whole or not at all."""

import os

import gevent
import pytest

from web.regions import FileRegion

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
CONTENT = bytes(range(256)) * 40_000


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "stored"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


class Download:
    """An application's result with regions; remembers what became of it."""

    def __init__(self, make):
        self._make = make
        self.finished = False
        self.closed = False

    def regions(self):
        try:
            yield from self._make()
        finally:
            self.finished = True

    def __iter__(self):
        raise AssertionError("the regions are to be used")

    def close(self):
        self.closed = True


def serving(make, length):
    downloads = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(length))] if length is not None else [])
        downloads.append(Download(make))
        return downloads[-1]

    return application, downloads


def test_regions_and_bytes_arrive_in_order_and_the_connection_lives_on(stored, serve_http, connect_raw):
    def make():
        yield b"head"
        yield FileRegion(stored, 1000, 5_000_000)
        yield b""
        yield FileRegion(stored, 0, 0)
        yield memoryview(b"middle")
        yield FileRegion(stored, 6_000_000, 4_000_000)

    expected = b"head" + CONTENT[1000:5_001_000] + b"middle" + CONTENT[6_000_000:10_000_000]
    application, downloads = serving(make, len(expected))
    client = connect_raw(serve_http(application))
    client.send(GET * 2)
    assert client.answer().body == expected
    assert client.answer().body == expected
    assert all(download.closed and download.finished for download in downloads)


def test_a_slow_reader_gets_all_and_lets_others_be_served(stored, serve_http, connect_raw):
    application, _ = serving(lambda: iter([FileRegion(stored, 0, len(CONTENT))]), len(CONTENT))
    server = serve_http(application)
    slow = connect_raw(server)
    slow.send(GET)
    gevent.sleep(0.05)
    quick = connect_raw(server)
    quick.send(GET)
    assert quick.answer().body == CONTENT
    assert slow.answer().body == CONTENT


def test_head_does_not_touch_the_regions(stored, serve_http, connect_raw):
    application, downloads = serving(lambda: iter([FileRegion(stored, 0, 10)]), 10)
    client = connect_raw(serve_http(application))
    client.send(GET.replace(b"GET", b"HEAD") + GET)
    assert client.answer("HEAD").headers["content-length"] == "10"
    assert client.answer().body == CONTENT[:10]
    assert [download.finished for download in downloads] == [False, True]
    assert [download.closed for download in downloads] == [True, True]


def test_a_failure_before_the_first_region_is_a_500(stored, serve_http, connect_raw):
    def make():
        raise OSError("planted")
        yield

    application, _ = serving(make, 10)
    client = connect_raw(serve_http(application))
    client.send(GET)
    assert client.rest().startswith(b"HTTP/1.1 500 ")


def test_a_failure_after_the_first_region_resets_the_connection(stored, serve_http, connect_raw):
    def make():
        yield FileRegion(stored, 0, 1000)
        raise OSError("planted")

    application, downloads = serving(make, 2000)
    server = serve_http(application)
    client = connect_raw(server)
    client.send(GET)
    with pytest.raises(ConnectionResetError):
        client.rest()
    assert server.counters.resets == 1
    assert downloads[0].closed


def test_a_file_that_ends_before_its_region_resets_the_connection(stored, serve_http, connect_raw):
    application, _ = serving(lambda: iter([FileRegion(stored, len(CONTENT) - 100, 200)]), 200)
    client = connect_raw(serve_http(application))
    client.send(GET)
    with pytest.raises(ConnectionResetError):
        client.rest()


def test_regions_past_the_declared_length_are_cut(stored, serve_http, connect_raw):
    application, _ = serving(lambda: iter([FileRegion(stored, 0, 100), FileRegion(stored, 100, 100)]), 150)
    client = connect_raw(serve_http(application))
    client.send(GET * 2)
    assert client.answer().body == CONTENT[:150]
    assert client.answer().body == CONTENT[:150]


def test_regions_without_a_length_are_a_defect(stored, serve_http, connect_raw):
    application, _ = serving(lambda: iter([FileRegion(stored, 0, 100)]), None)
    client = connect_raw(serve_http(application))
    client.send(GET)
    assert client.rest().startswith(b"HTTP/1.1 500 ")


def test_a_reader_that_stops_is_reset_and_the_regions_are_let_go(stored, serve_http, connect_raw):
    def make():
        while True:
            yield FileRegion(stored, 0, len(CONTENT))

    application, downloads = serving(make, 10**10)
    server = serve_http(application)
    client = connect_raw(server)
    client.send(GET)
    gevent.sleep(1.2)
    assert downloads[0].finished
    assert downloads[0].closed
    assert server.counters.deadlines_passed == 1
    with pytest.raises(ConnectionResetError):
        client.rest()


def test_a_peer_that_disappears_ends_the_regions_quietly(stored, serve_http, connect_raw, caplog):
    def make():
        while True:
            yield FileRegion(stored, 0, len(CONTENT))

    application, downloads = serving(make, 10**10)
    server = serve_http(application)
    client = connect_raw(server)
    client.send(GET)
    gevent.sleep(0.05)
    client.close()
    gevent.sleep(0.1)
    assert downloads[0].closed
    assert (server.counters.disconnects, server.counters.defects, server.counters.connections_open) == (1, 0, 0)
    assert caplog.text == ""
