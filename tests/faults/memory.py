"""The disk in memory as several native threads may use it: one call at a time."""

from collections.abc import Callable
from typing import Any

from gevent.monkey import get_original

from fasterstore.storage.memory_disk import MemoryDisk

_make_lock = get_original("threading", "RLock")
_CALLS = (
    "open", "close", "pwrite", "pwritev", "pread", "fdatasync", "fsync", "size", "link_count", "truncate", "fallocate", "punch",
    "start_writeback", "rename", "unlink", "fsync_dir", "mkdir", "listdir", "exists", "allocated_bytes", "free_bytes", "mark",
)  # fmt: skip


class SharedMemoryDisk(MemoryDisk):
    """MemoryDisk behind a lock that native threads know, too."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        super().__init__(capacity_bytes)
        self._lock = _make_lock()


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: SharedMemoryDisk, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)

    return call


for _name in _CALLS:
    setattr(SharedMemoryDisk, _name, _locked(getattr(MemoryDisk, _name)))
