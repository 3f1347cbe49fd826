"""One life of the real storage actors, on a disk of the test's choice: what the fault harnesses drive and look into.

Owns the actors between `Engine(...)` and `stop` or `abandon`. It knows no model and judges nothing. Log files, segments and
batches are made small, so that a short run rolls and rotates often.
"""

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from blake3 import blake3

import actors.metadata_journal
from actors import compaction_round, space_messages
from actors import messages as m
from actors.compactor import CompactionPlan
from actors.directory import Directory
from actors.runtime import Envelope, GeventRef, Reply, sleep
from fasterstore import compaction
from fasterstore.metadata import judge_uploads
from fasterstore.metadata.index import IndexView
from fasterstore.model import BlobNumber, DeleteIntent, PutIntent
from fasterstore.storage import record
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.segment import segment_name
from fasterstore.storage.wal_recovery import Recovered
from fasterstore.storage.wal_recovery import recover as real_recover
from tests.faults.reading import Reading
from tools import journal_start
from tools.storage_actors import StorageActors

SEGMENT_TARGET_BYTES = 24 << 10
WAL_ROTATE_BYTES = 8 << 10
WAL_STEP_BYTES = 4 << 10
ANSWER_TIMEOUT_SECS = 60.0
MULTIPART_TTL_SECS = 1000
"""More than a run lasts by its own clock, unless that is put forward."""
SWEEP_TURNS = 1000
SMALL_STEPS = {"RELEASE_PARTS": 2, "RELEASE_LOOK_AT": 3, "EXPIRE_UPLOADS": 2}
"""So that what is let go takes several entries."""
COMPACTION_STEPS = {
    "GROUP_BYTES": 2 << 10, "GROUP_BLOBS": 3, "CRUMBS_MIN": 4, "YOUNG_SEGMENTS": 1, "PUNCH_BYTES_MIN": 4 << 10,
}  # fmt: skip
"""So that a round has many steps, of each kind some."""
ON_DEMAND = CompactionPlan(interval_secs=0, read_grace_secs=0, disk_share=1.0, min_free_bytes=0, segment_target_bytes=SEGMENT_TARGET_BYTES)

NOISY = ("actors.mailbox", "actors.runtime", "fasterstore.segments", "fasterstore.journal", "fasterstore.compactor", "fasterstore.storage")

Clock = Callable[[], int]


class SplitDataDir(DataDir):
    """A data dir whose index is a real file, while everything else lies on another disk."""

    index_file = ""

    @property
    def index_path(self) -> str:
        return self.index_file


def split(datadir: DataDir, index_file: str) -> SplitDataDir:
    """The same data dir with its index at `index_file`."""
    made = SplitDataDir(*datadir)
    made.index_file = index_file
    return made


