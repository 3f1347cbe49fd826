"""The unlocked keys of a data dir, and the changes of keys.json: turning encryption on, rotating the master key, a new epoch key.

    master key (the operator's)  wraps  blob id key, epoch keys (keys.json)  wrap  a data key for each record (its header)

How a key is wrapped, in keys.json by the master key and in a record's header by the epoch key:

    key encryption key   BLAKE3, keyed by the wrapping key, of a context and a salt that is never used twice
    wrapped              AES-256-GCM of the 32-byte key under the key encryption key: ciphertext, tag (48 bytes)

    in keys.json         context "FasterStore keys.json", salt 16 random bytes which stand before the wrapped key (64 bytes in all),
                         associated data: "blob id key" or "epoch key N", filled up with zeros to 32 bytes
    in a record          context "FasterStore data key", salt the record id,
                         associated data: record id (16 bytes), key epoch (u64), length of the plaintext (u64), little-endian

**No (key, nonce) pair is used twice.** A key encryption key wraps one key, with a nonce of zeros: its salt is random (16 bytes, so two
of 2^40 are alike with a chance of 2^-49), and a relocation takes salt and wrapped key along unchanged. A data key is 32 random bytes that
seal one record, once (`fasterstore.aead`). So nothing has to be counted, and no state that a crash or a restored backup could set back.

Owns the hierarchy. Keys are never logged, shown or put into an error; it opens no file (`fasterstore.storage.key_file` does).
"""

import os
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from blake3 import blake3

from fasterstore.aes_gcm import open_once, seal_once
from fasterstore.errors import DamagedRecord, InvariantError, UnsupportedFormat
from fasterstore.storage.key_file import KEY_BYTES, KeyFile, WrappedKeys, WrongMasterKey, master_key_id, require_master_key

RandomBytes = Callable[[int], bytes]

SALT_BYTES = 16
_FILE_CONTEXT = b"FasterStore keys.json"
_RECORD_CONTEXT = b"FasterStore data key"
_BLOB_ID_KEY = b"blob id key"
_pack_numbers = struct.Struct("<QQ").pack


class DataKey(NamedTuple):
    """The key of one record: `key`, 32 bytes and secret, and what its header is to hold: `epoch` and `wrapped`, 48 bytes."""

    key: bytes
    epoch: int
    wrapped: bytes

    def __repr__(self) -> str:
        return f"DataKey(epoch={self.epoch})"


class Keyring:
    """What a process that reads and writes records holds. Without epoch keys, new records are plain."""

    __slots__ = ("_epoch_keys", "all_sealed", "blob_key", "epoch")

    def __init__(self, blob_key: bytes, epoch_keys: Mapping[int, bytes] | None = None, all_sealed: bool = False) -> None:
        """`blob_key`: the 32-byte key of the blob ids. `epoch_keys`: 32-byte keys by number; the highest is the current one."""
        self.blob_key = blob_key
        self._epoch_keys = dict(epoch_keys or {})
        self.epoch = max(self._epoch_keys, default=0)
        """The epoch whose key wraps new data keys, 0 if new records are plain."""
        self.all_sealed = all_sealed
        """No record of this data dir is plain, because encryption was on before the first was written."""

    def __repr__(self) -> str:
        return f"Keyring(epoch={self.epoch})"

    @property
    def seals(self) -> bool:
        """Whether new records are encrypted."""
        return self.epoch != 0

    def new_data_key(self, record_id: bytes, plaintext_bytes: int, random_bytes: RandomBytes = os.urandom) -> DataKey:
        """A key for a new record with that id (16 bytes, never used before). Only where `seals`."""
        key = random_bytes(KEY_BYTES)
        return DataKey(key, self.epoch, wrap_data_key(self._epoch_keys[self.epoch], record_id, self.epoch, plaintext_bytes, key))

    def data_key(self, record_id: bytes, epoch: int, wrapped: bytes, plaintext_bytes: int) -> bytes:
        """The data key that a record's header holds wrapped. Raises DamagedRecord."""
        wrapping_key = self._epoch_keys.get(epoch)
        if wrapping_key is None:
            raise DamagedRecord(f"the record is sealed under epoch key {epoch}, which keys.json does not hold")
        return unwrap_data_key(wrapping_key, record_id, epoch, plaintext_bytes, wrapped)


NO_KEYS = Keyring(bytes(KEY_BYTES))
"""For those who only need to know that records are plain."""


def wrap_data_key(wrapping_key: bytes, record_id: bytes, epoch: int, plaintext_bytes: int, data_key: bytes) -> bytes:
    """A record's data key, wrapped: 48 bytes. At most once for each `wrapping_key` (32 bytes) and `record_id` (16 bytes)."""
    associated = record_id + _pack_numbers(epoch, plaintext_bytes)
    return seal_once(_key_encryption_key(wrapping_key, _RECORD_CONTEXT, record_id), associated, data_key)


def unwrap_data_key(wrapping_key: bytes, record_id: bytes, epoch: int, plaintext_bytes: int, wrapped: bytes) -> bytes:
    """What `wrap_data_key` wrapped. Raises DamagedRecord: other arguments, or changed bytes."""
    associated = record_id + _pack_numbers(epoch, plaintext_bytes)
    key = open_once(_key_encryption_key(wrapping_key, _RECORD_CONTEXT, record_id), associated, wrapped)
    if key is None:
        raise DamagedRecord("the record's wrapped key fails its tag")
    return key


