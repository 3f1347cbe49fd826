"""Row codecs of replication: golden bytes, and no flipped bit, swapped row or differing column is ever taken for a row."""

from pathlib import Path

import pytest

from fasterstore.errors import DamagedRow
from fasterstore.metadata import replication_schema as schema
from fasterstore.metadata.replication_schema import PeerBlobRow, RegistersRow, ReplicationState, TombstoneRow
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting

GOLDEN = Path(__file__).parents[2] / "golden" / "replication_rows_v1.txt"
NODE, OTHER, LOG = (bytes([start + index for index in range(16)]) for start in (0, 16, 32))
NOW_MS = 1_700_000_000_123
STAMP = NOW_MS << 16
STATE = ReplicationState(("http://a:9000", "http://b:9000"), STAMP + 7, STAMP - 9, 3, True)
TOMBSTONE = TombstoneRow("photos", b"a/\xc3\xa9\x00", STAMP, NODE, NOW_MS, NOW_MS + 5)
REGISTERS = RegistersRow(
    "photos",
    Registers(
        (Create(STAMP, NODE, NOW_MS), Create(STAMP + 1, OTHER, NOW_MS + 1)), Deletion(STAMP - 1, OTHER),
        (Setting("acl", None, STAMP, NODE), Setting("cors", b"<x/>", STAMP + 2, OTHER)), Home(STAMP + 3, NODE, OTHER),
    ),
)  # fmt: skip
GONE = RegistersRow("photos", Registers(deleted=Deletion(STAMP, NODE)), NOW_MS)
PEER_BLOB = PeerBlobRow(LOG, 77, 9)

PACKED = {
    "replication_state": (schema.pack_replication_state(STATE), schema.unpack_replication_state, STATE),
    "tombstone": (
        schema.pack_tombstone(TOMBSTONE), lambda data: schema.unpack_tombstone(b"photos", TOMBSTONE.key, NOW_MS + 5, data), TOMBSTONE
    ),
    "registers": (schema.pack_registers(REGISTERS), lambda data: schema.unpack_registers(b"photos", None, data), REGISTERS),
    "registers_gone": (schema.pack_registers(GONE), lambda data: schema.unpack_registers(b"photos", NOW_MS, data), GONE),
    "peer_blob": (schema.pack_peer_blob(PEER_BLOB), lambda data: schema.unpack_peer_blob(LOG, 77, 9, data), PEER_BLOB),
}  # fmt: skip


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


def test_registers_come_back_with_their_types():
    registers = schema.unpack_registers(b"photos", None, golden()["registers"]).registers
    assert type(registers) is Registers
    assert [type(create) for create in registers.creates] == [Create, Create]
    assert (type(registers.deleted), type(registers.home)) == (Deletion, Home)
    assert [type(setting) for setting in registers.settings] == [Setting, Setting]


@pytest.mark.parametrize("name", PACKED)
def test_every_flipped_bit_of_a_row_is_noticed(name):
    packed, unpack, _ = PACKED[name]
    for place in range(len(packed)):
        for bit in (0, 4, 7):
            changed = bytearray(packed)
            changed[place] ^= 1 << bit
            with pytest.raises(DamagedRow):
                unpack(bytes(changed))


@pytest.mark.parametrize(
    "swapped",
    [
        lambda: schema.unpack_tombstone(b"photo", b"sa/\xc3\xa9\x00", NOW_MS + 5, PACKED["tombstone"][0]),
        lambda: schema.unpack_tombstone(b"photos", TOMBSTONE.key, NOW_MS, PACKED["tombstone"][0]),
        lambda: schema.unpack_registers(b"photo", None, PACKED["registers"][0]),
        lambda: schema.unpack_registers(b"photos", NOW_MS, PACKED["registers"][0]),
        lambda: schema.unpack_registers(b"photos", None, PACKED["registers_gone"][0]),
        lambda: schema.unpack_peer_blob(LOG, 78, 9, PACKED["peer_blob"][0]),
        lambda: schema.unpack_peer_blob(LOG, 77, 8, PACKED["peer_blob"][0]),
        lambda: schema.unpack_peer_blob(NODE, 77, 9, PACKED["peer_blob"][0]),
        lambda: schema.unpack_tombstone(b"photos", TOMBSTONE.key, NOW_MS + 5, "text"),
    ],
)
def test_another_rows_value_or_column_is_noticed(swapped):
    with pytest.raises(DamagedRow):
        swapped()
