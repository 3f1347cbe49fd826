"""Copying records from one segment to another: read, verified against the row that names them, written as they are.

A relocation keeps record id and stored bytes, so a copy is a record like any other wherever it lies; except that a record which is not in
the current form (plain, or sealed under an older epoch key) is made anew in it on the way. A record that fails its checksum is never
copied. Blocking; for a native thread, a step at a time. Nothing here decides where a copy goes, or that it counts: segment-writer
gives the place and syncs it, the journal names it.
"""

from typing import NamedTuple

from fasterstore.errors import DamagedRecord
from fasterstore.keyring import Keyring
from fasterstore.model import BlobLocation, BlobRow, SegmentId
from fasterstore.storage.disk import BAD_MEDIUM, Buffer, Disk
from fasterstore.storage.record import (
    CHUNK_BYTES,
    HEADER_BYTES,
    check_header,
    record_bytes,
    table_bytes,
    unpack_header,
    verify_chunk,
    verify_record,
    verify_table,
)
from fasterstore.storage.sealed_record import reencode

WINDOW_BYTES = 4 * CHUNK_BYTES


class Target(NamedTuple):
    """Where copies go: an open segment, and the offset of the first record in bytes."""

    segment_id: SegmentId
    fd: int
    offset: int


class Copied(NamedTuple):
    """What one step copied: each blob with its new place; and those whose record fails its checksum, with the reason."""

    blobs: list[tuple[BlobRow, BlobLocation]]
    damaged: list[tuple[BlobRow, str]]


def copy_together(disk: Disk, source_fd: int, rows: list[BlobRow], target: Target, keyring: Keyring) -> Copied:
    """Copy whole records one behind the other, with one write. Raises OSError (of a read only what the medium is not to blame for)."""
    copied = Copied([], [])
    buffers: list[Buffer] = []
    offset = target.offset
    for row in rows:
        place = row.location
        try:
            record = read(disk, source_fd, record_bytes(place.stored_bytes), place.offset)
            verify_record(record, place)
            converted = reencode(record, keyring)
        except DamagedRecord as error:
            copied.damaged.append((row, error.detail))
            continue
        if converted is not None:
            record = converted
            header = unpack_header(record)
            place = place._replace(stored_bytes=header.stored_bytes, record_id=header.record_id)
        buffers.append(record)
        copied.blobs.append((row, place._replace(segment_id=target.segment_id, offset=offset)))
        offset += len(record)
    if buffers:
        disk.pwritev(target.fd, buffers, target.offset)
    return copied


class LargeSource:
    """One large record, read and verified a window at a time so that its reader can pause between two."""

    def __init__(self, disk: Disk, fd: int, place: BlobLocation) -> None:
        self._disk = disk
        self._fd = fd
        self._place = place
        self._position = 0
        self.header = b""
        self.table = b""
        """Both once `next_window` was called."""

    @property
    def is_read(self) -> bool:
        """Whether the last window was returned."""
        return self._position == self._place.stored_bytes

    def next_window(self) -> memoryview:
        """The next stored bytes, which are those that the row means. Raises DamagedRecord, OSError (but not a bad medium)."""
        place, start = self._place, self._place.offset + HEADER_BYTES
        if not self.header:
            self.header = read(self._disk, self._fd, HEADER_BYTES, place.offset)
            header = check_header(self.header, place)
            self.table = read(self._disk, self._fd, table_bytes(place.stored_bytes), start + place.stored_bytes)
            verify_table(header, self.table)
        first = self._position
        window = memoryview(read(self._disk, self._fd, min(WINDOW_BYTES, place.stored_bytes - first), start + first))
        for position in range(0, len(window), CHUNK_BYTES):
            verify_chunk(self.table, (first + position) // CHUNK_BYTES, window[position : position + CHUNK_BYTES])
        self._position += len(window)
        return window


class LargeCopy:
    """One large record, copied a window at a time."""

    def __init__(self, disk: Disk, source_fd: int, row: BlobRow, target: Target) -> None:
        self._disk = disk
        self._source = LargeSource(disk, source_fd, row.location)
        self._row = row
        self._target = target
        self._written = 0

    def step(self) -> bool:
        """Copy the next window; return whether there is more. The header goes last, as in every record.

        Raises DamagedRecord, OSError (but not a bad medium of a read).
        """
        window = self._source.next_window()
        position = self._target.offset + HEADER_BYTES + self._written
        self._disk.pwrite(self._target.fd, window, position)
        self._disk.start_writeback(self._target.fd, position, len(window))
        self._written += len(window)
        if not self._source.is_read:
            return True
        self._disk.pwrite(self._target.fd, self._source.table, position + len(window))
        self._disk.pwrite(self._target.fd, self._source.header, self._target.offset)
        return False

    @property
    def new_location(self) -> BlobLocation:
        """Where the copy lies."""
        return self._row.location._replace(segment_id=self._target.segment_id, offset=self._target.offset)


def read(disk: Disk, fd: int, length: int, offset: int) -> bytes:
    """All of those bytes. Raises DamagedRecord if the file ends before or the medium has lost them, OSError."""
    try:
        data = disk.pread(fd, length, offset)
    except OSError as error:
        if error.errno in BAD_MEDIUM:
            raise DamagedRecord(f"the disk cannot read the record: {error.strerror}") from error
        raise
    if len(data) != length:
        raise DamagedRecord("the segment file ends inside the record")
    return data
