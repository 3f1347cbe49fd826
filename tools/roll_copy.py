"""A process of its own that brings a copy of the index up to date: `python -m tools.roll_copy WHAT JSON`, started by `copy_process`.

WHAT is `roll` (the older of the kept copies) or `bring` (the file `path`). It gives way to everything else on the machine (nice 10, idle
I/O class), holds no lock of the live index, and ends with its parent. What it says, one JSON object a line on stdout:
{"what", "done", "total"} on the way, and {"error", "detail"} as its last word if it fails. It may be killed at any moment.
"""

import contextlib
import ctypes
import json
import os
import platform
import signal
import sys
import time
from typing import Any

from fasterstore.errors import StoreError
from fasterstore.metadata.roll import Places, bring_upto, roll
from fasterstore.storage.disk import NO_SPACE, RealDisk

EXIT_FAILED = 3
NICENESS = 10
"""Behind whatever serves requests; at 19 a machine with all cores busy would let copies and log fall ever further behind."""
REPORT_SECS = 0.2
_PR_SET_PDEATHSIG = 1
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_IDLE = 1, 3 << 13


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the exit code."""
    what, order = arguments[0], json.loads(arguments[1])
    die_with_parent(order["parent"])
    give_way()
    folders = (order["snapshots"], order["journal"], order["quarantine"], order["index_path"])
    places = Places(RealDisk(), RealDisk(), *folders, bytes.fromhex(order["log_uuid"]), bytes.fromhex(order["node_id"]))
    upto_lsn, keep_free_bytes = order["upto_lsn"], order["keep_free_bytes"]
    if what == "roll":
        steps = roll(places, upto_lsn, now_ms=order["now_ms"], keep_free_bytes=keep_free_bytes, random_bytes=os.urandom)
    else:
        steps = bring_upto(order["path"], places, upto_lsn, keep_free_bytes, os.urandom)
    reported = 0.0
    try:
        for step in steps:
            if time.monotonic() - reported >= REPORT_SECS:
                reported = time.monotonic()
                say(step._asdict())
    except StoreError as error:
        say({"error": error.name, "detail": error.detail})
        return EXIT_FAILED
    except OSError as error:
        say({"error": "StorageFull" if error.errno in NO_SPACE else "StorageFailure", "detail": str(error)})
        return EXIT_FAILED
    return 0


def say(value: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(value), flush=True)


def die_with_parent(parent: int) -> None:
    """End when the process `parent` does, or at once if it has."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def give_way() -> None:
    """Take the processor and the disk only while nobody else wants them, as far as this system has that."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_CLASS_IDLE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
