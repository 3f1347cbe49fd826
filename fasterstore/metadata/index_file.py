"""An index file as a whole, that no journal is writing: check every page and row, make one file of it, give it another identity.

For kept copies, pins and rebuilt indexes. Such a file is out of WAL mode and has nothing beside it, so that it can be copied, linked
and moved as one file. Never used on a live index, except that `back_up` reads one through a connection of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import apsw

from fasterstore.clock import leap
from fasterstore.errors import DamagedRow, VolumeSuspect
from fasterstore.metadata import schema
from fasterstore.metadata.index import NoPageChecksums, open_connection
from fasterstore.metadata.table_scan import INDEXES, TABLES, check_entry, value_of
from fasterstore.model import SegmentRow

CACHE_KIB = 4096
ROWS_A_STEP = 20_000


class IndexFile(NamedTuple):
    """What a checked file is; uuids are 16 bytes."""

    applied_lsn: int
    log_uuid: bytes
    index_uuid: bytes
    log_start: int


def is_damage(error: Exception) -> bool:
    """Whether an error of opening, reading or folding says that the index file is damaged, and not the medium, the log or the build."""
    if isinstance(error, apsw.IOError):
        return bool(error.extendedresult == apsw.SQLITE_IOERR_DATA)  # a page that fails its checksum
    return isinstance(error, DamagedRow | NoPageChecksums | apsw.CorruptError | apsw.NotADBError)


def _open_to_read(path: str) -> apsw.Connection:
    try:
        return open_connection(path, apsw.SQLITE_OPEN_READONLY, CACHE_KIB)
    except (apsw.Error, NoPageChecksums) as error:
        if not is_damage(error):
            raise
        raise DamagedRow(f"{path}: {error}") from error


def check_file(path: str) -> Iterator[int]:
    """Check every page and its place in the trees, then every row and index entry; yields how many rows are done, first 0.

    Raises DamagedRow: a page, a tree or a row is not what was written; VolumeSuspect, apsw.Error: it cannot be read at all.
    """
    connection = _open_to_read(path)
    try:
        yield 0
        found = connection.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            if "error code=" in found and f"error code={apsw.SQLITE_IOERR_DATA}" not in found:
                raise VolumeSuspect(f"{path}: {found}")
            raise DamagedRow(f"{path}: {' '.join(found.split())}")
        done = 0
        sealed = connection.execute("SELECT value FROM meta WHERE name = 'identity'").get
        version = schema.unpack_identity(sealed)[0]
        for table in [table for table in TABLES if table.since <= version]:
            for row in connection.execute(f"SELECT {', '.join(table.columns)} FROM {table.name}"):
                value_of(table, row)
                done += 1
                if not done % ROWS_A_STEP:
                    yield done
        for index in [index for index in INDEXES if index.since <= version]:
            where = f" WHERE {index.where}" if index.where else ""
            for entry in connection.execute(f"SELECT {', '.join(index.columns)} FROM {index.table} INDEXED BY {index.name}{where}"):
                check_entry(index, entry)
        yield done
    except (apsw.Error, UnicodeDecodeError, TypeError) as error:
        if isinstance(error, apsw.Error) and not is_damage(error):
            raise
        raise DamagedRow(f"{path}: {error}") from error
    finally:
        connection.close()


def describe_file(path: str) -> IndexFile:
    """What the file says of itself. Raises DamagedRow, UnsupportedFormat, apsw.Error."""
    connection = _open_to_read(path)
    try:
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        _version, index_uuid, log_uuid = schema.unpack_identity(meta["identity"])
        log_start = schema.unpack_log_start(meta["log_start"]) if "log_start" in meta else 1
        return IndexFile(schema.unpack_state(meta["state"]).applied_lsn, log_uuid, index_uuid, log_start)
    except KeyError as error:
        raise DamagedRow(f"{path}: index table meta has no row {error}") from error
    except apsw.SQLError as error:
        raise DamagedRow(f"{path}: {error}") from error
    finally:
        connection.close()


def segments_of(path: str) -> list[SegmentRow]:
    """The segments whose files the index needs, in order of id: all but retired ones. Raises DamagedRow, apsw.Error."""
    connection = _open_to_read(path)
    try:
        rows = connection.execute("SELECT segment_id, value FROM segments ORDER BY segment_id").fetchall()
        return [row for row in (schema.unpack_segment(*found) for found in rows) if not row.retired]
    finally:
        connection.close()


def make_single(path: str) -> None:
    """Fold SQLite's own log into the file and leave WAL mode: on return there is one file, which the caller syncs. Raises apsw.Error."""
    connection = open_connection(path, apsw.SQLITE_OPEN_READWRITE, CACHE_KIB)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.execute("PRAGMA journal_mode=DELETE").get  # noqa: B018 - runs the statement
    finally:
        connection.close()


def adopt(path: str, *, index_uuid: bytes, log_uuid: bytes, log_start: int | None = None, restored_ms: int | None = None) -> None:
    """Give the file an identity: its own uuid, that of the log it belongs to, and perhaps where that log begins.

    `restored_ms` (Unix time): it is put back to an earlier state, so its clock leaps (`clock.leap`). Raises apsw.Error.
    """
    connection = open_connection(path, apsw.SQLITE_OPEN_READWRITE, CACHE_KIB)
    try:
        connection.execute("BEGIN IMMEDIATE")
        version = schema.unpack_identity(connection.execute("SELECT value FROM meta WHERE name = 'identity'").get)[0]
        identity = schema.pack_identity(index_uuid, log_uuid, version)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'identity'", (identity,))
        if log_start is not None:
            connection.execute("INSERT OR REPLACE INTO meta VALUES('log_start', ?)", (schema.pack_log_start(log_start),))
        if restored_ms is not None:
            state = schema.unpack_state(connection.execute("SELECT value FROM meta WHERE name = 'state'").get)
            state = state._replace(last_stamp=leap(state.last_stamp, restored_ms))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'state'", (schema.pack_state(state),))
        connection.execute("COMMIT")
    finally:
        connection.close()
    make_single(path)


def back_up(source: str, target: str) -> Iterator[tuple[int, int]]:
    """Copy a live index through SQLite into the new file `target`; yields (pages done, pages in all). Raises apsw.Error.

    One read transaction from the first page to the last: with several, each commit of the journal would start the copy anew, and under
    load it would never end. Meanwhile the journal's checkpoints are put off.
    """
    reading = open_connection(source, apsw.SQLITE_OPEN_READONLY, CACHE_KIB)
    try:
        writing = open_connection(target, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, CACHE_KIB)
        try:
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_schema").get  # noqa: B018 - takes the read lock
            with writing.backup("main", reading, "main") as backup:
                while not backup.done:
                    backup.step(1000)
                    yield backup.page_count - backup.remaining, backup.page_count
        finally:
            writing.close()
    finally:
        reading.close()
    make_single(target)
