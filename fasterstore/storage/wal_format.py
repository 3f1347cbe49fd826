"""The bytes of the write-ahead log: file header, frame, entry, and the walk that verifies them one after another.

    file  = header (128 bytes), frames; preallocated space behind them is zeros, so zeros to the end of the file are its clean end
    frame = header (64 bytes), payload, 32-byte BLAKE3 of header and payload, keyed by the file's salt
    payload = entries, each a u32 length and that many bytes; a frame has at least one

A file is named by the LSN of its first entry, 16 hex digits and `.wal`. File header, little-endian, format version 1:

    offset  size  type   field
         0     4  bytes  magic "FSWL"
         4     2  u16    version, 1
         6     2  u16    0
         8    16  bytes  log_uuid
        24    32  bytes  salt, random for each file: recycled or planted bytes never pass as frames of this file
        56     8  u64    first_lsn
        64    32  bytes  previous_hash: the hash of the last frame of the file before, zeros in the first
        96     8  u64    previous_first_lsn: names the file before, 0 in the first
       104    20  bytes  zeros
       124     4  u32    CRC32C of bytes 0..123

Frame header, little-endian:

    offset  size  type   field
         0     4  bytes  magic "FSFR"
         4     4  u32    payload_bytes
         8     8  u64    first_lsn of its entries
        16     4  u32    count of entries
        20     8  u64    durable_upto: the LSN known to be on stable storage when this frame was built
        28    32  bytes  previous_hash: the hash of the frame before it, across files
        60     4  u32    CRC32C of the salt and bytes 0..59

The header's CRC covers the secret salt, so that no client can plant bytes that look like a frame header in an entry.
Owns the format. It never opens, writes or repairs a file and never decides what a bad frame means (`wal_recovery` does).
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from blake3 import blake3

from fasterstore.digests import crc32c
from fasterstore.errors import UnsupportedFormat

FILE_MAGIC = b"FSWL"
FRAME_MAGIC = b"FSFR"
VERSION = 1
FILE_HEADER_BYTES = 128
FRAME_HEADER_BYTES = 64
HASH_BYTES = 32
SALT_BYTES = 32
UUID_BYTES = 16
FRAME_OVERHEAD_BYTES = FRAME_HEADER_BYTES + HASH_BYTES
ENTRY_OVERHEAD_BYTES = 4
NO_HASH = bytes(HASH_BYTES)

_FILE_HEADER = struct.Struct("<4sHH16s32sQ32sQ20xI")
_FRAME_HEADER = struct.Struct("<4sIQIQ32s")
_U32 = struct.Struct("<I")
_FILE_CRC_OFFSET = FILE_HEADER_BYTES - 4
_FRAME_CRC_OFFSET = FRAME_HEADER_BYTES - 4
assert _FILE_HEADER.size == FILE_HEADER_BYTES
assert _FRAME_HEADER.size == _FRAME_CRC_OFFSET

_NAME = re.compile(r"([0-9a-f]{16})\.wal\Z")
_ZERO_BLOCK = bytes(1 << 16)
_pack_frame = _FRAME_HEADER.pack
_pack_u32 = _U32.pack


class FileHeader(NamedTuple):
    """Whose file this is; `log_uuid` 16 bytes, `salt` and `previous_hash` 32. `crc_seed` is the CRC32C of the salt, not stored."""

    log_uuid: bytes
    salt: bytes
    first_lsn: int
    previous_hash: bytes
    previous_first_lsn: int
    crc_seed: int


class Frame(NamedTuple):
    """A frame ready to be written: entries first_lsn .. last_lsn, for the file that begins at `file_first_lsn`."""

    data: bytes
    first_lsn: int
    last_lsn: int
    digest: bytes
    file_first_lsn: int


class FrameAt(NamedTuple):
    """A verified frame in a file: its first byte, the byte after its last, and its entries' LSNs."""

    offset: int
    end: int
    first_lsn: int
    last_lsn: int


def file_name(first_lsn: int) -> str:
    """The name of the log file whose first entry has that LSN."""
    return f"{first_lsn:016x}.wal"


def parse_file_name(name: str) -> int | None:
    """The first LSN in a log file's name, or None if it is not one."""
    match = _NAME.match(name)
    return int(match.group(1), 16) if match else None


def make_file_header(log_uuid: bytes, salt: bytes, first_lsn: int, previous_hash: bytes, previous_first_lsn: int) -> FileHeader:
    """The header of a new file as a value, with the seed of its frames' CRCs."""
    return FileHeader(log_uuid, salt, first_lsn, previous_hash, previous_first_lsn, crc32c(salt))


def pack_file_header(header: FileHeader) -> bytes:
    """The 128 bytes of a file header."""
    packed = _FILE_HEADER.pack(FILE_MAGIC, VERSION, 0, *header[:5], 0)[:_FILE_CRC_OFFSET]
    return packed + _pack_u32(crc32c(packed))


def unpack_file_header(data: bytes) -> FileHeader | None:
    """The header at the start of `data`, or None if it is cut short or fails its CRC. Raises UnsupportedFormat: a later version."""
    if len(data) < FILE_HEADER_BYTES:
        return None
    magic, version, _zero, log_uuid, salt, first_lsn, previous_hash, previous_first_lsn, crc = _FILE_HEADER.unpack_from(data)
    if magic != FILE_MAGIC or crc32c(data[:_FILE_CRC_OFFSET]) != crc:
        return None
    if version != VERSION:
        raise UnsupportedFormat(f"log file version {version}; this version knows {VERSION}")
    return make_file_header(log_uuid, salt, first_lsn, previous_hash, previous_first_lsn)


