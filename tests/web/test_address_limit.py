"""The limit of connections per address: who is let in, who is exempt, and that every connection is given back."""

from ipaddress import ip_network

import pytest

from tools.address_board import AddressBoard, SlotBoard
from web.address_limit import AddressLimit


@pytest.fixture
def limit() -> AddressLimit:
    return AddressLimit(SlotBoard(AddressBoard(1), 0), 2, [ip_network("10.0.0.0/8"), ip_network("::1/128")])


def test_an_address_gets_its_connections_and_no_more_until_one_ends(limit: AddressLimit) -> None:
    first, second = limit.enter("192.0.2.1"), limit.enter("192.0.2.1")
    assert first and second
    assert limit.enter("192.0.2.1") is None
    assert limit.enter("192.0.2.1") is None, "one that was turned away does not count"
    assert limit.enter("192.0.2.2")
    limit.leave(first)
    assert limit.enter("192.0.2.1")


@pytest.mark.parametrize("address", ["10.1.2.3", "::1"])
def test_trusted_proxies_are_exempt(limit: AddressLimit, address: str) -> None:
    held = [limit.enter(address) for _ in range(10)]
    assert None not in held
    for cells in held:
        limit.leave(cells)


def test_a_server_counts_and_gives_back(serve_http, connect_raw) -> None:
    def hello(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    board = AddressBoard(1)
    server = serve_http(hello)
    server.address_limit = AddressLimit(SlotBoard(board, 0), 2, [])
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    kept = [connect_raw(server) for _ in range(2)]
    for client in kept:
        client.send(request)
        assert client.answer().status == 200
    client = connect_raw(server)
    client.send(request)
    data = client.rest()
    assert data.startswith(b"HTTP/1.1 503 ")
    assert b"<Code>SlowDown</Code>" in data
    assert b"Retry-After: 1\r\n" in data
    assert server.counters.connections_over_address_limit == 1
    for client in kept:
        client.close()
    for _ in range(3):  # one after the other: each is given back
        client = connect_raw(server)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.rest().endswith(b"hello")
    assert server.counters.connections_open == 0
