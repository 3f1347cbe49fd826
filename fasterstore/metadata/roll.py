"""Kept copies of the index, brought up to date from the log alone. The live index is not involved; the names are `kept_copies`'s.

Where the copy to be rolled comes from, the first that applies:

    one that was being rolled when its process ended       it is a whole database at some LSN (SQLite's own log), so it goes on
    two copies                                             the older one
    one copy                                               a copy of its bytes
    none, and the log is whole from LSN 1                  an empty index
    none, and the start of the log has been given up       a backup of the live index by SQLite, the one case in which it is read:
                                                           there is nothing else left that holds those entries

Then: fold what it lacks, leave WAL mode, check every page and row, sync, rename, sync the folder. A copy that turns out to be damaged
is moved to the quarantine folder and the roll fails by name; the next one finds one copy less. A full disk fails the roll and leaves
the other copy, and what was done so far, as they are. `keep_free_bytes` are left to the node at each step.
"""

import os
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from fasterstore.errors import DamagedLog, DamagedRow, InvariantError, StorageFailure, StorageFull
from fasterstore.metadata import fold, index_file
from fasterstore.metadata.entries import decode
from fasterstore.metadata.index_writer import IndexCannotOpen, IndexFullError, IndexWriter, SqliteError
from fasterstore.storage.disk import Disk
from fasterstore.storage.kept_copies import KEPT, KeptCopy, copy_file, list_copies, log_mark, move_aside, whole
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_recovery import FIRST_LSN, read_from

BATCH_ENTRIES = 1000
CHECKPOINT_LOG_BYTES = 16 << 20
ROLL_ROOM_BYTES = 32 << 20
"""What folding a batch may need at most: SQLite's own log up to its next checkpoint, and growth."""


class Progress(NamedTuple):
    """What is under way, and how far; in LSNs, bytes, pages or rows, by what it is."""

    what: str
    done: int
    total: int


class LogEndsEarly(DamagedLog):
    """The log has no entry of the LSN that was asked for; `end_lsn` is its last."""

    def __init__(self, journal: str, end_lsn: int, upto_lsn: int) -> None:
        super().__init__(f"{journal}: the log ends at LSN {end_lsn}, LSN {upto_lsn} was durable")
        self.end_lsn = end_lsn


class Places(NamedTuple):
    """Where things are: folders, and the live index's file. `disk` holds what SQLite opens, `log_disk` the log; in a node they are one.

    `node_id` (16 bytes) is that of the node: an index of an older schema that is brought up to date needs it.
    """

    disk: Disk
    log_disk: Disk
    snapshots: str
    journal: str
    quarantine: str
    index_path: str
    log_uuid: bytes
    node_id: bytes


def fold_log(index: IndexWriter, places: Places, upto_lsn: int, keep_free_bytes: int) -> Iterator[Progress]:
    """Fold the log's entries up to `upto_lsn`, which must be durable, into `index`, in transactions of `BATCH_ENTRIES`.

    Raises StorageFull: less than `keep_free_bytes` would be left; DamagedLog: the log does not hold them; DamagedRow, apsw.Error.
    """
    first = index.state.applied_lsn + 1
    if first > upto_lsn:
        return
    pending = 0
    index.begin()
    for lsn, data in read_from(places.log_disk, places.journal, first, upto_lsn=upto_lsn):
        fold.apply(index, lsn, decode(data))
        pending += 1
        if pending == BATCH_ENTRIES:
            _commit(index)
            yield Progress("folding the log", lsn, upto_lsn)
            require_room(places.disk, places.snapshots, keep_free_bytes + ROLL_ROOM_BYTES)
            index.begin()
            pending = 0
    _commit(index)
    if index.state.applied_lsn != upto_lsn:
        raise LogEndsEarly(places.journal, index.state.applied_lsn, upto_lsn)
    yield Progress("folding the log", upto_lsn, upto_lsn)


def bring_upto(path: str, places: Places, upto_lsn: int, keep_free_bytes: int, random_bytes: Callable[[int], bytes]) -> Iterator[Progress]:
    """Fold the log into the index file at `path` (made if there is none), make one file of it, check it, sync it. Raises as `fold_log`."""
    require_room(places.disk, places.snapshots, keep_free_bytes + ROLL_ROOM_BYTES)
    try:
        index = IndexWriter(path, places.log_uuid, random_bytes, node_id=places.node_id)
        try:
            yield from fold_log(index, places, upto_lsn, keep_free_bytes)
            index.checkpoint()
        finally:
            index.close()
        index_file.make_single(path)
    except IndexFullError as error:
        raise StorageFull(f"{path}: {error}") from error
    except IndexCannotOpen as error:
        raise StorageFailure(f"{path}: {error}") from error
    for rows in index_file.check_file(path):
        yield Progress("checking", rows, 0)
    found = index_file.describe_file(path)
    if found.applied_lsn != max(upto_lsn, found.applied_lsn) or found.log_uuid != places.log_uuid:
        raise DamagedRow(f"{path}: at LSN {found.applied_lsn} after a roll to LSN {upto_lsn}")
    sync_file(places.disk, path)


