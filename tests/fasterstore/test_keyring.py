"""The key hierarchy: ids never change, each wrapped key opens in its own place only, and no (key, nonce) is used twice."""

import os
import struct

import pytest
from blake3 import blake3
from Crypto.Cipher import AES

from fasterstore import keyring as module
from fasterstore.errors import DamagedRecord, InvariantError, UnsupportedFormat
from fasterstore.keyring import Keyring, add_epoch, add_master_key, drop_other_master_keys, turn_on, unlock
from fasterstore.storage.key_file import KeyFile, WrongMasterKey

BLOB_KEY, MASTER, OTHER, THIRD = (bytes([number]) * 32 for number in range(4))
RECORD_ID = bytes(range(16))


def on() -> KeyFile:
    return turn_on(KeyFile(BLOB_KEY), MASTER, os.urandom, nothing_stored=False)


def test_turning_encryption_on_keeps_the_blob_key_and_makes_an_epoch_key():
    keyring = unlock(on(), MASTER)
    assert keyring.blob_key == BLOB_KEY
    assert (keyring.epoch, keyring.seals, keyring.all_sealed) == (1, True, False)
    assert not unlock(KeyFile(BLOB_KEY), None).seals
    with pytest.raises(InvariantError):
        turn_on(on(), MASTER, os.urandom, nothing_stored=False)
    with pytest.raises(WrongMasterKey):
        unlock(KeyFile(BLOB_KEY), MASTER)
    with pytest.raises(WrongMasterKey):
        unlock(on(), OTHER)
    with pytest.raises(WrongMasterKey):
        unlock(on(), None)


def test_a_rotation_keeps_every_key_and_ends_with_the_new_master_key_alone():
    keys = on()
    first = unlock(keys, MASTER)
    both = add_master_key(keys, MASTER, OTHER, os.urandom)
    wrapped = first.new_data_key(RECORD_ID, 5)
    for master_key in (MASTER, OTHER):
        assert unlock(both, master_key).blob_key == BLOB_KEY
        assert unlock(both, master_key).data_key(RECORD_ID, 1, wrapped.wrapped, 5) == wrapped.key
    # The same step again, after a crash, changes nothing that counts.
    again = add_master_key(both, MASTER, OTHER, os.urandom)
    assert [keys.master_id for keys in again.wrapped] == [keys.master_id for keys in both.wrapped]
    with pytest.raises(WrongMasterKey, match="finish it first"):
        add_master_key(both, MASTER, THIRD, os.urandom)
    with pytest.raises(WrongMasterKey, match="finish the rotation"):
        add_epoch(both, OTHER, os.urandom)
    only = drop_other_master_keys(both, OTHER)
    assert unlock(only, OTHER).data_key(RECORD_ID, 1, wrapped.wrapped, 5) == wrapped.key
    with pytest.raises(WrongMasterKey):
        unlock(only, MASTER)


def test_a_new_epoch_is_for_new_records_and_the_old_one_still_reads():
    keys = on()
    old = unlock(keys, MASTER).new_data_key(RECORD_ID, 5)
    keyring = unlock(add_epoch(keys, MASTER, os.urandom), MASTER)
    assert keyring.epoch == 2 and keyring.new_data_key(RECORD_ID, 5).epoch == 2
    assert keyring.data_key(RECORD_ID, 1, old.wrapped, 5) == old.key


def test_a_record_key_is_wrapped_as_the_docstring_says():
    epoch_key = bytes(range(50, 82))
    made = Keyring(BLOB_KEY, {7: epoch_key}).new_data_key(RECORD_ID, 4096, lambda size: bytes([9]) * size)
    wrapping = blake3(b"FasterStore data key" + RECORD_ID, key=epoch_key).digest()
    cipher = AES.new(wrapping, AES.MODE_GCM, nonce=bytes(12))
    cipher.update(RECORD_ID + struct.pack("<QQ", 7, 4096))
    assert made.wrapped == b"".join(cipher.encrypt_and_digest(bytes([9]) * 32))
    assert (made.key, made.epoch, len(made.wrapped)) == (bytes([9]) * 32, 7, 48)


def test_a_wrapped_key_opens_only_in_its_own_header():
    keyring = Keyring(BLOB_KEY, {1: os.urandom(32), 2: os.urandom(32)})
    made = keyring.new_data_key(RECORD_ID, 100)
    assert keyring.data_key(RECORD_ID, 2, made.wrapped, 100) == made.key
    bad = bytearray(made.wrapped)
    for position in range(48):
        bad[position] ^= 1
        with pytest.raises(DamagedRecord):
            keyring.data_key(RECORD_ID, 2, bytes(bad), 100)
        bad[position] ^= 1
    for arguments in ((os.urandom(16), 2, 100), (RECORD_ID, 1, 100), (RECORD_ID, 2, 101)):
        with pytest.raises(DamagedRecord):
            keyring.data_key(arguments[0], arguments[1], made.wrapped, arguments[2])
    with pytest.raises(DamagedRecord, match="epoch key 3"):
        keyring.data_key(RECORD_ID, 3, made.wrapped, 100)


def test_a_wrapped_key_in_another_keys_place_is_refused():
    keys = on()
    entry = keys.wrapped[0]
    swapped = entry._replace(blob_id_key=entry.epoch_keys[1], epoch_keys={1: entry.blob_id_key})
    with pytest.raises(UnsupportedFormat, match="blob id key"):
        unlock(keys._replace(wrapped=(swapped,)), MASTER)
    two = add_epoch(keys, MASTER, os.urandom)
    entry = two.wrapped[0]
    crossed = entry._replace(epoch_keys={1: entry.epoch_keys[2], 2: entry.epoch_keys[1]})
    with pytest.raises(UnsupportedFormat, match="epoch key 1"):
        unlock(two._replace(wrapped=(crossed,)), MASTER)


def test_no_key_seals_two_messages_under_one_nonce(monkeypatch):
    # Every message that these modules ever seal goes through here, always with the nonce of a key that is used once.
    used = []

    def recording(key, associated, plaintext, real=module.seal_once):
        used.append(bytes(key))
        return real(key, associated, plaintext)

    monkeypatch.setattr(module, "seal_once", recording)
    keys = on()
    for _ in range(5):
        keys = drop_other_master_keys(add_master_key(keys, MASTER, OTHER, os.urandom), OTHER)
        keys = add_epoch(keys, OTHER, os.urandom)
        keys = drop_other_master_keys(add_master_key(keys, OTHER, MASTER, os.urandom), MASTER)
    # A backup of keys.json that is restored, and used again.
    for restored in (on(), keys):
        keyring = unlock(restored, MASTER)
        for _ in range(2000):
            made = keyring.new_data_key(os.urandom(16), 10)
            used.append(made.key)
    assert len(set(used)) == len(used) > 8000


def test_no_repr_shows_a_key():
    keyring = unlock(on(), MASTER)
    assert repr(keyring) == "Keyring(epoch=1)"
    assert repr(keyring.new_data_key(RECORD_ID, 1)) == "DataKey(epoch=1)"
