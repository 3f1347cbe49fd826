"""`keys.json`: the keys of a data dir. Owns the format and which master key opens it; knows no cipher (`fasterstore.keyring` does).

Version 1, while nothing is encrypted:

    {"version": 1, "blob_id_key": base64 of 32 bytes}

Version 2, once there is a master key:

    {"version": 2, "all_sealed": bool, "epochs": [epoch numbers, the current one last],
     "master_keys": [{"id": 16 hex digits, "blob_id_key": wrapped, "epoch_keys": {"epoch number": wrapped, ...}}, ...]}

`master_keys` has one entry, and two while the master key is being rotated: each holds every key, wrapped by that master key (base64 of
64 bytes; `fasterstore.keyring` says how). An id names a master key and tells nothing of it: the first 8 bytes of
HMAC-SHA256(master key, "FasterStore master key id"). `all_sealed`: encryption was on before the first record was written.

Either has a checksum beside its fields (`fasterstore.storage.atomic_file`).

`keys.json` is replaced as a whole (temp, fsync, rename, fsync of the folder). `keys.json.previous` holds what was there before, unless
that would keep alive what is to go: the unwrapped key when encryption is turned on, a master key that is dropped. Then it holds the new.

Imports the standard library only: the node's supervisor reads it before it forks.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any, NamedTuple

from fasterstore.errors import StoreError, UnsupportedFormat
from fasterstore.storage.atomic_file import json_bytes, read_json, write_atomically
from fasterstore.storage.disk import Disk, read_file

PLAIN_VERSION = 1
WRAPPED_VERSION = 2
KEY_BYTES = 32
WRAPPED_BYTES = 64
PREVIOUS_SUFFIX = ".previous"
_ID_CONTEXT = b"FasterStore master key id"


class WrongMasterKey(StoreError):
    """FS_ENCRYPTION_KEY_BASE64 is not the key that opens this data dir; `detail` names both by id and holds neither."""


class WrappedKeys(NamedTuple):
    """All keys wrapped by one master key: `blob_id_key` and each of `epoch_keys` (by number) are 64 bytes."""

    master_id: str
    blob_id_key: bytes
    epoch_keys: dict[int, bytes]


class KeyFile(NamedTuple):
    """What keys.json holds: `blob_id_key`, 32 bytes and secret, or b"" and `wrapped`, `epochs` and `all_sealed` as in the module."""

    blob_id_key: bytes
    wrapped: tuple[WrappedKeys, ...] = ()
    epochs: tuple[int, ...] = ()
    all_sealed: bool = False

    def __repr__(self) -> str:
        return f"KeyFile(master_keys={[keys.master_id for keys in self.wrapped]}, epochs={self.epochs})"

    def under(self, master_key: bytes) -> WrappedKeys:
        """What that master key wraps. Raises WrongMasterKey."""
        given = master_key_id(master_key)
        for keys in self.wrapped:
            if keys.master_id == given:
                return keys
        expected = " or ".join(keys.master_id for keys in self.wrapped)
        raise WrongMasterKey(f"FS_ENCRYPTION_KEY_BASE64 is master key {given}; this data dir is encrypted under master key {expected}")


def master_key_id(master_key: bytes) -> str:
    """The public name of a master key: 16 hex digits."""
    return hmac.digest(master_key, _ID_CONTEXT, hashlib.sha256)[:8].hex()


def require_master_key(keys: KeyFile, master_key: bytes | None) -> None:
    """Raises WrongMasterKey unless the node may start with that master key (None: with none)."""
    if keys.wrapped and master_key is None:
        expected = " or ".join(wrapped.master_id for wrapped in keys.wrapped)
        raise WrongMasterKey(f"this data dir is encrypted under master key {expected}: set FS_ENCRYPTION_KEY_BASE64")
    if keys.wrapped and master_key is not None:
        keys.under(master_key)


def read_key_file(disk: Disk, path: str) -> KeyFile:
    """Read keys.json. Raises UnsupportedFormat: missing, unreadable, or of a newer version. OSError."""
    if not disk.exists(path):
        raise UnsupportedFormat(f"{path} is missing; restore it: without its key no stored blob can be named")
    document = read_json(disk, path)
    version = document.get("version")
    try:
        if version == PLAIN_VERSION:
            return KeyFile(_key(document["blob_id_key"], KEY_BYTES))
        if version == WRAPPED_VERSION:
            return _wrapped(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedFormat(f"{path}: a key in it is unreadable; {path}{PREVIOUS_SUFFIX} may hold a sound copy") from error
    raise UnsupportedFormat(f"{path}: version {version}; this version knows {PLAIN_VERSION} and {WRAPPED_VERSION}")


def write_key_file(disk: Disk, path: str, keys: KeyFile, *, keep_previous: bool) -> None:
    """Make keys.json hold `keys`; cut short anywhere, it holds the old ones or the new ones, whole. Raises OSError.

    Args: `keep_previous`: the copy beside it is to hold what was there before, else the same as the file (see the module).
    """
    data = render(keys)
    if keep_previous:
        write_atomically(disk, path + PREVIOUS_SUFFIX, read_file(disk, path))
    write_atomically(disk, path, data)
    if not keep_previous:
        write_atomically(disk, path + PREVIOUS_SUFFIX, data)


def settle_previous(disk: Disk, path: str, keys: KeyFile) -> None:
    """Finish a `write_key_file(keep_previous=False)` that was cut short: the copy must hold no key that is to be gone.

    For every start: whatever else the copy holds, a master key in it that the file does not know any more (or no master key at all,
    while the file has one) means that.
    """
    copy = path + PREVIOUS_SUFFIX
    if not keys.wrapped or (disk.exists(copy) and _ids(disk, copy) <= {wrapped.master_id for wrapped in keys.wrapped}):
        return
    write_atomically(disk, copy, render(keys))


def render(keys: KeyFile) -> bytes:
    """keys.json's bytes."""
    if not keys.wrapped:
        return json_bytes({"version": PLAIN_VERSION, "blob_id_key": _text(keys.blob_id_key)})
    entries = [
        {
            "id": wrapped.master_id,
            "blob_id_key": _text(wrapped.blob_id_key),
            "epoch_keys": {str(epoch): _text(wrapped.epoch_keys[epoch]) for epoch in keys.epochs},
        }
        for wrapped in keys.wrapped
    ]
    return json_bytes({"version": WRAPPED_VERSION, "all_sealed": keys.all_sealed, "epochs": list(keys.epochs), "master_keys": entries})


