"""One round of the compactor: forget, retire, rewrite, unlink. Order and pace; what may go is judged by the journal, step by step.

    1  blobs that nothing names, and whose grace is over, are forgotten
    2  active segments full of dead bytes are sealed
    3  segments in which nothing lies are retired, then unlinked
    4  segments worth it are rewritten, best first: groups of records are copied into a region, synced, named; then retired and unlinked
    5  with encryption on, so are those that hold plain records

A step may be cut short anywhere: copies that were never named are dead bytes of their segment, a retired file that is still there is
unlinked by the next round. A damaged record stays where it is, and so does its segment: nothing that cannot be read is given up, and
nothing else waits for it.
"""

import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from actors import space_messages as m
from actors.compaction_state import CompactionState
from actors.directory import Directory
from actors.messages import AbortExtent, BlobFoundDamaged, Refused
from actors.runtime import NativeThread
from fasterstore import compaction
from fasterstore.errors import DamagedRecord, DamagedRow
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.judge_space import Relocation
from fasterstore.model import BlobRow, SegmentId, SegmentRow
from fasterstore.storage.conversion import LargeConversion, must_convert, relocated_bytes
from fasterstore.storage.disk import BAD_MEDIUM, Disk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.relocation import Copied, LargeCopy, Target, copy_together
from fasterstore.storage.segment import segment_name

logger = logging.getLogger("fasterstore.compactor")

FORGET_BLOBS = 128
LEFT_OUT_SHOWN = 3
BLOBS_READ = 1000
"""Rows looked up at once: well under the second after which a reader would hold back a checkpoint."""


class Stopped(Exception):
    """The round is to end: the node stops."""


class CannotGoOn(Exception):
    """The round ends here; its text says why. The next one is tried at its time."""


class SegmentUnreadable(Exception):
    """A segment's file cannot be opened: it stays as it is, and the round goes on with the next segment."""


class Tools(NamedTuple):
    """What a round works with. `pace(worked_secs)` waits as the throttle wants and raises Stopped; `timer` tells seconds."""

    directory: Directory
    view: IndexView
    disk: Disk
    segments: OpenSegments
    folder: str
    thread: NativeThread
    keyring: Keyring
    timer: Callable[[], float]
    pace: Callable[[float], None]


