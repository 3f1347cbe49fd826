"""The data dir: its folders, `format.json`, `keys.json`, the locks, and the gate that refuses a newer format.

    format.json      {"format": 3, "node_id": 32 hex digits, "log_uuid": 32 hex digits}
    keys.json        the key of the blob ids, and the keys of encryption (see fasterstore.storage.key_file)
    lock             held by the node for its life          storage.lock   held by the storage process for its life
    storage.sock     the storage process's socket
    index/ journal/ segments/ snapshots/ quarantine/        mode 0700
    replication/                                            how far each peer has come (fasterstore.replication.cursor_file)
    restore/ restore.json                                   a restore in place that was cut short (`restore_switch`)

Both JSON files carry a checksum (fasterstore.storage.atomic_file).

First start: the root, the folders, keys.json, format.json, in that order, each synced with its folder before the next. So
`format.json` is the commit point: without it nothing was ever stored here, and a start that was cut short is taken up where it
ended; with it, everything before it must be there. A missing piece is refused, never made anew: a new blob key would make
every stored blob id wrong, a new journal folder would look like an empty store.

Format 2 has journal entries that give space back, and index rows for them, which a build of format 1 would not understand. Format 3 has
those of replication. A data dir of an older format becomes one of this when it is opened, before anything else is written into it.

Owns those two files and the locks' names. It never deletes anything but its own left-over `.tmp` files.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from fasterstore.errors import StoreError, UnsupportedFormat
from fasterstore.storage.atomic_file import json_bytes, read_json, write_atomically
from fasterstore.storage.disk import FILE_MODE, FOLDER_MODE, Disk
from fasterstore.storage.key_file import KEY_BYTES, KeyFile, read_key_file, render, settle_previous
from fasterstore.storage.restore_switch import COMMIT_NAME, finish_restore

FORMAT = 3
FORMAT_NAME = "format.json"
KEYS_NAME = "keys.json"
NODE_LOCK_NAME = "lock"
STORAGE_LOCK_NAME = "storage.lock"
SOCKET_NAME = "storage.sock"
UUID_BYTES = 16

# A store cannot be without these; the other two hold only copies.
_STORE_FOLDERS = ("index", "journal", "segments")
_OTHER_FOLDERS = ("snapshots", "quarantine")


class DirInUse(StoreError):
    """Another process holds that lock of the data dir."""


class DataDir(NamedTuple):
    """An open data dir; `node_id` and `log_uuid` are 16 bytes, `keys` is what keys.json held when it was opened."""

    path: str
    node_id: bytes
    log_uuid: bytes
    keys: KeyFile

    def __repr__(self) -> str:
        return f"DataDir({self.path!r}, node_id={self.node_id.hex()})"

    @property
    def index_path(self) -> str:
        return os.path.join(self.path, "index", "index.db")

    @property
    def journal_dir(self) -> str:
        return os.path.join(self.path, "journal")

    @property
    def witness_path(self) -> str:
        return os.path.join(self.path, "journal", "witness")

    @property
    def segments_dir(self) -> str:
        return os.path.join(self.path, "segments")

    @property
    def snapshots_dir(self) -> str:
        return os.path.join(self.path, "snapshots")

    @property
    def quarantine_dir(self) -> str:
        return os.path.join(self.path, "quarantine")

    @property
    def blob_key(self) -> bytes:
        """The 32-byte key of the blob ids, secret; b"" where it is wrapped (`fasterstore.keyring.unlock` has it then)."""
        return self.keys.blob_id_key

    @property
    def keys_path(self) -> str:
        return os.path.join(self.path, KEYS_NAME)

    @property
    def socket_path(self) -> str:
        return os.path.join(self.path, SOCKET_NAME)


def open_datadir(disk: Disk, path: str, random_bytes: Callable[[int], bytes]) -> DataDir:
    """Open the data dir at `path`, making it on the first start. `random_bytes(n)` gives n secret random bytes.

    Raises UnsupportedFormat: of a newer format, or a part of it is missing or unreadable. Raises OSError as the disk does.
    """
    path = os.path.abspath(path)
    format_path = os.path.join(path, FORMAT_NAME)
    finish_restore(disk, path)
    if not disk.exists(format_path):
        _create(disk, path, random_bytes)
    for folder in _STORE_FOLDERS:
        if not disk.exists(os.path.join(path, folder)):
            raise UnsupportedFormat(f"{path}: the folder {folder} is missing; restore it, it is not made anew")
    _make_folders(disk, path, _OTHER_FOLDERS)
    # A start that was killed behind a rename may have left names only in the page cache: from here on they are relied upon.
    disk.fsync_dir(path)
    document, number, node_id, log_uuid = _identify(disk, format_path)
    keys_path = os.path.join(path, KEYS_NAME)
    keys = read_key_file(disk, keys_path)
    # Behind the keys: a data dir that is refused stays as it is.
    if number < FORMAT:
        write_atomically(disk, format_path, json_bytes(document | {"format": FORMAT}))
    settle_previous(disk, keys_path, keys)
    return DataDir(path, node_id, log_uuid, keys)


def read_datadir(disk: Disk, path: str) -> DataDir:
    """The data dir at `path`, changing nothing and without its keys (`keys` is empty): for tools that look at it.

    Raises UnsupportedFormat: there is none, of another format, half of a restore, or a part of it is missing or unreadable. Raises OSError
    as the disk does.
    """
    path = os.path.abspath(path)
    format_path = os.path.join(path, FORMAT_NAME)
    if disk.exists(os.path.join(path, COMMIT_NAME)):
        raise UnsupportedFormat(f"{path}: a restore in place was cut short; the next start, or restore, finishes it")
    for name in (FORMAT_NAME, *_STORE_FOLDERS):
        if not disk.exists(os.path.join(path, name)):
            raise UnsupportedFormat(f"{path}: there is no {name}; it is not a FasterStore data dir, or a part of it is missing")
    _document, number, node_id, log_uuid = _identify(disk, format_path)
    if number < FORMAT:
        raise UnsupportedFormat(f"{format_path}: data format {number} is older than {FORMAT}; the next start brings it up to date")
    return DataDir(path, node_id, log_uuid, KeyFile(b""))


def read_identity(disk: Disk, path: str) -> tuple[bytes, bytes]:
    """(node id, log uuid) of the data dir at `path`, 16 bytes each, of any format; changes nothing. Raises UnsupportedFormat, OSError."""
    return _identify(disk, os.path.join(path, FORMAT_NAME))[2:]


def _identify(disk: Disk, format_path: str) -> tuple[dict[str, Any], int, bytes, bytes]:
    document = read_json(disk, format_path)
    number = document.get("format")
    if not isinstance(number, int) or number < 1:
        raise UnsupportedFormat(f"{format_path}: not a FasterStore data dir")
    if number > FORMAT:
        raise UnsupportedFormat(f"{format_path}: data format {number} is newer than {FORMAT}, the newest this version knows")
    try:
        node_id, log_uuid = bytes.fromhex(document["node_id"]), bytes.fromhex(document["log_uuid"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedFormat(f"{format_path}: node_id or log_uuid is unreadable") from error
    if len(node_id) != UUID_BYTES or len(log_uuid) != UUID_BYTES:
        raise UnsupportedFormat(f"{format_path}: node_id or log_uuid is unreadable")
    return document, number, node_id, log_uuid


class DirLock:
    """An exclusive flock on a file of the data dir; the kernel drops it when the last process that inherited it ends."""

    def __init__(self, path: str, name: str = NODE_LOCK_NAME) -> None:
        self._folder = path
        self._path = os.path.join(path, name)

    def acquire(self, wait: bool) -> int:
        """Take the lock and return the descriptor that holds it; closing that (in every process) gives it back.

        `wait`: block until it is free. Makes the folder if needed. Raises DirInUse if it is held and `wait` is false; OSError.
        """
        os.makedirs(self._folder, FOLDER_MODE, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise DirInUse(f"{self._path} is held by another process") from error
            raise
        return fd


def _create(disk: Disk, path: str, random_bytes: Callable[[int], bytes]) -> None:
    _make_root(disk, path)
    for folder in _STORE_FOLDERS:
        inside = os.path.join(path, folder)
        if disk.exists(inside) and disk.listdir(inside):
            raise UnsupportedFormat(f"{path}: {FORMAT_NAME} is missing but {folder} is not empty; restore it, it is not made anew")
    _make_folders(disk, path, _STORE_FOLDERS + _OTHER_FOLDERS)
    disk.fsync_dir(path)
    keys_path = os.path.join(path, KEYS_NAME)
    # A key of a start that was cut short has hashed nothing, but it is whole (renamed into place): keep it.
    if not disk.exists(keys_path):
        write_atomically(disk, keys_path, render(KeyFile(random_bytes(KEY_BYTES))))
    else:
        read_key_file(disk, keys_path)
        disk.fsync_dir(path)
    document = {"format": FORMAT, "node_id": random_bytes(UUID_BYTES).hex(), "log_uuid": random_bytes(UUID_BYTES).hex()}
    write_atomically(disk, os.path.join(path, FORMAT_NAME), json_bytes(document))


def _make_root(disk: Disk, path: str) -> None:
    # Every folder above is synced, not only those made here: a start that was killed may have made them and not got so far.
    parent = os.path.dirname(path)
    if parent != path:
        _make_root(disk, parent)
        if not disk.exists(path):
            disk.mkdir(path)
        # One that we may not read cannot be synced by us; what lies in it is then as durable as its maker made it.
        with contextlib.suppress(PermissionError):
            disk.fsync_dir(parent)


def _make_folders(disk: Disk, path: str, names: tuple[str, ...]) -> None:
    for name in names:
        folder = os.path.join(path, name)
        if not disk.exists(folder):
            disk.mkdir(folder)
