"""The index: the journal folded into SQLite. Opening it by the rules, and reading it without ever writing.

Rules that hold for every connection in every process (design, section 6): apsw's own SQLite, `cksumvfs` loaded before the first
open, WAL mode, synchronous=NORMAL, no mmap, no automatic checkpoint and none at close. An open refuses a file whose pages carry no
checksum. Nobody touches `index.db*` except through SQLite: one stray open and close would drop its POSIX locks.

A view's every method is one statement, hence one short read transaction: no transaction lives across a greenlet switch, so no
reader is ever old enough to hold back a checkpoint for long.
"""

import contextlib
import os
import threading
from typing import Any, NamedTuple

import apsw
import apsw.sqlite_extra

from fasterstore.errors import DamagedRow, StoreError, UnsupportedFormat, VolumeSuspect
from fasterstore.metadata import schema
from fasterstore.metadata.replication_view import ReplicationView
from fasterstore.metadata.table_scan import TableScan
from fasterstore.metadata.upload_view import UploadView
from fasterstore.model import BlobRow, BucketRow, ObjectRow, SegmentRow, UsageRow

SQLITE_MIN_VERSION = (3, 51, 3)
PAGE_BYTES = 4096
CHECKSUM_RESERVE_BYTES = 8
VIEW_CACHE_KIB = 32768
"""Room for the inner pages of an index over a few million objects: without it a look-up among a million reads six pages instead of two."""
BUSY_TIMEOUT_MS = 5000


class NoPageChecksums(UnsupportedFormat):
    """The file's pages carry no checksums: another program's database, or its header has rotted."""


_cksumvfs_lock = threading.Lock()
_cksumvfs_loaded = False


def load_cksumvfs() -> None:
    """Register the checksumming VFS as this process's default; once.

    Raises UnsupportedFormat if the bundled SQLite is older than 3.51.3 (it can lose committed pages when a checkpoint races a commit).
    """
    global _cksumvfs_loaded  # noqa: PLW0603 - a property of the process, as SQLite's list of VFSs is
    with _cksumvfs_lock:
        if _cksumvfs_loaded:
            return
        version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
        if version < SQLITE_MIN_VERSION:
            raise UnsupportedFormat(f"SQLite {apsw.sqlite_lib_version()} is too old for the index: 3.51.3 or later is needed")
        loader = apsw.Connection(":memory:")
        apsw.sqlite_extra.load(loader, "cksumvfs")
        loader.close()
        _cksumvfs_loaded = True


def open_connection(path: str, flags: int, cache_kib: int) -> apsw.Connection:
    """Return a connection that follows the rules above; `flags` are SQLite's open flags.

    A new file (flags with SQLITE_OPEN_CREATE) is made with eight reserve bytes a page for the checksums.
    Raises UnsupportedFormat if an existing file has none, apsw.Error if SQLite cannot open it.
    """
    load_cksumvfs()
    connection = apsw.Connection(path, flags=flags, statementcachesize=64)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # Without it SQLite compiles a statement anew whenever a value is bound that might change its plan: every time, here.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").get  # reads page 1, so that reserve_bytes is the file's own
        if flags & apsw.SQLITE_OPEN_CREATE and not tables:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.reserve_bytes(reserve=CHECKSUM_RESERVE_BYTES)
        elif connection.reserve_bytes() != CHECKSUM_RESERVE_BYTES:
            # Before anything is set: a file of another program stays as it is.
            raise NoPageChecksums(f"{path}: the index has no page checksums; it was not made by this program")
        if not flags & apsw.SQLITE_OPEN_READONLY:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA mmap_size=0")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA cache_size=-{cache_kib}")
        if str(connection.execute("PRAGMA checksum_verification").get) != "1":
            raise NoPageChecksums(f"{path}: the index has no page checksums; it was not made by this program")
    except BaseException:
        connection.close()
        raise
    return connection


_READ_ERRORS = (apsw.Error, UnicodeDecodeError)
"""The second where a flipped type code in SQLite's own log turns bytes into text."""


def _unreadable(error: Exception) -> StoreError:
    """What a failed read of the index is to a reader. A page that fails its checksum is damage, though SQLite calls it an I/O error."""
    if isinstance(error, apsw.IOError) and error.extendedresult != apsw.SQLITE_IOERR_DATA:
        return VolumeSuspect(f"index read: {error}")
    return DamagedRow(f"index read: {error}")


_DAMAGE_IO = frozenset((
    apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS,
))  # fmt: skip
_OF_THIS_PROCESS = (apsw.BusyError, apsw.LockedError, apsw.CantOpenError, apsw.NoMemError, apsw.InterruptError, apsw.FullError)


def says_damage(error: StoreError) -> bool:
    """Whether a failed read of the index says that its file is bad, and not only that this process could not read it."""
    cause = error.__cause__
    if isinstance(cause, apsw.IOError):
        return cause.extendedresult in _DAMAGE_IO
    return not isinstance(cause, _OF_THIS_PROCESS)