def _wrapped(document: dict[str, Any]) -> KeyFile:
    epochs = tuple(document["epochs"])
    if not epochs or list(epochs) != sorted(set(epochs)) or not all(type(epoch) is int and 0 < epoch < 1 << 32 for epoch in epochs):
        raise ValueError("epochs")
    entries = []
    for entry in document["master_keys"]:
        keys = {int(epoch): _key(wrapped, WRAPPED_BYTES) for epoch, wrapped in entry["epoch_keys"].items()}
        if set(keys) != set(epochs) or len(bytes.fromhex(entry["id"])) != 8:
            raise ValueError("epoch_keys or id")
        entries.append(WrappedKeys(entry["id"], _key(entry["blob_id_key"], WRAPPED_BYTES), keys))
    if not entries or type(document["all_sealed"]) is not bool:
        raise ValueError("master_keys or all_sealed")
    return KeyFile(b"", tuple(entries), epochs, document["all_sealed"])


def _ids(disk: Disk, path: str) -> set[str]:
    """The master keys that open that file; {""} if it needs none, or cannot be read."""
    try:
        found = {wrapped.master_id for wrapped in read_key_file(disk, path).wrapped}
    except UnsupportedFormat:
        found = set()
    return found or {""}


def _key(text: str, length: int) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(key) != length:
        raise ValueError("wrong length")
    return key


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")
