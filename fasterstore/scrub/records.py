"""The part of a round that reads every record, segment by segment, batch by batch of its blobs. Blocking, a piece a step.

A record that fails is looked up again before it is called damage: the compactor may have moved it, or nothing may name it any more. It
is then read again, where the index says it lies now. What moves into a segment that is younger than the round was verified by the move.

A segment file that is missing, or is another one, while the index has blobs in it is damage of each of them. Only a read error that says
something of the medium is: any other (no descriptor, no memory) is raised.

Owns one open segment at a time. Copies bad records aside; deletes and changes nothing else.
"""

import os
from collections.abc import Generator, Iterator

from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import IndexView
from fasterstore.model import BlobRow, SegmentId, SegmentRow
from fasterstore.scrub.damage import Damage, Step, What
from fasterstore.scrub.progress import Counts, Position
from fasterstore.storage.cold_reading import Span, read_cold, spans, verify_in_pieces, verify_span
from fasterstore.storage.disk import BAD_MEDIUM, Disk
from fasterstore.storage.open_segments import OpenSegment, OpenSegments
from fasterstore.storage.quarantine import Quarantine

ROWS = 256
"""Blobs of a batch: their rows are unpacked in one go, holding the interpreter."""
LOOKS_MAX = 3
PHASE = "records"


class RecordScrub:
    """See the module. `view` is used by this alone, in the caller's thread."""

    def __init__(self, disk: Disk, segments_dir: str, view: IndexView, quarantine: Quarantine) -> None:
        self._disk = disk
        self._segments_dir = segments_dir
        self._view = view
        self._quarantine = quarantine

    def steps(self, position: Position) -> Iterator[Step]:
        """Read on behind `position`. Raises DamagedRow, VolumeSuspect (the index), OSError (see the module)."""
        first = int(position.at or 0)
        for segment in self._view.segments():
            if segment.segment_id >= first:
                yield from self._segment(segment, position.after if segment.segment_id == first else 0)

    def _segment(self, segment: SegmentRow, after: int) -> Iterator[Step]:
        segment_id = segment.segment_id
        while rows := self._view.blobs_in(segment_id, after, ROWS):
            here = Position(PHASE, str(segment_id), after)
            opened, _reason = self._open(segment_id, segment.file_uuid)
            for span in spans(rows):
                yield from self._span(here, span, opened)
            after = rows[-1].number
            yield Step(Position(PHASE, str(segment_id), after), Counts(records=len(rows)))

    def _open(self, segment_id: SegmentId, file_uuid: bytes) -> tuple[OpenSegment | None, str]:
        """That segment, opened anew, or None and what is wrong with it."""
        try:
            opened = OpenSegments(self._disk, self._segments_dir, 1).reader(segment_id, file_uuid)
        except FileNotFoundError:
            return None, "the segment file is missing"
        except DamagedRecord as error:
            return None, os.path.basename(error.detail)
        except OSError as error:
            return None, _of_the_medium(error)
        return opened, ""

    def _span(self, here: Position, span: Span, opened: OpenSegment | None) -> Iterator[Step]:
        suspects = list(span.rows)
        if opened is not None:
            try:
                if len(span.rows) == 1:
                    for read_bytes in verify_in_pieces(self._disk, opened.fd, span.rows[0].location):
                        yield Step(here, Counts(bytes=read_bytes))
                    return
                data = read_cold(self._disk, opened.fd, span.length, span.offset)
                suspects = [row for row, _ in verify_span(data, span)]
                yield Step(here, Counts(bytes=len(data)))
            except DamagedRecord:
                pass
            except OSError as error:
                _of_the_medium(error)
        for row in suspects:
            damage = yield from self._look_again(here, row)
            if damage is not None:
                yield Step(here, Counts(damaged=1), (damage,))

    def _look_again(self, here: Position, row: BlobRow) -> Generator[Step, None, Damage | None]:
        """The damage of a blob that did not verify; None if it has gone, has moved and is sound, or verifies now."""
        before = None
        for _ in range(LOOKS_MAX):
            placed = self._view.uploads.blob(row.number)
            if placed is None:
                return None
            opened, reason = self._open(placed.blob.location.segment_id, placed.file_uuid)
            if opened is not None:
                try:
                    for read_bytes in verify_in_pieces(self._disk, opened.fd, placed.blob.location):
                        yield Step(here, Counts(bytes=read_bytes))
                    return None
                except DamagedRecord as error:
                    reason = error.detail
                except OSError as error:
                    reason = _of_the_medium(error)
            if before == placed:
                return self._damage(placed.blob, reason, opened)
            before = placed
        return None  # it moves faster than it is read; where it lies now is read again in this round or the next

    def _damage(self, blob: BlobRow, reason: str, opened: OpenSegment | None) -> Damage:
        kept = "there is nothing to copy"
        if opened is not None:
            try:
                kept = self._quarantine.copy(opened.fd, blob)
            except OSError as error:
                kept = str(error)
        return Damage(What.RECORD, reason, blob, kept)


def _of_the_medium(error: OSError) -> str:
    if error.errno not in BAD_MEDIUM:
        raise error
    return str(error)
