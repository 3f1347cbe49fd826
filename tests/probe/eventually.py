"""Waiting for what another process does, with an end."""

import time
from collections.abc import Callable

import gevent

WAIT_SECS = 30.0


def eventually(holds: Callable[[], object], complaint: str, timeout_secs: float = WAIT_SECS) -> None:
    """Return once `holds()` is true; fail with `complaint` after `timeout_secs`."""
    deadline = time.monotonic() + timeout_secs
    while not holds():
        assert time.monotonic() < deadline, complaint
        gevent.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether no process has that pid any more."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