def frame_bytes(entries: list[bytes]) -> int:
    """The length of the frame that would hold these entries, in bytes."""
    return FRAME_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES * len(entries) + sum(map(len, entries))


def build_frame(header: FileHeader, entries: list[bytes], first_lsn: int, durable_upto: int, previous_hash: bytes) -> Frame:
    """The frame of `entries` for the file of `header`; `previous_hash` is that of the frame before it, 32 bytes."""
    count = len(entries)
    parts = [b""]
    for entry in entries:
        parts += (_pack_u32(len(entry)), entry)
    payload_bytes = ENTRY_OVERHEAD_BYTES * count + sum(map(len, entries))
    packed = _pack_frame(FRAME_MAGIC, payload_bytes, first_lsn, count, durable_upto, previous_hash)
    parts[0] = packed + _pack_u32(crc32c(packed, header.crc_seed))
    body = b"".join(parts)
    digest = blake3(body, key=header.salt).digest()
    return Frame(body + digest, first_lsn, first_lsn + count - 1, digest, header.first_lsn)


def entries_of(data: bytes, frame: FrameAt) -> list[bytes] | None:
    """The entries of a verified frame of `data`; None if their lengths do not add up (whoever wrote it had a defect)."""
    position, end = frame.offset + FRAME_HEADER_BYTES, frame.end - HASH_BYTES
    entries = []
    while position < end:
        start = position + ENTRY_OVERHEAD_BYTES
        position = start + int.from_bytes(data[position:start], "little")
        entries.append(data[start:position])
    if position != end or len(entries) != frame.last_lsn - frame.first_lsn + 1:
        return None
    return entries


class FrameHeader(NamedTuple):
    """A frame header that verified; `durable_upto` as in the table above."""

    payload_bytes: int
    first_lsn: int
    entry_count: int
    durable_upto: int
    previous_hash: bytes


def unpack_frame_header(data: bytes, offset: int, header: FileHeader) -> FrameHeader | None:
    """The frame header at `offset` of `data` in the file of `header`; None if it is cut short or fails its checksum."""
    packed = data[offset : offset + _FRAME_CRC_OFFSET]
    crc = data[offset + _FRAME_CRC_OFFSET : offset + FRAME_HEADER_BYTES]
    if not packed.startswith(FRAME_MAGIC) or len(crc) < ENTRY_OVERHEAD_BYTES:
        return None
    if crc32c(packed, header.crc_seed) != int.from_bytes(crc, "little"):
        return None
    return FrameHeader(*_FRAME_HEADER.unpack(packed)[1:])


def content_bytes(data: bytes) -> int:
    """The length of `data` without the zeros at its end."""
    end = len(data)
    while end >= len(_ZERO_BLOCK) and data[end - len(_ZERO_BLOCK) : end] == _ZERO_BLOCK:
        end -= len(_ZERO_BLOCK)
    start = max(0, end - len(_ZERO_BLOCK))
    return start + len(data[start:end].rstrip(b"\0"))


class FileWalk:
    """One pass over the frames of a whole log file in memory: iterate it once, then read where and why it ended.

    After the pass: `end` is the offset behind the last good frame, `next_lsn` and `previous_hash` what the next frame must have,
    `reason` is empty at a clean end and else says what is wrong at `end`; `misplaced` is true if an intact header stands
    there that does not follow what is before it, which no interrupted write leaves behind.
    """

    def __init__(self, data: bytes, header: FileHeader) -> None:
        self.end = FILE_HEADER_BYTES
        self.next_lsn = header.first_lsn
        self.previous_hash = header.previous_hash
        self.reason = ""
        self.misplaced = False
        self.content_bytes = content_bytes(data)
        self._data = data
        self._header = header

    def __iter__(self) -> Iterator[FrameAt]:
        while self.content_bytes > self.end:
            frame = self._next_frame()
            if frame is None:
                return
            yield frame

    def finish(self) -> "FileWalk":
        """Walk to the end without looking at entries."""
        for _frame in self:
            pass
        return self

    def durable_evidence(self) -> int | None:
        """The offset of an intact frame header, at or behind the bad frame, that was built when the bad frame's LSN was durable."""
        position = self._data.find(FRAME_MAGIC, self.end)
        while position >= 0:
            fields = unpack_frame_header(self._data, position, self._header)
            if fields is not None and fields.durable_upto >= self.next_lsn:
                return position
            position = self._data.find(FRAME_MAGIC, position + 1)
        return None

    def _next_frame(self) -> FrameAt | None:
        offset = self.end
        fields = unpack_frame_header(self._data, offset, self._header)
        if fields is None:
            self.reason = "the frame header fails its checksum"
            return None
        payload_bytes, first_lsn, count, _durable_upto, previous_hash = fields
        if first_lsn != self.next_lsn or previous_hash != self.previous_hash or not count:
            self.reason = f"the frame (LSN {first_lsn}) does not follow the one before it (LSN {self.next_lsn - 1})"
            self.misplaced = True
            return None
        body_end = offset + FRAME_HEADER_BYTES + payload_bytes
        end = body_end + HASH_BYTES
        digest = self._data[body_end:end]
        if blake3(memoryview(self._data)[offset:body_end], key=self._header.salt).digest() != digest:
            self.reason = "the frame fails its hash"
            return None
        self.end = end
        self.next_lsn = first_lsn + count
        self.previous_hash = digest
        return FrameAt(offset, end, first_lsn, self.next_lsn - 1)
