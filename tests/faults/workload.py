"""A random run of the engine on a disk that records: groups of requests at once, restarts, checkpoints, workers that outlive storage.

Owns the run until `finish`; afterwards `disk`, `timeline` and `indexes` say what a power cut at any moment may leave.
"""

import os
import random
from typing import Any, NamedTuple

from actors import messages as m
from actors.runtime import sleep
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.memory_disk import MemoryDisk
from tests.faults.engine import Clock, Engine, fill, make_intent, split
from tests.faults.timeline import Request, Timeline

STORE = "/store"
BUCKETS = ("alpha", "beta")
KEYS = tuple(b"key/%d" % number for number in range(7))
INDEX_SUFFIXES = ("", "-wal")
HELD_EXTENTS = 2
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


class Grant(NamedTuple):
    """An extent that some worker holds, with its own descriptor of the file, and the bytes it is for."""

    fd: int
    grant: m.ExtentGranted
    body: bytes


class Workload:
    """See the module. `timeline` and `index` belong to `disk`'s first moment."""

    def __init__(self, disk: MemoryDisk, folder: str, rng: random.Random, now_ms: Clock, timeline: Timeline, index: IndexFiles) -> None:
        self.disk = disk
        self.timeline = timeline
        self.indexes = [IndexCopy(0, index)]
        self._index_path = os.path.join(folder, "index.db")
        self._rng = rng
        self._now_ms = now_ms
        self._requests: list[Request] = []
        self._held: list[Grant] = []
        self._synced_log = log_header(index)
        self._pool = [rng.randbytes(rng.randint(1, 900)) for _ in range(4)]
        put_index(self._index_path, index)
        self._engine = self._start()

    def run(self, steps: int) -> None:
        """So many groups of requests, with whatever comes between them."""
        for _ in range(steps):
            group = [self._request() for _ in range(self._rng.choice((1, 1, 2, 3, 5)))]
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

    def finish(self) -> None:
        """End by a kill, then see what became of each request. Raises Violation."""
        self._engine.abandon()
        self.timeline.extend(self.disk, f"{STORE}/journal", self._requests)

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

    # ---- requests ----

    def _request(self) -> Request:
        rng, engine = self._rng, self._engine
        bucket = rng.choice(BUCKETS)
        kind = rng.random()
        sent_at = len(self.disk.ops)
        if kind < 0.05:
            return self._note("make", bucket, sent_at, engine.create_bucket(bucket))
        if kind < 0.08:
            return self._note("drop", bucket, sent_at, engine.delete_bucket(bucket))
        if kind < 0.25:
            key = rng.choice(KEYS)
            return self._note("delete", bucket, sent_at, engine.delete(bucket, key), key=key)
        return self._put(bucket, sent_at)

    def _put(self, bucket: str, sent_at: int) -> Request:
        rng, engine = self._rng, self._engine
        key, tag = rng.choice(KEYS), f"{len(self._requests)}.{rng.getrandbits(48):x}"
        body = rng.choice((b"", *self._pool)) if rng.random() < 0.3 else rng.randbytes(rng.randint(1, 1500))
        conditions: dict[str, Any] = {"create_bucket": rng.random() < 0.7}
        if rng.random() < 0.15:
            conditions["if_none_match"] = "*"
        if rng.random() < 0.75 or not body:
            outcome = engine.put(make_intent(bucket, key, body, tag, **conditions), body)
            return self._note("put", bucket, sent_at, outcome, key=key, tag=tag, body=body)
        held = self._extent(body)
        self.disk.close(held.fd)
        outcome = engine.finish(held.grant, make_intent(bucket, key, held.body, tag, **conditions), held.body)
        return self._note("put", bucket, sent_at, outcome, key=key, tag=tag, body=held.body)

    def _extent(self, body: bytes) -> Grant:
        """An extent to finish: mostly a new one, sometimes one that a worker has held for long, even of an earlier epoch."""
        rng, engine = self._rng, self._engine
        held = self._reserve(body * rng.randint(1, 3))
        fate = rng.random()
        if fate < 0.1:
            engine.abort(held.grant)
            self.disk.close(held.fd)
            return self._reserve(body)
        if fate < 0.7:
            # The oldest first: those of an earlier epoch are finished while extents with the same numbers are open in this one.
            self._held.append(held)
            if len(self._held) <= HELD_EXTENTS:
                return self._reserve(body)
            held = self._held.pop(0)
            # A worker that outlived its storage process may still be writing.
            fill(self.disk, *held)
        return held

    def _reserve(self, body: bytes) -> Grant:
        grant = self._engine.reserve(body)
        held = Grant(self._engine.open_segment(grant), grant, body)
        fill(self.disk, *held)
        return held

    def _note(self, kind: str, bucket: str, sent_at: int, outcome: Any, **what: Any) -> Request:
        request = Request(kind, bucket, sent_at, self._engine.epoch, outcome, **what)
        self._requests.append(request)
        return request


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