def unlock(keys: KeyFile, master_key: bytes | None) -> Keyring:
    """The keyring of a data dir.

    Raises: WrongMasterKey, also if keys are wrapped and none is given, or one is given and they are not yet (`turn_on` first);
    UnsupportedFormat if a wrapped key was changed.
    """
    require_master_key(keys, master_key)
    if not keys.wrapped:
        if master_key is not None:
            raise WrongMasterKey("FS_ENCRYPTION_KEY_BASE64 is set, and the keys of this data dir are not wrapped yet: start the node")
        return Keyring(keys.blob_id_key)
    assert master_key is not None
    blob_key, epoch_keys = _unwrap_all(keys.under(master_key), master_key)
    return Keyring(blob_key, epoch_keys, keys.all_sealed)


def turn_on(keys: KeyFile, master_key: bytes, random_bytes: RandomBytes, *, nothing_stored: bool) -> KeyFile:
    """Keys of a plain data dir, wrapped, with a first epoch key. The blob id key stays the same, and so do all ids.

    `nothing_stored`: no record was ever written.
    """
    if keys.wrapped:
        raise InvariantError("encryption is on already")
    wrapped = _wrap_all(keys.blob_id_key, {1: random_bytes(KEY_BYTES)}, master_key, random_bytes)
    return KeyFile(b"", (wrapped,), (1,), nothing_stored)


def add_master_key(keys: KeyFile, master_key: bytes, new_master_key: bytes, random_bytes: RandomBytes) -> KeyFile:
    """All keys wrapped by the new master key too: both open the data dir from then on. Raises WrongMasterKey, UnsupportedFormat."""
    blob_key, epoch_keys = _unwrap_all(keys.under(master_key), master_key)
    new_id = master_key_id(new_master_key)
    others = tuple(wrapped for wrapped in keys.wrapped if wrapped.master_id != new_id)
    if len(others) == len(keys.wrapped) and len(others) > 1:
        raise WrongMasterKey("a rotation is under way already: finish it first")
    return keys._replace(wrapped=(*others, _wrap_all(blob_key, epoch_keys, new_master_key, random_bytes)))


def drop_other_master_keys(keys: KeyFile, master_key: bytes) -> KeyFile:
    """Only that master key opens the data dir from then on. Raises WrongMasterKey, UnsupportedFormat if it does not."""
    kept = keys.under(master_key)
    _unwrap_all(kept, master_key)
    return keys._replace(wrapped=(kept,))


def add_epoch(keys: KeyFile, master_key: bytes, random_bytes: RandomBytes) -> KeyFile:
    """A new epoch key for new records; those of older epochs stay readable.

    Raises WrongMasterKey, also while two master keys are valid (the other could not wrap it); UnsupportedFormat.
    """
    blob_key, epoch_keys = _unwrap_all(keys.under(master_key), master_key)
    if len(keys.wrapped) > 1:
        raise WrongMasterKey("two master keys are valid: finish the rotation before a new epoch begins")
    epoch = keys.epochs[-1] + 1
    wrapped = _wrap_all(blob_key, epoch_keys | {epoch: random_bytes(KEY_BYTES)}, master_key, random_bytes)
    return keys._replace(wrapped=(wrapped,), epochs=(*keys.epochs, epoch))


def _wrap_all(blob_key: bytes, epoch_keys: Mapping[int, bytes], master_key: bytes, random_bytes: RandomBytes) -> WrappedKeys:
    def wrap(name: bytes, key: bytes) -> bytes:
        salt = random_bytes(SALT_BYTES)
        return salt + seal_once(_key_encryption_key(master_key, _FILE_CONTEXT, salt), _name(name), key)

    wrapped = {epoch: wrap(_epoch_name(epoch), key) for epoch, key in epoch_keys.items()}
    return WrappedKeys(master_key_id(master_key), wrap(_BLOB_ID_KEY, blob_key), wrapped)


def _unwrap_all(keys: WrappedKeys, master_key: bytes) -> tuple[bytes, dict[int, bytes]]:
    def unwrap(name: bytes, wrapped: bytes) -> bytes:
        salt, sealed = wrapped[:SALT_BYTES], wrapped[SALT_BYTES:]
        key = open_once(_key_encryption_key(master_key, _FILE_CONTEXT, salt), _name(name), sealed)
        if key is None:
            raise UnsupportedFormat(f"keys.json: {name.decode()} fails its tag; the copy beside it may be sound")
        return key

    return unwrap(_BLOB_ID_KEY, keys.blob_id_key), {epoch: unwrap(_epoch_name(epoch), key) for epoch, key in keys.epoch_keys.items()}


def _epoch_name(epoch: int) -> bytes:
    return b"epoch key %d" % epoch


def _name(name: bytes) -> bytes:
    return name.ljust(32, b"\0")


def _key_encryption_key(wrapping_key: bytes, context: bytes, salt: bytes) -> bytes:
    key: bytes = blake3(context + salt, key=wrapping_key).digest()
    return key
