"""One record: a blob's stored bytes, whole, with what is needed to verify any part of them.

    record = header (128 bytes), payload (stored_bytes), chunk table (16 bytes for each started 256 KiB of payload)

Header, little-endian, format version 1:

    offset  size  type   field
         0     4  bytes  magic "FSRC"
         4     2  u16    version, 1
         6     2  u16    flags, 0
         8     8  u64    plaintext_bytes
        16     8  u64    stored_bytes (equal to plaintext_bytes unless encrypted)
        24    16  bytes  record_id, random
        40     4  u32    key_epoch, 0 if plain
        44    48  bytes  wrapped_key, zeros if plain
        92    32  bytes  table_digest: BLAKE3 of the chunk table
       124     4  u32    CRC32C of bytes 0..123

The chunk table holds a 16-byte BLAKE3 of each 256 KiB chunk of the stored bytes; an empty payload has an empty table. Sizes
follow from stored_bytes alone, so a record is reserved before its bytes are known. Payload and table are written first, the
header last: a valid header says that whoever wrote it had finished.

Owns the format. It never opens a file and never trusts a header without comparing it with the row that named it: a record read
from the wrong place verifies by itself.
"""

import struct
from typing import Any, NamedTuple

from blake3 import blake3

from fasterstore.digests import crc32c
from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation

Buffer = bytes | bytearray | memoryview

MAGIC = b"FSRC"
VERSION = 1
HEADER_BYTES = 128
CHUNK_BYTES = 256 * 1024
CHUNK_DIGEST_BYTES = 16
TABLE_DIGEST_BYTES = 32
RECORD_ID_BYTES = 16
WRAPPED_KEY_BYTES = 48
PLAIN_KEY = bytes(WRAPPED_KEY_BYTES)

_HEADER = struct.Struct("<4sHHQQ16sI48s32sI")
_CRC_OFFSET = HEADER_BYTES - 4
_CRC = struct.Struct("<I")
assert _HEADER.size == HEADER_BYTES

_pack = _HEADER.pack
_pack_crc = _CRC.pack
_unpack_from = _HEADER.unpack_from


class RecordHeader(NamedTuple):
    """A header as read; lengths in bytes, `record_id` 16 bytes, `wrapped_key` 48 bytes, `table_digest` 32 bytes."""

    plaintext_bytes: int
    stored_bytes: int
    record_id: bytes
    key_epoch: int
    wrapped_key: bytes
    table_digest: bytes
    flags: int = 0


def chunk_count(stored_bytes: int) -> int:
    """How many chunks that many stored bytes have."""
    return (stored_bytes + CHUNK_BYTES - 1) // CHUNK_BYTES


def table_bytes(stored_bytes: int) -> int:
    """The length of the chunk table, in bytes, of a record that stores `stored_bytes`."""
    return (stored_bytes + CHUNK_BYTES - 1) // CHUNK_BYTES * CHUNK_DIGEST_BYTES


def record_bytes(stored_bytes: int) -> int:
    """The length of the whole record, in bytes: header, payload and table."""
    return HEADER_BYTES + stored_bytes + table_bytes(stored_bytes)


def chunk_table(payload: Buffer) -> bytes:
    """The chunk table of a whole payload. A large one belongs in a native thread: BLAKE3 drops the interpreter lock."""
    size = len(payload)
    if size <= CHUNK_BYTES:
        return blake3(payload).digest(length=CHUNK_DIGEST_BYTES) if size else b""
    view = memoryview(payload)
    return b"".join(
        [blake3(view[start : start + CHUNK_BYTES]).digest(length=CHUNK_DIGEST_BYTES) for start in range(0, size, CHUNK_BYTES)]
    )


def table_digest(table: Buffer) -> bytes:
    """The 32-byte digest of a chunk table, as the header holds it."""
    return blake3(table).digest()


class ChunkTableBuilder:
    """A chunk table made while the payload streams by, in pieces of any size."""

    __slots__ = ("_digests", "_hasher", "_room")

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._hasher: Any = None
        self._room = CHUNK_BYTES

    def update(self, data: Buffer) -> None:
        """Add the next stored bytes."""
        position = 0
        size = len(data)
        view = memoryview(data)
        while position < size:
            piece = view[position : position + self._room]
            if self._hasher is None:
                self._hasher = blake3()
            self._hasher.update(piece)
            position += len(piece)
            self._room -= len(piece)
            if not self._room:
                self._close_chunk()

    def finish(self) -> bytes:
        """The table of all bytes added; add no more after this."""
        if self._hasher is not None:
            self._close_chunk()
        return b"".join(self._digests)

    def _close_chunk(self) -> None:
        self._digests.append(self._hasher.digest(length=CHUNK_DIGEST_BYTES))
        self._hasher = None
        self._room = CHUNK_BYTES


