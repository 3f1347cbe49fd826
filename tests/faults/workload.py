"""A random run of the engine on a disk that records: groups of requests at once, restarts, checkpoints, compaction, workers that
outlive storage.

Owns the run until `finish`; afterwards `disk`, `timeline` and `indexes` say what a power cut at any moment may leave.
"""

import os
import random
from typing import NamedTuple

from actors.runtime import sleep
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.memory_disk import MemoryDisk
from tests.faults.engine import Clock, Engine, split
from tests.faults.timeline import Timeline
from tests.faults.workload_requests import OpenedUpload, WorkloadRequests

STORE = "/store"
INDEX_SUFFIXES = ("", "-wal")
SQLITE_LOG_HEADER_BYTES = 32

IndexFiles = dict[str, bytes]
"""Suffix -> content; empty: there is no index."""


class IndexCopy(NamedTuple):
    """The index's files as they were when the disk had seen `at_op` ops.

    `may_tear`: SQLite's log has been begun anew since it was last synced. A checkpoint syncs the log before it writes into the
    database file, and the header of a log begun anew is synced before its first frame: only what comes after that can be torn.
    """

    at_op: int
    files: IndexFiles
    may_tear: bool = False


class Workload:
    """See the module. `timeline` and `index` belong to `disk`'s first moment."""

    def __init__(self, disk: MemoryDisk, folder: str, rng: random.Random, now_ms: Clock, timeline: Timeline, index: IndexFiles) -> None:
        self.disk = disk
        self.timeline = timeline
        self.indexes = [IndexCopy(0, index)]
        self._index_path = os.path.join(folder, "index.db")
        self._rng = rng
        self._now_ms = now_ms
        opened = timeline.state(timeline.head_lsn).uploads.items()
        self._asking = WorkloadRequests(disk, rng, [OpenedUpload(upload.bucket, upload.key, number) for number, upload in opened])
        self._synced_log = log_header(index)
        put_index(self._index_path, index)
        self._engine = self._start()

    def run(self, steps: int) -> None:
        """So many groups of requests, with whatever comes between them."""
        for _ in range(steps):
            group = [self._asking.one(self._engine) for _ in range(self._rng.choice((1, 1, 2, 3, 5)))]
            fate = self._rng.random()
            if fate < 0.12:
                self._kill()
                continue
            for request in group:
                request.reply()
            self.indexes.append(self._copy_index())
            if fate < 0.24:
                self._engine.stop()
                self._synced_log = log_header(get_index(self._index_path))
                self._engine = self._start()
            elif fate < 0.36:
                self._engine.checkpoint()
                self._synced_log = log_header(get_index(self._index_path))
                self.indexes.append(self._copy_index())
            elif fate < 0.5:
                self._engine.tick()
            elif fate < 0.72:
                self._engine.compact()
            elif fate < 0.78:
                self._engine.compact_and_wait()

    def finish(self) -> None:
        """End by a kill, then see what became of each request. Raises Violation."""
        self._engine.abandon()
        self.timeline.extend(self.disk, f"{STORE}/journal", self._asking.requests)

    def _start(self) -> Engine:
        datadir = split(open_datadir(self.disk, STORE, self._rng.randbytes), self._index_path)
        return Engine(self.disk, datadir, self._rng.randbytes, self._now_ms, clock=lambda: self.disk.mark("acknowledged"))

    def _kill(self) -> None:
        for _ in range(self._rng.randint(0, 6)):
            sleep(self._rng.choice((0, 0, 0.0005)))
        self._engine.abandon()
        self._engine = self._start()

    def _copy_index(self) -> IndexCopy:
        # The log before the op count: a commit is preceded by its frame's sync, never the other way round.
        files = get_index(self._index_path)
        return IndexCopy(len(self.disk.ops), files, may_tear=log_header(files) != self._synced_log)


def get_index(path: str) -> IndexFiles:
    """The index's files as they are; the one that SQLite makes anew at each start is left out."""
    files = {}
    for suffix in reversed(INDEX_SUFFIXES):
        try:
            with open(path + suffix, "rb") as file:
                files[suffix] = file.read()
        except FileNotFoundError:
            continue
    return files


def log_header(files: IndexFiles) -> bytes:
    """The header of SQLite's log, which changes whenever the log is begun anew."""
    return files.get("-wal", b"")[:SQLITE_LOG_HEADER_BYTES]


def put_index(path: str, files: IndexFiles) -> None:
    """Have exactly these files, while nobody has the index open."""
    for suffix in (*INDEX_SUFFIXES, "-shm"):
        if suffix in files:
            with open(path + suffix, "wb") as file:
                file.write(files[suffix])
        elif os.path.exists(path + suffix):
            os.unlink(path + suffix)
