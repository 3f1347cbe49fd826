"""One round of scrubbing: records, index, kept copies of it, journal files, in this order, in steps of a few milliseconds of work.

Runs in one native thread. Opens an index view of its own, small, and closes it at the end. Changes nothing in the store; the only thing
it writes is copies of bad records.
"""

import os
from collections.abc import Iterator
from typing import Protocol

from fasterstore.metadata.index import open_view
from fasterstore.scrub.damage import Step
from fasterstore.scrub.index_copies import CopyScrub, list_copies
from fasterstore.scrub.index_rows import IndexScrub
from fasterstore.scrub.log_files import LogScrub
from fasterstore.scrub.progress import PHASES, Position
from fasterstore.scrub.records import RecordScrub
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.quarantine import Quarantine
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_format import file_name

VIEW_CACHE_KIB = 2048


class _Part(Protocol):
    def steps(self, position: Position) -> Iterator[Step]:
        """Do what is left of the phase behind `position`."""


class Round:
    """See the module. Raises DamagedRow, VolumeSuspect from its constructor."""

    def __init__(self, disk: Disk, datadir: DataDir, quarantine: Quarantine, position: Position) -> None:
        self._disk = disk
        self._datadir = datadir
        self._view = open_view(datadir.index_path, VIEW_CACHE_KIB)
        self._position = position
        self._parts: dict[str, _Part] = {
            "records": RecordScrub(disk, datadir.segments_dir, self._view, quarantine),
            "index": IndexScrub(self._view),
            "copies": CopyScrub(datadir.snapshots_dir),
            "log": LogScrub(disk, datadir.journal_dir, datadir.log_uuid),
        }
        self._steps = self._all_steps()

    def step(self) -> Step | None:
        """Do the next step; None at the end of the round. Blocking. Raises OSError, DamagedRow, VolumeSuspect: then make a new Round."""
        return next(self._steps, None)

    def _all_steps(self) -> Iterator[Step]:
        for phase in PHASES[PHASES.index(self._position.phase) :]:
            start = self._position if phase == self._position.phase else Position(phase)
            yield Step(start)
            yield from self._parts[phase].steps(start)

    def total_bytes(self) -> int:
        """About how much a whole round reads. Raises OSError, DamagedRow, VolumeSuspect."""
        total = sum(row.live_bytes for row in self._view.segments())
        total += os.stat(self._datadir.index_path).st_size
        if os.path.isdir(self._datadir.snapshots_dir):
            paths = [os.path.join(self._datadir.snapshots_dir, name) for name in list_copies(self._datadir.snapshots_dir)]
            total += sum(os.stat(path).st_size for path in paths)
        for first in list_files(self._disk, self._datadir.journal_dir)[:-1]:
            fd = self._disk.open(os.path.join(self._datadir.journal_dir, file_name(first)), read_only=True)
            try:
                total += self._disk.size(fd)
            finally:
                self._disk.close(fd)
        return total

    def close(self) -> None:
        """Let go of the index and of what is open."""
        self._steps = iter(())
        self._view.close()
