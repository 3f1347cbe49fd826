"""`make demo-two-nodes` tells its story with real nodes, ends by itself, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.node import ROOT
from tools import two_node_demo
from tools.demo_node import DemoFailed, DemoNode, free_ports
from tools.side_by_side import SideBySide

pytestmark = pytest.mark.slow

SECRETS = {"FS_ACCESS_KEY": "demo", "FS_SECRET_KEY": "a-secret-of-the-demo", "FS_INTERNAL_TOKEN": "a-token-of-the-demo"}


def _demo(temporary: Path) -> "subprocess.Popen[str]":
    environ = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary), "FS_DATA_DIR": "/nowhere", "FS_REPLICATION_PEERS": "http://192.0.2.1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tools.two_node_demo"], env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _nodes_below(temporary: Path) -> list[int]:
    """Processes that have files open in that folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if any(str(temporary) in os.readlink(fd) for fd in (entry / "fd").iterdir()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_it_tells_the_whole_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = _demo(tmp_path)
    told, _ = demo.communicate(timeout=150)
    assert demo.returncode == 0, told
    lines = told.splitlines()
    steps = [line for line in lines if line.startswith("* ")]
    wanted = (
        "one starts", "two starts", "through one", "read from two", "two stops", "two starts again", "both hold the same",
        "other way", "The end",
    )  # fmt: skip
    assert len(steps) == len(wanted) and all(said in step for said, step in zip(wanted, steps, strict=True)), told
    assert any("stopped" in line and "its peer lacks" in line for line in lines), "how far the stopped one is behind"
    assert not list(tmp_path.iterdir()) and not _nodes_below(tmp_path)


def test_interrupted_it_stops_its_nodes_and_removes_their_data(tmp_path: Path) -> None:
    demo = _demo(tmp_path)
    deadline = time.monotonic() + 60
    while len(_nodes_below(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _nodes_below(tmp_path)
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=90)
    assert demo.returncode == 130
    assert not list(tmp_path.iterdir()) and not _nodes_below(tmp_path)


def test_nodes_that_do_not_come_to_hold_the_same_fail_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_node_demo, "CONVERGE_SECS", 2.0)
    first, second, nobody = free_ports(3)
    one, two = DemoNode("one", tmp_path, first, nobody, SECRETS), DemoNode("two", tmp_path, second, nobody, SECRETS)
    try:
        with open(os.devnull, "w") as nowhere, pytest.raises(DemoFailed, match="do not hold the same"):
            two_node_demo.Demo(one, two, SideBySide(nowhere)).tell()
    finally:
        one.stop()
        two.stop()


def test_a_node_that_does_not_start_is_said_with_its_own_words(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    node = DemoNode("one", tmp_path, port, port, SECRETS)
    with pytest.raises(DemoFailed, match="this node itself"):
        node.start()
    node.stop()
