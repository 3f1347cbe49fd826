"""Row codecs: golden bytes, and no flipped bit, swapped row or differing column is ever taken for a row."""

from pathlib import Path

import pytest

from fasterstore.errors import DamagedRow
from fasterstore.metadata import schema
from fasterstore.metadata.schema import State
from fasterstore.model import BlobLocation, BlobRow, BucketRow, ObjectRow, SegmentRow

GOLDEN = Path(__file__).parents[2] / "golden" / "index_rows_v3.txt"
OLD_SEGMENT = Path(__file__).parents[2] / "golden" / "segment_row_v1.hex"
UUID, LOG, RECORD = (bytes([start + index for index in range(16)]) for start in (64, 32, 96))
BLOB_ID = bytes(range(128, 160))
PREFIX = schema.blob_prefix(BLOB_ID)
BUCKET = BucketRow(12, "photos", 1_700_000_000_123, {"cors": b"<x/>"}, 40)
OBJECT = ObjectRow(
    9, 11, "5eb63bbbe01eeed093cb22bb8f5acdc3", 1_700_000_000_123, {"content-type": "text/plain"}, {"colour": "red"},
    {"CRC32C": "yZRlqg=="}, 1_700_000_000_123 << 16, bytes(16), 0, {"team": "a b"}, "public-read",
)  # fmt: skip
BLOB = BlobRow(9, BLOB_ID, 2, BlobLocation(3, 4096, 11, 27, RECORD), 0, False)
DAMAGED = BlobRow(9, BLOB_ID, 0, BlobLocation(3, 4096, 11, 27, RECORD), 1_700_000_000_123, True)
SEGMENT = SegmentRow(3, 7, UUID, True, 536_870_912, 155, False, 8192)
STATE = State(101, 7, 9, 128, 1_700_000_000_123 << 16)

PACKED = {
    "state": (schema.pack_state(STATE), schema.unpack_state, STATE),
    "damaged": (schema.pack_damaged(3), schema.unpack_damaged, 3),
    "log_start": (schema.pack_log_start(70_001), schema.unpack_log_start, 70_001),
    "identity": (schema.pack_identity(UUID, LOG), schema.unpack_identity, (3, UUID, LOG)),
    "bucket": (schema.pack_bucket(BUCKET), lambda data: schema.unpack_bucket(b"photos", 12, data), BUCKET),
    "object": (schema.pack_object(12, b"a/b", OBJECT), lambda data: schema.unpack_object(12, b"a/b", 9, data), OBJECT),
    "blob": (schema.pack_blob(BLOB), lambda data: schema.unpack_blob(9, PREFIX, 3, data), BLOB),
    "blob_damaged": (schema.pack_blob(DAMAGED), lambda data: schema.unpack_blob(9, PREFIX, 3, data), DAMAGED),
    "segment": (schema.pack_segment(SEGMENT), lambda data: schema.unpack_segment(3, data), SEGMENT),
    "segment_retired": (
        schema.pack_segment(SEGMENT._replace(retired=True)), lambda data: schema.unpack_segment(3, data), SEGMENT._replace(retired=True)
    ),
    "usage": (schema.pack_usage(12, 5, 1 << 40), lambda data: schema.unpack_usage(12, data), (5, 1 << 40)),
}  # fmt: skip


def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in GOLDEN.read_text().splitlines())}


def test_every_codec_has_golden_bytes():
    assert golden().keys() == PACKED.keys()
    made = {name.removeprefix("pack_") for name in dir(schema) if name.startswith("pack_")}
    assert made <= PACKED.keys()


@pytest.mark.parametrize("name", PACKED)
def test_the_bytes_are_the_golden_ones_and_mean_the_row(name):
    packed, unpack, row = PACKED[name]
    assert packed == golden()[name]
    assert unpack(golden()[name]) == row
    assert type(unpack(packed)) is type(row)


def test_a_segment_row_of_schema_1_is_read():
    assert schema.unpack_segment(3, bytes.fromhex(OLD_SEGMENT.read_text())) == SegmentRow(3, 7, UUID, True, 536_870_912, 155, False, 0)


@pytest.mark.parametrize("name", PACKED)
def test_every_flipped_bit_of_a_row_is_noticed(name):
    packed, unpack, _ = PACKED[name]
    for place in range(len(packed)):
        for bit in (0, 4, 7):
            changed = bytearray(packed)
            changed[place] ^= 1 << bit
            with pytest.raises(DamagedRow):
                unpack(bytes(changed))


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("value", [b"", b"\0\0\0", None, 5, "text", 1.5])
def test_a_value_that_is_no_row_at_all_is_damage_and_not_a_defect(name, value):
    with pytest.raises(DamagedRow):
        PACKED[name][1](value)


def test_a_row_under_another_key_or_table_is_refused():
    for unpack in (
        lambda: schema.unpack_bucket(b"photoz", 12, schema.pack_bucket(BUCKET)),
        lambda: schema.unpack_object(12, b"a/c", 9, schema.pack_object(12, b"a/b", OBJECT)),
        lambda: schema.unpack_object(13, b"a/b", 9, schema.pack_object(12, b"a/b", OBJECT)),
        lambda: schema.unpack_blob(8, PREFIX, 3, schema.pack_blob(BLOB)),
        lambda: schema.unpack_segment(4, schema.pack_segment(SEGMENT)),
        lambda: schema.unpack_usage(13, schema.pack_usage(12, 5, 5)),
        lambda: schema.unseal(b"usage", b"k", schema.seal(b"segments", b"k", b"v")),
    ):
        with pytest.raises(DamagedRow):
            unpack()


def test_plain_columns_that_differ_from_the_value_are_damage():
    for unpack in (
        lambda: schema.unpack_bucket(b"photos", 13, schema.pack_bucket(BUCKET)),
        lambda: schema.unpack_object(12, b"a/b", 8, schema.pack_object(12, b"a/b", OBJECT)),
        lambda: schema.unpack_blob(9, PREFIX + 1, 3, schema.pack_blob(BLOB)),
        lambda: schema.unpack_blob(9, PREFIX, 4, schema.pack_blob(BLOB)),
    ):
        with pytest.raises(DamagedRow):
            unpack()


def test_damage_names_table_and_key():
    with pytest.raises(DamagedRow, match=r"objects.*a/b"):
        schema.unpack_object(12, b"a/b", 9, bytes(40))
