"""Regions of the compactor, and ranges given back: segment-writer's work that may wait, in a native thread of its own.

Part of `segment_writer.py`, which owns the appender and the order. Syncs of moved data must not stand in the way of small appends or of
extents that a client waits for.
"""

import logging
from collections.abc import Callable
from typing import Any

from actors import space_messages as m
from actors.directory import Directory
from actors.messages import Refused
from actors.runtime import Envelope, NativeThread, spawn, tell
from fasterstore.compaction import punchable
from fasterstore.errors import DamagedRecord, StorageFull, VolumeSuspect
from fasterstore.storage.appender import Extent, SegmentAppender
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments

logger = logging.getLogger("fasterstore.segments")


class RegionDesk:
    """See the module. `announce` tells the journal of a new segment; `fatal` must end the process and not return."""

    def __init__(
        self,
        appender: SegmentAppender,
        directory: Directory,
        disk: Disk,
        segments: OpenSegments,
        *,
        announce: Callable[[Any], None],
        fatal: Callable[[str, bool], None],
    ) -> None:
        self._appender = appender
        self._directory = directory
        self._disk = disk
        self._segments = segments
        self._announce = announce
        self._fatal = fatal
        self._thread = NativeThread("regions")
        self._jobs: set[Any] = set()
        self._told_of_no_holes = False

    def close(self) -> None:
        """Finish what has been begun."""
        for job in list(self._jobs):
            job.join()
        self._thread.close()

    def grant(self, envelope: Envelope) -> None:
        """Answer a ReserveRegion; the ids it may take have been leased."""
        extent = self._appender.place_region(envelope.message.length_bytes)
        try:
            self._thread.run(self._appender.prepare_region, extent)
        except StorageFull as error:
            self._appender.undo_extent(extent)
            envelope.reply(Refused(error.name, error.detail))
            return
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
            return
        self._announce(extent.segment)
        segment = extent.segment
        envelope.reply(
            m.RegionGranted(extent.number, self._appender.epoch, segment.segment_id, segment.file_uuid, extent.location.offset)
        )

    def finish(self, envelope: Envelope, keep: Callable[[Envelope], None]) -> None:
        """Sync a region and have the journal name what lies in it."""
        message = envelope.message
        extent = self._appender.extents.get(message.extent) if message.epoch == self._appender.epoch else None
        if extent is None or extent.finishing:
            envelope.reply(Refused("StaleEpoch", "this region is not open in the running storage process"))
            return
        extent.finishing = True
        keep(envelope)
        self._spawn(self._finish, envelope, extent)

    def _finish(self, envelope: Envelope, extent: Extent) -> None:
        try:
            self._thread.run(self._appender.sync_region, extent)
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
            return
        self._appender.finished(extent)
        envelope.forward(self._directory.get("metadata-journal"), m.CommitMoves(envelope.message.relocations))

    def give_back(self, extent: Extent) -> None:
        """Ask for the blocks of an extent that was aborted or lost to be given back: nothing will ever be named there."""
        hole = punchable(extent.location.offset, extent.length_bytes)
        if hole is not None and extent.segment.announced:
            tell(self._directory.get("metadata-journal"), m.PunchRange(extent.segment.segment_id, *hole))

    def punch(self, message: m.RangeGivenBack) -> None:
        """Give blocks back, as the log says they may be."""
        self._spawn(self._punch, message)

    def _punch(self, message: m.RangeGivenBack) -> None:
        try:
            self._thread.run(self._punch_blocks, message)
        except (OSError, DamagedRecord) as error:  # held until the segment is rewritten: the compactor sees that the file is as large
            logger.error("blocks of segment %016x could not be given back: %s", message.segment_id, error)

    def _punch_blocks(self, message: m.RangeGivenBack) -> None:
        segment = self._segments.writer(message.segment_id, message.file_uuid)
        if not self._disk.punch(segment.fd, message.offset, message.length_bytes) and not self._told_of_no_holes:
            self._told_of_no_holes = True
            logger.warning("this file system takes no blocks back from within a file: compaction rewrites segments instead")

    def _spawn(self, job: Callable[..., None], *args: Any) -> None:
        greenlet = spawn(job, *args)
        self._jobs.add(greenlet)
        greenlet.link(self._jobs.discard)
