"""The load generator: what it stores it compares and deletes, bodies differ, and every failure ends in the exit code."""

import hashlib
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time
from typing import Any

import pytest

from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.errors import S3Error, render_error
from scripts.measure.servers import Node
from tools import bench, fdatasync_probe
from tools.percentiles import percentile

ROOT = Path(__file__).resolve().parents[2]
KEY, SECRET = "bench-key", "bench-secret"


class Store(BaseHTTPRequestHandler):
    """Keeps objects in a dict, checks every signature and payload hash, and spoils what the server was told to spoil."""

    protocol_version = "HTTP/1.1"
    server: Any

    def answer(self) -> None:
        raw_path, _, raw_query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        try:
            self.reply(*self.outcome(raw_path, raw_query, headers, body))
        except S3Error as error:
            self.reply(error.status, render_error(error, raw_path, "ID", "HOST"))

    def outcome(self, raw_path: str, raw_query: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        result = Authenticator({KEY: SECRET}.get).authenticate(self.command, raw_path, raw_query, headers, int(time()))
        if result is None:
            raise S3Error("AccessDenied")
        if result.payload not in (hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD"):
            raise S3Error("XAmzContentSHA256Mismatch")
        kept = self.server.kept
        if self.command == "PUT":
            if raw_path.endswith(self.server.refused_suffix):
                raise S3Error("SlowDown")
            kept[raw_path] = body
            self.server.bodies += [body] * (raw_path.count("/") > 1)
            return 200, b""
        if raw_path not in kept:
            raise S3Error("NoSuchKey")
        if self.command == "DELETE":
            del kept[raw_path]
            return 204, b""
        found = kept[raw_path]
        return 200, found[::-1] if raw_path.endswith(self.server.spoiled_suffix) else found

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def store() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    server.daemon_threads = True
    server.kept, server.bodies, server.refused_suffix, server.spoiled_suffix = {}, [], ("none",), ("none",)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def settings(store: Any, **more: str) -> dict[str, str]:
    endpoint = f"http://127.0.0.1:{store.server_port}"
    plan = {"FS_OBJECTS": "40", "FS_SIZE_BYTES": "100", "FS_CONCURRENCY": "4", "FS_BUCKET": "load"}
    return {"FS_ENDPOINT": endpoint, "FS_ACCESS_KEY": KEY, "FS_SECRET_KEY": SECRET, **plan, **more}


def rows(output: str) -> dict[str, list[str]]:
    """The printed figures by phase."""
    return {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.startswith(("PUT", "GET", "DELETE"))}


def test_it_makes_the_bucket_and_puts_compares_and_deletes_every_object(store, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench.main(settings(store)) == 0
    printed = capsys.readouterr()
    found = rows(printed.out)
    assert {phase: cells[:2] for phase, cells in found.items()} == {phase: ["40", "0"] for phase in ("PUT", "GET", "DELETE")}
    for cells in found.values():
        p50, p90, p99, highest = map(float, cells[4:])
        assert 0 < p50 <= p90 <= p99 <= highest
    assert list(store.kept) == ["/load"], "only the bucket is left"
    assert {len(body) for body in store.bodies} == {100}
    assert "fdatasync of this machine" in printed.out, "the endpoint is this machine"
    assert printed.err == "", "no progress bar where nobody watches"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size_bytes", [2, 16, 17, bench.PIECE_BYTES, bench.PIECE_BYTES + 1])
def test_no_body_repeats_within_a_run_nor_in_the_next(store, size_bytes, capsys) -> None:
    for _ in range(2 if size_bytes >= bench.MARK_BYTES else 1):
        assert bench.main(settings(store, FS_SIZE_BYTES=str(size_bytes), FS_OBJECTS="5")) == 0
    assert {len(body) for body in store.bodies} == {size_bytes}
    assert len(set(store.bodies)) == len(store.bodies)


def test_empty_objects_are_a_load_too(store, capsys) -> None:
    assert bench.main(settings(store, FS_SIZE_BYTES="0")) == 0
    assert set(store.bodies) == {b""}


def test_refused_requests_are_counted_by_code_and_not_asked_for_later(store, capsys) -> None:
    store.refused_suffix = ("3", "7")
    assert bench.main(settings(store)) == 1
    printed = capsys.readouterr().out
    assert "8 x 503 SlowDown" in printed
    assert {phase: cells[:2] for phase, cells in rows(printed).items()} == {"PUT": ["40", "8"], "GET": ["32", "0"], "DELETE": ["32", "0"]}


def test_another_body_than_was_put_is_an_error(store, capsys) -> None:
    store.spoiled_suffix = ("5",)
    assert bench.main(settings(store)) == 1
    assert "4 x WrongBody" in capsys.readouterr().out


@pytest.mark.parametrize("reason", ["no answer", "403 Forbidden"])
def test_without_a_bucket_to_use_it_says_why_in_one_line(store, capsys, reason) -> None:
    change = {"FS_ENDPOINT": "http://127.0.0.1:1"} if reason == "no answer" else {"FS_SECRET_KEY": "another-secret"}
    assert bench.main(settings(store, **change)) == 1
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert reason in printed.err and "another-secret" not in printed.err


@pytest.mark.parametrize(
    ("name", "value"),
    [("FS_OBJECTS", "0"), ("FS_CONCURRENCY", "many"), ("FS_SIZE_BYTES", "-1"), ("FS_ENDPOINT", "node:9000"), ("FS_SECRET_KEY", "x")],
)
def test_a_wrong_setting_ends_with_2_and_one_line(store, capsys, name, value) -> None:
    assert bench.main(settings(store, **{name: value})) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_terminal_gets_a_progress_bar(store, tmp_path) -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **settings(store)}
    command = [sys.executable, "-m", "fasterstore", "bench"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    output, _ = process.communicate(timeout=60)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert process.returncode == 0
    assert rows(output)["PUT"][:2] == ["40", "0"]
    assert "PUT" in shown and "100%" in shown


def test_a_running_node_takes_the_load(tmp_path, capsys) -> None:
    node = Node(tmp_path, {"FS_WORKERS": "1"})
    node.start()
    try:
        keys = {"FS_ENDPOINT": node.endpoint, "FS_ACCESS_KEY": node.access_key, "FS_SECRET_KEY": node.secret_key}
        for size_bytes in (4096, bench.PIECE_BYTES + 5):
            assert bench.main({**keys, "FS_OBJECTS": "30", "FS_CONCURRENCY": "4", "FS_SIZE_BYTES": str(size_bytes)}) == 0
    finally:
        node.stop()


def test_only_this_machines_addresses_count_as_loopback() -> None:
    assert all(map(bench.is_loopback, ("http://127.0.0.1:9000", "http://localhost", "https://[::1]:9000", "http://127.1.2.3")))
    assert not any(map(bench.is_loopback, ("http://10.0.0.1:9000", "https://store.example", "http://128.0.0.1")))


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 90, 99, 100)] == [50, 90, 99, 100]
    assert percentile([7.0], 50) == 7.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([1.0, 2.0, 3.0], 99) == 3.0


def test_the_fdatasync_probe_returns_every_time_in_order_and_leaves_nothing(tmp_path) -> None:
    for preallocated in (False, True):
        times = fdatasync_probe.measure(str(tmp_path), 5, preallocated=preallocated)
        assert len(times) == 5 and times == sorted(times) and times[0] > 0
    assert list(tmp_path.iterdir()) == []
