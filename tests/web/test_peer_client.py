"""A peer that sends a byte now and then holds nobody for longer than one that sends nothing."""

import socket

import pytest

from actors.runtime import sleep, spawn
from web import peer_client
from web.peer_client import PeerClient

WAITED_SECS = 0.3


@pytest.fixture
def dripping(monkeypatch):
    """Makes a client of a peer that answers with `first`, and then with `byte` three times in each WAITED_SECS, for ever."""
    monkeypatch.setattr(peer_client, "CONNECT_SECS", 0.2)
    listener = socket.create_server(("127.0.0.1", 0))
    made = []

    def answer(connection, first, byte):
        with connection:
            connection.recv(65536)
            connection.sendall(first)
            while True:
                sleep(WAITED_SECS / 3)
                connection.sendall(byte)

    def serve(first, byte):
        while True:
            connection, _ = listener.accept()
            made.append(spawn(answer, connection, first, byte))

    def make(first, byte):
        made.append(spawn(serve, first, byte))
        client = PeerClient(f"http://127.0.0.1:{listener.getsockname()[1]}", "http://127.0.0.1:1", "token", timeout_secs=WAITED_SECS)
        return client

    yield make
    for greenlet in made:
        greenlet.kill()
    listener.close()


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 OK\r\nx-dripping: ", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"HTTP/1.1 403 Forbidden\r\n\r\n"],
    ids=["head", "body", "refusal"],
)
def test_an_answer_that_drips_is_given_up(dripping, first):
    client = dripping(first, b"x")
    asked = spawn(_asked, client)
    asked.join(timeout=20 * WAITED_SECS)
    assert asked.ready()
    assert isinstance(asked.value, Exception)
    client.close()


def test_signs_of_life_keep_a_batch_waiting(dripping):
    client = dripping(b"HTTP/1.1 200 OK\r\n\r\n", b" ")
    asked = spawn(client.send_objects, b"batch", 1)
    asked.join(timeout=5 * WAITED_SECS)
    assert not asked.ready()
    asked.kill()
    client.close()


def _asked(client):
    try:
        return client.status()
    except Exception as error:
        return error
