"""A segment file: a header and then records, appended and never changed.

    segment = header (64 bytes), records; a large record may begin at a 4 KiB boundary, with zeros before it

Header, little-endian, format version 1:

    offset  size  type   field
         0     4  bytes  magic "FSSG"
         4     2  u16    version, 1
         6     2  u16    kind, 0
         8     8  u64    segment_id
        16     8  u64    epoch of the storage process that made the file
        24    16  bytes  file_uuid, random
        40    20  bytes  zeros
        60     4  u32    CRC32C of bytes 0..59

Owns naming and this header. Which bytes of a segment are live only the index knows: `scan` is for tools that look at a file,
never a source of truth, and nothing is deleted because of what it finds.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from fasterstore.digests import crc32c
from fasterstore.errors import DamagedRecord, UnsupportedFormat
from fasterstore.model import Epoch, SegmentId
from fasterstore.storage import record
from fasterstore.storage.disk import Buffer, Disk

MAGIC = b"FSSG"
VERSION = 1
HEADER_BYTES = 64
ALIGNMENT_BYTES = 4096
FILE_UUID_BYTES = 16

_HEADER = struct.Struct("<4sHHQQ16s20xI")
_CRC_OFFSET = HEADER_BYTES - 4
_NAME = re.compile(r"([0-9a-f]{16})\.seg\Z")
assert _HEADER.size == HEADER_BYTES


class SegmentHeader(NamedTuple):
    """Whose file this is; `file_uuid` is 16 random bytes, so that a reader notices a file that took another's name."""

    segment_id: SegmentId
    epoch: Epoch
    file_uuid: bytes


def segment_name(segment_id: int) -> str:
    """The file name of a segment: 16 hex digits and `.seg`."""
    return f"{segment_id:016x}.seg"


def parse_segment_name(name: str) -> SegmentId | None:
    """The id in a segment's file name, or None if it is not one."""
    match = _NAME.match(name)
    return SegmentId(int(match.group(1), 16)) if match else None


def pack_header(segment_id: int, epoch: int, file_uuid: bytes) -> bytes:
    """The 64-byte header; `file_uuid` is 16 bytes."""
    packed = _HEADER.pack(MAGIC, VERSION, 0, segment_id, epoch, file_uuid, 0)[:_CRC_OFFSET]
    return packed + struct.pack("<I", crc32c(packed))


def unpack_header(buffer: Buffer) -> SegmentHeader:
    """The header at the start of `buffer`.

    Raises DamagedRecord: too short, not a segment, or a wrong CRC. Raises UnsupportedFormat: a later version or kind.
    """
    if len(buffer) < HEADER_BYTES:
        raise DamagedRecord("the segment header is cut short")
    magic, version, kind, segment_id, epoch, file_uuid, crc = _HEADER.unpack_from(buffer)
    if magic != MAGIC or crc32c(memoryview(buffer)[:_CRC_OFFSET]) != crc:
        raise DamagedRecord("the segment header fails its checksum")
    if version != VERSION or kind:
        raise UnsupportedFormat(f"segment version {version}, kind {kind}; this version knows {VERSION} and 0")
    return SegmentHeader(SegmentId(segment_id), Epoch(epoch), file_uuid)


def scan(disk: Disk, fd: int) -> Iterator[tuple[int, record.RecordHeader]]:
    """Each record found by walking the file from its start: (offset of the record header in bytes, header).

    After a record the next is looked for right behind it, then at the next 4 KiB boundary; the walk ends where neither is a
    valid header (the end, or an extent that was given back). It does not jump over that: a client's bytes may look like a record.
    """
    size = disk.size(fd)
    position = HEADER_BYTES
    while position < size:
        boundary = (position + ALIGNMENT_BYTES - 1) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
        for offset in (position, boundary):
            try:
                header = record.unpack_header(disk.pread(fd, record.HEADER_BYTES, offset))
            except DamagedRecord:
                continue
            yield offset, header
            position = offset + record.record_bytes(header.stored_bytes)
            break
        else:
            return
