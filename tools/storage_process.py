"""The storage process: locks, recovery with progress, the storage actors, their socket; in a single process the web as well.

Its exit code is its last word: "volume suspect" and "log damaged" leave the node read-only, "refused" stops it, anything else is
restarted. The first statement of the process, before this module is imported, was gevent's `patch_all`.
"""

import errno
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, NoReturn

from actors.directory import Directory
from actors.durable_head import DurableHead
from actors.messages import ConfigureBucket, CreateBucket, Refused, WorkerLost
from actors.observer import Observer
from actors.rate_limiter import RateLimiter
from actors.repairer import RepairByPeers, RepairCounts
from actors.replication_messages import SetPeers
from actors.replication_samples import replication_samples
from actors.runtime import Event, sleep
from actors.samples import MetricSamples
from actors.scrub_samples import scrub_samples
from actors.snapshots import SnapshotPlan
from actors.transport import StorageListener
from actors.wire import Hello
from fasterstore.errors import (
    DamagedLog,
    DamagedRow,
    InvariantError,
    StorageFailure,
    StorageFull,
    StoreError,
    UnsupportedFormat,
    VolumeSuspect,
)
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.index_writer import IndexFullError, SqliteError
from fasterstore.metadata.journal import FoldFailed
from fasterstore.policy.public_read import public_read_policy
from fasterstore.replication.board import ReplicationBoard
from fasterstore.settings import Settings
from fasterstore.storage.datadir import STORAGE_LOCK_NAME, DataDir, DirLock
from fasterstore.storage.disk import RealDisk
from fasterstore.token_buckets import TokenBuckets
from tools.commands import follow_commands
from tools.copy_process import CopyProcess
from tools.disk_samples import disk_samples
from tools.repairing import start_repairer
from tools.replicating import start_replicator
from tools.scrubbing import make_report, start_scrubber
from tools.storage_actors import StorageActors, compaction_plan, journal_rules
from tools.storage_metrics import StorageMetrics, lease_samples
from tools.supervisor import EXIT_LOG_DAMAGED, EXIT_REFUSED, EXIT_VOLUME_SUSPECT, Child
from tools.wall_clock import now_ms

logger = logging.getLogger("fasterstore.storage")

CREDIT_BYTES = 16 << 20
"""Bytes in flight from one worker: about 250 full small bodies."""
LOG_PROGRESS_SECS = 1.0
_DAY_SECS = 86_400
MAX_DEPTH = 2048
"""Asks in flight from one worker."""


class Outcome(NamedTuple):
    """How a storage process ends when it cannot go on."""

    code: int
    report: str


