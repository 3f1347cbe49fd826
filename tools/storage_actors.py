"""The storage actors of one epoch, started bottom-up and stopped in reverse: journal, segment-writer, compactor, snapshots.

Used by the storage process, and by tests that drive the real actors on a disk of their own. Blocking until `start` returns.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from actors.compaction_state import CompactionState
from actors.compactor import CompactionPlan, Compactor
from actors.directory import Directory
from actors.durable_head import DurableHead
from actors.metadata_journal import MetadataJournal, Observe
from actors.segment_writer import SegmentWriter
from actors.snapshot_state import SnapshotState
from actors.snapshots import CopyWorker, SnapshotPlan, Snapshots
from fasterstore.errors import DamagedLog
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.judge import DEFAULT_RULES, Rules
from fasterstore.metadata.roll import Places
from fasterstore.model import SegmentId
from fasterstore.settings import Settings
from fasterstore.storage.appender import SegmentAppender
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.index_mark import mark_index_damaged
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.segment import segment_name
from tools.journal_start import JournalStart, places_of


def compaction_plan(settings: Settings) -> CompactionPlan:
    """What the settings say of compaction."""
    return CompactionPlan(
        interval_secs=settings.storage_compact_interval_secs,
        read_grace_secs=settings.read_grace_secs,
        disk_share=settings.storage_compact_disk_percent / 100,
        min_free_bytes=settings.min_free_bytes,
        segment_target_bytes=settings.segment_target_bytes,
    )


def journal_rules(settings: Settings) -> Rules:
    """What the settings say of how changes are judged."""
    return Rules(max_clock_skew_ms=settings.max_clock_skew_secs * 1000, conditions_anywhere=settings.conditional == "local")


class StorageActors:
    """See the module. `fatal(reason, suspect)` ends the process; `observe` counts journal batches.

    Without `compaction` no space is given back. Without `snapshots` no copy of the index is kept and the log is never shortened;
    `copy_worker` makes what folds and checks copies. With `durable` the journal tells of what has become durable (`start_replicator`).
    """

    def __init__(
        self,
        disk: Disk,
        datadir: DataDir,
        directory: Directory,
        *,
        segment_target_bytes: int,
        min_free_bytes: int,
        checkpoint_interval_secs: float,
        multipart_ttl_secs: float = 86400,
        read_grace_secs: float = 600,
        fatal: Callable[[str, bool], None],
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
        observe: Observe | None = None,
        keyring: Keyring | None = None,
        compaction: CompactionPlan | None = None,
        snapshots: SnapshotPlan | None = None,
        copy_worker: Callable[[Places], CopyWorker] | None = None,
        rules: Rules = DEFAULT_RULES,
        tombstone_ttl_secs: float = 30 * 86400,
        durable: DurableHead | None = None,
    ) -> None:
        self._durable = durable
        self._rules = rules
        self._tombstone_ttl_secs = tombstone_ttl_secs
        self._snapshots = snapshots
        self._copy_worker = copy_worker
        self.snapshot_state = SnapshotState()
        """Written by the snapshots actor; for metrics."""
        self._compaction = compaction
        self.compaction_state = CompactionState()
        """Written by the compactor; for metrics."""
        self._disk = disk
        self._datadir = datadir
        self._directory = directory
        self._segment_target_bytes = segment_target_bytes
        self._min_free_bytes = min_free_bytes
        self._checkpoint_interval_secs = checkpoint_interval_secs
        self._multipart_ttl_secs = multipart_ttl_secs
        self._read_grace_secs = read_grace_secs
        self._fatal = fatal
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._random_bytes = random_bytes
        self._observe = observe
        self._keyring = keyring or Keyring(datadir.blob_key)
        self._refs: list[Any] = []
        self.torn_bytes = 0
        """How many bytes of an unacknowledged batch the last recovery set aside."""
        self.rebuilt = ""
        """Why the last start rebuilt the index; "" if it did not."""
        self.epoch = 0
        self.index_uuid = b""
        self.log_uuid = datadir.log_uuid

    def start(self) -> Iterator[tuple[str, int, int]]:
        """Recover, replay, begin the epoch, start the actors; yields (what, done, total) on the way. Run it to the end.

        Raises DamagedLog, DamagedRow, UnsupportedFormat, VolumeSuspect, StorageFull, the index's errors.
        """
        disk, datadir = self._disk, self._datadir
        start = JournalStart(
            disk, datadir, self._segment_length, now_ms=self._now_ms, monotonic=self._monotonic, random_bytes=self._random_bytes,
            rules=self._rules,
        )  # fmt: skip
        yield from start.run()
        journal, lease = start.journal, start.lease
        self.torn_bytes, self.rebuilt = start.torn_bytes, start.rebuilt
        self.epoch, self.index_uuid = journal.epoch, journal.index_uuid
        if self._durable is not None:
            self._durable.begin(journal.head_lsn, journal.index.state.last_stamp)
        appender = SegmentAppender(
            disk,
            datadir.segments_dir,
            journal.epoch,
            target_bytes=self._segment_target_bytes,
            min_free_bytes=self._min_free_bytes,
            random_bytes=self._random_bytes,
            keyring=self._keyring,
        )
        appender.add_ids(lease.first, lease.id_count)
        self._start_actor(
            MetadataJournal.start(
                journal,
                self._directory,
                now_ms=self._now_ms,
                monotonic=self._monotonic,
                fatal=self._fatal,
                checkpoint_interval_secs=self._checkpoint_interval_secs,
                multipart_ttl_secs=self._multipart_ttl_secs,
                tombstone_ttl_secs=self._tombstone_ttl_secs,
                read_grace_secs=self._read_grace_secs,
                observe=self._observe,
                index_damaged=partial(mark_index_damaged, disk, datadir),
                durable=self._durable,
            ),
            MetadataJournal.name,
        )
        view, segments = IndexView(datadir.index_path), OpenSegments(disk, datadir.segments_dir)
        self._start_actor(
            SegmentWriter.start(appender, self._directory, view, disk, segments, fatal=self._fatal, keyring=self._keyring),
            SegmentWriter.name,
        )
        if self._compaction is not None:
            self._start_compactor(self._compaction)
        if self._snapshots is not None and self._copy_worker is not None:
            self._start_snapshots(self._snapshots, self._copy_worker)

    def stop(self) -> None:
        """Stop the actors in reverse order; each finishes what is in its mailbox."""
        for ref in reversed(self._refs):
            ref.stop()
        self._refs.clear()

    def _start_compactor(self, plan: CompactionPlan) -> None:
        ref = Compactor.start(
            self._directory,
            IndexView(self._datadir.index_path),
            self._disk,
            self._datadir.segments_dir,
            plan,
            self.compaction_state,
            now_ms=self._now_ms,
            monotonic=self._monotonic,
            fatal=self._fatal,
            keyring=self._keyring,
        )
        self._start_actor(ref, Compactor.name)

    def _start_snapshots(self, plan: SnapshotPlan, copy_worker: Callable[[Places], CopyWorker]) -> None:
        places = places_of(self._disk, self._datadir)
        ref = Snapshots.start(
            self._directory,
            places,
            self._datadir,
            copy_worker(places),
            plan,
            self.snapshot_state,
            now_ms=self._now_ms,
            monotonic=self._monotonic,
            cursors=tuple if self._durable is None else self._durable.wanted_after,
        )
        self._start_actor(ref, Snapshots.name)

    def _start_actor(self, ref: Any, name: str) -> None:
        self._refs.append(ref)
        self._directory.register(name, ref)

    def _segment_length(self, segment_id: SegmentId) -> int:
        path = os.path.join(self._datadir.segments_dir, segment_name(segment_id))
        try:
            fd = self._disk.open(path, read_only=True)
        except FileNotFoundError as error:
            raise DamagedLog(f"{path} is missing, and the log names it; restore it, nothing is made anew") from error
        try:
            return self._disk.size(fd)
        finally:
            self._disk.close(fd)
