"""The shell scripts against a small HTTP server that checks every signature on its own, from what came over the wire."""

import hashlib
import hmac
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACCESS_KEY, SECRET_KEY = "script-key", "a-secret-of-scripts"
ODD_KEYS = [
    "plain.txt",
    "a b+c&d=e?f#g",
    "../up/./and//down/",
    "%2F already",
    "quote'\"`$(touch x)\\!*",
    "line\nbreak\ttab",
    "\u00e9\u4e16\U0001f600",
    "[1-3]{a,b}",
    "-rf",
    "~tilde",
    "x" * 1024,
]


class Store(BaseHTTPRequestHandler):
    """Holds objects in memory; refuses what is not signed by the x-fs scheme with the secret of `server.secret`."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes] = {}
    seen: list[str] = []
    secret = SECRET_KEY
    short_answers = False

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path, _, query = self.path.partition("?")
        self.seen.append(self.path)
        if path in ("/healthz", "/readyz"):
            return self.answer(200 if path == "/healthz" or self.objects else 503, b"ok")
        stamp, digest = self.headers["x-fs-timestamp"], self.headers["x-fs-content-sha256"]
        text = f"{self.command}\n{path}\n{query}\n{stamp}\n{digest}"
        expected = hmac.new(self.secret.encode(), text.encode("latin-1"), hashlib.sha256).hexdigest()
        if self.headers["x-fs-access-key"] != ACCESS_KEY or self.headers["x-fs-signature"] != expected:
            return self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if abs(int(stamp) - time.time()) > 60 or digest != hashlib.sha256(body).hexdigest():
            return self.answer(400, b"<Error><Code>XAmzContentSHA256Mismatch</Code></Error>")
        if self.command == "PUT":
            self.objects[path] = body
            return self.answer(200, b"")
        if self.command == "DELETE":
            self.objects.pop(path, None)
            return self.answer(204, b"")
        if path not in self.objects:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self.answer(200, self.objects[path])

    do_GET = do_PUT = do_DELETE = handle_one

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body) + (1 if self.short_answers else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def store() -> Iterator[type[Store]]:
    class FreshStore(Store):
        objects: dict[str, bytes] = {}
        seen: list[str] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), FreshStore)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    FreshStore.endpoint = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield FreshStore
    server.shutdown()
    thread.join()
    server.server_close()


def script(name: str, *arguments: str, folder: Path, store: type[Store], **environ: str) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FS_", "AWS_", "MINIO_"))}
    given = {"FS_ENDPOINT": store.endpoint, "FS_ACCESS_KEY": ACCESS_KEY, "FS_SECRET_KEY": SECRET_KEY, **environ}  # type: ignore[attr-defined]
    given = {name: value for name, value in given.items() if value != "unset"}
    command = [str(ROOT / "scripts" / f"fs-{name}.sh"), *arguments]
    return subprocess.run(command, cwd=folder, env={**clean, **given}, capture_output=True, timeout=60)


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_put_get_and_delete_carry_any_key_and_any_bytes(key: str, store: type[Store], tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    (tmp_path / "in [1].bin").write_bytes(content)
    put = script("put", "in [1].bin", "bucket", key, folder=tmp_path, store=store)
    assert put.returncode == 0, put.stderr
    (path,) = store.objects
    assert unquote_to_bytes(path) == b"/bucket/" + key.encode()
    assert store.objects[path] == content
    got = script("get", "bucket", key, "out.bin", folder=tmp_path, store=store)
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "out.bin").read_bytes() == content
    assert script("get", "bucket", key, folder=tmp_path, store=store).stdout == content
    deleted = script("delete", "bucket", key, folder=tmp_path, store=store)
    assert deleted.returncode == 0, deleted.stderr
    assert store.objects == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in [1].bin", "out.bin"]


@pytest.mark.parametrize("secret", ["12345678", "s" * 64, "s" * 65, "s" * 256, "$`\"'\\!%s\\x41"])
def test_a_secret_of_any_length_and_signs_gives_the_right_signature(secret: str, store: type[Store], tmp_path: Path) -> None:
    store.secret = secret
    (tmp_path / "in").write_bytes(b"")
    assert script("put", "in", "bucket", "key", folder=tmp_path, store=store, FS_SECRET_KEY=secret).returncode == 0


def test_a_refusal_is_shown_ends_with_1_and_leaves_no_file(store: type[Store], tmp_path: Path) -> None:
    missing = script("get", "bucket", "missing", "out", folder=tmp_path, store=store)
    assert missing.returncode == 1 and b"404" in missing.stderr and b"NoSuchKey" in missing.stderr
    wrong = script("delete", "bucket", "key", folder=tmp_path, store=store, FS_SECRET_KEY="another-secret")
    assert wrong.returncode == 1 and b"403" in wrong.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_leaves_what_was_there(store: type[Store], tmp_path: Path) -> None:
    store.objects["/bucket/key"] = b"half of it"
    store.short_answers = True
    (tmp_path / "out").write_bytes(b"old")
    assert script("get", "bucket", "key", "out", folder=tmp_path, store=store).returncode == 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out", b"old")]


def test_wrong_arguments_end_with_2_and_ask_nothing(store: type[Store], tmp_path: Path) -> None:
    for name, arguments in (("put", ("nothing-here", "b", "k")), ("put", ("", "", "")), ("get", ("b", "")), ("delete", ("a/b", "k"))):
        assert script(name, *arguments, folder=tmp_path, store=store).returncode == 2
    assert store.seen == []


def test_the_env_file_is_read_and_the_environment_wins(store: type[Store], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        f"# a comment\nexport FS_ENDPOINT=http://127.0.0.1:1\n FS_ACCESS_KEY = '{ACCESS_KEY}' # why\r\nFS_SECRET_KEY={SECRET_KEY}   # it\n"
        "FS_DANGER=$(touch touched)\nnot an assignment\nFS_SECRET_KEY_FILE="
    )
    (tmp_path / "in").write_bytes(b"x")
    run = script("put", "in", "bucket", "key", folder=tmp_path, store=store, FS_ACCESS_KEY="unset", FS_SECRET_KEY="unset")
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "touched").exists()


def test_the_example_file_means_the_same_to_scripts_as_to_the_node(store: type[Store], tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    script_view = subprocess.run(
        ["bash", "-c", f"source {ROOT}/scripts/fs-common.sh; fs_settings; set | grep ^FS_.*="],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    from dotenv import dotenv_values

    for name, value in dotenv_values(tmp_path / ".env", interpolate=False).items():
        assert f"{name}={value}" in script_view


def test_a_secret_by_file_beats_the_plain_one_of_the_env_file(store: type[Store], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FS_SECRET_KEY=wrong-secret\n")
    (tmp_path / "secret").write_text(SECRET_KEY + "\n")
    run = script("delete", "b", "k", folder=tmp_path, store=store, FS_SECRET_KEY="unset", FS_SECRET_KEY_FILE=str(tmp_path / "secret"))
    assert run.returncode == 0, run.stderr


def test_minio_names_serve_when_the_pair_is_unset(store: type[Store], tmp_path: Path) -> None:
    environ = {"FS_ACCESS_KEY": "unset", "FS_SECRET_KEY": "unset", "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    (tmp_path / ".env").write_text("")
    assert script("delete", "b", "k", folder=tmp_path, store=store, **environ).returncode == 0


def test_health_ends_with_0_only_when_alive_and_ready(store: type[Store], tmp_path: Path) -> None:
    replaying = script("health", folder=tmp_path, store=store)
    assert replaying.returncode == 1 and b"/readyz: 503" in replaying.stdout
    store.objects["/b/k"] = b""
    assert script("health", folder=tmp_path, store=store).returncode == 0
    assert script("health", folder=tmp_path, store=store, FS_ENDPOINT="http://127.0.0.1:1").returncode == 1


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_the_secret_is_never_an_argument_of_a_program(store: type[Store], tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x")
    environ = {"PATH": os.environ["PATH"], "FS_ENDPOINT": store.endpoint, "FS_ACCESS_KEY": ACCESS_KEY, "FS_SECRET_KEY": SECRET_KEY}  # type: ignore[attr-defined]
    command = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=execve", "-o", "trace", str(ROOT / "scripts/fs-put.sh"), "in", "b", "k"]
    run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, timeout=60)
    if run.returncode != 0 and b"ptrace" in run.stderr:
        pytest.skip("strace may not trace here")
    assert run.returncode == 0, run.stderr
    trace = (tmp_path / "trace").read_text()
    assert "curl" in trace and "openssl" in trace
    for form in (SECRET_KEY, SECRET_KEY.encode().hex()):
        assert form not in trace


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_put_get_and_delete_hand_their_variables_on_unharmed(store: type[Store], tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "FS_ENDPOINT": store.endpoint, "FS_ACCESS_KEY": ACCESS_KEY, "FS_SECRET_KEY": SECRET_KEY}  # type: ignore[attr-defined]
    (tmp_path / "in").write_bytes(b"through make")
    key = "a b'c\"d;e&f"

    def make(target: str, *variables: str) -> None:
        run = subprocess.run(["make", "-C", str(ROOT), target, *variables], env=environ, capture_output=True, timeout=60)
        assert run.returncode == 0, run.stderr

    make("put", f"FILE={tmp_path / 'in'}", "BUCKET=bucket", f"KEY={key}")
    assert [unquote_to_bytes(path).decode() for path in store.objects] == [f"/bucket/{key}"]
    make("get", "BUCKET=bucket", f"KEY={key}", f"OUT={tmp_path / 'out'}")
    assert (tmp_path / "out").read_bytes() == b"through make"
    make("health")
    make("delete", "BUCKET=bucket", f"KEY={key}")
    assert store.objects == {}
