"""An encrypted record: its bytes are pinned, any flipped bit is noticed, and it is made from and into other forms."""

import os
from pathlib import Path

import pytest

from fasterstore import aead
from fasterstore.errors import DamagedRecord, InvariantError
from fasterstore.keyring import NO_KEYS, DataKey, Keyring
from fasterstore.model import BlobLocation, SegmentId
from fasterstore.storage import record, sealed_record
from fasterstore.storage.sealed_record import ExtentSeal, Reencoder

GOLDEN = Path(__file__).parents[2] / "golden" / "sealed_record_v1.hex"
RECORD_ID = bytes(range(16))
KEYRING = Keyring(bytes(32), {1: bytes(range(32)), 2: bytes(range(32, 64))})
SIZES = [1, 4096, 65536, 65537, 262_144, 700_000]


def location(size: int, record_id: bytes = RECORD_ID, stored: int | None = None) -> BlobLocation:
    return BlobLocation(SegmentId(1), 64, size, aead.stored_bytes(size) if stored is None else stored, record_id)


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def golden_key() -> DataKey:
    return KEYRING.new_data_key(RECORD_ID, 19, lambda size: bytes([5]) * size)


def test_the_format_is_the_golden_one():
    payload = b"the quick brown fox"
    built = b"".join(sealed_record.build_sealed_record(payload, RECORD_ID, golden_key()))
    assert built == bytes.fromhex(GOLDEN.read_text())
    assert sealed_record.open_record(built, location(19), KEYRING) == payload
    # Field by field, as the table in `record` has it.
    assert (built[6:8], built[8:16], built[16:24]) == (b"\0\0", b"\x13" + bytes(7), b"\x23" + bytes(7))
    assert (built[24:40], built[40:44], built[44:92]) == (RECORD_ID, b"\2\0\0\0", golden_key().wrapped)
    assert built[128:163] == aead.seal_whole(bytes([5]) * 32, RECORD_ID, payload)
    assert payload not in built


@pytest.mark.parametrize("size", SIZES)
def test_any_size_opens_and_has_the_length_that_was_reserved(size):
    payload = content(size)
    built = b"".join(sealed_record.build(payload, RECORD_ID, KEYRING))
    place = location(size)
    assert len(built) == record.record_bytes(sealed_record.stored_bytes(KEYRING, size))
    assert sealed_record.is_sealed(place)
    assert sealed_record.open_record(built, place, KEYRING) == payload
    assert sealed_record.plaintext_of(built, place, KEYRING) == payload
    # Who has no key can tell that the stored bytes are sound.
    assert record.verify_record(built, place) == built[128 : 128 + place.stored_bytes]
    stream = sealed_record.sealed_stream(record.check_header(built, place), KEYRING)
    run = aead.chunk_run(size, size - 1, 1)
    start = 128 + run.stored_offset
    assert stream.open_chunks(run.first_chunk, built[start : start + run.stored_length])[run.skip :] == payload[-1:]


def test_without_epoch_keys_a_record_is_plain():
    payload = b"some bytes"
    assert sealed_record.build(payload, RECORD_ID, NO_KEYS) == record.build_record(payload, RECORD_ID)
    assert sealed_record.stored_bytes(NO_KEYS, 10) == 10
    built = b"".join(record.build_record(payload, RECORD_ID))
    assert sealed_record.plaintext_of(built, location(10, stored=10), KEYRING) == payload


def test_any_flipped_bit_of_header_wrapped_key_or_ciphertext_is_damage():
    built = b"".join(sealed_record.build(content(4096), RECORD_ID, KEYRING))
    end = 128 + aead.stored_bytes(4096)
    for position in [*range(128), *range(128, end, 97), end - 1]:
        bad = bytearray(built)
        bad[position] ^= 1 << (position % 8)
        with pytest.raises(DamagedRecord):
            sealed_record.open_record(bad, location(4096), KEYRING)
    for position in range(end, len(built)):
        bad = bytearray(built)
        bad[position] ^= 1
        with pytest.raises(DamagedRecord):
            record.verify_record(bad, location(4096))
        assert sealed_record.open_record(bad, location(4096), KEYRING) == content(4096)


