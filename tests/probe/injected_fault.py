"""Make one system call of a running process fail: strace attached to it, on one file, at the Nth call.

Starts one strace and ends it, by pid; the traced process goes on without it.
"""

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

ATTACH_SECS = 10.0


class InjectedFault:
    """What strace has done so far. Times are Unix seconds."""

    def __init__(self, record: Path) -> None:
        self._record = record

    @property
    def happened_at(self) -> float | None:
        """When the call was made to fail, None if it has not been."""
        found = re.search(r"^(?:\d+ +)?(\d+\.\d+) .*\(INJECTED\)", self._record.read_text(), re.MULTILINE)
        return None if found is None else float(found[1])


@contextlib.contextmanager
def injected_fault(pid: int, path: Path, call: str, when: int, record: Path) -> Iterator[InjectedFault]:
    """While open: the `when`-th `call` (of each thread) of process `pid` on the file `path` fails with EIO, and so does each after it.

    `record` is where strace writes. Skips the test if strace is not installed; fails if it cannot attach.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    attached = record.with_suffix(".err")
    with open(attached, "wb") as errors:
        strace = subprocess.Popen(
            ["strace", "-f", "-ttt", "-p", str(pid), "-P", str(path), "-o", str(record)]
            + ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}+"],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        deadline = time.monotonic() + ATTACH_SECS
        threads = len(os.listdir(f"/proc/{pid}/task"))
        while attached.read_text().count("attached") < 1 or _traced(pid) < threads:
            assert strace.poll() is None and time.monotonic() < deadline, f"strace does not attach: {attached.read_text()}"
            gevent.sleep(0.01)
        yield InjectedFault(record)
    finally:
        strace.terminate()
        strace.wait(ATTACH_SECS)


def _traced(pid: int) -> int:
    """How many threads of the process have a tracer."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            count += "TracerPid:\t0\n" not in (task / "status").read_text()
    return count
