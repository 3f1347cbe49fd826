"""Plain records become encrypted ones on the way to another segment; what fails its checksum does not."""

import pytest

from fasterstore.errors import DamagedRecord
from fasterstore.keyring import NO_KEYS, Keyring
from fasterstore.storage import record
from fasterstore.storage.conversion import LargeConversion, must_convert, relocated_bytes
from fasterstore.storage.relocation import copy_together
from fasterstore.storage.sealed_record import is_sealed, plaintext_of
from tests.fasterstore.storage.test_relocation import BODIES, LARGE, Files

KEYRING = Keyring(bytes(32), {1: bytes(range(32))})


def stored(files, location):
    data = files.disk.contents("/target")
    return data[location.offset : location.offset + record.record_bytes(location.stored_bytes)]


def convert(files):
    conversion = LargeConversion(files.disk, files.source, files.rows[0], files.target, KEYRING)
    while conversion.step():
        pass
    return conversion.new_location


def test_small_plain_records_are_encrypted_on_the_way_and_take_the_room_that_was_reckoned():
    files = Files(BODIES[1:])
    copied = copy_together(files.disk, files.source, files.rows, files.target, KEYRING)
    offset = files.target.offset
    for (row, new), body in zip(copied.blobs, BODIES[1:], strict=True):
        assert is_sealed(new)
        assert new.offset == offset
        assert plaintext_of(stored(files, new), new, KEYRING) == body
        offset += relocated_bytes(row.location, KEYRING)
    assert len(files.disk.contents("/target")) == offset
    assert BODIES[3][:64] not in files.disk.contents("/target")


def test_a_large_plain_record_is_encrypted_in_windows():
    files = Files([LARGE])
    new = convert(files)
    assert plaintext_of(stored(files, new), new, KEYRING) == LARGE
    assert record.record_bytes(new.stored_bytes) == relocated_bytes(files.rows[0].location, KEYRING)
    assert LARGE[:64] not in files.disk.contents("/target")
    record.verify_record(stored(files, new), new)


@pytest.mark.parametrize("position", [5, 128, 128 + 2_000_000, 128 + len(LARGE) + 3])
def test_a_large_record_with_a_flipped_byte_is_not_made_into_a_sound_one(position):
    files = Files([LARGE])
    files.flip(files.rows[0], position)
    with pytest.raises(DamagedRecord):
        convert(files)
    assert files.disk.contents("/target")[4096 : 4096 + record.HEADER_BYTES].strip(b"\0") == b""


def test_sealed_records_and_those_of_a_plain_store_are_copied_as_they_are():
    files = Files([b"x" * 5000])
    place = files.rows[0].location
    assert must_convert(place, KEYRING)
    assert not must_convert(place, NO_KEYS)
    assert not must_convert(place._replace(stored_bytes=5016), KEYRING)
    assert relocated_bytes(place, NO_KEYS) == record.record_bytes(5000)
