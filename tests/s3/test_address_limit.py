"""FS_MAX_CONNECTIONS_PER_ADDR over two workers: exact in total, given back with a killed worker, proxies exempt."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tools.supervisor import SUSPECT_NAME

MOST = 12
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def limited(start_node):
    """A node of two workers with the limit; 127.0.0.9 is a trusted proxy."""
    return start_node(workers=2, FS_MAX_CONNECTIONS_PER_ADDR=str(MOST), FS_TRUSTED_PROXIES="127.0.0.9/32")


@pytest.fixture
def open_from(limited):
    """open_from(address) -> a connection from that loopback address and the status of its first answer (0: it was reset)."""
    made = []

    def open_one(address="127.0.0.2"):
        client = socket.create_connection((limited.host, limited.port), timeout=10, source_address=(address, 0))
        made.append(client)
        try:
            client.sendall(HEALTH)
            return client, int(client.recv(65536).split()[1])
        except (ConnectionError, IndexError):
            return client, 0

    yield open_one
    for client in made:
        client.close()


def test_an_address_gets_as_many_as_it_may_over_all_workers_and_no_more(limited, open_from):
    opened = [open_from() for _ in range(MOST)]
    assert {status for _, status in opened} == {200}
    assert len({process_of(limited, client) for client, _ in opened}) == 2, "both workers hold some"
    assert [open_from()[1] for _ in range(5)] == [503] * 5
    assert open_from("127.0.0.3")[1] == 200
    for client, _ in opened[:4]:
        client.close()
    time.sleep(0.2)
    assert [open_from()[1] for _ in range(5)] == [200] * 4 + [503]
    assert limited.metric("fasterstore_http_connections_over_address_limit_total") == 6


def test_a_rush_is_let_in_up_to_the_limit(open_from):
    with ThreadPoolExecutor(40) as pool:
        statuses = [status for _, status in pool.map(lambda _: open_from(), range(40))]
    # Two that come to two workers at the same moment may both be turned away.
    assert MOST - 3 <= statuses.count(200) <= MOST
    assert statuses.count(200) + statuses.count(503) + statuses.count(0) == 40


def test_a_killed_worker_leaves_no_connection_counted(limited, open_from):
    opened = [open_from() for _ in range(MOST)]
    killed = limited.worker_pids()[0]
    lost = [client for client, _ in opened if process_of(limited, client) == killed]
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while killed in limited.worker_pids() and time.monotonic() < deadline:
        time.sleep(0.01)
    limited.wait_ready()
    assert 0 < len(lost) < MOST
    assert [open_from()[1] for _ in range(len(lost) + 1)] == [200] * len(lost) + [503]


def test_trusted_proxies_are_exempt(open_from):
    assert {open_from("127.0.0.9")[1] for _ in range(3 * MOST)} == {200}


def test_a_single_process_that_starts_read_only_counts_too(start_node):
    node = start_node(workers=0, FS_MAX_CONNECTIONS_PER_ADDR="3")
    node.stop()
    (node.data_dir / SUSPECT_NAME).write_text("planted by a test\n")
    node.start(wait_ready=False)
    held = []
    for _ in range(4):
        client = socket.create_connection((node.host, node.port), timeout=10, source_address=("127.0.0.2", 0))
        client.sendall(HEALTH)
        held.append((client, int(client.recv(65536).split()[1])))
    assert [status for _, status in held] == [200, 200, 200, 503]
    for client, _ in held:
        client.close()


def process_of(node, client):
    """The worker that has the other end of a connection."""
    inode = _inode_of(node.port, client.getsockname()[1])
    for pid in node.worker_pids():
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                    return pid
            except OSError:
                continue
    return None


def _inode_of(local_port, remote_port):
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == local_port and int(fields[2].rpartition(":")[2], 16) == remote_port:
                return fields[9]
    return None
