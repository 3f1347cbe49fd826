"""The actor inspector: asks with the admin key, prints one line an actor, and says in one line why it cannot."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any

import pytest

from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.errors import S3Error, render_error
from scripts.measure.servers import Node
from tools import inspect_actors

NOW = 1_700_000_000.0
ADMIN, SECRET = "operator", "operator-secret"
BUSY = {
    "process": "storage",
    "pid": 41,
    "name": "metadata-journal",
    "state": "busy",
    "mailbox": 7,
    "current": "PutObject",
    "current_secs": 2.5,
    "handled": 200,
    "failed": 3,
    "busy_secs": 25.0,
    "queued_secs_sum": 0.4,
    "queued_secs_max": 1.25,
    "last_error": "ValueError:\n bad\x1b[31m thing",
    "last_error_at_ms": int(NOW * 1000) - 90_000,
    "restarts": 1,
    "started_at_ms": int(NOW * 1000) - 100_000,
}
IDLE = BUSY | {"process": "worker-2", "pid": 42, "name": "cache", "state": "idle", "current": None, "last_error": "", "last_error_at_ms": 0}
SILENT = {"process": "worker-9", "name": "?", "state": "no answer", "last_error": "AskTimeout()"}


class AdminRoute(BaseHTTPRequestHandler):
    """Gives the server's `answer` to whoever signs as the operator."""

    server: Any

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            Authenticator({ADMIN: SECRET}.get).authenticate("GET", self.path, "", headers, int(time()))
            status, body = 200, self.server.answer
        except S3Error as error:
            status, body = error.status, render_error(error, self.path, "ID", "HOST")
        self.send_response(status if self.path == "/_admin/actors" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def route() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), AdminRoute)
    server.answer = json.dumps({"actors": [BUSY, IDLE, SILENT]}).encode()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def settings(port: int, **more: str) -> dict[str, str]:
    endpoint = f"http://127.0.0.1:{port}"
    return {"FS_ENDPOINT": endpoint, "FS_ACCESS_KEY": "user", "FS_ADMIN_ACCESS_KEY": ADMIN, "FS_ADMIN_SECRET_KEY": SECRET, **more}


def cells(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The table read back by its headings' columns."""
    head, *lines = inspect_actors.table(rows, NOW).splitlines()
    columns = head.split("  ")
    assert len(lines) == len(rows)
    names = [name.strip() for name in columns if name.strip()]
    return [dict(zip(names, [part.strip() for part in line.split("  ") if part.strip()], strict=False)) for line in lines]


def test_peers_are_a_table_of_their_own_below(route: Any, capsys: pytest.CaptureFixture[str]) -> None:
    peer = {"peer": "http://b:9000", "state": "shipping", "lag_entries": 12, "lag_bytes": 3400, "lag_secs": 0.25, "degraded": False}
    away = peer | {"peer": "http://c:9000", "state": "unreachable", "lag_secs": 0.0, "degraded": True}
    route.answer = json.dumps({"actors": [IDLE], "peers": [peer, away]}).encode()
    assert inspect_actors.main(settings(route.server_address[1]), as_json=False) == 0
    _, below = capsys.readouterr().out.split("\n\n")
    heading, first, second = below.splitlines()
    assert heading.split() == ["peer", "state", "entries", "behind", "bytes", "behind", "for"]
    assert first.split() == ["http://b:9000", "shipping", "12", "3400", "250.0", "ms"]
    assert second.split() == ["http://c:9000", "unreachable,", "not", "waited", "for", "12", "3400"]


def test_each_actor_is_one_line_with_every_figure() -> None:
    assert cells([BUSY]) == [
        {
            "process": "storage",
            "pid": "41",
            "actor": "metadata-journal",
            "state": "busy",
            "mailbox": "7",
            "current": "PutObject",
            "age": "2.5 s",
            "handled": "200",
            "failed": "3",
            "queue mean": "2.0 ms",
            "queue max": "1.2 s",
            "busy": "25.0%",
            "restarts": "1",
            "last error": "ValueError: bad[31m thing (90.0 s ago)",
        }
    ]


def test_a_process_without_an_answer_is_shown_with_its_error_and_a_young_actor_is_at_most_fully_busy() -> None:
    lines = inspect_actors.table([BUSY | {"started_at_ms": int(NOW * 1000) - 5}, SILENT], NOW).splitlines()
    assert "100.0%" in lines[1]
    assert lines[2].split() == ["worker-9", "?", "no", "answer", "AskTimeout()"]


def test_columns_stand_below_their_headings() -> None:
    head, *lines = inspect_actors.table([BUSY, IDLE, SILENT], NOW).splitlines()
    assert {line.index(name) for line, name in zip(lines, ("metadata-journal", "cache", "?"), strict=True)} == {head.index("actor")}
    assert lines[1].index("idle") == head.index("state")


def test_the_admin_key_signs_and_the_table_is_printed(route, capsys) -> None:
    assert inspect_actors.main(settings(route.server_port), as_json=False) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["process", "storage", "worker-2", "worker-9"]
    assert printed.err == ""


def test_json_is_the_list_as_the_node_gave_it(route, capsys) -> None:
    assert inspect_actors.main(settings(route.server_port), as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == [BUSY, IDLE, SILENT]


@pytest.mark.parametrize(
    ("change", "answer", "words"),
    [
        ({"FS_ENDPOINT": "http://127.0.0.1:1"}, None, "no answer"),
        ({"FS_ADMIN_SECRET_KEY": "another-secret"}, None, "403 SignatureDoesNotMatch"),
        ({}, b"<html>", "not that of a node"),
        ({}, b'{"actors": ["a"]}', "not that of a node"),
        ({}, b"[]", "not that of a node"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_code_1(route, capsys, change, answer, words) -> None:
    route.answer = answer or route.answer
    assert inspect_actors.main(settings(route.server_port, **change), as_json=False) == 1
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert words in printed.err and "another-secret" not in printed.err


@pytest.mark.parametrize("change", [{"FS_ENDPOINT": "node:9000"}, {"FS_ADMIN_SECRET_KEY": "x"}])
def test_a_wrong_setting_is_one_line_and_exit_code_2(capsys, change) -> None:
    assert inspect_actors.main(settings(1, **change), as_json=False) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_running_node_shows_the_actors_of_all_its_processes(tmp_path, capsys) -> None:
    node = Node(tmp_path, {"FS_WORKERS": "2"})
    node.start()
    try:
        keys = {"FS_ENDPOINT": node.endpoint, "FS_ACCESS_KEY": node.access_key, "FS_SECRET_KEY": node.secret_key}
        assert inspect_actors.main(keys, as_json=True) == 0
        rows = json.loads(capsys.readouterr().out)
        assert inspect_actors.main(keys, as_json=False) == 0
        table = capsys.readouterr().out
    finally:
        node.stop()
    assert {(row["process"], row["name"]) for row in rows} >= {
        ("storage", "segment-writer"),
        ("storage", "metadata-journal"),
        ("worker-1", "cache"),
        ("worker-2", "cache"),
    }
    assert len({row["pid"] for row in rows}) == 3
    assert len(table.splitlines()) == len(rows) + 1
