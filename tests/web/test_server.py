"""The server of one worker: addresses, limits on connections, counters, and the drain."""

import re
import socket

import gevent
import pytest

from web.server import HttpLimits, HttpServer

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def hello(environ, start_response):
    start_response("200 OK", [("X-Peer", str(environ["fs.peer"])), ("X-Server", environ["SERVER_NAME"])])
    return [b"hello"]


def slow(environ, start_response):
    gevent.sleep(0.3)
    start_response("200 OK", [])
    return [b"slow"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_serves_ipv4_and_ipv6(host, serve_http, connect_raw):
    client = connect_raw(serve_http(hello, host=host))
    client.send(GET)
    answer = client.answer()
    assert answer.headers["x-peer"] == str((host, client.socket.getsockname()[1]))
    assert answer.headers["x-server"] == host


def test_an_ipv4_peer_of_a_dual_stack_socket_has_its_ipv4_name(connect_raw):
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = HttpServer(listener, hello)
    server.start()
    try:
        client = socket.create_connection(("127.0.0.1", server.address[1]), timeout=5)
        client.sendall(GET)
        assert b"X-Peer: ('127.0.0.1', " in client.recv(65536)
        client.close()
    finally:
        server.stop()


def test_nagle_is_off(serve_http, connect_raw):
    server = serve_http(hello)
    client = connect_raw(server)
    client.send(GET)
    client.answer()
    [wire] = server._wires
    assert wire.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_counters_follow_the_connections(serve_http, connect_raw):
    server = serve_http(hello)
    clients = [connect_raw(server) for _ in range(3)]
    for client in clients:
        client.send(GET * 2)
        client.answer()
        client.answer()
    assert (server.counters.connections_open, server.counters.connections_accepted, server.counters.requests) == (3, 3, 6)
    for client in clients:
        client.close()
    gevent.sleep(0.05)
    assert (server.counters.connections_open, server.counters.connections_accepted) == (0, 3)
    assert server.counters.disconnects == 0


def test_connections_over_the_limit_are_turned_away_with_503(serve_http, connect_raw):
    server = serve_http(hello, max_connections=2)
    kept = [connect_raw(server) for _ in range(2)]
    for client in kept:
        client.send(GET)
        client.answer()
    data = connect_raw(server).rest()
    assert data.startswith(b"HTTP/1.1 503 ")
    assert b"<Code>SlowDown</Code>" in data
    assert b"Retry-After: 1\r\n" in data
    assert server.counters.connections_over_limit == 1
    kept[0].close()
    gevent.sleep(0.05)
    client = connect_raw(server)
    client.send(GET)
    assert client.answer().body == b"hello"


def test_request_ids_of_refusals_come_from_the_given_function_or_look_like_s3(serve_http, connect_raw):
    client = connect_raw(serve_http(hello))
    client.send(b"nonsense\r\n\r\n")
    data = client.rest()
    request_id = re.search(rb"x-amz-request-id: ([0-9A-F]{16})\r\n", data)[1]
    assert b"<RequestId>" + request_id + b"</RequestId>" in data
    client = connect_raw(serve_http(hello, new_request_id=lambda: "ID7"))
    client.send(b"nonsense\r\n\r\n")
    assert b"x-amz-request-id: ID7\r\n" in client.rest()


def test_a_refusal_of_head_has_no_body(serve_http, connect_raw):
    client = connect_raw(serve_http(hello))
    client.send(b"HEAD /a HTTP/1.1\r\n\r\n")
    assert client.rest().endswith(b"\r\n\r\n")


def test_stalled_connections_do_not_disturb_the_others(serve_http, connect_raw):
    server = serve_http(hello, HttpLimits(sweep_interval_secs=0.05))
    stalled = [connect_raw(server) for _ in range(200)]
    for client in stalled:
        client.send(b"GET /a HTTP/1.1\r\nHo")
    client = connect_raw(server, timeout=1.0)
    client.send(GET * 50)
    assert [client.answer().status for _ in range(50)] == [200] * 50


def test_a_drain_ends_idle_connections_and_lets_running_requests_finish(serve_http, connect_raw):
    server = serve_http(slow, HttpLimits())
    idle = connect_raw(server)
    fresh = connect_raw(server)
    busy = connect_raw(server)
    idle.send(GET)
    idle.answer()
    busy.send(GET * 2)
    gevent.sleep(0.1)
    drain = gevent.spawn(server.drain, 5.0)
    assert idle.rest() == b""
    assert fresh.rest() == b""
    data = busy.rest()
    assert data.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close\r\n" in data
    assert data.endswith(b"slow")
    assert drain.get() == 0
    assert server.draining
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


def test_a_request_that_came_before_the_drain_is_still_answered(serve_http, connect_raw):
    server = serve_http(hello, HttpLimits())
    client = connect_raw(server)
    client.send(GET)
    client.answer()
    client.send(GET)
    assert server.drain(5.0) == 0
    data = client.rest()
    assert data.endswith(b"hello")
    assert b"Connection: close\r\n" in data


def test_an_upload_that_had_just_begun_at_the_drain_is_taken_whole(serve_http, connect_raw):
    def echo(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    server = serve_http(echo, HttpLimits())
    client = connect_raw(server)
    client.send(GET)
    client.answer()
    client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    drain = gevent.spawn(server.drain, 5.0)
    gevent.sleep(0.05)
    client.send(b"def")
    assert client.rest().endswith(b"abcdef")
    assert drain.get() == 0


def test_a_drain_resets_what_does_not_finish_in_time(serve_http, connect_raw):
    def endless(environ, start_response):
        start_response("200 OK", [("Content-Length", "100000000")])
        return [bytes(100_000_000)]

    server = serve_http(endless, HttpLimits())
    client = connect_raw(server)
    client.send(GET)
    gevent.sleep(0.05)
    assert server.drain(0.1) == 1
    assert server.counters.connections_open == 0
    with pytest.raises(ConnectionResetError):
        client.rest()


def test_limits_can_be_changed_while_it_runs(serve_http, connect_raw):
    server = serve_http(hello)
    server.max_connections = 1
    first = connect_raw(server)
    first.send(GET)
    first.answer()
    assert connect_raw(server).rest().startswith(b"HTTP/1.1 503 ")
    server.max_connections = 0
    second = connect_raw(server)
    second.send(GET)
    assert second.answer().status == 200
