"""Records and segments after edits of any kind: what verifies is what was written, and a walk over a segment always ends."""

import functools

from fasterstore.digests import crc32c
from fasterstore.errors import DamagedRecord, UnsupportedFormat
from fasterstore.model import BlobLocation, SegmentId
from fasterstore.storage import record, segment
from fasterstore.storage.memory_disk import MemoryDisk
from tests.fuzz.edits import COPY, CUT, FLIP, INSERT, OVERWRITE, ZERO, edited, step

DICTIONARY = [record.MAGIC, segment.MAGIC]
_SIZES = (0, 1, 1000, record.CHUNK_BYTES + 5)
_SMALL = 3
_ID = b"I" * record.RECORD_ID_BYTES
_AS_SEGMENT, _FIXED = 0x10, 0x20


@functools.cache
def _record(size: int) -> tuple[bytes, BlobLocation]:
    payload = bytes(range(256)) * (size // 256 + 1)
    built = b"".join(bytes(part) for part in record.build_record(payload[:size], _ID))
    return built, BlobLocation(SegmentId(1), 64, size, size, _ID)


@functools.cache
def _segment() -> bytes:
    built = segment.pack_header(1, 1, b"U" * 16)
    for size in _SIZES[:_SMALL]:
        built += _record(size)[0]
    return built


def seeds() -> list[bytes]:
    """{size, and whether it is a segment or the CRC is made right again}, then edits."""
    edits = [
        step(FLIP, 10, 1, 3),
        step(FLIP, 140, 1, 3),
        step(CUT, 100, 9),
        step(ZERO, 128, 40),
        step(INSERT, 9, 3, 1),
        step(COPY, 0, 32, 9),
    ]
    headers = [bytes([number | _FIXED]) + step(OVERWRITE, at, 1, 255) for number in range(4) for at in (4, 6, 8, 15, 16, 23, 30, 92)]
    plain = [bytes([number]) + edit for number in range(4) for edit in (b"", *edits)]
    return plain + headers + [bytes([_AS_SEGMENT | flag]) + edit for flag in (0, _FIXED) for edit in edits]


def one_input(data: bytes) -> None:
    """Edit and read. Raises: anything, on a finding."""
    if not data:
        return
    flags, script = data[0], data[1:]
    if flags & _AS_SEGMENT:
        _walk(edited(_segment(), script), bool(flags & _FIXED))
        return
    built, location = _record(_SIZES[flags % len(_SIZES)])
    found = edited(built, script)
    if flags & _FIXED and len(found) >= record.HEADER_BYTES:
        found = _with_crc(found, 0, record.HEADER_BYTES)
    payload = built[record.HEADER_BYTES : record.HEADER_BYTES + location.stored_bytes]
    try:
        assert record.verify_record(found, location) == payload, "wrong bytes verify"
        header = record.check_header(found, location)
        table_at = record.HEADER_BYTES + header.stored_bytes
        table = found[table_at : table_at + record.table_bytes(header.stored_bytes)]
        record.verify_table(header, table)
        for index in range(record.chunk_count(header.stored_bytes)):
            start = record.HEADER_BYTES + index * record.CHUNK_BYTES
            record.verify_chunk(table, index, found[start : min(start + record.CHUNK_BYTES, table_at)])
    except DamagedRecord:
        assert found[: len(built)] != built or len(found) < len(built), "a good record was refused"


def _walk(content: bytes, fixed: bool) -> None:
    if fixed and len(content) >= segment.HEADER_BYTES + record.HEADER_BYTES:
        content = _with_crc(_with_crc(content, 0, segment.HEADER_BYTES), segment.HEADER_BYTES, record.HEADER_BYTES)
    try:
        segment.unpack_header(content)
    except (DamagedRecord, UnsupportedFormat):
        pass
    disk = MemoryDisk()
    fd = disk.open("/segment", create=True)
    disk.pwrite(fd, content, 0)
    last = 0
    for offset, header in segment.scan(disk, fd):
        assert last < offset <= len(content) - record.HEADER_BYTES and header.stored_bytes >= 0
        last = offset


def _with_crc(content: bytes, at: int, length: int) -> bytes:
    end = at + length - 4
    return content[:end] + crc32c(content[at:end]).to_bytes(4, "little") + content[end + 4 :]


def plant() -> None:
    """The table of a record is believed without its digest, and its chunks with it."""

    def lax(buffer: bytes, location: BlobLocation) -> memoryview:
        record.check_header(buffer, location)
        return memoryview(buffer)[record.HEADER_BYTES : record.HEADER_BYTES + location.stored_bytes]

    record.verify_record = lax
