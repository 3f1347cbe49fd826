"""The tools of the probes with two nodes: a cut drops what it says and nothing else; a clock that is set moves one node's time alone."""

import email.utils
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

from tests.node import ROOT, RunningNode
from tests.probe.network import Loopback, Namespaces, fresh_namespaces, namespaces_refused
from tests.probe.stepped_clock import SteppedClock, SteppedClockUnavailable, compile_library


@pytest.mark.slow
def test_a_cut_between_namespaces_drops_one_direction_and_the_clients_way_stays_open() -> None:
    if refused := namespaces_refused():
        pytest.skip(f"no network namespaces here: {refused}")
    command = [*fresh_namespaces(), sys.executable, "-m", "tests.probe.reach"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    whole, connects, one_way, both, healed = done.stdout.split() or [done.stderr] * 5
    assert whole == healed == "111111", done
    assert connects == "011111", "a cannot call b's port; all else goes"
    assert one_way == both == "000011", "without packets one way no connection is made either way; the clients' stay"


def test_a_process_in_the_machines_own_network_makes_no_router_of_it() -> None:
    interfaces = {path.name for path in Path("/proc/sys/net/ipv4/conf").iterdir()} - {"all", "default", "lo"}
    if not interfaces:
        pytest.skip("this machine has no interface but loopback: its network cannot be told from a fresh namespace")
    with pytest.raises(RuntimeError, match="no namespace of our own"):
        Namespaces()


@contextmanager
def _echo() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        while piece := connection.recv(100):
            connection.sendall(piece)

    def accept() -> None:
        while True:
            gevent.spawn(serve, listener.accept()[0])

    accepting = gevent.spawn(accept)
    try:
        yield listener.getsockname()[1]
    finally:
        accepting.kill()
        listener.close()


def _answers(connection: socket.socket, piece: bytes) -> bytes:
    """What comes back within a moment."""
    connection.settimeout(0.3)
    connection.sendall(piece)
    try:
        return connection.recv(100)
    except TimeoutError:
        return b""


def test_a_cut_relay_holds_bytes_back_and_passes_them_on_once_healed() -> None:
    network = Loopback()
    try:
        with _echo() as port:
            for side in ("a", "b"):
                network.listens(side, port)
            address = network.place("b").advertise_addr.rpartition(":")[2]
            to_b = socket.create_connection(("127.0.0.1", int(address)), 5)
            to_a = socket.create_connection(("127.0.0.1", int(network.place("a").advertise_addr.rpartition(":")[2])), 5)
            assert _answers(to_b, b"1") == b"1" and _answers(to_a, b"1") == b"1"
            network.cut("a", connects_only=True)
            assert _answers(to_b, b"2") == b"" and _answers(to_a, b"2") == b"2"
            network.heal()
            assert to_b.recv(100) == b"2"
            network.cut("a", connects_only=False)
            assert _answers(to_b, b"3") == b"" and _answers(to_a, b"3") == b"", "neither b's calls' answers from a"
            network.heal()
            assert to_b.recv(100) == b"3" and to_a.recv(100) == b"3"
            to_b.close()
            to_a.close()
    finally:
        network.close()


def test_a_clock_that_is_set_moves_the_time_of_one_running_node(tmp_path: Path) -> None:
    try:
        library = compile_library(tmp_path)
    except SteppedClockUnavailable as error:
        pytest.skip(str(error))
    clock = SteppedClock(library, tmp_path / "clock")
    with RunningNode(tmp_path / "data", clock.environment) as node:

        def ahead_secs() -> float:
            with node.client("none") as client:
                date = client.send("GET", "/healthz").headers["Date"]
            return email.utils.parsedate_to_datetime(date).timestamp() - time.time()

        assert abs(ahead_secs()) < 5
        for offset_secs in (3600.0, -3600.0, 0.0):
            clock.set(offset_secs)
            time.sleep(1.1)  # the header is made anew each second
            assert abs(ahead_secs() - offset_secs) < 5
        assert node.is_ready()