class Located(NamedTuple):
    """All that a GET needs, read in one statement; what is missing is None."""

    bucket: BucketRow | None
    object: ObjectRow | None
    blob: BlobRow | None
    file_uuid: bytes | None


_NOWHERE = Located(None, None, None, None)
_LOCATE = """
SELECT b.bucket_id, b.value, o.blob, o.value, x.prefix, x.segment, x.value, s.value
FROM buckets b LEFT JOIN objects o ON o.bucket_id = b.bucket_id AND o.key = ?2
LEFT JOIN blobs x ON x.number = o.blob LEFT JOIN segments s ON s.segment_id = x.segment
WHERE b.name = ?1
"""


def open_view(path: str, cache_kib: int) -> "IndexView":
    """An IndexView. Raises as its methods do, also where SQLite cannot open the file at all, and UnsupportedFormat."""
    try:
        return IndexView(path, cache_kib)
    except _READ_ERRORS as error:
        raise _unreadable(error) from error


class IndexView:
    """A read-only connection. Not for two threads at once; cheap to keep, one per process."""

    def __init__(self, path: str, cache_kib: int = VIEW_CACHE_KIB) -> None:
        """Open `path`. Raises UnsupportedFormat, DamagedRow or apsw.Error (no such file, damaged file).

        Every method raises VolumeSuspect if the medium cannot be read, DamagedRow for whatever else is wrong with the file.
        """
        self._connection = open_connection(path, apsw.SQLITE_OPEN_READONLY, cache_kib)
        self._connection.execute("PRAGMA query_only=1")
        self._execute = self._connection.execute
        self.uploads = UploadView(self._rows)
        self.replication = ReplicationView(self._rows)
        self.scan = TableScan(self._rows)
        identity = self._one("SELECT value FROM meta WHERE name = 'identity'")
        self.schema_version, self._index_uuid, self._log_uuid = schema.unpack_identity(identity)
        if self.schema_version not in schema.READABLE_VERSIONS:
            raise UnsupportedFormat(f"{path}: index schema {self.schema_version}; this build reads {schema.SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the connection; the view answers nothing afterwards."""
        self._connection.close()

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._execute(statement, values).fetchall()
        except _READ_ERRORS as error:
            raise _unreadable(error) from error

    def _one(self, statement: str, *values: Any) -> Any:
        rows = self._rows(statement, *values)
        if not rows:
            raise DamagedRow(f"the index answers nothing to {statement!r}")
        return rows[0][0]

    def forget_cached_pages(self) -> None:
        """Let the kernel drop what it holds of the index file, so that a scan reads the medium: a hint.

        Through a descriptor that SQLite has open: one opened and closed here would drop SQLite's locks.
        """
        with contextlib.suppress(OSError, apsw.Error):
            path = os.path.realpath(self._connection.db_filename("main"))
            for name in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/self/fd/{name}") == path:
                        os.posix_fadvise(int(name), 0, 0, os.POSIX_FADV_DONTNEED)
                        return

    def begin(self) -> None:
        """Hold one read transaction for the statements that follow, until `end`: cheaper than one each. Never across a switch."""
        try:
            if self._connection.get_autocommit():
                self._execute("BEGIN")
        except apsw.Error as error:
            raise _unreadable(error) from error

    def end(self) -> None:
        """End what `begin` began. That the medium fails meanwhile is told by the statements; ending a read changes nothing."""
        if not self._connection.get_autocommit():
            with contextlib.suppress(apsw.Error):
                self._execute("ROLLBACK")

    def identity(self) -> bytes:
        """Return this file's uuid (16 bytes); blob numbers mean nothing under another."""
        return self._index_uuid

    def log_uuid(self) -> bytes:
        """Return the uuid (16 bytes) of the log that is folded here; LSNs and numbers of blobs mean nothing under another."""
        return self._log_uuid

    def state(self) -> schema.State:
        """Return the log's counters as of the last commit. Raises DamagedRow."""
        return schema.unpack_state(self._one("SELECT value FROM meta WHERE name = 'state'"))

    def applied_lsn(self) -> int:
        """Return the LSN of the last folded entry."""
        return self.state().applied_lsn

    def bucket(self, name: str) -> BucketRow | None:
        """Return the bucket or None. Raises DamagedRow."""
        raw = name.encode()
        rows = self._rows("SELECT bucket_id, value FROM buckets WHERE name = ?", raw)
        return schema.unpack_bucket(raw, *rows[0]) if rows else None

    def locate(self, bucket: str, key: bytes) -> Located:
        """Return bucket, object, blob and the uuid of its segment file, from one read transaction.

        Raises DamagedRow if a row fails its checksum, or if the object names a blob or segment that has no row.
        """
        raw = bucket.encode()
        try:
            row = self._execute(_LOCATE, (raw, key)).fetchone()
        except _READ_ERRORS as error:
            raise _unreadable(error) from error
        if row is None:
            return _NOWHERE
        bucket_id, bucket_value, number, object_value, prefix, segment, blob_value, segment_value = row
        bucket_row = schema.unpack_bucket(raw, bucket_id, bucket_value)
        if object_value is None:
            return Located(bucket_row, None, None, None)
        object_row = schema.unpack_object(bucket_id, key, number, object_value)
        if not number:
            return Located(bucket_row, object_row, None, None)
        if blob_value is None or segment_value is None:
            raise DamagedRow(f"index: an object names blob {number}, of which there is no row")
        blob_row = schema.unpack_blob(number, prefix, segment, blob_value)
        return Located(bucket_row, object_row, blob_row, schema.unpack_segment(segment, segment_value).file_uuid)

    def buckets(self, prefix: str, after: str, limit: int) -> list[BucketRow]:
        """Return at most `limit` buckets in byte order whose names start with `prefix` and come after `after`."""
        raw = prefix.encode()
        statement = "SELECT name, bucket_id, value FROM buckets WHERE name > ? AND name >= ? ORDER BY name LIMIT ?"
        rows = self._rows(statement, after.encode(), raw, limit)
        return [schema.unpack_bucket(name, number, value) for name, number, value in rows if name.startswith(raw)]

    def objects_from(self, bucket_id: int, key: bytes, limit: int) -> list[tuple[bytes, ObjectRow]]:
        """Return at most `limit` objects of the bucket in byte order of their keys, from `key` on (inclusive). Raises DamagedRow."""
        statement = "SELECT key, blob, value FROM objects WHERE bucket_id = ? AND key >= ? ORDER BY key LIMIT ?"
        rows = self._rows(statement, bucket_id, key, limit)
        return [(found, schema.unpack_object(bucket_id, found, blob, value)) for found, blob, value in rows]

    def damaged_blobs(self) -> int:
        """Return how many blobs failed verification and are not repaired. Raises DamagedRow."""
        rows = self._rows("SELECT value FROM meta WHERE name = 'damaged'")
        return schema.unpack_damaged(rows[0][0]) if rows else 0

    def usage(self) -> list[UsageRow]:
        """Return what each bucket holds, by name."""
        rows = self._rows("SELECT b.name, u.bucket_id, u.value FROM usage u JOIN buckets b ON b.bucket_id = u.bucket_id ORDER BY b.name")
        return [UsageRow(name.decode(), *schema.unpack_usage(bucket_id, value)) for name, bucket_id, value in rows]

    def usage_of(self, bucket: BucketRow) -> UsageRow:
        """Return what one bucket holds; nothing if it has gone since its row was read. Raises DamagedRow."""
        rows = self._rows("SELECT value FROM usage WHERE bucket_id = ?", bucket.bucket_id)
        return UsageRow(bucket.name, *(schema.unpack_usage(bucket.bucket_id, rows[0][0]) if rows else (0, 0)))

    def blob_by_id(self, blob_id: bytes, *, sealed: bool = False) -> BlobRow | None:
        """Return a blob with that 32-byte id that may be claimed, or None. Raises DamagedRow.

        `sealed`: only one whose record is encrypted (its stored bytes are more than its plaintext).

        Uploads of the same bytes at once make several blobs. None while any of them is damaged: a new record of the bytes repairs it.
        """
        statement = "SELECT number, prefix, segment, value FROM blobs WHERE prefix = ?"
        blobs = [schema.unpack_blob(*row) for row in self._rows(statement, schema.blob_prefix(blob_id))]
        same = [blob for blob in blobs if blob.blob_id == blob_id]
        if any(blob.damaged for blob in same):
            return None
        return next((blob for blob in same if not sealed or blob.location.stored_bytes > blob.location.plaintext_bytes), None)

    def segment(self, segment_id: int) -> SegmentRow | None:
        """Return the segment's row or None. Raises DamagedRow."""
        rows = self._rows("SELECT value FROM segments WHERE segment_id = ?", segment_id)
        return schema.unpack_segment(segment_id, rows[0][0]) if rows else None

    def segments(self) -> list[SegmentRow]:
        """Return every segment's row, in order of id."""
        rows = self._rows("SELECT segment_id, value FROM segments ORDER BY segment_id")
        return [schema.unpack_segment(segment_id, value) for segment_id, value in rows]

    def blobs_in(self, segment_id: int, after: int, limit: int) -> list[BlobRow]:
        """Return at most `limit` blobs that lie in a segment, in order of number, with numbers above `after`. Raises DamagedRow."""
        statement = "SELECT number, prefix, segment, value FROM blobs WHERE segment = ? AND number > ? ORDER BY number LIMIT ?"
        return [schema.unpack_blob(*row) for row in self._rows(statement, segment_id, after, limit)]

    def unused_since_ms(self) -> int | None:
        """Return since when the blob that nothing names for longest is unused (Unix milliseconds), None if there is no such blob."""
        rows = self._rows("SELECT unused_ms FROM blobs WHERE unused_ms IS NOT NULL ORDER BY unused_ms LIMIT 1")
        return int(rows[0][0]) if rows else None
