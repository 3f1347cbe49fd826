"""Starts `tools.roll_copy` as a process and follows it: the snapshots actor's `CopyWorker`. One at a time, in the actor's own greenlet."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from fasterstore import errors
from fasterstore.errors import StorageFailure, StoreError, Unavailable
from fasterstore.metadata.roll import Places, Progress

_NOT_ITS_OWN = ("FS_", "AWS_", "MINIO_")
"""Settings and secrets, of which it needs none."""


class CopyProcess:
    """See the module. `keep_free_bytes` is what a roll leaves free on the disk."""

    def __init__(self, places: Places, *, keep_free_bytes: int, now_ms: Callable[[], int]) -> None:
        self._places = places
        self._keep_free_bytes = keep_free_bytes
        self._now_ms = now_ms
        self._running: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def roll(self, upto_lsn: int, tell: Callable[[Progress], None]) -> None:
        """As `CopyWorker.roll`. Raises StoreError."""
        self._follow("roll", {"upto_lsn": upto_lsn}, tell)

    def bring(self, path: str, upto_lsn: int, tell: Callable[[Progress], None]) -> None:
        """As `CopyWorker.bring`. Raises StoreError."""
        self._follow("bring", {"upto_lsn": upto_lsn, "path": path}, tell)

    def stop(self) -> None:
        """Kill what is running: whatever it was at is whole in the next start."""
        self._stopped = True
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                self._running.kill()

    def _follow(self, what: str, order: dict[str, Any], tell: Callable[[Progress], None]) -> None:
        if self._stopped:
            raise Unavailable("the node stops")
        places = self._places
        order |= {
            "snapshots": places.snapshots, "journal": places.journal, "quarantine": places.quarantine, "index_path": places.index_path,
            "log_uuid": places.log_uuid.hex(), "node_id": places.node_id.hex(), "keep_free_bytes": self._keep_free_bytes,
            "now_ms": self._now_ms(), "parent": os.getpid(),
        }  # fmt: skip
        failure: StoreError | None = None
        self._running = subprocess.Popen(
            [sys.executable, "-m", "tools.roll_copy", what, json.dumps(order)],
            env={name: value for name, value in os.environ.items() if not name.startswith(_NOT_ITS_OWN)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            assert self._running.stdout is not None
            for line in self._running.stdout:
                value = json.loads(line)
                if "error" in value:
                    failure = _error_called(value["error"], value["detail"])
                else:
                    tell(Progress(value["what"], value["done"], value["total"]))
            code = self._running.wait()
        except BaseException:
            self._running.kill()
            self._running.wait()
            raise
        finally:
            self._running = None
        if failure is not None:
            raise failure
        if code:
            raise StorageFailure(f"the process that copies the index ended with code {code}")


def _error_called(name: str, detail: str) -> StoreError:
    kind = getattr(errors, name, StorageFailure)
    return kind(detail) if issubclass(kind, StoreError) else StorageFailure(detail)
