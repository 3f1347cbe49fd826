"""A real node as its own processes, for tests that look at the store from outside: HTTP, signals, files.

Owns the processes it starts and their log file. The port is the one the kernel gave the node, read from /proc: no two tests can
take the same one. Never reads a `.env` and takes nothing of the caller's environment but PATH.
"""

import http.client
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from fasterstore.s3.signer import Credentials
from tools.client import Client

ROOT = Path(__file__).resolve().parents[1]
ACCESS_KEY, SECRET_KEY = "node-key", "a-secret-of-nodes"
START_SECS = 60.0
STOP_SECS = 60.0
_LISTENING = "0A"
_POLL_SECS = 0.01


class NodeEnded(Exception):
    """The node ended instead of becoming ready; carries its exit code and what it wrote."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(f"the node ended with code {code}:\n{log}")
        self.code = code
        self.log = log


def node_environment(data_dir: Path, workers: int, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The complete environment of a node on a free loopback port; a value of None in `settings` leaves the variable out."""
    environ: dict[str, str | None] = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "FS_BIND_ADDR": "127.0.0.1:0",
        "FS_DATA_DIR": str(data_dir),
        "FS_ACCESS_KEY": ACCESS_KEY,
        "FS_SECRET_KEY": SECRET_KEY,
        "FS_WORKERS": str(workers),
        "FS_LOG_JSON": "false",
        "FS_MIN_FREE_MB": "0",
        "FS_CACHE_CAPACITY_MB": "32",
        **(settings or {}),
    }
    return {name: value for name, value in environ.items() if value is not None}


