"""Two real nodes, each the other's peer, on a network and under clocks that a test rules; and what can befall them.

Owns both nodes, the network and the clocks. `TwoNodes` is a context manager: when it ends, so has everything that it started.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.node import RunningNode
from tests.probe.network import SIDES, Network, other
from tests.probe.stepped_clock import SteppedClock
from tools.client import Client

TOKEN = "a-token-of-two-nodes"
SETTINGS = {
    "FS_INTERNAL_TOKEN": TOKEN,
    "FS_RATE_LIMIT_PER_SEC": "0",
    "FS_REQUEST_TIMEOUT_SECS": "10",
    "FS_READ_GRACE_SECS": "1",
    "FS_SEGMENT_TARGET_SIZE_MB": "8",
    "FS_STORAGE_COMPACT_INTERVAL_SECS": "5",
    "FS_METADATA_COMPACT_INTERVAL_SECS": "5",
}
"""What nothing uses goes while the nodes run, the log behind what the peer has among it."""


class TwoNodes:
    """The nodes "a" and "b". Enter it and both are ready."""

    def __init__(
        self,
        folder: Path,
        network: Network,
        *,
        clock_library: Path | None = None,
        settings: Mapping[str, str] | None = None,
        workers: int = 1,
        peers: bool = True,
    ) -> None:
        """`clock_library` of `stepped_clock`: without it the clocks cannot be set. `peers`: they know each other.

        `settings` of both; with FS_TLS_CERT_PATH among them they call each other by https.
        """
        self.network = network
        self.clocks = {side: SteppedClock(clock_library, folder / f"clock-{side}") for side in SIDES} if clock_library else {}
        places = {side: network.place(side) for side in SIDES}
        self.nodes: dict[str, RunningNode] = {}
        for side, place in places.items():
            scheme = "https" if settings and "FS_TLS_CERT_PATH" in settings else "http"
            own = {"FS_BIND_ADDR": place.bind_addr, "FS_ADVERTISE_ADDR": place.advertise_addr.replace("http", scheme, 1)}
            if peers:
                own["FS_REPLICATION_PEERS"] = places[other(side)].advertise_addr.replace("http", scheme, 1)
            clock = self.clocks[side].environment if clock_library else {}
            self.nodes[side] = RunningNode(
                folder / side, {**SETTINGS, **own, **clock, **(settings or {})}, workers=workers, launcher=place.launcher
            )

    def __enter__(self) -> "TwoNodes":
        try:
            for side in SIDES:
                self.start(side)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for node in self.nodes.values():
            node.kill()
        self.network.close()

    # ---- talking to them ----

    def now(self, side: str) -> float:
        """The time of day as that node sees it, in Unix seconds."""
        return time.time() + (self.clocks[side].offset_secs if self.clocks else 0.0)

    def client(self, side: str, timeout_secs: float = 10.0) -> Client:
        """A client of one node, whose clock is the node's: signatures have a date. The caller closes it."""
        access_key, secret_key, region = self.nodes[side].credentials
        options: dict[str, Any] = {"region": region, "timeout_secs": timeout_secs, "ca_cert": self.nodes[side].cert_path}
        return Client(self.nodes[side].endpoint, access_key, secret_key, clock=lambda: self.now(side), **options)

    # ---- what befalls them ----

    def start(self, side: str) -> None:
        """Start a node that is down; returns when it is ready. Raises NodeEnded, TimeoutError."""
        node = self.nodes[side]
        node.start(wait_ready=False)
        self.network.listens(side, node.port)
        node.wait_ready()

    def kill(self, side: str) -> None:
        """kill -9 of all its processes."""
        self.nodes[side].kill()

    def kill_storage(self, side: str) -> None:
        """kill -9 of its storage process alone: the supervisor starts another."""
        pid = self.nodes[side].storage_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def stop(self, side: str) -> None:
        """End it in order."""
        self.nodes[side].stop()

    def pause(self, side: str) -> None:
        """All its processes stand still."""
        self._signal(side, signal.SIGSTOP)

    def resume(self, side: str) -> None:
        """They go on."""
        self._signal(side, signal.SIGCONT)

    def set_clock(self, side: str, offset_secs: float) -> None:
        """The node's clock is set so far from the right time."""
        self.clocks[side].set(offset_secs)

    def _signal(self, side: str, number: int) -> None:
        for pid in self.nodes[side].pids():
            os.kill(pid, number)
