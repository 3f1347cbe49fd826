"""Reading stored records from the medium, in pieces of bounded size, and verifying every byte of them.

Records that lie side by side are read at once; one longer than a piece is read in several. The bytes come past the page cache as far as
the kernel lets them, so that rot on the medium is seen and the cache stays what readers made of it. The chunk table covers the stored
bytes: no key is needed. Owns no descriptor and judges nothing: what a bad record means its caller decides.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage.disk import Disk
from fasterstore.storage.record import (
    CHUNK_BYTES,
    HEADER_BYTES,
    check_header,
    record_bytes,
    table_bytes,
    verify_chunk,
    verify_record,
    verify_table,
)

PIECE_BYTES = 1 << 20
"""A multiple of a chunk, small enough that a slow disk has read it before anybody minds."""
GAP_MAX_BYTES = 16 << 10
"""Dead bytes between two records that are read along rather than skipped."""
SPAN_ROWS_MAX = 256
assert PIECE_BYTES % CHUNK_BYTES == 0


class Span(NamedTuple):
    """Records of one segment that are read together, by offset: `length` bytes from `offset`."""

    offset: int
    length: int
    rows: tuple[BlobRow, ...]


def spans(rows: Iterable[BlobRow]) -> Iterator[Span]:
    """The records of one segment as spans, each at most a piece long unless it holds a single longer record."""
    held: list[BlobRow] = []
    start = end = 0
    for row in sorted(rows, key=lambda row: row.location.offset):
        place = row.location
        row_end = place.offset + record_bytes(place.stored_bytes)
        fits = row_end - start <= PIECE_BYTES and place.offset - end <= GAP_MAX_BYTES and len(held) < SPAN_ROWS_MAX
        if held and not fits:
            yield Span(start, end - start, tuple(held))
            held = []
        if not held:
            start = end = place.offset
        held.append(row)
        end = max(end, row_end)
    if held:
        yield Span(start, end - start, tuple(held))


def read_cold(disk: Disk, fd: int, length: int, offset: int) -> bytes:
    """At most `length` bytes at `offset` from the medium, not left in the page cache. Raises OSError."""
    disk.forget(fd, offset, length)
    data = disk.pread(fd, length, offset)
    disk.forget(fd, offset, length)
    return data


def verify_span(data: bytes, span: Span) -> list[tuple[BlobRow, str]]:
    """The records of a span, read whole into `data`, that fail verification, each with what is wrong."""
    bad = []
    view = memoryview(data)
    for row in span.rows:
        start = row.location.offset - span.offset
        try:
            verify_record(view[start : start + record_bytes(row.location.stored_bytes)], row.location)
        except DamagedRecord as error:
            bad.append((row, error.detail))
    return bad


def verify_in_pieces(disk: Disk, fd: int, place: BlobLocation) -> Iterator[int]:
    """Verify one record of any length; yield the bytes read by each step. Raises DamagedRecord, OSError."""
    header = check_header(read_cold(disk, fd, HEADER_BYTES, place.offset), place)
    payload_start = place.offset + HEADER_BYTES
    table = read_cold(disk, fd, table_bytes(place.stored_bytes), payload_start + place.stored_bytes)
    verify_table(header, table)
    yield HEADER_BYTES + len(table)
    for first in range(0, place.stored_bytes, PIECE_BYTES):
        length = min(PIECE_BYTES, place.stored_bytes - first)
        piece = memoryview(read_cold(disk, fd, length, payload_start + first))
        for start in range(0, length, CHUNK_BYTES):
            verify_chunk(table, (first + start) // CHUNK_BYTES, piece[start : min(start + CHUNK_BYTES, length)])
        yield length
