"""The journal's start: the log recovered, the index opened or rebuilt, and what the log holds above it folded. Blocking, with progress.

The index is a cache of the log: one that is missing, too old for the log, not a database, or fails a checksum while it is opened and
brought up to date, is rebuilt from a kept copy and the log, once in a start. An index ahead of the log stays damage of the log, and the
index of another log is refused: neither is the index's own fault.
"""

import gc
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial

from fasterstore.errors import DamagedRow, StorageFull
from fasterstore.metadata.entries import SegmentIdsLeased
from fasterstore.metadata.index_file import is_damage
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.journal import Journal
from fasterstore.metadata.judge import DEFAULT_RULES, Identity, Rules
from fasterstore.metadata.rebuild import put_base
from fasterstore.metadata.roll import Places
from fasterstore.model import SegmentId
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk, RealDisk
from fasterstore.storage.index_mark import clear_index_mark, index_damage, mark_index_damaged
from fasterstore.storage.kept_copies import list_copies, newest_lsn
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_recovery import FIRST_LSN, Recovered, recover
from fasterstore.storage.witness import Witness
from tools.reserve import Reserve

logger = logging.getLogger("fasterstore.storage")

Progress = tuple[str, int, int]
"""What is under way, how much of it is done, and of how much (0: unknown)."""


def places_of(disk: Disk, datadir: DataDir) -> Places:
    """Where the index and its copies are: on the real disk, whatever `disk` the log is on, because SQLite opens them."""
    for folder in (datadir.snapshots_dir, datadir.quarantine_dir):
        os.makedirs(folder, exist_ok=True)
    return Places(
        RealDisk(), disk, datadir.snapshots_dir, datadir.journal_dir, datadir.quarantine_dir, datadir.index_path, datadir.log_uuid,
        datadir.node_id,
    )  # fmt: skip


class JournalStart:
    """One start. `run` yields progress; afterwards `journal` is ready, its epoch begun, and `lease` holds the segment ids."""

    def __init__(
        self,
        disk: Disk,
        datadir: DataDir,
        segment_length: Callable[[SegmentId], int],
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        rules: Rules = DEFAULT_RULES,
    ) -> None:
        self._rules = rules
        self._disk = disk
        self._datadir = datadir
        self._segment_length = segment_length
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._random_bytes = random_bytes
        self._places = places_of(disk, datadir)
        self._reserve = Reserve(disk, os.path.dirname(datadir.index_path))
        self.journal: Journal
        self.lease: SegmentIdsLeased
        self.torn_bytes = 0
        """How many bytes of an unacknowledged batch were set aside."""
        self.rebuilt = ""
        """Why the index was rebuilt in this start; "" if it was not."""

    def run(self) -> Iterator[Progress]:
        """Do it. Raises DamagedLog, DamagedRow, UnsupportedFormat, VolumeSuspect, StorageFull, the index's errors."""
        yield "reading the log", 0, 0
        self._reserve.take()
        if reason := self._lost():
            yield from self._rebuild(reason)
        try:
            yield from self._open()
        except Exception as error:
            if not is_damage(error) or self.rebuilt:
                raise
            reason = f"{type(error).__name__}: {error}"
            mark_index_damaged(self._disk, self._datadir, reason)
        else:
            return
        gc.collect()  # a connection that nobody closed must not hold the damaged file
        yield from self._rebuild(reason)
        yield from self._open()

    def _lost(self) -> str:
        """Why the index cannot be opened at all; "" if it may be."""
        if reason := index_damage(self._disk, self._datadir):
            return reason
        if os.path.exists(self._datadir.index_path) or not self._evidence():
            return ""
        return "there is no index file"

    def _evidence(self) -> int:
        """An LSN that was durable once, going by the witness and the copies' names."""
        copies = list_copies(self._places.disk, self._datadir.snapshots_dir, self._datadir.log_uuid)
        return max(Witness(self._disk, self._datadir.witness_path).read(self._datadir.log_uuid), newest_lsn(copies))

    def _rebuild(self, reason: str) -> Iterator[Progress]:
        logger.error("the index is rebuilt from its copy and the log: %s", reason)
        for step in put_base(self._places, self._log_first_lsn(), now_ms=self._now_ms(), random_bytes=self._random_bytes):
            yield f"rebuilding the index: {step.what}", step.done, step.total
        clear_index_mark(self._disk, self._datadir)
        self.rebuilt = reason

    def _log_first_lsn(self) -> int:
        firsts = list_files(self._disk, self._datadir.journal_dir)
        return firsts[0] if firsts else FIRST_LSN

    def _open(self) -> Iterator[Progress]:
        datadir = self._datadir
        index = IndexWriter(datadir.index_path, datadir.log_uuid, self._random_bytes, node_id=datadir.node_id)
        recovered: Recovered | None = None
        witness = Witness(self._disk, datadir.witness_path)
        try:
            applied = index.state.applied_lsn
            if applied + 1 < self._log_first_lsn():
                raise DamagedRow(f"the index ends at LSN {applied}, the log begins at LSN {self._log_first_lsn()}")
            recovered = self._recover(applied)
            who = Identity(datadir.node_id, datadir.log_uuid, self._rules)
            journal = Journal(
                index,
                recovered.writer,
                witness,
                who,
                free_reserve=self._reserve.give_back,
                timer=self._monotonic,
                need_room=self._reserve.need_room,
            )
            for done, total in journal.replay(self._disk, datadir.journal_dir):
                yield "replaying the log", done, total
                if done == total:
                    journal.checkpoint()  # a node that keeps crashing must not replay the same entries each time
            self.lease = journal.start_epoch(self._now_ms(), self._segment_length)
        except BaseException:
            if recovered is not None:
                recovered.writer.close()
            witness.close()
            index.close()
            raise
        self.torn_bytes += recovered.torn_bytes
        self.journal = journal

    def _recover(self, applied_lsn: int) -> Recovered:
        datadir = self._datadir
        recover_log = partial(
            recover,
            self._disk,
            datadir.journal_dir,
            datadir.log_uuid,
            max(self._evidence(), applied_lsn),
            self._random_bytes,
            quarantine=datadir.quarantine_dir,
            verify_from_lsn=applied_lsn + 1,
        )
        try:
            return recover_log()
        except StorageFull:
            # A start must not need more room than a stop left: the last file's copy may use what is kept for the index.
            if not self._reserve.remove():
                raise
            return recover_log()
