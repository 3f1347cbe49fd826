"""The command line as a person uses it: real processes, real exit codes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.environment import merged_environment

ROOT = Path(__file__).resolve().parents[2]


def fasterstore(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in a folder of its own, with no FS_ variable but the given ones."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FS_", "AWS_", "MINIO_"))}
    return subprocess.run(
        [sys.executable, "-m", "fasterstore", *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"FS_WORKERS": "many"}, ["FS_WORKERS='many'", "0 to 256"]),
        ({"FS_SECRET_KEY": "tiny"}, ["FS_SECRET_KEY=***", "8 to 256"]),
        ({"FS_TLS_CERT_PATH": "/cert.pem"}, ["FS_TLS_CERT_PATH='/cert.pem'", "FS_TLS_KEY_PATH"]),
    ],
)
def test_serve_with_a_wrong_setting_prints_one_line_and_ends_with_2(environ: dict[str, str], words: list[str], tmp_path: Path) -> None:
    run = fasterstore("serve", folder=tmp_path, **environ)
    assert run.returncode == 2
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert all(word in run.stderr for word in words) and "tiny" not in run.stderr


def test_serve_reads_the_env_file_of_the_current_folder_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FS_WORKERS=from-file\n")
    assert "FS_WORKERS='from-file'" in fasterstore("serve", folder=tmp_path).stderr
    assert "FS_WORKERS='from-shell'" in fasterstore("serve", folder=tmp_path, FS_WORKERS="from-shell").stderr


def test_serve_becomes_the_node_with_the_merged_environment(tmp_path: Path) -> None:
    # A package of the same name in front of ours shows what the node is given, without starting one.
    (tmp_path / "front" / "tools").mkdir(parents=True)
    (tmp_path / "front" / "tools" / "__init__.py").write_text(f"__path__.append({str(ROOT / 'tools')!r})\n")
    (tmp_path / "front" / "tools" / "node.py").write_text(
        "import json, os, sys\nprint(json.dumps([os.getpid(), sorted({'click', 'dotenv'} & set(sys.modules)), dict(os.environ)]))\n"
    )
    (tmp_path / ".env").write_text("FS_REGION=file-region\nFS_SECRET_KEY='with-$dollar-and#hash'\nFS_WORKERS=3\n")
    path = f"{tmp_path / 'front'}:{ROOT}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FS_", "AWS_", "MINIO_"))}
    environ = {**clean, "PYTHONPATH": path, "FS_WORKERS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "fasterstore", "serve"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
    pid, loaded, given = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    assert pid == process.pid, "a signal to serve must reach the node itself"
    assert loaded == []
    assert (given["FS_REGION"], given["FS_WORKERS"], given["FS_SECRET_KEY"]) == ("file-region", "1", "with-$dollar-and#hash")


def test_an_environment_secret_by_file_replaces_the_plain_one_of_the_env_file(tmp_path: Path) -> None:
    env_file = tmp_path / "settings"
    env_file.write_text("FS_SECRET_KEY=in-the-file\nFS_METRICS_TOKEN_FILE=/a/path\nFS_REGION=x\n")
    merged = merged_environment({"FS_SECRET_KEY_FILE": "/run/secret", "FS_METRICS_TOKEN": "token"}, env_file)
    assert merged == {"FS_SECRET_KEY_FILE": "/run/secret", "FS_METRICS_TOKEN": "token", "FS_REGION": "x"}
    assert merged_environment({"A": "b"}, tmp_path / "missing") == {"A": "b"}


def test_help_names_each_verb_and_an_unknown_one_ends_with_2(tmp_path: Path) -> None:
    run = fasterstore("--help", folder=tmp_path)
    assert run.returncode == 0
    assert all(verb in run.stdout for verb in ("serve", "health", "bench", "actors"))
    assert fasterstore("no-such-verb", folder=tmp_path).returncode == 2


class Node(BaseHTTPRequestHandler):
    """Answers as a node does that is alive; whether it is ready is the server's to say."""

    def do_GET(self) -> None:
        ready = self.path == "/healthz" or getattr(self.server, "ready")  # noqa: B009
        body = b"ok\n" if ready else b"replaying journal:\n 40 %\n"
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def node() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_health_says_alive_and_ready_by_its_exit_code(node: ThreadingHTTPServer, tmp_path: Path) -> None:
    port = node.server_address[1]
    node.ready = True  # type: ignore[attr-defined]
    well = fasterstore("health", folder=tmp_path, FS_BIND_ADDR=f"0.0.0.0:{port}")
    assert (well.returncode, len(well.stdout.splitlines())) == (0, 2), "without FS_ENDPOINT the bind address names the node"
    node.ready = False  # type: ignore[attr-defined]
    environ = {"FS_ENDPOINT": f"http://127.0.0.1:{port}/", "http_proxy": "http://127.0.0.1:1"}
    replaying = fasterstore("health", folder=tmp_path, **environ)
    assert replaying.returncode == 1
    assert f"http://127.0.0.1:{port}/readyz: 503 replaying journal: 40 %" in replaying.stdout
    assert fasterstore("health", "--alive", folder=tmp_path, **environ).returncode == 0


def test_health_of_nothing_ends_with_1_and_of_a_wrong_setting_with_2(tmp_path: Path) -> None:
    silent = fasterstore("health", folder=tmp_path, FS_ENDPOINT="http://127.0.0.1:1")
    assert silent.returncode == 1 and "no answer" in silent.stdout and silent.stderr == ""
    assert fasterstore("health", folder=tmp_path, FS_BIND_ADDR="nowhere").returncode == 2


@pytest.mark.parametrize("looked_for", [["blob", str(2**64)], ["record", "1", str(2**64)], ["entry", str(2**64)], ["blob", "--", "-1"]])
def test_dump_of_a_number_that_no_format_holds_is_a_wrong_argument(looked_for: list[str], tmp_path: Path) -> None:
    run = fasterstore("dump", "--data-dir", str(tmp_path), *looked_for, folder=tmp_path)
    assert run.returncode == 2
    assert "Invalid value" in run.stderr
    assert "Traceback" not in run.stderr
