"""The verb `rekey`: another master key, or another epoch key, for an encrypted data dir. Rewrites keys.json and nothing else.

    1. FS_ENCRYPTION_KEY_BASE64 (old) and FS_ENCRYPTION_NEW_KEY_BASE64[_FILE] or --new-key-file:
                                                                                           rekey             both open the data dir
    2. the node may be started with either; give it the new one
    3. FS_ENCRYPTION_KEY_BASE64 (new):                                                     rekey --finish    only the new one does

Cut short anywhere, keys.json holds what it held before or what it was to hold; the same step may be taken again. The node is stopped
meanwhile (this takes its lock). A new epoch key (--new-epoch) is for records written from then on; older ones stay readable.
A copy of the data dir from before still opens with the old master key, and so do its own snapshots from before, which `--finish` names:
they need that key for `restore --to`, and if it is known to others they have to go too.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from fasterstore import settings
from fasterstore.errors import StoreError
from fasterstore.keyring import add_epoch, add_master_key, drop_other_master_keys
from fasterstore.setting_values import key_base64
from fasterstore.storage import pins
from fasterstore.storage.datadir import DataDir, DirLock, open_datadir
from fasterstore.storage.disk import Disk, RealDisk
from fasterstore.storage.key_file import WrongMasterKey, master_key_id, read_key_file, write_key_file
from tools import verb

NEW_KEY_NAME = "FS_ENCRYPTION_NEW_KEY_BASE64"
NEW_KEY_FILE_NAME = f"{NEW_KEY_NAME}_FILE"
"""Names a file with the key, as for every secret."""
_KEY_FILE_MAX_CHARS = 4096

RandomBytes = Callable[[int], bytes]


def main(environ: Mapping[str, str], *, new_key_file: Path | None, finish: bool, new_epoch: bool) -> int:
    """Change the keys of the data dir at FS_DATA_DIR.

    Args:
        environ: as a node's, with FS_ENCRYPTION_KEY_BASE64, and FS_ENCRYPTION_NEW_KEY_BASE64 or
            FS_ENCRYPTION_NEW_KEY_BASE64_FILE unless `new_key_file` names a file.
        finish: drop every master key but the one given. new_epoch: make an epoch key instead.

    Returns:
        The exit code (`tools/verb.py`).
    """
    return verb.run(lambda: _changed(environ, new_key_file, finish=finish, new_epoch=new_epoch))


def _changed(environ: Mapping[str, str], new_key_file: Path | None, *, finish: bool, new_epoch: bool) -> str:
    """See main; returns a line for people."""
    node = settings.load(environ)
    if node.encryption_key is None:
        raise verb.NotBegun("FS_ENCRYPTION_KEY_BASE64 is not set: it must be a master key that opens the data dir")
    if finish and new_epoch:
        raise verb.NotBegun("--finish and --new-epoch are two steps")
    if new_key_file is not None and (finish or new_epoch):
        raise verb.NotBegun("--new-key-file goes with neither --finish nor --new-epoch: they take FS_ENCRYPTION_KEY_BASE64")
    new_key = None if finish or new_epoch else _new_key(environ, new_key_file)
    if new_key == node.encryption_key:
        raise verb.NotBegun("the new master key is the one in use")
    lock = DirLock(verb.need_data_dir(node.data_dir)).acquire(wait=False)
    try:
        return change(RealDisk(), node.data_dir, node.encryption_key, new_key, finish=finish, random_bytes=os.urandom)
    finally:
        os.close(lock)


def change(disk: Disk, path: str, master_key: bytes, new_key: bytes | None, *, finish: bool, random_bytes: RandomBytes) -> str:
    """Take one step on the data dir at `path`, whose lock is held; return what there is to say.

    Args: with `new_key` (32 bytes) it opens the data dir too from then on; with `finish` only `master_key` does; else a new epoch begins.
    Raises: WrongMasterKey, UnsupportedFormat, OSError.
    """
    datadir = open_datadir(disk, path, random_bytes)
    keys = datadir.keys
    if not keys.wrapped:
        raise WrongMasterKey(f"{path} is not encrypted yet: start the node with FS_ENCRYPTION_KEY_BASE64")
    given = master_key_id(master_key)
    if new_key is not None:
        write_key_file(disk, datadir.keys_path, add_master_key(keys, master_key, new_key, random_bytes), keep_previous=True)
        return f"master keys {given} and {master_key_id(new_key)} open {path}; start the node with the new one, then: rekey --finish"
    if finish:
        return _finish(disk, datadir, master_key, given)
    changed = add_epoch(keys, master_key, random_bytes)
    write_key_file(disk, datadir.keys_path, changed, keep_previous=True)
    return f"epoch key {changed.epochs[-1]} seals new records of {path}"


def _finish(disk: Disk, datadir: DataDir, master_key: bytes, given: str) -> str:
    keys = datadir.keys
    keys.under(master_key)
    newest = keys.wrapped[-1].master_id
    if given != newest:
        raise WrongMasterKey(f"FS_ENCRYPTION_KEY_BASE64 is the old master key {given}; to finish, set the new one, {newest}")
    # The copy beside it changes too: what is dropped must open neither.
    write_key_file(disk, datadir.keys_path, drop_other_master_keys(keys, master_key), keep_previous=False)
    others = _snapshots_under_others(disk, datadir, given)
    said = f"; snapshots that it does not open, as they were taken before: {', '.join(others)}" if others else ""
    return f"only master key {given} opens {datadir.path}{said}"


def _snapshots_under_others(disk: Disk, datadir: DataDir, given: str) -> list[str]:
    """Names of the snapshots whose own keys.json that master key does not open."""
    names = []
    for pin in pins.list_pins(disk, datadir.snapshots_dir):
        try:
            opens = {wrapped.master_id for wrapped in read_key_file(disk, os.path.join(pin.path, pins.KEYS_NAME)).wrapped}
        except StoreError:  # damaged: nothing opens it
            opens = set()
        if given not in opens:
            names.append(pin.name)
    return names


def _new_key(environ: Mapping[str, str], path: Path | None) -> bytes:
    named = environ.get(NEW_KEY_FILE_NAME, "")
    forms = {NEW_KEY_NAME: environ.get(NEW_KEY_NAME, ""), NEW_KEY_FILE_NAME: named, "--new-key-file": path}
    given = [form for form, value in forms.items() if value]
    if len(given) > 1:
        raise settings.SettingsError(f"{given[0]}: {given[1]} is given too; give only one of the two")
    if not given:
        raise settings.SettingsError(f"give the new master key by {NEW_KEY_NAME}, {NEW_KEY_FILE_NAME} or --new-key-file")
    name, text = NEW_KEY_NAME, environ.get(NEW_KEY_NAME, "")
    if not text:
        path = path or Path(named)
        name = f"{given[0]} {path}"
        try:
            with path.open(encoding="ascii") as file:
                text = file.read(_KEY_FILE_MAX_CHARS)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise settings.SettingsError(f"{name}: cannot be read ({reason})") from None
    try:
        return key_base64(text)
    except ValueError:
        raise settings.SettingsError(f"{name}: must be 32 bytes in base64, such as `openssl rand -base64 32` prints") from None