class Round:
    """See the module. `run` blocks its greenlet for as long as the round takes."""

    def __init__(self, tools: Tools, state: CompactionState, *, target_bytes: int, forget_before_ms: int, any_age: bool) -> None:
        self._tools = tools
        self._state = state
        self._target_bytes = target_bytes
        self._forget_before_ms = forget_before_ms
        self._any_age = any_age
        self._left_out: dict[str, None] = {}
        """What is wrong with rows and files that the round had to pass over, each once, in their order."""

    def run(self) -> None:
        """Do the round. Raises Stopped, CannotGoOn, OSError (a write failed), DamagedRow, VolumeSuspect (a read of the index).

        What is damaged is passed over, nothing goes because of it, and the round does everything else; CannotGoOn at the end then says
        what that was.
        """
        self._state.left_out = 0
        self._forget()
        self._seal_active()
        rows = self._segments()
        self._remove([row for row in rows if row.retired])
        self._retire({row.segment_id: row for row in rows}, compaction.empty_segments(rows))
        rows = self._segments()
        victims = compaction.segments_to_rewrite(rows, self._target_bytes, any_age=self._any_age)
        victims += self._plain_segments(rows, {row.segment_id for row in victims})
        self._state.segments_to_do = len(victims)
        self._state.segments_done = 0
        for row in victims:
            try:
                self._rewrite(row)
            except (SegmentUnreadable, DamagedRow) as error:
                self._pass_over([str(error)])
            else:
                self._retire({row.segment_id: row}, [row.segment_id])
            self._state.segments_done += 1
        self.look()
        if self._left_out:
            more = len(self._left_out) - LEFT_OUT_SHOWN
            raise CannotGoOn("; ".join([*self._left_out][:LEFT_OUT_SHOWN]) + (f"; and {more} more" if more > 0 else ""))

    def _pass_over(self, reasons: list[str]) -> None:
        self._left_out |= dict.fromkeys(reasons)
        self._state.left_out = len(self._left_out)

    def look(self) -> None:
        """Count what there is to gain."""
        rows = self._segments()
        self._state.reclaimable_bytes = compaction.reclaimable_bytes(rows)
        sealed = [row for row in rows if row.sealed and not row.retired]
        self._state.live_bytes = sum(row.live_bytes for row in sealed)
        self._state.held_bytes = sum(row.length_bytes - row.punched_bytes for row in sealed)

    def _segments(self) -> list[SegmentRow]:
        """Every segment. What the log says was punched out of one counts as given back only as far as its file has shrunk by it.

        A punch may have failed, or a crash have come before it: the bytes are dead ones then, which a rewriting gives back.
        """
        rows: list[SegmentRow] = self._tools.thread.run(self._with_real_holes, self._tools.view.segments())
        return rows

    def _with_real_holes(self, rows: list[SegmentRow]) -> list[SegmentRow]:
        """In the native thread."""
        found = []
        unpunched_bytes = 0
        for row in rows:
            if row.punched_bytes and row.sealed and not row.retired:
                with suppress(OSError):  # it cannot be opened either, which says more
                    held_bytes = self._tools.disk.allocated_bytes(os.path.join(self._tools.folder, segment_name(row.segment_id)))
                    missing_bytes = row.punched_bytes - min(row.punched_bytes, max(row.length_bytes - held_bytes, 0))
                    unpunched_bytes += missing_bytes
                    row = row._replace(punched_bytes=row.punched_bytes - missing_bytes)
            found.append(row)
        self._state.unpunched_bytes = unpunched_bytes
        return found

    def _forget(self) -> None:
        while True:
            answer: m.Forgotten = self._ask("metadata-journal", m.ForgetBlobs(self._forget_before_ms, FORGET_BLOBS))
            self._pass_over(answer.left_out)
            if not answer.blobs:
                return
            self._state.forgotten_blobs += answer.blobs

    def _seal_active(self) -> None:
        active = self._ask("segment-writer", m.ListActive()).segments
        live = {row.segment_id: row.live_bytes for segment_id, _ in active if (row := self._tools.view.segment(segment_id)) is not None}
        full = compaction.segments_to_seal(active, live, self._target_bytes)
        if full:
            self._ask("segment-writer", m.SealActive(full))
            # Told to the journal before the answer was given, and this stands behind it in the same mailbox: sealed when it answers.
            self._ask("metadata-journal", m.RetireSegments([]))

    def _plain_segments(self, rows: list[SegmentRow], chosen: set[SegmentId]) -> list[SegmentRow]:
        """Segments that hold plain records though new ones are encrypted. One life of the storage process writes one kind only."""
        if not self._tools.keyring.seals or self._tools.keyring.all_sealed:
            return []
        found = []
        for row in rows:
            if row.sealed and not row.retired and row.live_bytes and row.segment_id not in chosen:
                try:
                    first = self._tools.view.blobs_in(row.segment_id, 0, 1)
                except DamagedRow as error:
                    self._pass_over([error.detail])
                    continue
                if first and must_convert(first[0].location, self._tools.keyring):
                    found.append(row)
        return found

    # ---- rewriting ----

    def _rewrite(self, row: SegmentRow) -> None:
        after = 0
        while rows := self._tools.view.blobs_in(row.segment_id, after, BLOBS_READ):
            after = rows[-1].number
            sound = [blob for blob in rows if not blob.damaged]
            for group in compaction.groups(sound, lambda place: relocated_bytes(place, self._tools.keyring)):
                self._move(row, group)

    def _move(self, segment: SegmentRow, group: compaction.Group) -> None:
        tools = self._tools
        started = tools.timer()
        region: m.RegionGranted = self._ask("segment-writer", m.ReserveRegion(group.length_bytes), paced=False)
        try:
            copied = self._copy(segment, group, region)
        except BaseException:
            tools.directory.get("segment-writer").tell(AbortExtent(region.extent, region.epoch))
            raise
        for row, reason in copied.damaged:
            self._found_damaged(row, reason)
        if not copied.blobs:
            tools.directory.get("segment-writer").tell(AbortExtent(region.extent, region.epoch))
            return
        relocations = [Relocation(row.number, row.location, new) for row, new in copied.blobs]
        answer = self._ask("segment-writer", m.FinishRegion(region.extent, region.epoch, relocations), paced=False)
        for relocation, moved in zip(relocations, answer.moved, strict=True):
            if moved:
                self._state.moved_blobs += 1
                self._state.moved_bytes += relocation.new.stored_bytes
        tools.pace(tools.timer() - started)

    def _copy(self, segment: SegmentRow, group: compaction.Group, region: m.RegionGranted) -> Copied:
        tools = self._tools
        if len(group.rows) > 1 or group.length_bytes <= compaction.GROUP_BYTES:
            return tools.thread.run(self._copy_together, segment, group.rows, region)
        (row,) = group.rows
        copy = tools.thread.run(self._begin_large, segment, row, region)
        try:
            while True:
                started = tools.timer()
                if not tools.thread.run(copy.step):
                    return Copied([(row, copy.new_location)], [])
                tools.pace(tools.timer() - started)
        except DamagedRecord as error:
            return Copied([], [(row, error.detail)])

    def _copy_together(self, segment: SegmentRow, rows: list[BlobRow], region: m.RegionGranted) -> Copied:
        """In the native thread."""
        source = self._open(segment)
        return copy_together(self._tools.disk, source, rows, self._target(region), self._tools.keyring)

    def _begin_large(self, segment: SegmentRow, row: BlobRow, region: m.RegionGranted) -> LargeCopy | LargeConversion:
        if must_convert(row.location, self._tools.keyring):
            return LargeConversion(self._tools.disk, self._open(segment), row, self._target(region), self._tools.keyring)
        return LargeCopy(self._tools.disk, self._open(segment), row, self._target(region))

    def _open(self, segment: SegmentRow) -> int:
        try:
            return self._tools.segments.reader(segment.segment_id, segment.file_uuid).fd
        except (DamagedRecord, OSError) as error:
            if isinstance(error, OSError) and error.errno not in {*BAD_MEDIUM, errno.ENOENT}:
                raise
            raise SegmentUnreadable(f"segment {segment.segment_id:016x} cannot be read: {error}") from error

    def _target(self, region: m.RegionGranted) -> Target:
        return Target(region.segment_id, self._tools.segments.writer(region.segment_id, region.file_uuid).fd, region.offset)

    def _found_damaged(self, row: BlobRow, reason: str) -> None:
        self._state.damaged_blobs += 1
        logger.error("blob %d stays in segment %016x: %s", row.number, row.location.segment_id, reason)
        self._tools.directory.get("metadata-journal").tell(BlobFoundDamaged.of(row))

    # ---- giving back ----

    def _retire(self, rows: dict[SegmentId, SegmentRow], segment_ids: list[SegmentId]) -> None:
        if not segment_ids:
            return
        answer: m.Retired = self._ask("metadata-journal", m.RetireSegments(segment_ids))
        self._pass_over(answer.left_out)
        self._remove([rows[segment_id] for segment_id in answer.segment_ids])

    def _remove(self, retired: list[SegmentRow]) -> None:
        """Unlink files whose retirement is logged. One that is gone already was unlinked before a crash."""
        if not retired:
            return
        started = self._tools.timer()
        self._tools.thread.run(self._unlink, [row.segment_id for row in retired])
        self._tools.pace(self._tools.timer() - started)
        self._tools.directory.get("segment-writer").tell(m.SegmentsGone([row.segment_id for row in retired]))
        self._ask("metadata-journal", m.SegmentsRemoved([row.segment_id for row in retired]))
        self._state.freed_bytes += sum(row.length_bytes for row in retired)

    def _unlink(self, segment_ids: list[SegmentId]) -> None:
        """In the native thread."""
        tools = self._tools
        for segment_id in segment_ids:
            tools.segments.forget(segment_id)
            path = os.path.join(tools.folder, segment_name(segment_id))
            if tools.disk.exists(path):
                tools.disk.unlink(path)
        tools.disk.fsync_dir(tools.folder)

    def _ask(self, actor: str, message: Any, *, paced: bool = True) -> Any:
        started = self._tools.timer()
        answer = self._tools.directory.get(actor).ask(message)
        if type(answer) is Refused:
            raise CannotGoOn(f"{type(message).__name__}: {answer.error} {answer.detail}".strip())
        if paced:
            self._tools.pace(self._tools.timer() - started)
        return answer
