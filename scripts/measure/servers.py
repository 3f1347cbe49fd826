"""Servers under measurement: our node and MinIO, each on a free loopback port with its data in a folder of the caller's.

Started as their users start them, ended by process id. What they log goes to a file beside their data.
"""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import requests

from tools.client import Client

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_SECS = 120.0
STOP_TIMEOUT_SECS = 120.0
POLL_INTERVAL_SECS = 0.005
_OURS_OR_THEIRS = ("FS_", "AWS_", "MINIO_")


class NotReady(Exception):
    """The server ended or did not become ready; the text holds the end of its log."""


class Start(NamedTuple):
    """Seconds from the start of the process to the first answer that says ready, and until all worker processes serve."""

    ready_secs: float
    whole_secs: float


class Server:
    """A server process. `port`, `access_key`, `secret_key` stay the same when it is started again."""

    name = ""
    ready_path = ""

    def __init__(self, folder: Path) -> None:
        """`folder` exists and is empty, or holds what an earlier Server of the same kind left there."""
        self.folder = folder
        self.port = free_port()
        self.access_key = "measure"
        self.secret_key = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The URL, without path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the first process; the others are its descendants."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def start(self) -> Start:
        """Start it; return when all of it is ready. Raises NotReady: it ended, or READY_TIMEOUT_SECS passed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(_OURS_OR_THEIRS)}
        with open(self.folder / "log", "ab") as log:
            started = perf_counter()
            self._process = subprocess.Popen(
                self.command(), env=clean | dict(self.environment()), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        ready_secs = self._wait(self._says_ready, started)
        return Start(ready_secs, self._wait(self._is_whole, started))

    def stop(self) -> None:
        """End it in order, by SIGTERM; what is still there after STOP_TIMEOUT_SECS is killed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._end(signal.SIGKILL)

    def command(self) -> list[str]:
        """Program and arguments."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Variables on top of the caller's, which are stripped of all that could configure a store."""
        raise NotImplementedError

    def _is_whole(self) -> bool:
        """Once ready: do all of its processes serve?"""
        return True

    def _wait(self, condition: Callable[[], bool], started: float) -> float:
        """Seconds from `started` until the condition held."""
        while perf_counter() - started < READY_TIMEOUT_SECS and self._process is not None and self._process.poll() is None:
            if condition():
                return perf_counter() - started
            sleep(POLL_INTERVAL_SECS)
        self.kill()
        tail = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise NotReady(f"{self.name} did not become ready:\n{tail}")

    def _says_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end(self, signal_number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal_number)
        try:
            process.wait(STOP_TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Node(Server):
    """Our node: all defaults but the rate limit, which is off, and what `settings` says."""

    name = "fasterstore"
    ready_path = "/readyz"

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._settings = dict(settings or {})

    def add_settings(self, settings: Mapping[str, str]) -> None:
        """More of them, from the next start on: what depends on the port."""
        self._settings.update(settings)

    def command(self) -> list[str]:
        """As `make run` does, but for the settings file of the current folder."""
        return [sys.executable, "-m", "fasterstore", "--env-file", os.devnull, "serve"]

    def environment(self) -> Mapping[str, str]:
        """Address, data dir and keys of its own."""
        return {
            "FS_BIND_ADDR": f"127.0.0.1:{self.port}",
            "FS_DATA_DIR": str(self.folder / "data"),
            "FS_ACCESS_KEY": self.access_key,
            "FS_SECRET_KEY": self.secret_key,
            "FS_RATE_LIMIT_PER_SEC": "0",
            **self._settings,
        }

    def _is_whole(self) -> bool:
        workers = int(self._settings.get("FS_WORKERS") or len(os.sched_getaffinity(0)))
        region = self._settings.get("FS_REGION", "us-east-1")
        with Client(self.endpoint, self.access_key, self.secret_key, region=region) as client:
            try:
                response = client.send("GET", "/_admin/actors")
            except requests.RequestException:
                return False
        if response.status_code != requests.codes.ok:
            return False
        serving = {row["process"] for row in response.json()["actors"] if row["state"] != "no answer"}
        return len([name for name in serving if name.startswith("worker-")]) >= workers


class MinIO(Server):
    """A MinIO of one disk, with its defaults."""

    name = "minio"
    ready_path = "/minio/health/ready"

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        self._program = program
        self._console_port = free_port()

    def command(self) -> list[str]:
        """Loopback only, as the node."""
        address, console = f"127.0.0.1:{self.port}", f"127.0.0.1:{self._console_port}"
        return [str(self._program), "server", "--quiet", "--address", address, "--console-address", console, str(self.folder / "data")]

    def environment(self) -> Mapping[str, str]:
        """Keys of its own; no look for updates."""
        return {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key, "MINIO_UPDATE": "off"}


def free_port() -> int:
    """A port of loopback that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