def roll(places: Places, upto_lsn: int, *, now_ms: int, keep_free_bytes: int, random_bytes: Callable[[int], bytes]) -> Iterator[Progress]:
    """Bring the older copy up to `upto_lsn`; see the module. Nothing is done if a copy has that already.

    Raises StorageFull; DamagedRow: the copy was damaged and is in quarantine now; DamagedLog; OSError.
    """
    disk, folder = places.disk, places.snapshots
    for left_over in list_copies(disk, folder):
        if left_over.kind == "roll.tmp":
            disk.unlink(os.path.join(folder, left_over.name))
    copies = list_copies(disk, folder, places.log_uuid)
    kept = whole(copies)
    rolling = next((copy for copy in copies if copy.kind == "roll"), None)
    if rolling is None and len(kept) >= KEPT and kept[-1].lsn >= upto_lsn:
        return
    if rolling is None:
        rolling = yield from _begin(places, kept, now_ms, keep_free_bytes)
    path = os.path.join(folder, rolling.name)
    try:
        yield from bring_upto(path, places, upto_lsn, keep_free_bytes, random_bytes)
        # Cut short and begun again, it may be past what this roll was asked for.
        lsn = index_file.describe_file(path).applied_lsn
    except (DamagedRow, InvariantError, SqliteError) as error:
        if isinstance(error, SqliteError) and not index_file.is_damage(error):
            raise
        moved = move_aside(disk, path, places.quarantine, rolling.name)
        raise DamagedRow(f"a copy of the index is damaged and was moved to {moved}: {error}") from error
    made_ms = max([now_ms, *(copy.made_ms + 1 for copy in kept)])  # the clock may stand still or go back; a name must not be taken
    done = KeptCopy(lsn, made_ms, rolling.mark, "copy")
    disk.rename(path, os.path.join(folder, done.name))
    disk.fsync_dir(folder)
    for extra in whole(list_copies(disk, folder, places.log_uuid))[:-KEPT]:
        disk.unlink(os.path.join(folder, extra.name))
    disk.fsync_dir(folder)


def _begin(places: Places, kept: list[KeptCopy], now_ms: int, keep_free_bytes: int) -> Generator[Progress, None, KeptCopy]:
    """Give the copy that is to be rolled its name; returns it."""
    disk, folder = places.disk, places.snapshots
    if len(kept) >= KEPT:
        rolling = kept[-KEPT]._replace(kind="roll")
        disk.rename(os.path.join(folder, kept[-KEPT].name), os.path.join(folder, rolling.name))
        disk.fsync_dir(folder)
        return rolling
    if not kept and list_files(places.log_disk, places.journal)[0] == FIRST_LSN:
        return KeptCopy(0, now_ms, log_mark(places.log_uuid), "roll")
    source = os.path.join(folder, kept[0].name) if kept else places.index_path
    require_room(disk, folder, keep_free_bytes + ROLL_ROOM_BYTES + file_bytes(disk, source))
    rolling = KeptCopy(kept[0].lsn if kept else 0, now_ms, log_mark(places.log_uuid), "roll")
    temporary = os.path.join(folder, rolling._replace(kind="roll.tmp").name)
    for done, total in copy_file(disk, source, temporary) if kept else index_file.back_up(source, temporary):
        yield Progress("copying a copy" if kept else "copying the index", done, total)
    if not kept:
        sync_file(disk, temporary)
        rolling = rolling._replace(lsn=index_file.describe_file(temporary).applied_lsn)
    disk.rename(temporary, os.path.join(folder, rolling.name))
    disk.fsync_dir(folder)
    return rolling


def _commit(index: IndexWriter) -> None:
    index.flush()
    index.commit()
    if index.log_bytes >= CHECKPOINT_LOG_BYTES:
        index.checkpoint()


def require_room(disk: Disk, folder: str, needed_bytes: int) -> None:
    """Raises StorageFull if that much is not free."""
    free = disk.free_bytes(folder)
    if free < needed_bytes:
        raise StorageFull(f"{folder}: {free >> 20} MiB are free, {needed_bytes >> 20} MiB are needed")


def file_bytes(disk: Disk, path: str) -> int:
    """The length of a file. Raises OSError."""
    fd = disk.open(path, read_only=True)
    try:
        return disk.size(fd)
    finally:
        disk.close(fd)


def sync_file(disk: Disk, path: str) -> None:
    """On return the file's bytes are on stable storage. Raises OSError."""
    fd = disk.open(path)
    try:
        disk.fsync(fd)
    finally:
        disk.close(fd)
