"""Checking segment files against the index: header, length, every record behind every blob row, and that no two records overlap.

Without `full` a record's header and chunk table are read; with it every byte. Records are read past the page cache. What fails while the
store is in use is looked up again before it is a finding, as the compactor may have moved it. Changes nothing; a file that no row names
is a note and stays.
"""

import os
from collections.abc import Iterator

from fasterstore.check.finding import Finding, Kind
from fasterstore.errors import DamagedRecord, DamagedRow, StoreError
from fasterstore.metadata.index import IndexView
from fasterstore.model import BlobLocation, BlobRow, SegmentRow
from fasterstore.storage.cold_reading import read_cold, spans, verify_in_pieces, verify_span
from fasterstore.storage.disk import BAD_MEDIUM, Disk
from fasterstore.storage.record import HEADER_BYTES, check_header, record_bytes, table_bytes, verify_table
from fasterstore.storage.segment import HEADER_BYTES as SEGMENT_HEADER_BYTES
from fasterstore.storage.segment import parse_segment_name, segment_name, unpack_header

ROWS = 1024


class SegmentCheck:
    """See the module. `total_bytes` is about what will be read."""

    def __init__(self, disk: Disk, folder: str, view: IndexView, *, full: bool) -> None:
        self._disk = disk
        self._folder = folder
        self._view = view
        self._full = full

    def total_bytes(self) -> int:
        """The live bytes of all segments: what `run` counts up to. Raises DamagedRow, VolumeSuspect."""
        return sum(row.live_bytes for row in self._view.segments())

    def run(self) -> Iterator[Finding | int]:
        """Yield findings, and the bytes of the records checked so far. Raises OSError, VolumeSuspect."""
        names = self._disk.listdir(self._folder)
        done = 0
        for row in self._view.segments():
            if row.retired:
                continue
            for found in self._segment(row):
                if isinstance(found, Finding):
                    yield found
                else:
                    done += found
                    yield done
        for name in names:
            segment_id = parse_segment_name(name)
            if segment_id is None or self._view.segment(segment_id) is None:
                yield Finding(Kind.UNNAMED_FILE, f"segments/{name}", "no row of the index names this file; it is left where it is")

    def _segment(self, row: SegmentRow) -> Iterator[Finding | int]:
        name = segment_name(row.segment_id)
        try:
            fd = self._disk.open(os.path.join(self._folder, name), read_only=True)
        except FileNotFoundError:
            if self._still(row):
                yield Finding(Kind.SEGMENT_MISSING, f"segments/{name}", f"the file of {row.live_bytes} live bytes is missing")
            return
        try:
            size_bytes = self._disk.size(fd)
            reason = self._header_reason(fd, row)
            if reason and self._still(row):
                yield Finding(Kind.SEGMENT_HEADER, f"segments/{name}", reason)
            if row.sealed and size_bytes != row.length_bytes and self._still(row):
                reason = f"it is {size_bytes} bytes long and was sealed at {row.length_bytes}"
                yield Finding(Kind.SEGMENT_LENGTH, f"segments/{name}", reason)
            yield from self._records(row, fd)
        finally:
            self._disk.close(fd)

    def _still(self, row: SegmentRow) -> bool:
        """Whether the index still names that file as it did."""
        now = self._view.segment(row.segment_id)
        return now is not None and not now.retired and (now.file_uuid, now.sealed) == (row.file_uuid, row.sealed)

    def _header_reason(self, fd: int, row: SegmentRow) -> str:
        try:
            header = unpack_header(self._disk.pread(fd, SEGMENT_HEADER_BYTES, 0))
        except StoreError as error:
            return error.detail
        except OSError as error:
            if error.errno not in BAD_MEDIUM:
                raise
            return str(error)
        if (header.segment_id, header.file_uuid, header.epoch) != (row.segment_id, row.file_uuid, row.epoch):
            return "the header is that of another file"
        return ""

    def _records(self, segment: SegmentRow, fd: int) -> Iterator[Finding | int]:
        places: list[tuple[int, int, int]] = []
        after = 0
        while rows := self._batch(segment.segment_id, after):
            for row in rows:
                places.append((row.location.offset, row.location.offset + record_bytes(row.location.stored_bytes), row.number))
            size_bytes = self._disk.size(fd)
            yield from self._verify(rows, fd, size_bytes)
            after = rows[-1].number
        places.sort()
        reached, owner = SEGMENT_HEADER_BYTES, 0
        for start, end, number in places:
            if start < reached and self._both_there(segment.segment_id, number, owner):
                what = f"blob {owner}" if owner else "the file header"
                reason = f"it begins inside {what}, which ends at {reached}"
                yield Finding(Kind.RECORD_OVERLAP, _place(segment.segment_id, start, number), reason)
            if end > reached:
                reached, owner = end, number

    def _batch(self, segment_id: int, after: int) -> list[BlobRow]:
        try:
            return self._view.blobs_in(segment_id, after, ROWS)
        except DamagedRow:  # found and told by the check of the index
            return []

    def _both_there(self, segment_id: int, *numbers: int) -> bool:
        placed = [self._view.uploads.blob(number) for number in numbers if number]
        return all(found is not None and found.blob.location.segment_id == segment_id for found in placed)

    def _verify(self, rows: list[BlobRow], fd: int, size_bytes: int) -> Iterator[Finding | int]:
        for span in spans(rows):
            suspects: set[int] = {row.number for row in span.rows}
            if self._full and len(suspects) > 1 and (data := self._read(fd, span.length, span.offset)) is not None:
                suspects = {row.number for row, _ in verify_span(data, span)}
            for row in span.rows:
                found = self._look(fd, row, size_bytes) if row.number in suspects else None
                if found is not None:
                    yield found
                elif row.damaged:
                    yield _known(row)
            yield sum(record_bytes(row.location.stored_bytes) for row in span.rows)

    def _look(self, fd: int, row: BlobRow, size_bytes: int) -> Finding | None:
        place = row.location
        if place.offset + record_bytes(place.stored_bytes) > size_bytes:
            kind, reason = Kind.SEGMENT_LENGTH, f"the record ends behind the file's end, {size_bytes}"
        else:
            kind, reason = Kind.RECORD_DAMAGED, self._reason(fd, place)
        if not reason or not self._is_at(row):
            return None
        known = "; known to be damaged" if row.damaged else ""
        return Finding(kind, _place(place.segment_id, place.offset, row.number), reason + known)

    def _read(self, fd: int, length: int, offset: int) -> bytes | None:
        try:
            return read_cold(self._disk, fd, length, offset)
        except OSError as error:
            if error.errno not in BAD_MEDIUM:
                raise
            return None

    def _reason(self, fd: int, place: BlobLocation) -> str:
        """What is wrong with one record, or ""."""
        try:
            if self._full:
                for _read_bytes in verify_in_pieces(self._disk, fd, place):
                    pass
            else:
                header = check_header(self._disk.pread(fd, HEADER_BYTES, place.offset), place)
                table_offset = place.offset + HEADER_BYTES + place.stored_bytes
                verify_table(header, self._disk.pread(fd, table_bytes(place.stored_bytes), table_offset))
        except DamagedRecord as error:
            return error.detail
        except OSError as error:
            if error.errno not in BAD_MEDIUM:
                raise
            return str(error)
        return ""

    def _is_at(self, row: BlobRow) -> bool:
        now = self._view.uploads.blob(row.number)
        return now is not None and now.blob.location == row.location


def _known(row: BlobRow) -> Finding:
    where = _place(row.location.segment_id, row.location.offset, row.number)
    return Finding(Kind.BLOB_DAMAGED, where, "it was found damaged before, and its bytes have not been put again")


def _place(segment_id: int, offset: int, number: int) -> str:
    return f"blob {number} in segments/{segment_name(segment_id)} at offset {offset}"
