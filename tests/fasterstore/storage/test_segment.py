"""A segment file: pinned header, names, and the walk that tools use."""

from pathlib import Path

import pytest

from fasterstore.digests import crc32c
from fasterstore.errors import DamagedRecord, UnsupportedFormat
from fasterstore.storage import record, segment
from fasterstore.storage.memory_disk import MemoryDisk

GOLDEN = Path(__file__).parents[2] / "golden" / "segment_header_v1.hex"
UUID = bytes(range(16, 32))


def test_the_header_is_the_golden_one():
    golden = bytes.fromhex(GOLDEN.read_text())
    assert segment.pack_header(0x1122334455667788, 9, UUID) == golden
    assert segment.unpack_header(golden + b"records") == (0x1122334455667788, 9, UUID)
    assert (len(golden), golden[:8], golden[24:40], golden[40:60]) == (64, b"FSSG\1\0\0\0", UUID, bytes(20))


def test_every_flipped_bit_of_the_header_is_noticed():
    header = bytearray(segment.pack_header(1, 2, UUID))
    for place in range(len(header)):
        header[place] ^= 4
        with pytest.raises(DamagedRecord):
            segment.unpack_header(header)
        header[place] ^= 4
    with pytest.raises(DamagedRecord):
        segment.unpack_header(header[:63])


@pytest.mark.parametrize("place", [4, 6])
def test_a_later_version_or_kind_is_refused_by_name(place):
    header = bytearray(segment.pack_header(1, 2, UUID))
    header[place] = 2
    header[60:] = crc32c(bytes(header[:60])).to_bytes(4, "little")
    with pytest.raises(UnsupportedFormat):
        segment.unpack_header(header)


def test_names_go_there_and_back_and_nothing_else_is_one():
    assert segment.segment_name(0xABC) == "0000000000000abc.seg"
    assert segment.parse_segment_name("0000000000000abc.seg") == 0xABC
    for name in ("abc.seg", "0000000000000abc.seg.tmp", "0000000000000ABC.seg", "0000000000000abc.wal", "0000000000000abc.seg\n"):
        assert segment.parse_segment_name(name) is None


def test_scan_finds_packed_and_aligned_records_and_stops_at_a_gap():
    disk = MemoryDisk()
    fd = disk.open("/s", create=True)
    disk.pwrite(fd, segment.pack_header(1, 1, UUID), 0)
    offsets = []
    position = segment.HEADER_BYTES
    for size, aligned in ((10, False), (5000, False), (9, True), (0, False)):
        if aligned:
            position = -(-position // 4096) * 4096
        buffers = record.build_record(b"p" * size, bytes([size % 256]) * 16)
        disk.pwritev(fd, buffers, position)
        offsets.append((position, size))
        position += record.record_bytes(size)
    found = [(offset, header.stored_bytes) for offset, header in segment.scan(disk, fd)]
    assert found == offsets
    far = -(-position // 4096) * 4096 + 4096
    disk.pwritev(fd, record.build_record(b"behind a gap", b"g" * 16), far)
    assert [(offset, header.stored_bytes) for offset, header in segment.scan(disk, fd)] == offsets
