"""A record: its bytes are pinned, any flipped bit is noticed, and a record from another place is not taken."""

from pathlib import Path

import pytest
from blake3 import blake3

from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation, SegmentId
from fasterstore.storage import record

GOLDEN = Path(__file__).parents[2] / "golden" / "record_v1.hex"
RECORD_ID = bytes(range(16))


def location(size: int, record_id: bytes = RECORD_ID) -> BlobLocation:
    return BlobLocation(SegmentId(1), 64, size, size, record_id)


def whole(payload: bytes) -> bytearray:
    return bytearray(b"".join(record.build_record(payload, RECORD_ID)))


def test_the_format_is_the_golden_one():
    payload = b"the quick brown fox"
    golden = bytes.fromhex(GOLDEN.read_text())
    assert whole(payload) == golden
    header = record.unpack_header(golden)
    table = blake3(payload).digest(length=16)
    assert header == record.RecordHeader(19, 19, RECORD_ID, 0, bytes(48), blake3(table).digest())
    assert bytes(record.verify_record(golden, location(19))) == payload
    # Field by field, as the table in the module's docstring has it.
    assert (golden[:4], golden[4:8], golden[8:16], golden[16:24]) == (b"FSRC", b"\1\0\0\0", b"\x13" + bytes(7), b"\x13" + bytes(7))
    assert (golden[24:40], golden[40:92], golden[92:124]) == (RECORD_ID, bytes(52), blake3(table).digest())
    assert golden[128:] == payload + table


@pytest.mark.parametrize("size", [0, 1, 4096, record.CHUNK_BYTES - 1, record.CHUNK_BYTES, record.CHUNK_BYTES + 1, 700_000])
def test_any_size_verifies_and_has_the_length_that_was_reserved(size):
    payload = bytes(index * 7 % 251 for index in range(256)) * (size // 256 + 1)
    payload = payload[:size]
    built = whole(payload)
    assert len(built) == record.record_bytes(size)
    assert len(built) - 128 - size == record.table_bytes(size) == 16 * record.chunk_count(size)
    assert record.verify_record(built, location(size)) == payload
    assert record.verify_record(built + b"next record", location(size)) == payload
    header = record.check_header(built[:128], location(size))
    table = bytes(built[128 + size :])
    record.verify_table(header, table)
    assert record.table_digest(table) == header.table_digest
    for index in range(record.chunk_count(size)):
        record.verify_chunk(table, index, payload[index * record.CHUNK_BYTES : (index + 1) * record.CHUNK_BYTES])


@pytest.mark.parametrize("step", [1000, record.CHUNK_BYTES, 300_000, 10_000_000])
def test_a_streamed_table_is_the_same_whatever_the_pieces(step):
    payload = bytes(range(256)) * 3000
    builder = record.ChunkTableBuilder()
    for start in range(0, len(payload), step):
        builder.update(payload[start : start + step])
    assert builder.finish() == record.chunk_table(payload)
    assert record.ChunkTableBuilder().finish() == b""


def test_every_flipped_bit_is_noticed():
    built = whole(b"payload of a small record")
    for place in range(len(built)):
        for bit in (0, 3, 7):
            built[place] ^= 1 << bit
            with pytest.raises(DamagedRecord):
                record.verify_record(built, location(25))
            built[place] ^= 1 << bit
    assert record.verify_record(built, location(25)) == b"payload of a small record"


def test_a_record_cut_short_anywhere_is_refused():
    built = bytes(whole(b"abc"))
    for length in range(len(built)):
        with pytest.raises(DamagedRecord):
            record.verify_record(built[:length], location(3))


def test_a_misdirected_record_is_refused_though_it_verifies_by_itself():
    built = whole(b"abc")
    for wrong in (location(3, b"x" * 16), location(4), location(3)._replace(plaintext_bytes=2), location(3)._replace(stored_bytes=2)):
        with pytest.raises(DamagedRecord):
            record.verify_record(built, wrong)
        with pytest.raises(DamagedRecord):
            record.check_header(built, wrong)
    assert record.check_header(built, location(3)).record_id == RECORD_ID


def test_another_version_or_flag_is_refused_with_a_valid_checksum():
    built = whole(b"abc")
    for place, value in ((4, 2), (6, 1)):
        changed = bytearray(built)
        changed[place] = value
        changed[124:128] = record.crc32c(bytes(changed[:124])).to_bytes(4, "little")
        with pytest.raises(DamagedRecord, match="does not know"):
            record.verify_record(changed, location(3))


def test_a_table_or_chunk_of_another_record_is_refused():
    payload = bytes(record.CHUNK_BYTES) + b"tail"
    header = record.check_header(whole(payload), location(len(payload)))
    table = record.chunk_table(payload)
    with pytest.raises(DamagedRecord):
        record.verify_table(header, table[:16])
    with pytest.raises(DamagedRecord):
        record.verify_table(header, table[16:] + table[:16])
    with pytest.raises(DamagedRecord):
        record.verify_chunk(table, 0, b"tail")
    with pytest.raises(DamagedRecord):
        record.verify_chunk(table, 2, b"tail")


def test_a_wrapped_key_and_epoch_come_back():
    packed = record.pack_header(5, 21, RECORD_ID, b"d" * 32, key_epoch=7, wrapped_key=b"k" * 48)
    header = record.unpack_header(packed)
    assert header == record.RecordHeader(5, 21, RECORD_ID, 7, b"k" * 48, b"d" * 32)
