"""The index's only writing connection: rows in, one transaction a batch, checkpoints between batches. Owned by the journal.

Counters that every change of a batch touches (log state, segments, usage) are kept in memory during the transaction and written
once at its end. After `rollback` nothing of the batch is left, in memory or in the file.
"""

import os
from collections.abc import Callable, Iterator

import apsw

from fasterstore.errors import DamagedRow, InvariantError, UnsupportedFormat
from fasterstore.metadata import schema
from fasterstore.metadata.index import PAGE_BYTES, open_connection
from fasterstore.metadata.migration import migrate
from fasterstore.metadata.replication_schema import REPLICATION_TABLES
from fasterstore.metadata.replication_writer import ReplicationWriter
from fasterstore.metadata.schema import State
from fasterstore.metadata.upload_schema import UPLOAD_TABLES
from fasterstore.metadata.upload_writer import UploadWriter
from fasterstore.model import BlobRow, BucketRow, ObjectRow, SegmentRow

WRITER_CACHE_KIB = 16384
CHECKPOINT_BUSY_TIMEOUT_MS = 20
COMMIT_BUSY_TIMEOUT_MS = 5000

IndexFullError = apsw.FullError
"""Raised by SQLite when the file system has no room for the index."""
SqliteError = apsw.Error
"""Any error of SQLite."""
IndexCannotOpen = apsw.CantOpenError
"""Raised by SQLite when it can neither open nor make a file: a folder is missing, or no inode is free."""
IndexIOError = apsw.IOError
"""A read, write or sync of the index failed: the volume is suspect."""


