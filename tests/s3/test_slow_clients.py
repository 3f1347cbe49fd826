"""Clients that trickle, against a real node: a head within ten seconds, a body at a minimum rate, and S3's own error for both."""

import time

import pytest
from defusedxml.ElementTree import fromstring

from tests.raw_connection import RawConnection, request_bytes, signed_request


@pytest.fixture
def strict(start_node):
    """A node that wants 100 kB a second, with a bucket."""
    node = start_node(FS_MIN_BODY_RATE_BYTES_PER_SEC="100000")
    node.client().create_bucket("box")
    return node


def trickle(connection, piece, interval_secs, most_secs):
    """Send `piece` again and again until something comes back; returns the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < most_secs:
        try:
            connection.send(piece)
        except OSError:
            break
        if not connection.is_silent(interval_secs):
            break
    return time.monotonic() - started


@pytest.mark.slow
def test_a_head_has_ten_seconds_whatever_trickles(strict):
    with RawConnection(strict, timeout_secs=30) as connection:
        connection.send(b"GET / HTTP/1.1\r\nhost: h\r\n")
        took_secs = trickle(connection, b"x-a: b\r\n", 0.2, 20.0)
        answer = connection.answer()
    assert (answer.status, fromstring(answer.content).findtext("Code")) == (400, "RequestTimeout")
    assert answer.headers["connection"] == "close"
    assert 8 < took_secs < 15


@pytest.mark.slow
def test_a_body_that_trickles_is_cut_and_nothing_is_stored(strict):
    with RawConnection(strict, timeout_secs=30) as connection:
        connection.send(signed_request(strict, "PUT", "/box/key", {"content-length": "60000"}))
        took_secs = trickle(connection, b"x" * 100, 0.2, 25.0)
        answer = connection.answer()
    assert (answer.status, fromstring(answer.content).findtext("Code")) == (400, "RequestTimeout")
    assert answer.headers["connection"] == "close"
    assert 8 < took_secs < 20, "judged after ten seconds of waiting"
    assert strict.client().request("GET", "box", "key").status_code == 404
    assert strict.metric("fasterstore_http_deadlines_passed_total") == 1


@pytest.mark.slow
def test_without_a_minimum_a_slow_body_is_waited_for(start_node):
    node = start_node(FS_MIN_BODY_RATE_BYTES_PER_SEC="0")
    node.client().create_bucket("box")
    with RawConnection(node, timeout_secs=30) as connection:
        connection.send(signed_request(node, "PUT", "/box/key", {"content-length": "120"}))
        for _ in range(120):
            connection.send(b"x")
            time.sleep(0.1)
        assert connection.answer().status == 200
    assert node.client().get("box", "key").content == b"x" * 120


@pytest.mark.slow
def test_a_stalled_reader_is_cut_after_the_request_timeout_and_a_slow_one_is_not(start_node):
    node = start_node(FS_REQUEST_TIMEOUT_SECS="2")
    client = node.client()
    client.create_bucket("box")
    client.put("box", "large", bytes(40_000_000))
    request = signed_request(node, "GET", "/box/large")
    with RawConnection(node) as stalled, RawConnection(node) as slow:
        stalled.send(request)
        slow.send(request)
        received = 0
        end = time.monotonic() + 7
        while time.monotonic() < end:
            received += len(slow.socket.recv(10_000))
            time.sleep(0.05)
        assert received > 100_000
        with pytest.raises(ConnectionResetError):
            stalled.rest()
        assert node.metric("fasterstore_http_deadlines_passed_total") == 1
        while received < 40_000_000 and (piece := slow.socket.recv(1 << 20)):
            received += len(piece)
        assert received > 40_000_000, "head and body arrived whole"


def test_an_idle_connection_costs_nobody_a_fault(strict):
    with RawConnection(strict) as connection:
        connection.send(request_bytes("GET", "/healthz", {"host": "h"}))
        assert connection.answer().status == 200
    assert strict.metric("fasterstore_http_deadlines_passed_total") == 0
