"""One node of the demo: a real node process on loopback, with keys made for the occasion and its data in a folder of the demo's.

Owns the process; ended by its id. Says what it holds and how far its peer is behind, as any client could ask it.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import requests
from defusedxml.ElementTree import fromstring
from prometheus_client.parser import text_string_to_metric_families

from tools.client import Client, ResponseError

READY_SECS = 30.0
STOP_SECS = 30.0
_POLL_SECS = 0.05
_ROOT = Path(__file__).resolve().parents[1]
_LAG = "fasterstore_replication_lag_"


class DemoFailed(Exception):
    """The demo cannot go on; one line that says why, and where the log is."""


class Lag(NamedTuple):
    """How far the peer is behind."""

    entries: int
    lag_bytes: int
    secs: float


class DemoNode:
    """A node on `port`; it is down until `start`."""

    def __init__(self, name: str, folder: Path, port: int, peer_port: int, secrets: Mapping[str, str]) -> None:
        """`secrets`: FS_ACCESS_KEY, FS_SECRET_KEY and FS_INTERNAL_TOKEN, the same for both nodes."""
        self.name = name
        self.endpoint = f"http://127.0.0.1:{port}"
        self._log_path = folder / f"{name}.log"
        self._settings = {
            **secrets,
            "FS_BIND_ADDR": f"127.0.0.1:{port}",
            "FS_ADVERTISE_ADDR": self.endpoint,
            "FS_REPLICATION_PEERS": f"http://127.0.0.1:{peer_port}",
            "FS_DATA_DIR": str(folder / name),
            "FS_WORKERS": "1",
            "FS_LOG_JSON": "false",
            "FS_CACHE_CAPACITY_MB": "16",
            "FS_RATE_LIMIT_PER_SEC": "0",
        }
        self.client = Client(self.endpoint, secrets["FS_ACCESS_KEY"], secrets["FS_SECRET_KEY"], timeout_secs=10)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; returns when it is ready. Raises DemoFailed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("FS_", "AWS_", "MINIO_"))}
        with open(self._log_path, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fasterstore", "--env-file", os.devnull, "serve"],
                cwd=_ROOT, env=clean | self._settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECS
        while not self._says_ready():
            if not self.is_up or time.monotonic() > deadline:
                raise DemoFailed(f"node {self.name} did not become ready:\n{self._log_path.read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL_SECS)

    def stop(self) -> None:
        """End it in order; what is still there after STOP_SECS is killed."""
        if self._process is None:
            return
        if self.is_up:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def objects(self, bucket: str) -> dict[str, str]:
        """Key to ETag of what the bucket holds, at most a page of it; empty while the bucket or the node is not there."""
        try:
            answer = self.client.request("GET", bucket, "", (("list-type", "2"),))
        except requests.RequestException:
            return {}
        if answer.status_code != http.HTTPStatus.OK:
            return {}
        rows = [{child.tag.rpartition("}")[2]: child.text or "" for child in row} for row in fromstring(answer.content)]
        return {row["Key"]: row["ETag"].strip('"') for row in rows if "Key" in row}

    def lag(self) -> Lag | None:
        """What the peer lacks; None while the node does not say."""
        try:
            text = self.client.send("GET", "/metrics").text
        except (requests.RequestException, ResponseError):
            return None
        found = {
            sample.name.removeprefix(_LAG): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith(_LAG)
        }
        return Lag(int(found["entries"]), int(found["bytes"]), found["seconds"]) if {"entries", "bytes", "seconds"} <= set(found) else None

    def _says_ready(self) -> bool:
        try:
            return self.client.send("GET", "/readyz").status_code == http.HTTPStatus.OK
        except requests.RequestException:
            return False


def free_ports(count: int) -> list[int]:
    """Ports of loopback on which nobody listened just now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
