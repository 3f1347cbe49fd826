"""Row codecs of uploads, parts and manifests: golden bytes, no flipped bit is ever taken for a row, and maps say what they were made of."""

from pathlib import Path

import pytest

from fasterstore.errors import DamagedRow
from fasterstore.metadata import upload_schema as schema
from fasterstore.metadata.upload_schema import MapItems, Release, Unused, extend_map, in_map, map_summary, next_part, pack_map, unpack_map
from fasterstore.model import PARTS_MAX, ManifestRow, PartEnd, PartRow, Slice, UploadRow

GOLDEN = Path(__file__).parents[2] / "golden" / "upload_rows_v1.txt"
MD5 = "5eb63bbbe01eeed093cb22bb8f5acdc3"
UPLOAD = UploadRow(
    12, b"a/b", 41, "0f" * 16, 1_700_000_000_123, 1_700_000_000_456, 44, {"content-type": "text/plain"}, {"colour": "red"}, {"team": "a b"},
    "public-read", "CRC32C", "COMPOSITE",
)  # fmt: skip
PART = PartRow(2, 11, MD5, 1_700_000_000_123, {"CRC32C": "yZRlqg=="}, (Slice(9, 5, 6), Slice(7, 0, 5)))
MANIFEST = ManifestRow(41, 2, 5_242_891, 2, f"{MD5}-2", "0f" * 16)
MAP = pack_map([(1, 5_242_880), (2, 11)])
RELEASE = Release(41, 1_700_000_000_123, Unused.UNLISTED, 9)

PACKED = {
    "upload": (schema.pack_upload(UPLOAD), lambda data: schema.unpack_upload(12, b"a/b", 41, UPLOAD.changed_ms, data), UPLOAD),
    "part": (schema.pack_part(41, PART), lambda data: schema.unpack_part(41, 2, data), PART),
    "manifest": (schema.pack_manifest(MANIFEST), lambda data: schema.unpack_manifest(41, data), MANIFEST),
    "map": (schema.seal_map(41, MAP), lambda data: schema.unseal_map(41, data), MAP),
    "release": (schema.pack_release(RELEASE), lambda data: schema.unpack_release(41, RELEASE.unused_ms, data), RELEASE),
}


def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in GOLDEN.read_text().splitlines())}


def test_every_codec_has_golden_bytes():
    assert golden().keys() == PACKED.keys()
    assert {name.removeprefix("pack_") for name in dir(schema) if name.startswith("pack_")} <= PACKED.keys()


@pytest.mark.parametrize("name", PACKED)
def test_the_bytes_are_the_golden_ones_and_mean_the_row(name):
    packed, unpack, row = PACKED[name]
    assert packed == golden()[name]
    assert unpack(golden()[name]) == row
    assert type(unpack(packed)) is type(row)


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


@pytest.mark.parametrize(
    "unpack",
    [
        lambda: schema.unpack_upload(13, b"a/b", 41, UPLOAD.changed_ms, schema.pack_upload(UPLOAD)),
        lambda: schema.unpack_upload(12, b"a/c", 41, UPLOAD.changed_ms, schema.pack_upload(UPLOAD)),
        lambda: schema.unpack_upload(12, b"a/b", 42, UPLOAD.changed_ms, schema.pack_upload(UPLOAD)),
        lambda: schema.unpack_part(42, 2, schema.pack_part(41, PART)),
        lambda: schema.unpack_part(41, 3, schema.pack_part(41, PART)),
        lambda: schema.unpack_manifest(42, schema.pack_manifest(MANIFEST)),
        lambda: schema.unseal_map(42, schema.seal_map(41, MAP)),
        lambda: schema.unpack_release(42, RELEASE.unused_ms, schema.pack_release(RELEASE)),
    ],
)
def test_a_row_under_another_key_is_refused(unpack):
    with pytest.raises(DamagedRow):
        unpack()


def test_times_in_plain_columns_that_differ_from_the_value_are_damage():
    with pytest.raises(DamagedRow, match="time of upload 41"):
        schema.unpack_upload(12, b"a/b", 41, UPLOAD.changed_ms + 1, schema.pack_upload(UPLOAD))
    with pytest.raises(DamagedRow, match="time of 41"):
        schema.unpack_release(41, RELEASE.unused_ms + 1, schema.pack_release(RELEASE))


def test_a_map_says_where_each_part_ends():
    assert unpack_map(MAP) == [PartEnd(1, 5_242_880), PartEnd(2, 5_242_891)]
    assert map_summary(MAP) == (2, 5_242_891)
    assert (unpack_map(b""), map_summary(b"")) == ([], (0, 0))


def test_a_map_of_all_parts_of_the_largest_object_keeps_every_offset():
    sizes = [(part, 5 << 30) for part in range(1, PARTS_MAX + 1)]
    packed = pack_map(sizes)
    assert len(packed) == 12 * PARTS_MAX
    assert map_summary(packed) == (PARTS_MAX, PARTS_MAX * (5 << 30))
    assert unpack_map(packed)[-1] == PartEnd(PARTS_MAX, PARTS_MAX * (5 << 30))


def test_a_map_is_read_item_by_item_as_it_is_as_a_whole():
    packed = pack_map([(part, 10 * part) for part in range(3, 300, 3)])
    whole, items = unpack_map(packed), MapItems(packed)
    assert (len(items), list(items)) == (len(whole), whole)
    assert (items[0], items[-1], items[7], items[5:9], items[98:]) == (whole[0], whole[-1], whole[7], whole[5:9], whole[98:])
    with pytest.raises(IndexError):
        items[99]
    assert not MapItems(b"")


def test_a_map_grows_by_a_part_behind_the_others():
    assert next_part(b"") == 1
    assert extend_map(b"", 7) == pack_map([(1, 7)])
    assert extend_map(pack_map([(2, 7), (9, 1)]), 5) == pack_map([(2, 7), (9, 1), (10, 5)])


def test_a_part_is_in_the_map_or_not():
    packed = pack_map([(part, 1) for part in range(3, 3000, 3)])
    assert [part for part in range(3010) if in_map(packed, part)] == list(range(3, 3000, 3))
    assert not in_map(b"", 1)
