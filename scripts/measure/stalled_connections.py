"""What stalled connections cost a node: `python -m scripts.measure.stalled_connections [--count 2000] [--check]`.

Starts a node of its own on loopback, warms it, and then for each kind of stall opens so many connections, holds them, and looks at the
memory of all processes (PSS, the highest seen while they are held) and at the latency of one good client, beside those of the node
without them. Every kind meets a new node. Prints one JSON line a kind; with --check exits 1 if a figure is over its limit. Ends by
itself; each kind takes about half a minute.
"""

import argparse
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

from fasterstore.s3 import canonical, signer
from scripts.measure import closed_loop
from scripts.measure.process_tree import tree_pss_bytes, watch_memory
from scripts.measure.servers import Node
from tools.percentiles import percentile

MEMORY_LIMIT_BYTES = 64 << 20
P99_LIMIT = 2.0
GOOD_BYTES = 4096
LARGE_BYTES = 10 << 20
MIDDLE_BYTES = 1 << 20
MIDDLE_COUNT = 40
_KIB = 1024
_RECEIVE_BUFFER_BYTES = 4096

Opening = Callable[["Target", int], bytes]
"""The bytes that connection number N sends before it stalls."""


class Target:
    """A running node and the objects on it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.credentials = signer.Credentials(node.access_key, node.secret_key)
        self.good = closed_loop.Objects(GOOD_BYTES, "good")

    def seed(self) -> None:
        """Store what is read, and use every code path once, so that the memory of a warm node is what is compared with."""
        large, middle = closed_loop.Objects(LARGE_BYTES, "large"), closed_loop.Objects(MIDDLE_BYTES, "middle")
        for puts in (self.good.puts(range(100)), large.puts([0]), middle.puts(range(MIDDLE_COUNT))):
            closed_loop.run(self.node.port, self.credentials, puts, connections=4)
        # Often enough that each worker has in its cache what it will be asked for.
        for gets in (self.good.gets([*range(100)] * 4), large.gets([0] * 40), middle.gets([*range(MIDDLE_COUNT)] * 8)):
            closed_loop.run(self.node.port, self.credentials, gets, connections=8)

    def signed(self, method: str, path: str, length: int = 0) -> bytes:
        """A request head."""
        fields = signer.sign_xfs(method, path, "", canonical.UNSIGNED_PAYLOAD, self.credentials, int(time()))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n{lines}\r\n".encode("latin-1")

    def latencies(self, secs: float) -> list[float]:
        """Of one connection that reads small objects for so long, ascending."""
        deadline = monotonic() + secs

        def until() -> Iterator[closed_loop.Request]:
            for number in cycle(range(100)):
                if monotonic() >= deadline:
                    return
                yield closed_loop.Request("GET", self.good.path(number))

        return closed_loop.run(self.node.port, self.credentials, until(), connections=1).latencies_secs


def _body(announced: int, sent: int) -> Opening:
    return lambda target, number: target.signed("PUT", f"/stalled/object-{number}", announced) + os.urandom(sent)


KINDS: dict[str, Opening] = {
    "idle": lambda target, number: b"",
    "small head": lambda target, number: b"GET /good/key HTTP/1.1\r\nhost: h\r\nx-a",
    "large head": lambda target, number: b"GET /good/key HTTP/1.1\r\nhost: h\r\nx-a: " + b"a" * (60 * _KIB),
    "body of 4 KiB, nothing sent": _body(4 * _KIB, 0),
    "body of 64 KiB but one byte": _body(64 * _KIB, 64 * _KIB - 1),
    "body of 256 KiB but one byte": _body(256 * _KIB, 256 * _KIB - 1),
    "body of 8 MiB, half sent": _body(8 << 20, 3 << 19),
    "answer of 1 MiB": lambda target, number: target.signed("GET", closed_loop.Objects(0, "middle").path(number % MIDDLE_COUNT)),
    "answer of 10 MiB": lambda target, number: target.signed("GET", closed_loop.Objects(0, "large").path(0)),
}


def mixed(target: Target, number: int) -> bytes:
    """Every kind in turn."""
    return list(KINDS.values())[number % len(KINDS)](target, number)


def open_stalled(target: Target, count: int, opening: Opening) -> list[socket.socket]:
    """Connections that have sent what they send, as far as the node took it at once."""
    made = []
    for number in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        made.append(connection)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", target.node.port))
        connection.settimeout(0.2)
        try:
            connection.sendall(opening(target, number))
        except OSError:
            continue  # the node has turned it away, or reads no more of it
    return made


def measure(kind: str, opening: Opening, count: int, hold_secs: float, folder: Path, settings: dict[str, str]) -> dict[str, Any]:
    """The figures of one kind of stall, on a node of its own."""
    node = Node(folder, settings)
    node.start()
    held: list[socket.socket] = []
    try:
        target = Target(node)
        target.seed()
        target.latencies(1.0)
        idle = target.latencies(hold_secs)
        sleep(1.0)
        idle_bytes = tree_pss_bytes(node.pid)
        started = monotonic()
        with watch_memory(node.pid) as peak:
            held = open_stalled(target, count, opening)
            opened_secs = monotonic() - started
            loaded = target.latencies(hold_secs)
        held_bytes = tree_pss_bytes(node.pid)
        return {
            "kind": kind,
            "connections": count,
            "opened_secs": round(opened_secs, 1),
            "idle_mib": _mib(idle_bytes),
            "peak_over_idle_mib": _mib(peak.pss_bytes - idle_bytes),
            "held_over_idle_mib": _mib(held_bytes - idle_bytes),
            "idle_p99_ms": _ms(percentile(idle, 99)),
            "p99_ms": _ms(percentile(loaded, 99)),
            "p99_ratio": round(percentile(loaded, 99) / percentile(idle, 99), 2),
        }
    finally:
        for connection in held:
            connection.close()
        node.stop()


def failures(figures: dict[str, Any]) -> list[str]:
    """What is over its limit, in words."""
    found = []
    if figures["peak_over_idle_mib"] > MEMORY_LIMIT_BYTES / (1 << 20):
        found.append(f"{figures['kind']}: {figures['peak_over_idle_mib']} MiB over the idle node")
    if figures["p99_ratio"] > P99_LIMIT:
        found.append(f"{figures['kind']}: p99 of a good client is {figures['p99_ratio']} times that of the idle node")
    return found


def _mib(size_bytes: int) -> float:
    return round(size_bytes / (1 << 20), 1)


def _ms(secs: float) -> float:
    return round(secs * 1000, 3)


def main() -> None:
    """Parse the arguments, measure each kind, print."""
    kinds = {**KINDS, "all kinds": mixed}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--hold-secs", type=float, default=6.0, help="how long the good client reads, before and meanwhile")
    parser.add_argument("--kind", choices=kinds, action="append", help="only this one; may be given again")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", default=".", help="where the temporary data dirs are made")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="of the node; may be given again")
    arguments = parser.parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wrong = []
    for kind in arguments.kind or list(kinds):
        with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as folder:
            settings = {"FS_WORKERS": str(arguments.workers)} | dict(setting.split("=", 1) for setting in arguments.setting)
            figures = measure(kind, kinds[kind], arguments.count, arguments.hold_secs, Path(folder).resolve(), settings)
        print(json.dumps(figures), flush=True)
        wrong += failures(figures)
    if arguments.check and wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
