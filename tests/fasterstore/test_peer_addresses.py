"""Which peers a node starts with, and the one line that the others get."""

import pytest

from fasterstore.peer_addresses import is_loopback, refuse_peers

A, B, C = "http://10.0.0.1:9000", "http://10.0.0.2:9000", "http://10.0.0.3:9000"


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:9000",
        "http://127.8.9.10",
        "https://localhost:1",
        "http://node.localhost.",
        "http://[::1]:9000",
        "http://[::ffff:127.0.0.1]",
        "http://0.0.0.0:9000",
        "http://[::]",
    ],
)
def test_an_origin_of_this_machine_alone_is_loopback(origin):
    assert is_loopback(origin)


@pytest.mark.parametrize("origin", [A, "http://node-b", "http://localhost.example.org", "http://[fd00::1]", "http://127.example.org"])
def test_an_origin_that_others_reach_is_not(origin):
    assert not is_loopback(origin)


def test_peers_that_fit_are_let_through():
    assert refuse_peers(A, (B, C), encrypted=False) is None
    assert refuse_peers("http://127.0.0.1:1", ("http://127.0.0.1:2", "http://localhost:3"), encrypted=False) is None
    # The other way round the peer hears of us under an address that it can reach; where it lies is its own concern.
    assert refuse_peers(A, ("http://127.0.0.1:2",), encrypted=False) is None
    assert refuse_peers("https://10.0.0.1", ("https://10.0.0.2",), encrypted=True) is None


@pytest.mark.parametrize(
    ("advertised", "peers", "encrypted", "names"),
    [
        (A, (B, A), False, "FS_REPLICATION_PEERS"),
        ("http://127.0.0.1:9000", ("http://127.0.0.1:9001", B), False, "FS_ADVERTISE_ADDR"),
        ("http://localhost:9000", ("http://node-b",), False, "FS_ADVERTISE_ADDR"),
        ("http://0.0.0.0:9000", (B,), False, "FS_ADVERTISE_ADDR"),
        ("https://10.0.0.1", ("https://10.0.0.2", B), True, "FS_REPLICATION_PEERS"),
        ("http://10.0.0.1", ("https://10.0.0.2",), True, "FS_ADVERTISE_ADDR"),
        ("https://127.0.0.1:1", ("http://127.0.0.1:2",), True, "FS_REPLICATION_PEERS"),
    ],
)
def test_peers_that_cannot_work_get_one_line_that_names_the_variable(advertised, peers, encrypted, names):
    line = refuse_peers(advertised, peers, encrypted=encrypted)
    assert line is not None and line.startswith(f"{names}='") and len(line.splitlines()) == 1