class Outcome:
    """A request on its way. `acknowledged_at` is what `clock` said in the instant of the reply; None before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reply = Reply()
        self.acknowledged_at: int | None = None

    def set(self, value: Any = None) -> None:
        self.acknowledged_at = self._clock()
        self._reply.set(value)

    def fail(self, error: Exception) -> None:
        self._reply.fail(error)

    def get(self) -> Any:
        """The reply. Raises ActorDeadError if the actors were abandoned before it, ActorFailure."""
        return self._reply.get(timeout=ANSWER_TIMEOUT_SECS)


class Engine(Reading):
    """See the module. Raises from its constructor what StorageActors.start raises; `recovered_lsn` is the log's head found then."""

    def __init__(self, disk: Disk, datadir: DataDir, random_bytes: Callable[[int], bytes], now_ms: Clock, clock: Clock = lambda: 0) -> None:
        self.datadir = datadir
        self.recovered_lsn = 0
        self._ended = False
        self._clock = clock
        self._now_ms = now_ms
        self._directory = Directory()
        self._actors = StorageActors(
            disk,
            datadir,
            self._directory,
            segment_target_bytes=SEGMENT_TARGET_BYTES,
            min_free_bytes=0,
            checkpoint_interval_secs=1e9,
            multipart_ttl_secs=MULTIPART_TTL_SECS,
            read_grace_secs=0,
            fatal=_fatal,
            now_ms=now_ms,
            random_bytes=random_bytes,
            compaction=ON_DEMAND,
        )
        with patch.object(journal_start, "recover", self._recover):
            for _progress in self._actors.start():
                pass
        super().__init__(disk, IndexView(datadir.index_path), OpenSegments(disk, datadir.segments_dir))

    def _recover(self, *args: Any, **kwargs: Any) -> Recovered:
        found = real_recover(*args, **kwargs, rotate_bytes=WAL_ROTATE_BYTES, step_bytes=WAL_STEP_BYTES)
        self.recovered_lsn = found.head_lsn
        return found

    @property
    def epoch(self) -> int:
        return self._actors.epoch

    # ---- its end ----

    def stop(self) -> None:
        """The orderly end."""
        self._ended = True
        self._close_readers()
        self._actors.stop()

    def abandon(self) -> None:
        """The end by kill -9: nobody finishes anything, nothing is checkpointed. What a native thread has begun it completes.

        Nothing happens after the first end.
        """
        if self._ended:
            return
        self._ended = True
        self._close_readers()
        refs = list(reversed(self._actors._refs))
        compactor, writer, journal = (ref._actor_weakref() for ref in refs)
        for ref in refs:
            ref.kill()
        for greenlet in (compactor._watcher, compactor._running, journal._ticker, writer._finisher, *writer._regions._jobs):
            if greenlet is not None:
                greenlet.kill()
        for thread in (compactor._thread, writer._thread, writer._finish_thread, writer._regions._thread, journal._thread):
            thread.close()
        compactor._segments.forget_all()
        compactor._view.close()
        writer._segments.forget_all()
        writer._view.close()
        appender = writer._appender
        for segment in (*appender.active(), *appender._retired):
            if segment.fd >= 0:
                self.disk.close(segment.fd)
        journal._journal.close()
        journal._journal._witness.close()

    def _close_readers(self) -> None:
        self.segments.forget_all()
        self.view.close()

    # ---- requests ----

    def send(self, actor: str, message: Any) -> Outcome:
        """Ask without waiting."""
        outcome = Outcome(self._clock)
        ref = self._directory.get(actor)
        assert isinstance(ref, GeventRef)
        ref.deliver(Envelope(message, outcome))
        return outcome

    def blob_id(self, body: bytes) -> bytes:
        return blake3(body, key=self.datadir.blob_key).digest()

    def put(self, intent: PutIntent, body: bytes) -> Outcome:
        """PUT with the bytes in the message."""
        return self.send("segment-writer", m.PutObject(intent, self.blob_id(body), body))

    def reserve(self, body: bytes, worker: int = 1) -> m.ExtentGranted:
        """Have a place for `body` granted."""
        grant = self.send("segment-writer", m.ReserveExtent(len(body), len(body), worker)).get()
        assert isinstance(grant, m.ExtentGranted), grant
        return grant

    def open_segment(self, grant: m.ExtentGranted) -> int:
        """The worker's own descriptor, which outlives this life; the caller closes it."""
        return self.disk.open(os.path.join(self.datadir.segments_dir, segment_name(grant.segment_id)))

    def finish(self, grant: m.ExtentGranted, intent: PutIntent, body: bytes, claim: int = 0) -> Outcome:
        """PUT of an extent that was filled."""
        digest = record.table_digest(record.chunk_table(body))
        message = m.FinishExtent(intent, grant.extent, grant.epoch, self.blob_id(body), digest, BlobNumber(claim))
        return self.send("segment-writer", message)

    def abort(self, grant: m.ExtentGranted) -> None:
        self._directory.get("segment-writer").tell(m.AbortExtent(grant.extent, grant.epoch))

    def lose_worker(self, worker: int) -> None:
        self._directory.get("segment-writer").tell(m.WorkerLost(worker))

    def change(self, message: Any) -> Outcome:
        """Whatever else is asked of metadata-journal."""
        return self.send("metadata-journal", message)

    def delete(self, bucket: str, key: bytes, if_match: str | None = None) -> Outcome:
        return self.change(m.DeleteObject(bucket, DeleteIntent(key, if_match)))

    def create_bucket(self, bucket: str) -> Outcome:
        return self.change(m.CreateBucket(bucket))

    def delete_bucket(self, bucket: str) -> Outcome:
        return self.change(m.DeleteBucket(bucket))

    def checkpoint(self) -> m.Checkpointed:
        checkpointed: m.Checkpointed = self.change(m.Checkpoint()).get()
        return checkpointed

    def compact(self) -> None:
        """A round of the compactor begins, if none is under way."""
        self._directory.get("compactor").tell(space_messages.CompactionDue())
        sleep(0)

    def compact_and_wait(self) -> str:
        """A round without regard to age, from its beginning to its end; returns why it ended early, empty if it did not."""
        compactor = self._directory.get("compactor")
        assert isinstance(compactor, GeventRef)
        actor = compactor._actor_weakref()
        while actor._running is not None:
            sleep(0.0005)
        compactor.ask(space_messages.CompactNow())
        while actor._running is not None:
            sleep(0.0005)
        return str(actor.state.last_round["error"])

    def tick(self) -> None:
        """One second has passed."""
        self._directory.get("metadata-journal").tell(m.Tick())
        sleep(0)

    def sweep(self) -> None:
        """One second has passed, and whatever that lets go has gone, or never goes."""
        self.tick()
        expired_ms = self._now_ms() - MULTIPART_TTL_SECS * 1000
        for _ in range(SWEEP_TURNS):
            self.delete_bucket("nobucket").get()  # its answer comes after what was told before it
            if not self.view._rows("SELECT 1 FROM releases UNION ALL SELECT 1 FROM uploads WHERE changed_ms < ? LIMIT 1", expired_ms):
                break
        self.delete_bucket("nobucket").get()  # the look that found nothing more is over, too


def fill(disk: Disk, fd: int, grant: m.ExtentGranted, body: bytes) -> None:
    """Do the worker's part: payload and chunk table into the extent."""
    start = grant.offset + record.HEADER_BYTES
    disk.pwrite(fd, body, start)
    disk.pwrite(fd, record.chunk_table(body), start + len(body))


def make_intent(bucket: str, key: bytes, body: bytes, tag: str, **conditions: Any) -> PutIntent:
    """What web would ask for; `tag` is kept as user metadata and tells which request an object is of."""
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return PutIntent(bucket, key, len(body), etag, {"content-type": "text/plain"}, {"tag": tag}, {}, **conditions)


class CountingClock:
    """Unix milliseconds that never repeat; `ahead_ms` puts it forward."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self._next = itertools.count(1_700_000_000_000).__next__

    def __call__(self) -> int:
        return self._next() + self.ahead_ms


@contextmanager
def laboratory() -> Iterator[None]:
    """The journal's own clock stands still, so that a run is told by its seed; `Engine.tick` moves it. Killed actors log nothing."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    with (
        patch.object(actors.metadata_journal, "TICK_SECS", 1e6),
        patch.multiple(judge_uploads, **SMALL_STEPS),
        patch.multiple(compaction, **COMPACTION_STEPS),
        patch.object(compaction_round, "FORGET_BLOBS", 3),
    ):
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _fatal(reason: str, suspect: bool) -> None:
    raise AssertionError(f"the storage process would have ended (suspect: {suspect}): {reason}")
