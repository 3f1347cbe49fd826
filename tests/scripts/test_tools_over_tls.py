"""The shell scripts and the verbs of the command line against a node that speaks TLS."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.node import ROOT, RunningNode

VERB = (sys.executable, "-m", "fasterstore")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node whose certificate nobody but itself has signed."""
    folder = tmp_path_factory.mktemp("tools-tls")
    pair = make_certificate(folder)
    with RunningNode(folder / "data", {"FS_TLS_CERT_PATH": pair.cert, "FS_TLS_KEY_PATH": pair.key}) as running:
        yield running


def run(node: RunningNode, folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` with the node's endpoint, keys and certificate."""
    given = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "FS_ENDPOINT": node.endpoint,
        "FS_CA_CERT": node.cert_path or "",
        "FS_ACCESS_KEY": node.credentials.access_key,
        "FS_SECRET_KEY": node.credentials.secret_key,
        **environ,
    }
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=60)


def script(name: str) -> str:
    return str(ROOT / "scripts" / f"fs-{name}.sh")


def test_the_scripts_store_fetch_and_delete(node: RunningNode, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"by tls")
    for name, *arguments in (("put", "in", "box", "key"), ("get", "box", "key", "out"), ("delete", "box", "key"), ("health",)):
        done = run(node, tmp_path, script(name), *arguments)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"by tls"


def test_the_verbs_find_it(node: RunningNode, tmp_path: Path) -> None:
    load = {"FS_OBJECTS": "20", "FS_CONCURRENCY": "4"}
    for arguments in (("health",), ("actors",), ("bench",)):
        done = run(node, tmp_path, *VERB, *arguments, **load)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)


@pytest.mark.parametrize("command", [("put", "in", "box", "key"), ("health",)])
def test_no_script_talks_to_a_node_that_it_does_not_know(node: RunningNode, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "in").write_bytes(b"by tls")
    done = run(node, tmp_path, script(command[0]), *command[1:], FS_CA_CERT="")
    assert done.returncode != 0
    assert "certificate" in done.stderr


@pytest.mark.parametrize("verb", ["health", "actors", "bench"])
def test_no_verb_talks_to_a_node_that_it_does_not_know(node: RunningNode, tmp_path: Path, verb: str) -> None:
    done = run(node, tmp_path, *VERB, verb, FS_CA_CERT="")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "certificate" in said and "Traceback" not in said


@pytest.mark.parametrize("verb", ["health", "actors", "bench"])
def test_a_missing_ca_certificate_is_one_line(node: RunningNode, tmp_path: Path, verb: str) -> None:
    done = run(node, tmp_path, *VERB, verb, FS_CA_CERT=str(tmp_path / "missing"))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "FS_CA_CERT" in done.stderr


def test_health_on_the_nodes_own_machine_needs_no_name(node: RunningNode, tmp_path: Path) -> None:
    own = {"FS_ENDPOINT": "", "FS_CA_CERT": "", "FS_BIND_ADDR": f"0.0.0.0:{node.port}", **node.settings}
    assert run(node, tmp_path, *VERB, "health", **own).returncode == 0


def test_health_by_http_says_what_is_wrong(node: RunningNode, tmp_path: Path) -> None:
    done = run(node, tmp_path, *VERB, "health", FS_ENDPOINT=node.endpoint.replace("https", "http"))
    assert done.returncode == 1
    assert "https://" in done.stdout
