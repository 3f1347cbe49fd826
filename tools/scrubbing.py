"""Putting the scrubber together from settings and the storage process's other actors."""

import time
from typing import Any

from actors.directory import Directory
from actors.runtime import GeventRef
from actors.scrubber import Repair, Scrubber
from fasterstore.scrub.report import ScrubReport
from fasterstore.settings import Settings
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.quarantine import Quarantine
from tools.wall_clock import now_ms

_DAY_SECS = 86_400
_FOREGROUND = ("segment-writer", "metadata-journal")


def make_report(settings: Settings) -> ScrubReport:
    """The scrubber's books, for it to keep and for metrics to read."""
    return ScrubReport(settings.scrub_interval_days * _DAY_SECS, settings.scrub_max_disk_percent / 100)


def start_scrubber(
    settings: Settings, disk: Disk, datadir: DataDir, directory: Directory, report: ScrubReport, repair: Repair | None = None
) -> Any:
    """Start the scrubber under its name in `directory`; return its ref."""
    ref: Any = Scrubber.start(
        disk,
        datadir,
        directory,
        report,
        Quarantine(disk, datadir.quarantine_dir, min_free_bytes=settings.min_free_bytes),
        now_ms=now_ms,
        monotonic=time.monotonic,
        busy=lambda: _somebody_waits(directory),
        repair=repair,
    )
    directory.register(Scrubber.name, ref)
    return ref


def _somebody_waits(directory: Directory) -> bool:
    """Whether a request waits in the mailbox of an actor that needs the disk."""
    refs = [directory.find(name) for name in _FOREGROUND]
    return any(isinstance(ref, GeventRef) and len(ref.actor_inbox) for ref in refs)
