"""The supervisor by itself, with children of a few lines: what it must do whatever its children are."""

import os
import signal
import subprocess
import sys
import time

import pytest
from gevent import Timeout

from tools.supervisor import EXIT_VOLUME_SUSPECT, SUSPECT_NAME

PROGRAM = """
import os, signal, sys, time
from tools.supervisor import Supervisor

DRAIN_SECS = 1

def wait_for_stop(child):
    # Storage hears of lost workers too, and must not end for that.
    heard = b""
    while b"stop\\n" not in heard:
        heard += os.read(child.commands_fd, 100)

def storage(child):
    os.write(1, f"storage {os.getpid()}\\n".encode())
    wait_for_stop(child)
    if sys.argv[2] == "suspect at stop":
        os.write(child.report_fd, b"the last fsync failed")
        raise SystemExit(int(sys.argv[3]))

def worker(child):
    os.write(1, f"worker {os.getpid()}\\n".encode())
    wait_for_stop(child)
    if sys.argv[2] == "drains to the end":
        time.sleep(DRAIN_SECS + 0.5)

if sys.argv[2] == "children unheard":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
sys.exit(Supervisor(data_dir=sys.argv[1], workers=1, storage_main=storage, worker_main=worker, drain_secs=DRAIN_SECS).run())
"""


class Running:
    def __init__(self, data_dir, mode):
        arguments = [sys.executable, "-c", PROGRAM, str(data_dir), mode, str(EXIT_VOLUME_SUSPECT)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.pids = dict(self._process.stdout.readline().split() for _ in range(2))

    def child(self, name):
        return int(self.pids[name])

    def started_anew(self):
        """The name of the next child that starts."""
        with Timeout(10):
            return self._process.stdout.readline().split()[0]

    def stop(self):
        self._process.terminate()
        return self._process.wait(10)

    def end(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def start(tmp_path):
    running = []

    def make(mode=""):
        running.append(Running(tmp_path, mode))
        return running[-1]

    yield make
    for node in running:
        node.end()


def test_a_volume_that_turns_suspect_during_the_stop_is_marked_for_the_next_start(start, tmp_path):
    node = start("suspect at stop")
    assert node.stop() == 1
    assert (tmp_path / SUSPECT_NAME).read_text() == "the last fsync failed\n"


def test_an_orderly_stop_leaves_no_mark(start, tmp_path):
    assert start().stop() == 0
    assert not (tmp_path / SUSPECT_NAME).exists()


def test_a_dead_child_is_replaced_though_the_launcher_left_sigchld_ignored(start):
    node = start("children unheard")
    os.kill(node.child("worker"), signal.SIGKILL)
    assert node.started_anew() == "worker"
    assert node.stop() == 0


def test_a_terminals_hangup_ends_no_child(start):
    node = start()
    for name in ("storage", "worker"):
        os.kill(node.child(name), signal.SIGHUP)
    time.sleep(0.2)
    for name in ("storage", "worker"):
        os.kill(node.child(name), 0)
    assert node.stop() == 0


def test_a_worker_that_drains_to_the_end_of_its_time_is_not_killed(start):
    assert start("drains to the end").stop() == 0
