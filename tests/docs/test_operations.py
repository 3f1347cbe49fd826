"""The commands of docs/operations.md for backup, restore and moving, run as they stand there; only folders and numbers are put in place."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.docs.pages import blocks, section
from tests.node import ROOT, RunningNode

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "operations.md").read_text()


class Machine:
    """The page's machine: its folders lie below `root`, and `fasterstore` is this checkout."""

    def __init__(self, root):
        self.root = root
        self.data = root / "data" / "old"
        (root / "mnt" / "new").mkdir(parents=True)
        (root / "backup").mkdir()

    def run(self, line):
        """Run a line; return what it says. It must end with 0."""
        for folder in ("/backup/", "/data/", "/mnt/"):
            line = line.replace(f" {folder}", f" {self.root}{folder}")
        line = line.replace("fasterstore ", f"{sys.executable} -m fasterstore ")
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FS_DATA_DIR": str(self.data)}
        done = subprocess.run(["sh", "-c", line], cwd=self.root, env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def node(machine):
    made = RunningNode(machine.data, {"FS_SCRUB_INTERVAL_DAYS": "0"})
    made.start()
    client = made.client()
    client.create_bucket("box")
    for number in range(10):
        client.put("box", f"key {number}", b"%d," % number * 30_000)
    yield made
    made.kill()


def test_backup_and_restore_as_the_page_says(machine, node):
    (copy_out,), (keep, show, drop) = blocks(section(PAGE, "Backup"))
    trial, (to_new, in_place, to_lsn) = blocks(section(PAGE, "Restore"))
    machine.run(copy_out)
    lsn = machine.run(keep).rpartition(" ")[2].strip()
    assert "before-cleanup" in machine.run(show)
    assert len(trial) == 3
    for line in trial[:2]:  # beside the running node; the third starts one of its own
        machine.run(line)
    client = node.client()
    client.put("box", "key 0", b"changed")
    client.delete("box", "key 1")
    assert node.stop() == 0

    assert "--lsn 70412" in to_lsn
    machine.run(to_lsn.replace("70412", str(int(lsn) + 1)))
    node.start()
    assert node.client().get("box", "key 0").content == b"changed"
    assert node.client().get("box", "key 1").content == b"1," * 30_000
    assert node.stop() == 0
    machine.run(in_place)
    node.start()
    assert node.client().get("box", "key 0").content == b"0," * 30_000
    machine.run(drop)
    assert node.stop() == 0

    shutil.rmtree(machine.data)  # the disk is lost
    machine.run(to_new)
    with RunningNode(machine.root / "data" / "new") as filled:
        assert filled.client().get("box", "key 9").content == b"9," * 30_000


def change_and_stop(machine, node):
    """Give the store a changed key, a deleted one and a snapshot, whose hard links a copy has to keep."""
    node.client().put("box", "key 0", b"changed")
    node.client().delete("box", "key 1")
    machine.run("fasterstore snapshot kept")
    assert node.stop() == 0


def assert_moved(machine):
    with RunningNode(machine.root / "mnt" / "new" / "data") as moved:
        assert moved.client().get("box", "key 0").content == b"changed"
        assert moved.client().get("box", "key 2").content == b"2," * 30_000


def test_moving_to_another_disk_as_the_page_says(machine, node):
    (copy, check), _ = blocks(section(PAGE, "Moving to a larger disk"))
    change_and_stop(machine, node)
    machine.run(copy)
    machine.run(check)
    assert_moved(machine)


def test_moving_in_two_passes_as_the_page_says(machine, node):
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    _, (again, check) = blocks(section(PAGE, "Moving to a larger disk"))
    machine.run(again)
    change_and_stop(machine, node)
    machine.run(again)
    machine.run(check)
    assert_moved(machine)