def test_a_header_with_a_right_crc_and_another_key_is_damage():
    built = b"".join(sealed_record.build(b"one", RECORD_ID, KEYRING))
    header = record.unpack_header(built)
    other = KEYRING.new_data_key(RECORD_ID, 3)
    forged = record.pack_header(3, header.stored_bytes, RECORD_ID, header.table_digest, other.epoch, other.wrapped)
    with pytest.raises(DamagedRecord):
        sealed_record.open_record(forged + built[128:], location(3), KEYRING)


def test_a_plain_record_in_a_sealed_ones_place_is_not_taken():
    with pytest.raises(DamagedRecord):
        sealed_record.open_record(b"".join(record.build_record(bytes(19), RECORD_ID)), location(3), KEYRING)


@pytest.mark.parametrize("size", SIZES)
def test_an_extent_sealed_buffer_by_buffer_is_the_same_stream(size):
    seal = ExtentSeal(KEYRING, RECORD_ID, size)
    into = memoryview(bytearray(aead.stored_bytes(262_144)))
    stored = bytearray(aead.stored_bytes(size))
    payload = content(size)
    for start in range(0, size, 262_144):
        piece, position = seal.seal(payload[start : start + 262_144], start, into)
        stored[position : position + len(piece)] = piece
    assert stored == aead.seal_whole(seal.key.key, RECORD_ID, payload)


FORMS = {"plain": NO_KEYS, "first epoch": Keyring(bytes(32), {1: bytes(range(32))}), "second epoch": KEYRING}


@pytest.mark.parametrize("size", [1, 65536, 65537, 300_000])
@pytest.mark.parametrize("old", FORMS)
@pytest.mark.parametrize("new", ["first epoch", "second epoch"])
def test_a_record_is_made_anew_in_the_current_form(size, old, new):
    payload = content(size)
    built = b"".join(sealed_record.build(payload, RECORD_ID, FORMS[old]))
    if (old, new) == ("second epoch", "first epoch"):
        with pytest.raises(DamagedRecord):
            sealed_record.reencode(built, FORMS[new])
        return
    made = sealed_record.reencode(built, FORMS[new])
    if old == new:
        assert made is None
        return
    header = record.unpack_header(made)
    assert header.record_id != RECORD_ID
    assert header.key_epoch == FORMS[new].epoch
    assert sealed_record.open_record(made, location(size, header.record_id), FORMS[new]) == payload
    # The same while it streams by.
    reencoder = Reencoder(size, FORMS[new])
    stored = b"".join(bytes(reencoder.update(payload[start : start + 100_000])) for start in range(0, size, 100_000))
    ending = reencoder.finish()
    whole = ending.header + stored + ending.stored + ending.table
    assert len(whole) == record.record_bytes(reencoder.stored_bytes)
    assert sealed_record.open_record(whole, location(size, reencoder.record_id), FORMS[new]) == payload
    assert record.verify_record(whole, location(size, reencoder.record_id))


def test_a_reencoder_wants_all_of_the_plaintext():
    reencoder = Reencoder(10, KEYRING)
    reencoder.update(b"nine byte")
    with pytest.raises(InvariantError):
        reencoder.finish()


def test_damage_is_not_passed_on():
    for keyring in (NO_KEYS, FORMS["first epoch"]):
        built = bytearray(b"".join(sealed_record.build(content(5000), RECORD_ID, keyring)))
        built[3000] ^= 1
        with pytest.raises(DamagedRecord):
            sealed_record.reencode(built, KEYRING)


def test_each_record_made_anew_has_a_key_of_its_own():
    built = b"".join(record.build_record(b"the same bytes", RECORD_ID))
    made = {bytes(sealed_record.reencode(built, KEYRING, os.urandom)) for _ in range(50)}
    assert len({one[44:92] for one in made}) == len({one[128:158] for one in made}) == 50