def pack_header(
    plaintext_bytes: int,
    stored_bytes: int,
    record_id: bytes,
    digest_of_table: bytes,
    key_epoch: int = 0,
    wrapped_key: bytes = PLAIN_KEY,
) -> bytes:
    """The 128-byte header; `record_id` is 16 bytes, `digest_of_table` 32 (see `table_digest`), `wrapped_key` 48."""
    packed = _pack(MAGIC, VERSION, 0, plaintext_bytes, stored_bytes, record_id, key_epoch, wrapped_key, digest_of_table, 0)[:_CRC_OFFSET]
    return packed + _pack_crc(crc32c(packed))


def unpack_header(buffer: Buffer) -> RecordHeader:
    """The header at the start of `buffer`.

    Raises DamagedRecord: too short, another magic or version, flags of a later version, or a wrong CRC.
    """
    if len(buffer) < HEADER_BYTES:
        raise DamagedRecord("the record header is cut short")
    magic, version, flags, plaintext, stored, record_id, key_epoch, wrapped_key, digest, crc = _unpack_from(buffer)
    if magic != MAGIC or crc32c(memoryview(buffer)[:_CRC_OFFSET]) != crc:
        raise DamagedRecord("the record header fails its checksum")
    if version != VERSION or flags:
        raise DamagedRecord(f"the record has version {version} and flags {flags}, which this version does not know")
    return RecordHeader(plaintext, stored, record_id, key_epoch, wrapped_key, digest, flags)


def build_record(payload: Buffer, record_id: bytes) -> list[Buffer]:
    """A plain record as [header, payload, table], ready for pwritev; `record_id` is 16 fresh random bytes."""
    size = len(payload)
    table = chunk_table(payload)
    packed = _pack(MAGIC, VERSION, 0, size, size, record_id, 0, PLAIN_KEY, blake3(table).digest(), 0)[:_CRC_OFFSET]
    return [packed + _pack_crc(crc32c(packed)), payload, table]


def check_header(buffer: Buffer, location: BlobLocation) -> RecordHeader:
    """The header at the start of `buffer`, if it is the record that the row names.

    Raises DamagedRecord: as `unpack_header`, or record id or a length differs from `location` (a misdirected read or write).
    """
    header = unpack_header(buffer)
    if (
        header.record_id != location.record_id
        or header.stored_bytes != location.stored_bytes
        or header.plaintext_bytes != location.plaintext_bytes
    ):
        raise DamagedRecord("the record is not the one its row names")
    return header


def verify_record(buffer: Buffer, location: BlobLocation) -> memoryview:
    """The stored bytes of a whole record read into one buffer, after every check; the view keeps `buffer` alive.

    Raises DamagedRecord: the header as in `check_header`, the buffer is short, or table or payload fail their digest.
    """
    _segment, _offset, plaintext_bytes, stored_bytes, record_id = location
    view = memoryview(buffer)
    if len(view) < HEADER_BYTES:
        raise DamagedRecord("the record header is cut short")
    # One pass without helpers for the checks: this runs for every small GET.
    magic, version, flags, plaintext, stored, found_id, _key_epoch, _wrapped_key, digest, crc = _unpack_from(view)
    if magic != MAGIC or version != VERSION or flags or crc32c(view[:_CRC_OFFSET]) != crc:
        unpack_header(buffer)
    if found_id != record_id or stored != stored_bytes or plaintext != plaintext_bytes:
        raise DamagedRecord("the record is not the one its row names")
    end = HEADER_BYTES + stored
    payload = view[HEADER_BYTES:end]
    table = chunk_table(payload)
    if view[end : end + len(table)] != table:
        raise DamagedRecord("the stored bytes fail their digest")
    if blake3(table).digest() != digest:
        raise DamagedRecord("the chunk table fails its digest")
    return payload


def verify_table(header: RecordHeader, table: Buffer) -> None:
    """Raises DamagedRecord unless `table` is the chunk table that `header` was written with."""
    if len(table) != table_bytes(header.stored_bytes) or blake3(table).digest() != header.table_digest:
        raise DamagedRecord("the chunk table fails its digest")


def verify_chunk(table: Buffer, index: int, chunk: Buffer) -> None:
    """Raises DamagedRecord unless `chunk` is the whole chunk `index` (from 0) of the payload; `table` has been verified."""
    start = index * CHUNK_DIGEST_BYTES
    if blake3(chunk).digest(length=CHUNK_DIGEST_BYTES) != table[start : start + CHUNK_DIGEST_BYTES]:
        raise DamagedRecord(f"chunk {index} fails its digest")
