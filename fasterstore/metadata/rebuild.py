"""A lost or damaged index, put in place anew at the start: from the newest sound copy, or from nothing if the log is whole.

Only the base is made here; what the log holds above it the journal replays, as at every start. The new file is complete, checked and
synced under another name before the old one is touched. The old one, with what SQLite keeps beside it, is moved to the quarantine folder,
never deleted, and only then the new one gets its name: a start that is cut short finds no index or a whole one, and comes here again
while the mark `index/damaged` is there.

The new file has a new uuid, because blob numbers may mean other bytes in it than a reader has seen. The log keeps its uuid: it is intact,
every entry is what peers were sent, and none has to be sent again (design section 6 names a new one for rebuild and restore alike; a
restore to an earlier LSN does make one).
"""

import os
from collections.abc import Callable, Generator, Iterator

from fasterstore.errors import DamagedLog, DamagedRow, UnsupportedFormat
from fasterstore.metadata import index_file
from fasterstore.metadata.index_writer import SqliteError
from fasterstore.metadata.roll import Places, Progress, sync_file
from fasterstore.storage.kept_copies import KeptCopy, copy_file, files_of, list_copies, move_aside
from fasterstore.storage.wal_recovery import FIRST_LSN


def put_base(places: Places, log_first_lsn: int, *, now_ms: int, random_bytes: Callable[[int], bytes]) -> Iterator[Progress]:
    """Move what is there of the index aside and put the base in its place; `log_first_lsn` is the oldest entry the log holds.

    Raises DamagedLog: neither a copy nor the log's beginning is there; the index is then as it was. Raises OSError.
    """
    disk, index_path = places.disk, places.index_path
    making = index_path + ".rebuild"
    for path in files_of(disk, making):
        disk.unlink(path)
    found = yield from _sound_copy(places, making, log_first_lsn)
    if found is None and log_first_lsn > FIRST_LSN:
        raise DamagedLog(
            f"{index_path} is lost, and {places.snapshots} holds no sound copy from which the log, which begins at LSN {log_first_lsn}, "
            "goes on: restore the data dir from a snapshot (fasterstore restore)"
        )
    if found is not None:
        index_file.adopt(making, index_uuid=random_bytes(16), log_uuid=places.log_uuid)
        sync_file(disk, making)
    if files_of(disk, index_path):
        move_aside(disk, index_path, places.quarantine, f"index-{now_ms:012x}.db")
    if found is not None:
        disk.rename(making, index_path)
        disk.fsync_dir(os.path.dirname(index_path))


def _sound_copy(places: Places, making: str, log_first_lsn: int) -> Generator[Progress, None, KeptCopy | None]:
    """Copy the newest sound copy that the log goes on from to `making`; returns it, None if there is none."""
    disk = places.disk
    for copy in reversed([copy for copy in list_copies(disk, places.snapshots, places.log_uuid) if copy.kind in {"copy", "roll"}]):
        if copy.lsn + 1 < log_first_lsn:
            break
        path = os.path.join(places.snapshots, copy.name)
        try:
            if copy.kind == "roll":
                index_file.make_single(path)
            for done, total in copy_file(disk, path, making):
                yield Progress("copying the index from its copy", done, total)
            yield from _check(making, copy)
            return copy
        except (DamagedRow, UnsupportedFormat, SqliteError) as error:
            if isinstance(error, SqliteError) and not index_file.is_damage(error):
                raise
            for left_over in files_of(disk, making):
                disk.unlink(left_over)
            move_aside(disk, path, places.quarantine, copy.name)
    return None


def _check(making: str, copy: KeptCopy) -> Iterator[Progress]:
    for rows in index_file.check_file(making):
        yield Progress("checking the index's copy", rows, 0)
    found = index_file.describe_file(making)
    if found.applied_lsn < copy.lsn or (copy.kind == "copy" and found.applied_lsn > copy.lsn):
        raise DamagedRow(f"{copy.name} is at LSN {found.applied_lsn}")