class StorageProcess:
    """One life of storage. `serve` returns at an orderly stop."""

    def __init__(
        self, settings: Settings, datadir: DataDir, keyring: Keyring, child: Child, peers: ReplicationBoard | None = None
    ) -> None:
        self._settings = settings
        self._replication_board = peers
        self._datadir = datadir
        self._child = child
        self._stop = Event()
        self._view: IndexView | None = None
        self.directory = Directory()
        self._metrics = StorageMetrics(lambda: self._view)
        self._scrub_report = make_report(settings)
        self._scrubber: Any = None
        self._keyring = keyring
        self._repairs = RepairCounts()
        self._repairer: Any = None
        self._replicator: Any = None
        peer_urls = settings.replication_peers
        self._durable = DurableHead(self.directory, peer_urls, waits_for_ack=settings.replication_ack == "one") if peer_urls else None
        self.actors = StorageActors(
            RealDisk(),
            datadir,
            self.directory,
            segment_target_bytes=settings.segment_target_bytes,
            min_free_bytes=settings.min_free_bytes,
            checkpoint_interval_secs=settings.metadata_compact_interval_secs,
            multipart_ttl_secs=settings.multipart_ttl_secs,
            read_grace_secs=settings.read_grace_secs,
            fatal=self.fatal,
            now_ms=now_ms,
            observe=self._metrics,
            keyring=keyring,
            compaction=compaction_plan(settings),
            rules=journal_rules(settings),
            tombstone_ttl_secs=settings.tombstone_ttl_days * _DAY_SECS,
            snapshots=SnapshotPlan(
                interval_secs=settings.metadata_compact_interval_secs,
                retention_bytes=settings.wal_retention_bytes,
                pin_max_bytes=settings.snapshot_pin_max_bytes,
                min_free_bytes=settings.min_free_bytes,
            ),
            durable=self._durable,
            copy_worker=partial(CopyProcess, keep_free_bytes=settings.min_free_bytes // 2, now_ms=now_ms),
        )
        self._listener = StorageListener(datadir.path, self.directory, self._hello)
        rate_per_sec = settings.rate_limit_per_sec
        self._buckets = TokenBuckets(rate_per_sec) if rate_per_sec else None
        self.web_samples: Callable[[], list[MetricSamples]] = list
        """In a single process: what the web part has counted."""
        self.reload: Callable[[], None] = lambda: None
        """In a single process: what the web part does when an operator has changed its files."""

    def start(self) -> None:
        """Take the lock, recover, start the actors, let the workers in."""
        DirLock(self._datadir.path, STORAGE_LOCK_NAME).acquire(wait=True)
        self.directory.register("observer", Observer.start("storage", self.samples, self._peers))
        if self._buckets is not None:
            self.directory.register("rate-limiter", RateLimiter.start(self._buckets))
        self._listener.start()
        started = logged = time.monotonic()
        try:
            for what, done, total in self.actors.start():
                self._listener.progress(what, done, total)
                if total and (done == total or time.monotonic() - logged >= LOG_PROGRESS_SECS):
                    logged = time.monotonic()
                    logger.info("%s: %d of %d", what, done, total)
                sleep(0)
        except Exception as error:
            self._refuse_start(error)
        self._metrics.torn_bytes = self.actors.torn_bytes
        self._metrics.index_rebuilt = bool(self.actors.rebuilt)
        if self.actors.torn_bytes:
            logger.warning("%d bytes of an unacknowledged batch were set aside in quarantine", self.actors.torn_bytes)
        self._view = IndexView(self._datadir.index_path)
        self._set_peers()
        self._create_buckets()
        repairer = start_repairer(self._settings, RealDisk(), self._datadir, self.directory, self._keyring, self._repairs)
        self._repairer = repairer
        repair = None if repairer is None else RepairByPeers(repairer)
        self._scrubber = start_scrubber(self._settings, RealDisk(), self._datadir, self.directory, self._scrub_report, repair)
        if self._durable is not None and self._replication_board is not None:
            # Behind the buckets: with FS_REPLICATION_ACK=one they would wait for a peer, and the peer's for this node.
            self._replicator = start_replicator(
                self._settings, RealDisk(), self._datadir, self.directory, self._keyring, self._durable, self._replication_board
            )
        self._listener.ready()
        logger.info("epoch %d ready after %.3f s", self.actors.epoch, time.monotonic() - started)

    def wait(self, before_stop: Callable[[], None] | None = None) -> None:
        """Follow the supervisor's commands until it says stop, then stop in reverse order; `before_stop` comes first."""
        follow_commands(self._child.commands_fd, self._command)
        self._stop.wait()
        if before_stop is not None:
            before_stop()
        self._listener.stop()
        for name in ("observer", "rate-limiter"):
            if (ref := self.directory.find(name)) is not None:
                ref.stop()  # type: ignore[attr-defined]
        if self._replicator is not None:
            self._replicator.stop()
        if self._scrubber is not None:
            self._scrubber.stop()
        if self._repairer is not None:
            self._repairer.kill()  # it may be in the middle of a long blob, which has no name yet
        self.actors.stop()
        if self._view is not None:
            self._view.close()

    def fatal(self, reason: str, suspect: bool) -> NoReturn:
        """End this process at once: nothing more may be acknowledged."""
        self._end(Outcome(EXIT_VOLUME_SUSPECT if suspect else 1, reason))

    def _refuse_start(self, error: Exception) -> NoReturn:
        text = error.detail if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        if isinstance(error, UnsupportedFormat):
            self._end(Outcome(EXIT_REFUSED, text))
        if isinstance(error, VolumeSuspect) or (isinstance(error, OSError) and error.errno == errno.EIO):
            self._end(Outcome(EXIT_VOLUME_SUSPECT, text))
        if isinstance(error, StorageFull | IndexFullError):
            self._end(Outcome(1, f"no room to start, tried again until there is: {text}"))
        if isinstance(error, DamagedLog | DamagedRow | SqliteError):
            self._end(Outcome(EXIT_LOG_DAMAGED, text))
        if isinstance(error, InvariantError | FoldFailed):
            self._end(Outcome(EXIT_LOG_DAMAGED, f"the log cannot be replayed: {text}"))  # the same entries would end the next start too
        logger.exception("start failed")
        self._end(Outcome(1, text))

    def _end(self, outcome: Outcome) -> NoReturn:
        logger.critical("storage ends with code %d: %s", outcome.code, outcome.report)
        os.write(self._child.report_fd, outcome.report.encode()[:4096])
        os._exit(outcome.code)

    def samples(self) -> list[MetricSamples]:
        """Everything that the storage process exports, but for what the observer adds of the actors and of the process itself."""
        own = self._metrics.samples() + self.actors.compaction_state.samples() + self.actors.snapshot_state.samples(now_ms)
        own += lease_samples(self._buckets) + disk_samples(self._datadir.path)
        if self._replication_board is not None:
            own += self._repairs.samples()
        own += replication_samples(self._replication_board, now_ms)
        return own + scrub_samples(self._scrub_report) + self.web_samples()

    def _hello(self) -> Hello:
        return Hello(self.actors.epoch, self.actors.index_uuid, self.actors.log_uuid, CREDIT_BYTES, MAX_DEPTH)

    def _peers(self) -> list[tuple[str, object]]:
        return [(f"worker-{peer.worker}", peer.ref("observer")) for peer in self._listener.peers() if peer.worker >= 0]

    def _set_peers(self) -> None:
        """Before any change: whether a delete leaves a tombstone is a question of whether there are peers."""
        answer = self.directory.get("metadata-journal").ask(SetPeers(list(self._settings.replication_peers)))
        if isinstance(answer, Refused):
            self._refuse_start(StorageFull(answer.detail) if answer.error == "StorageFull" else StorageFailure(str(answer)))

    def _create_buckets(self) -> None:
        journal = self.directory.get("metadata-journal")
        for name, public in self._settings.buckets:
            row = None if self._view is None else self._view.bucket(name)
            if row is None:
                answer = journal.ask(CreateBucket(name))
                logger.info("bucket %s of FS_BUCKETS: %s", name, type(answer).__name__)
                if public:
                    journal.ask(ConfigureBucket(name, "policy", public_read_policy(name)))
            elif public and "policy" not in row.settings:
                # Somebody may have closed it: only a new bucket is opened.
                logger.warning("bucket %s of FS_BUCKETS exists and has no policy: it is not made public", name)

    def _command(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "lost":
            self.directory.get("segment-writer").tell(WorkerLost(int(rest)))
        elif word == "reload":
            self.reload()
        elif word == "stop":
            self._stop.set()


def run(settings: Settings, datadir: DataDir, keyring: Keyring, child: Child, peers: ReplicationBoard | None = None) -> None:
    """The storage process from its imports to its orderly stop."""
    process = StorageProcess(settings, datadir, keyring, child, peers)
    process.start()
    process.wait()
