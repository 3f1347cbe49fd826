"""A check of a whole store: log, index, segment files, kept copies of the index. What the verb `check` runs; changes nothing.

A stopped store is read as it stands. A running one is read in short transactions beside its node; comparisons are then confirmed
(`confirm.py`), and those that the node kept changing are told apart.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from fasterstore.check.confirm import split, touched_between
from fasterstore.check.finding import OF_A_MOMENT, Finding, Kind
from fasterstore.check.index_rows import IndexCheck, is_of_this_version
from fasterstore.check.log_files import LogEnd, check_log
from fasterstore.check.segment_files import SegmentCheck
from fasterstore.errors import StorageFailure, StoreError, UnsupportedFormat
from fasterstore.metadata.index import IndexView, open_view, says_damage
from fasterstore.scrub.index_copies import CopyScrub
from fasterstore.scrub.progress import Position
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_format import file_name
from fasterstore.storage.witness import Witness

LOOKS_MAX = 4
VIEW_CACHE_KIB = 16384


class Progress(NamedTuple):
    """How far a check is: `done` of about `total` (0: not known) bytes of log or records, or rows of the index."""

    what: str
    done: int
    total: int


class StoreCheck:
    """See the module. `running`: a node has the data dir. `full`: read every byte of every record."""

    def __init__(self, disk: Disk, datadir: DataDir, *, running: bool, full: bool) -> None:
        self._disk = disk
        self._datadir = datadir
        self._running = running
        self._full = full
        self.unconfirmed: list[Finding] = []
        """What the node changed during every look: neither found nor excluded."""

    def run(self) -> Iterator[Finding | Progress]:
        """Yield findings and progress. Raises UnsupportedFormat, StorageFailure, OSError if there can be no check."""
        view, trouble = self._open()
        try:
            applied_lsn = -1
            if view is not None:
                try:
                    applied_lsn = view.applied_lsn()
                except StoreError as error:
                    trouble = Finding(Kind.INDEX_UNREADABLE, "index.db", error.detail)
            yield from self._log(applied_lsn)
            if view is not None:
                yield from self._index(view)
                yield from self._segments(view)
            if trouble is not None:
                yield trouble
            yield from self._copies()
        finally:
            if view is not None:
                view.close()

    def _open(self) -> tuple[IndexView | None, Finding | None]:
        if not self._disk_has_index():
            return None, Finding(Kind.INDEX_UNREADABLE, "index.db", "it is missing: the next start builds it anew")
        try:
            view = open_view(self._datadir.index_path, VIEW_CACHE_KIB)
        except UnsupportedFormat:
            raise
        except StoreError as error:
            if not says_damage(error):
                raise StorageFailure(f"the index cannot be opened: {error.detail}") from error
            return None, Finding(Kind.INDEX_UNREADABLE, "index.db", error.detail)
        try:
            if not is_of_this_version(view):
                raise UnsupportedFormat("the index is of an older version: start the node once, which brings it up to date")
        except UnsupportedFormat:
            view.close()
            raise
        except StoreError as error:
            view.close()
            return None, Finding(Kind.INDEX_UNREADABLE, "index.db", error.detail)
        return view, None

    def _disk_has_index(self) -> bool:
        # The index is SQLite's, on real files, whatever disk the rest lies on.
        return os.path.exists(self._datadir.index_path)

    def _log(self, applied_lsn: int) -> Iterator[Finding | Progress]:
        folder = self._datadir.journal_dir
        witnessed = Witness(self._disk, self._datadir.witness_path).read(self._datadir.log_uuid)
        end = LogEnd(max(witnessed, applied_lsn, 0), applied_lsn, self._running)
        total = 0
        for first in list_files(self._disk, folder):
            fd = self._disk.open(os.path.join(folder, file_name(first)), read_only=True)
            try:
                total += self._disk.size(fd)
            finally:
                self._disk.close(fd)
        for found in check_log(self._disk, folder, self._datadir.log_uuid, end):
            yield found if isinstance(found, Finding) else Progress("log", found, total)

    def _index(self, view: IndexView) -> Iterator[Finding | Progress]:
        first_lsn = self._lsn(view)
        suspects: list[Finding] = []
        for found in IndexCheck(view, whole=not self._running).run():
            if isinstance(found, Finding):
                if self._running and found.kind in OF_A_MOMENT:
                    suspects.append(found)
                else:
                    yield found
            else:
                yield Progress("index rows", found, 0)
        for _ in range(LOOKS_MAX - 1):
            if not suspects:
                return
            again: list[Finding] = []
            second_lsn = self._lsn(view)
            for found in IndexCheck(view, whole=False).run():
                if isinstance(found, Finding):
                    again.append(found)
                else:
                    yield Progress("index rows again", found, 0)
            touched = touched_between(self._disk, self._datadir.journal_dir, view, first_lsn, self._lsn(view))
            confirmed, suspects = split(suspects, again, touched)
            yield from confirmed
            first_lsn = second_lsn
        self.unconfirmed += suspects

    @staticmethod
    def _lsn(view: IndexView) -> int:
        try:
            return view.applied_lsn()
        except StoreError:
            return -1

    def _copies(self) -> Iterator[Finding | Progress]:
        rows = 0
        for step in CopyScrub(self._datadir.snapshots_dir).steps(Position("copies")):
            rows += step.counts.rows
            yield Progress("rows of kept copies", rows, 0)
            for damage in step.damage:
                yield Finding(Kind.COPY_DAMAGED, f"snapshots/{step.position.at}", damage.reason)

    def _segments(self, view: IndexView) -> Iterator[Finding | Progress]:
        check = SegmentCheck(self._disk, self._datadir.segments_dir, view, full=self._full)
        try:
            total = check.total_bytes()
            for found in check.run():
                yield found if isinstance(found, Finding) else Progress("records", found, total)
        except StoreError as error:
            if not says_damage(error):
                raise StorageFailure(f"the index cannot be read: {error.detail}") from error
            yield Finding(Kind.INDEX_UNREADABLE, "segments", f"the rest of the segments was not checked: {error.detail}")
