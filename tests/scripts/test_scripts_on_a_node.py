"""The shell scripts and the command line against a real node, as the README shows them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node import ROOT, RunningNode


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node of its own."""
    with RunningNode(tmp_path_factory.mktemp("scripts") / "data") as running:
        yield running


def run(node: RunningNode, folder: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in `folder` with the node's endpoint and keys."""
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "FS_ENDPOINT": node.endpoint,
        "FS_ACCESS_KEY": node.credentials.access_key,
        "FS_SECRET_KEY": node.credentials.secret_key,
    }
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, timeout=60)


def script(name: str) -> str:
    """The path of a script."""
    return str(ROOT / "scripts" / f"fs-{name}.sh")


@pytest.mark.parametrize("key", ["plain", "a b/ü/\U0001f600", "../up", "100%2F", "line\nbreak"])
@pytest.mark.parametrize("size_bytes", [0, 300_000])
def test_a_file_is_stored_fetched_and_deleted(node: RunningNode, tmp_path: Path, key: str, size_bytes: int) -> None:
    body = os.urandom(size_bytes)
    (tmp_path / "in").write_bytes(body)
    put = run(node, tmp_path, script("put"), "in", "scripted", key)
    assert put.returncode == 0, put.stderr
    with node.client() as client:
        assert client.get("scripted", key).content == body
    assert run(node, tmp_path, script("get"), "scripted", key, "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == body
    assert run(node, tmp_path, script("delete"), "scripted", key).returncode == 0
    missing = run(node, tmp_path, script("get"), "scripted", key, "out")
    assert missing.returncode == 1
    assert b"NoSuchKey" in missing.stderr


def test_health_is_good(node: RunningNode, tmp_path: Path) -> None:
    assert run(node, tmp_path, script("health")).returncode == 0
    assert run(node, tmp_path, sys.executable, "-m", "fasterstore", "health").returncode == 0