class IndexWriter:
    """Rows by key, inside begin() .. commit() or rollback(). One greenlet or thread at a time."""

    def __init__(
        self, path: str, log_uuid: bytes, random_bytes: Callable[[int], bytes] = os.urandom, *, node_id: bytes = bytes(16)
    ) -> None:
        """Open the index at `path`, making an empty one for the log `log_uuid` if there is none.

        `node_id` (16 bytes) is this node's: the origin of buckets made before buckets had one.
        Raises UnsupportedFormat for another log's index or a newer schema, DamagedRow, apsw.Error.
        """
        _complete_last_page(path)
        self._connection = open_connection(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, WRITER_CACHE_KIB)
        try:
            self._start(path, log_uuid, random_bytes, node_id)
        except BaseException:
            self._connection.close()  # a damaged file is moved aside: nothing may go on holding it
            raise

    def _start(self, path: str, log_uuid: bytes, random_bytes: Callable[[int], bytes], node_id: bytes) -> None:
        self._execute = self._connection.execute
        self.uploads = UploadWriter(self._execute)
        self.replication = ReplicationWriter(self._execute)
        self.log_pages = 0
        self._connection.set_wal_hook(self._count_log_pages)
        if not self._execute("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").get:
            self._create(log_uuid, random_bytes(16))
        version, self.index_uuid, stored_log = schema.unpack_identity(self._execute("SELECT value FROM meta WHERE name='identity'").get)
        if version not in schema.READABLE_VERSIONS:
            raise UnsupportedFormat(f"{path}: index schema {version}; this build reads {schema.SCHEMA_VERSION}")
        if stored_log != log_uuid:
            raise UnsupportedFormat(f"{path}: the index was folded from another journal than the one beside it")
        if version != schema.SCHEMA_VERSION:
            self._migrate(version, log_uuid, node_id)
        self._forget()

    def _create(self, log_uuid: bytes, index_uuid: bytes) -> None:
        self._execute("BEGIN IMMEDIATE")
        self._execute(schema.TABLES)
        self._execute(schema.BLOB_INDEXES)
        self._execute(UPLOAD_TABLES)
        self._execute(REPLICATION_TABLES)
        self._execute("INSERT INTO meta VALUES('identity', ?)", (schema.pack_identity(index_uuid, log_uuid),))
        self._execute("INSERT INTO meta VALUES('state', ?)", (schema.pack_state(State(0, 0, 0, 0, 0)),))
        self._execute("COMMIT")

    def _migrate(self, version: int, log_uuid: bytes, node_id: bytes) -> None:
        self._execute("BEGIN IMMEDIATE")
        migrate(self._execute, version, node_id)
        self._execute("UPDATE meta SET value = ? WHERE name = 'identity'", (schema.pack_identity(self.index_uuid, log_uuid),))
        self._execute("COMMIT")

    def _count_log_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.log_pages = pages
        return apsw.SQLITE_OK

    def _forget(self) -> None:
        statement = "SELECT name, value FROM meta WHERE name IN ('state', 'damaged', 'replication')"
        meta: dict[str, bytes] = dict(self._execute(statement).fetchall())
        if "state" not in meta:
            raise DamagedRow("index table meta: no row of the log's counters")
        self.state = schema.unpack_state(meta["state"])
        self._stored_state = self.state
        self._damaged = schema.unpack_damaged(meta["damaged"]) if "damaged" in meta else 0
        self.replication.forget(meta.get("replication"))
        self._damaged_changed = False
        self._buckets: dict[str, BucketRow] = {}
        self._segments: dict[int, SegmentRow] = {}
        self._usage: dict[int, tuple[int, int]] = {}

    # ---- the transaction ----

    def begin(self) -> None:
        """Start the batch's transaction. Raises apsw.Error."""
        self._execute("BEGIN IMMEDIATE")

    def flush(self) -> None:
        """Write the batch's counters; the last step before its WAL frame. Raises apsw.Error."""
        for row in self._segments.values():
            self._execute("INSERT OR REPLACE INTO segments VALUES(?, ?)", (row.segment_id, schema.pack_segment(row)))
        for bucket_id, (objects, size_bytes) in self._usage.items():
            self._execute("INSERT OR REPLACE INTO usage VALUES(?, ?)", (bucket_id, schema.pack_usage(bucket_id, objects, size_bytes)))
        if self.state is not self._stored_state:
            self._execute("UPDATE meta SET value = ? WHERE name = 'state'", (schema.pack_state(self.state),))
            self._stored_state = self.state
        if self._damaged_changed:
            self._execute("INSERT OR REPLACE INTO meta VALUES('damaged', ?)", (schema.pack_damaged(self._damaged),))
            self._damaged_changed = False
        self.replication.flush()
        self._segments.clear()
        self._usage.clear()

    def commit(self) -> None:
        """Make the batch visible to every reader. Call flush() first. Raises apsw.Error; the transaction is then still open."""
        if self._segments or self._usage or self.state is not self._stored_state:
            raise InvariantError("commit without flush")
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Undo the whole batch. SQLite may have rolled back by itself on its error; that is not an error here."""
        if not self._connection.get_autocommit():
            self._execute("ROLLBACK")
        self._forget()

    @property
    def log_bytes(self) -> int:
        """Size of SQLite's own log as of the last commit."""
        return self.log_pages * PAGE_BYTES

    def checkpoint(self) -> bool:
        """Copy SQLite's log into the file and sync it; return False if a reader was in the way (then try after the next batch).

        Runs on this connection, between transactions: from a second one it never reset the log or made the writer busy (design).
        Raises apsw.Error; IndexIOError means that the volume is suspect.
        """
        self._connection.set_busy_timeout(CHECKPOINT_BUSY_TIMEOUT_MS)
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        except apsw.BusyError:
            return False
        finally:
            self._connection.set_busy_timeout(COMMIT_BUSY_TIMEOUT_MS)
        self.log_pages = 0
        return True

    def rebuild_indexes(self) -> None:
        """Make every secondary index anew from its table, in a transaction of its own. Raises apsw.Error."""
        self._execute("REINDEX")

    def close(self) -> None:
        """Close the connection without a checkpoint."""
        self._connection.close()

    # ---- rows ----

    def bucket(self, name: str) -> BucketRow | None:
        """Return the bucket as of this transaction, or None."""
        row = self._buckets.get(name)
        if row is None:
            raw = name.encode()
            found = self._execute("SELECT bucket_id, value FROM buckets WHERE name = ?", (raw,)).fetchone()
            if found is None:
                return None
            row = self._buckets[name] = schema.unpack_bucket(raw, found[0], found[1])
        return row

    def put_bucket(self, row: BucketRow) -> None:
        """Insert or replace a bucket."""
        self._execute("INSERT OR REPLACE INTO buckets VALUES(?, ?, ?)", (row.name.encode(), row.bucket_id, schema.pack_bucket(row)))
        self._buckets[row.name] = row

    def delete_bucket(self, row: BucketRow) -> None:
        """Delete a bucket and its usage."""
        self._execute("DELETE FROM buckets WHERE name = ?", (row.name.encode(),))
        self._execute("DELETE FROM usage WHERE bucket_id = ?", (row.bucket_id,))
        self._buckets.pop(row.name, None)
        self._usage.pop(row.bucket_id, None)

    def has_objects(self, bucket_id: int) -> bool:
        """Return whether any key lives in the bucket."""
        return self._execute("SELECT 1 FROM objects WHERE bucket_id = ? LIMIT 1", (bucket_id,)).get is not None

    def object(self, bucket_id: int, key: bytes) -> ObjectRow | None:
        """Return the key's current version, or None. Raises DamagedRow."""
        found = self._execute("SELECT blob, value FROM objects WHERE bucket_id = ? AND key = ?", (bucket_id, key)).fetchone()
        return None if found is None else schema.unpack_object(bucket_id, key, found[0], found[1])

    def put_object(self, bucket_id: int, key: bytes, row: ObjectRow) -> None:
        """Insert or replace the key's current version."""
        values = (bucket_id, key, row.blob, schema.pack_object(bucket_id, key, row))
        self._execute("INSERT OR REPLACE INTO objects VALUES(?, ?, ?, ?)", values)

    def delete_object(self, bucket_id: int, key: bytes) -> None:
        """Delete the key's current version."""
        self._execute("DELETE FROM objects WHERE bucket_id = ? AND key = ?", (bucket_id, key))

    def blob(self, number: int) -> BlobRow | None:
        """Return the blob, or None. Raises DamagedRow."""
        found = self._execute("SELECT prefix, segment, value FROM blobs WHERE number = ?", (number,)).fetchone()
        return None if found is None else schema.unpack_blob(number, *found)

    def damaged_blob(self, blob_id: bytes) -> BlobRow | None:
        """Return a blob with that id which failed verification, or None. Raises DamagedRow."""
        if not self._damaged:
            return None
        statement = "SELECT number, prefix, segment, value FROM blobs WHERE prefix = ?"
        for number, prefix, segment, value in self._execute(statement, (schema.blob_prefix(blob_id),)).fetchall():
            row = schema.unpack_blob(number, prefix, segment, value)
            if row.damaged and row.blob_id == blob_id:
                return row
        return None

    def add_blob(self, row: BlobRow) -> None:
        """Insert a new blob."""
        values = (row.number, schema.blob_prefix(row.blob_id), row.location.segment_id, schema.pack_blob(row))
        self._execute("INSERT INTO blobs(number, prefix, segment, value) VALUES(?, ?, ?, ?)", values)

    def change_blob(self, row: BlobRow) -> None:
        """Replace the row of a blob that stays where it is: the indexes over ids and segments are left alone, a page less to write."""
        values = (schema.pack_blob(row), None if row.refs else row.zero_since_ms, row.number)
        self._execute("UPDATE blobs SET value = ?, unused_ms = ? WHERE number = ?", values)

    def move_blob(self, row: BlobRow) -> None:
        """Replace the row of a blob that lies in another segment now."""
        values = (row.location.segment_id, schema.pack_blob(row), None if row.refs else row.zero_since_ms, row.number)
        self._execute("UPDATE blobs SET segment = ?, value = ?, unused_ms = ? WHERE number = ?", values)

    def delete_blob(self, number: int) -> None:
        """Delete a blob's row."""
        self._execute("DELETE FROM blobs WHERE number = ?", (number,))

    def blobs_in(self, segment_id: int) -> Iterator[BlobRow]:
        """Yield the blobs that lie in a segment, in order of number. Raises DamagedRow."""
        statement = "SELECT number, prefix, segment, value FROM blobs WHERE segment = ? ORDER BY number"
        return (schema.unpack_blob(*row) for row in self._execute(statement, (segment_id,)))

    def unused_blobs(self, before_ms: int, limit: int) -> list[BlobRow]:
        """Return at most `limit` blobs that nothing names since `before_ms` or longer, the longest first. Raises DamagedRow."""
        statement = "SELECT number, prefix, segment, value FROM blobs WHERE unused_ms <= ? ORDER BY unused_ms LIMIT ?"
        return [schema.unpack_blob(*row) for row in self._execute(statement, (before_ms, limit)).fetchall()]

    def unused_blobs_after(self, after_ms: int, limit: int) -> list[BlobRow]:
        """Return at most `limit` blobs that nothing names since a time later than `after_ms`. Raises DamagedRow."""
        statement = "SELECT number, prefix, segment, value FROM blobs WHERE unused_ms > ? LIMIT ?"
        return [schema.unpack_blob(*row) for row in self._execute(statement, (after_ms, limit)).fetchall()]

    @property
    def damaged_blobs(self) -> int:
        """How many blobs failed verification and are not repaired."""
        return self._damaged

    def count_damaged(self, change: int) -> None:
        """Add to the number of blobs that failed verification (written at flush)."""
        self._damaged += change
        self._damaged_changed = True

    @property
    def log_start(self) -> int:
        """The LSN below which the log was given up; 1 if nothing was."""
        found = self._execute("SELECT value FROM meta WHERE name = 'log_start'").get
        return 1 if found is None else schema.unpack_log_start(found)

    def put_log_start(self, lsn: int) -> None:
        """Say that the log below that LSN was given up."""
        self._execute("INSERT OR REPLACE INTO meta VALUES('log_start', ?)", (schema.pack_log_start(lsn),))

    def segment(self, segment_id: int) -> SegmentRow:
        """Return the segment as of this transaction. Raises DamagedRow if there is no row: every record lies in a logged segment."""
        row = self._segments.get(segment_id)
        if row is None:
            value = self._execute("SELECT value FROM segments WHERE segment_id = ?", (segment_id,)).get
            if value is None:
                raise DamagedRow(f"index table segments: no row of segment {segment_id}")
            row = schema.unpack_segment(segment_id, value)
        return row

    def put_segment(self, row: SegmentRow) -> None:
        """Insert or replace a segment (written at flush)."""
        self._segments[row.segment_id] = row

    def find_segment(self, segment_id: int) -> SegmentRow | None:
        """Return the segment as of this transaction, None if there is none (any more)."""
        known = segment_id in self._segments or self._execute("SELECT 1 FROM segments WHERE segment_id = ?", (segment_id,)).get
        return self.segment(segment_id) if known else None

    def delete_segment(self, segment_id: int) -> None:
        """Delete a segment's row."""
        self._segments.pop(segment_id, None)
        self._execute("DELETE FROM segments WHERE segment_id = ?", (segment_id,))

    def unsealed_segments(self) -> list[SegmentRow]:
        """Return the segments that are not sealed, in order of id."""
        rows = self._execute("SELECT segment_id, value FROM segments ORDER BY segment_id").fetchall()
        return [row for row in (schema.unpack_segment(number, value) for number, value in rows) if not row.sealed]

    def add_usage(self, bucket_id: int, objects: int, size_bytes: int) -> None:
        """Add to a bucket's counters (written at flush); both may be negative."""
        held = self._usage.get(bucket_id)
        if held is None:
            value = self._execute("SELECT value FROM usage WHERE bucket_id = ?", (bucket_id,)).get
            held = (0, 0) if value is None else schema.unpack_usage(bucket_id, value)
        self._usage[bucket_id] = (held[0] + objects, held[1] + size_bytes)


def _complete_last_page(path: str) -> None:
    """Make the file end with a whole page, before anybody has it open.

    SQLite reads a page that is cut off as if zeros followed, and its checksum is not looked at: rows of it would be missing without
    an error. Filled up, its checksum is wrong. Where a checkpoint was cut short, SQLite's own log still has the page.
    """
    try:
        size_bytes = os.stat(path).st_size
    except FileNotFoundError:
        return
    if size_bytes % PAGE_BYTES:
        os.truncate(path, size_bytes + PAGE_BYTES - size_bytes % PAGE_BYTES)