class RunningNode:
    """A node on `data_dir`. `start` waits until it is ready; use as a context manager or call `stop`."""

    def __init__(
        self, data_dir: Path, settings: Mapping[str, str] | None = None, *, workers: int = 1, launcher: Sequence[str] = ()
    ) -> None:
        """`settings`: FS_ variables over the tests' own. `workers` 0: everything in one process.

        `launcher`: a program with arguments that becomes the node (`nsenter --net=...`): one that execs, so that the pid stays.
        """
        self.data_dir = Path(data_dir)
        self.workers = workers
        self.settings = dict(settings or {})
        self._launcher = tuple(launcher)
        self.log_path = self.data_dir.with_name(self.data_dir.name + ".log")
        self.host, self.port = "127.0.0.1", 0
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    # ---- life ----

    def start(self, *, wait_ready: bool = True) -> "RunningNode":
        """Start the node (again: on the port it had). Raises NodeEnded if it ends before it is ready."""
        if self._process is not None and self._process.poll() is None:
            raise RuntimeError("the node is running")
        environ = node_environment(self.data_dir, self.workers, self.settings)
        if self.port:
            environ["FS_BIND_ADDR"] = f"{self._host_in_url}:{self.port}"
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [*self._launcher, sys.executable, "-m", "fasterstore", "serve"],
                env=environ,
                cwd=self.data_dir.parent,  # no .env of a checkout
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECS
        while not (listening := listening_address(self._process.pid)):
            self._raise_if_ended()
            self._raise_if_late(deadline, "does not listen")
            time.sleep(_POLL_SECS)
        self.host, self.port = listening
        if wait_ready:
            self.wait_ready(max(deadline - time.monotonic(), 1.0))
        return self

    def wait_ready(self, timeout_secs: float = START_SECS) -> None:
        """Return once /readyz says 200 and every worker has storage; raises NodeEnded, or TimeoutError with the log."""
        deadline = time.monotonic() + timeout_secs
        while not (self.is_ready() and len(self.connected_workers()) >= max(self.workers, 1)):
            self._raise_if_ended()
            self._raise_if_late(deadline, "is not ready")
            time.sleep(_POLL_SECS)

    def is_ready(self) -> bool:
        """Whether /readyz says 200 now."""
        connection = self._connection(5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self, timeout_secs: float = STOP_SECS) -> int:
        """SIGTERM; return the exit code. A node that does not end in time is killed and TimeoutError raised."""
        if self._process is None:
            return 0
        self._close_clients()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.wait_ended(timeout_secs)

    def wait_ended(self, timeout_secs: float = STOP_SECS) -> int:
        """Return the exit code once the node has ended by itself. One that does not in time is killed and TimeoutError raised."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_secs)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"the node did not stop within {timeout_secs} s:\n{self.log()}") from None

    def kill(self) -> None:
        """SIGKILL the whole node and wait until every one of its processes is gone."""
        if self._process is None:
            return
        self._close_clients()
        children = child_pids(self._process.pid)
        self._process.kill()  # the children are killed by the kernel when their parent is gone
        self._process.wait()
        deadline = time.monotonic() + STOP_SECS
        while any(_is_alive(pid) for pid in children):
            self._raise_if_late(deadline, "left a process behind")
            time.sleep(_POLL_SECS)

    def restart(self) -> "RunningNode":
        """Stop in order, and start on the same port and data."""
        self.stop()
        return self.start()

    def __enter__(self) -> "RunningNode":
        return self if self._process is not None else self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # ---- looking at it ----

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._process is not None
        return self._process.pid

    def storage_pid(self) -> int | None:
        """The storage process (or the single process); None while none has taken its lock."""
        lock = str(self.data_dir / "storage.lock")
        return next((pid for pid in child_pids(self.pid) if lock in open_files(pid)), None)

    def worker_pids(self) -> list[int]:
        """The processes that can accept connections; empty for a single process."""
        storage = self.storage_pid()
        inodes = set(_listening_sockets(self.pid))
        return [
            pid
            for pid in child_pids(self.pid)
            if pid != storage and any(name[8:-1] in inodes for name in open_files(pid) if name.startswith("socket:["))
        ]

    def pids(self) -> list[int]:
        """The supervisor and all its children."""
        return [self.pid, *child_pids(self.pid)]

    def is_running(self) -> bool:
        """Whether the supervisor lives."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Everything the node has written, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def metrics(self, name: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """The samples of /metrics by name and labels, of those called `name` if one is given; empty if it does not answer 200.

        Parsing is slow, and a node that serves a whole session has a thousand buckets to tell of.
        """
        connection = self._connection(10)
        token = self.settings.get("FS_METRICS_TOKEN")
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            connection.close()
        if answer.status != 200:
            return {}
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families("".join(line for line in text.splitlines(keepends=True) if name in line))
            for sample in family.samples
            if name in ("", sample.name)
        }

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples called `name` that have these labels."""
        wanted = set(labels.items())
        return sum(value for (_, has), value in self.metrics(name).items() if wanted <= has)

    def usage(self, bucket: str) -> tuple[float, float]:
        """(objects, bytes) of a bucket as /metrics has them."""
        return self.metric("fasterstore_bucket_objects", bucket=bucket), self.metric("fasterstore_bucket_bytes", bucket=bucket)

    def connected_workers(self) -> set[str]:
        """The processes that serve HTTP and have a connection to storage."""
        return {dict(labels)["process"] for _, labels in self.metrics("fasterstore_http_connections")}

    # ---- talking to it ----

    @property
    def _host_in_url(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def endpoint(self) -> str:
        """Its URL without a path."""
        return f"{'https' if self.cert_path else 'http'}://{self._host_in_url}:{self.port}"

    @property
    def cert_path(self) -> str | None:
        """The certificate that it serves; None if it speaks no TLS."""
        return self.settings.get("FS_TLS_CERT_PATH")

    @property
    def credentials(self) -> Credentials:
        """The keys that own its buckets."""
        access_key = self.settings.get("FS_ACCESS_KEY", ACCESS_KEY)
        return Credentials(access_key, self.settings.get("FS_SECRET_KEY", SECRET_KEY), self.settings.get("FS_REGION", "us-east-1"))

    def client(
        self,
        scheme: str = "sigv4",
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        region: str | None = None,
        **options: Any,
    ) -> Client:
        """A client with the node's keys unless others are given; closed when the node stops."""
        made = Client(
            self.endpoint,
            access_key or self.credentials.access_key,
            secret_key or self.credentials.secret_key,
            scheme=scheme,
            region=region or self.credentials.region,
            **{"ca_cert": self.cert_path, **options},
        )
        self._clients.append(made)
        return made

    # ---- private ----

    def _connection(self, timeout_secs: float) -> http.client.HTTPConnection:
        if not self.cert_path:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout_secs)
        # Whatever certificate it serves: these questions are about the node's state.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_secs, context=context)

    def _close_clients(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()

    def _raise_if_ended(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise NodeEnded(code, self.log())

    def _raise_if_late(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            raise TimeoutError(f"the node {what}:\n{self.log()}")


def child_pids(pid: int) -> list[int]:
    """The children of a process, oldest first; empty if it is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def open_files(pid: int) -> list[str]:
    """What a process has open, as /proc names it; empty if it is gone."""
    names = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                continue
    except OSError:
        return []
    return names


def listening_address(pid: int) -> tuple[str, int] | None:
    """Where a process listens for TCP, as (host, port) to connect to."""
    inodes = {found[1] for name in open_files(pid) if (found := re.fullmatch(r"socket:\[(\d+)\]", name))}
    sockets = _listening_sockets(pid) if inodes else {}
    return next((sockets[inode] for inode in inodes if inode in sockets), None)


def _listening_sockets(pid: int) -> dict[str, tuple[str, int]]:
    """Inode to address of every listening TCP socket of the network that a process is in."""
    found: dict[str, tuple[str, int]] = {}
    for table, loopback in (("tcp", "127.0.0.1"), ("tcp6", "::1")):
        with suppress(OSError), open(f"/proc/{pid}/net/{table}") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                if fields[3] != _LISTENING:
                    break  # the kernel names listening sockets first; of others there may be thousands
                address, _, port = fields[1].rpartition(":")
                found[fields[9]] = (_ipv4(address) or loopback, int(port, 16))
    return found


def _ipv4(address: str) -> str:
    """An address as /proc/net/tcp has it, as people write it; empty for "every address" and for IPv6."""
    number = int(address, 16)
    return socket.inet_ntoa(struct.pack("=I", number)) if number and len(address) == 8 else ""


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
