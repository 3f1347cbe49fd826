"""Spans: neighbours are read together, nothing twice, no piece too long; verification in pieces agrees with that in one go."""

import random

import pytest

from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage.cold_reading import GAP_MAX_BYTES, PIECE_BYTES, SPAN_ROWS_MAX, spans, verify_in_pieces, verify_span
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.record import CHUNK_BYTES, build_record, record_bytes

RECORD_ID = bytes(range(16))


def row(number, offset, size):
    return BlobRow(number, bytes(32), 1, BlobLocation(1, offset, size, size, RECORD_ID))


@pytest.mark.parametrize("seed", range(20))
def test_every_record_is_in_one_span_and_every_span_is_bounded(seed):
    rng = random.Random(seed)
    rows, offset = [], 64
    for number in range(600):
        size = rng.choice((0, 10, 5000, 200_000, 3 << 20)) if rng.random() < 0.1 else rng.randrange(3000)
        rows.append(row(number, offset, size))
        offset += record_bytes(size) + rng.choice((0, 0, 0, 100, GAP_MAX_BYTES, GAP_MAX_BYTES + 1, 1 << 20))
    rng.shuffle(rows)
    made = list(spans(rows))
    assert sorted(held.number for span in made for held in span.rows) == list(range(600))
    reached = 0
    for span in made:
        assert span.offset >= reached
        reached = span.offset + span.length
        assert len(span.rows) <= SPAN_ROWS_MAX
        assert span.length <= PIECE_BYTES or len(span.rows) == 1
        places = [held.location for held in span.rows]
        assert span.offset == places[0].offset
        assert reached == max(place.offset + record_bytes(place.stored_bytes) for place in places)
        for one, other in zip(places, places[1:], strict=False):
            assert other.offset - one.offset - record_bytes(one.stored_bytes) <= GAP_MAX_BYTES


def test_records_that_overlap_are_in_a_span_that_holds_them_whole():
    (span,) = spans([row(1, 64, 5000), row(2, 100, 10)])
    assert (span.offset, span.length) == (64, record_bytes(5000))
    assert len(verify_span(bytes(span.length), span)) == 2


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES - 5])
def test_a_record_of_any_length_verifies_in_pieces_and_no_flipped_byte_does(size):
    disk = MemoryDisk()
    fd = disk.open("/segment", create=True)
    disk.pwritev(fd, build_record(bytes(size), RECORD_ID), 4096)
    place = BlobLocation(1, 4096, size, size, RECORD_ID)
    assert sum(verify_in_pieces(disk, fd, place)) == record_bytes(size)
    rng = random.Random(size)
    for offset in {0, 50, 127, record_bytes(size) - 1, *(rng.randrange(record_bytes(size)) for _ in range(5))}:
        (byte,) = disk.pread(fd, 1, 4096 + offset)
        disk.pwrite(fd, bytes([byte ^ 16]), 4096 + offset)
        with pytest.raises(DamagedRecord):
            list(verify_in_pieces(disk, fd, place))
        disk.pwrite(fd, bytes([byte]), 4096 + offset)
    disk.truncate(fd, 4096 + record_bytes(size) - 1)
    with pytest.raises(DamagedRecord):
        list(verify_in_pieces(disk, fd, place))
