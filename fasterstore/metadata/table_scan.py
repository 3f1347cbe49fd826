"""Reading the whole index, slice by slice: every row of every table through its checksum, every entry of every secondary index.

A slice is one statement, hence one short read transaction: whoever scans holds back no checkpoint, and sees rows as of different
moments. Reading a slice makes SQLite read the pages of its part of the b-tree, whose checksums `cksumvfs` verifies; with every table and
index read, every page that matters has been.

Owns the list of tables and indexes as a scan needs them. Part of an `IndexView`, whose statements it runs.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from fasterstore.errors import DamagedRow
from fasterstore.metadata import replication_schema as replication
from fasterstore.metadata import schema
from fasterstore.metadata import upload_schema as uploads
from fasterstore.model import BlobRow

_MALFORMED = (ValueError, TypeError, KeyError, IndexError, struct.error, msgpack.exceptions.UnpackException)
"""What a value that keeps its checksum and still is none raises: whoever wrote it had a defect."""


class Table(NamedTuple):
    """A table: its key columns first among `columns`; `unpack` takes all of them and raises DamagedRow. `since`: the index schema."""

    name: str
    keys: int
    columns: tuple[str, ...]
    unpack: Callable[..., Any]
    since: int = 1


class Index(NamedTuple):
    """A secondary index: its columns and, behind them, the rest of the table's key. `where`: of a partial one. `since` as in Table."""

    name: str
    table: str
    columns: tuple[str, ...]
    where: str = ""
    since: int = 1


def _unpack_meta(name: str, sealed: bytes) -> Any:
    if name == "identity":
        return schema.unpack_identity(sealed)
    if name == "state":
        return schema.unpack_state(sealed)
    if name == "damaged":
        return schema.unpack_damaged(sealed)
    if name == "replication":
        return replication.unpack_replication_state(sealed)
    return schema.unseal(b"meta", name.encode(), sealed)


def _unpack_blob(number: int, prefix: int, segment: int, unused_ms: int | None, sealed: bytes) -> BlobRow:
    row = schema.unpack_blob(number, prefix, segment, sealed)
    if unused_ms != (None if row.refs else row.zero_since_ms):
        raise DamagedRow(f"index table blobs: blob {number} has column unused_ms {unused_ms}, value {row.zero_since_ms}, refs {row.refs}")
    return row


TABLES = (
    Table("meta", 1, ("name", "value"), _unpack_meta),
    Table("buckets", 1, ("name", "bucket_id", "value"), schema.unpack_bucket),
    Table("objects", 2, ("bucket_id", "key", "blob", "value"), schema.unpack_object),
    Table("blobs", 1, ("number", "prefix", "segment", "unused_ms", "value"), _unpack_blob),
    Table("segments", 1, ("segment_id", "value"), schema.unpack_segment),
    Table("usage", 1, ("bucket_id", "value"), schema.unpack_usage),
    Table("uploads", 3, ("bucket_id", "key", "number", "changed_ms", "value"), uploads.unpack_upload),
    Table("parts", 2, ("manifest", "part", "value"), uploads.unpack_part),
    Table("manifests", 1, ("number", "value"), uploads.unpack_manifest),
    Table("maps", 1, ("manifest", "value"), lambda manifest, sealed: uploads.unpack_map(uploads.unseal_map(manifest, sealed))),
    Table("releases", 1, ("number", "unused_ms", "value"), uploads.unpack_release),
    Table("tombstones", 2, ("bucket", "key", "noted_ms", "value"), replication.unpack_tombstone, 3),
    Table("bucket_registers", 1, ("name", "gone_ms", "value"), replication.unpack_registers, 3),
    Table("peer_blobs", 2, ("log_uuid", "number", "blob", "value"), replication.unpack_peer_blob, 3),
)
INDEXES = (
    Index("blobs_by_id", "blobs", ("prefix", "number")),
    Index("blobs_by_segment", "blobs", ("segment", "number"), since=2),
    Index("blobs_unused", "blobs", ("unused_ms", "number"), "unused_ms IS NOT NULL", 2),
    Index("uploads_by_time", "uploads", ("changed_ms", "bucket_id", "key", "number")),
    Index("releases_by_time", "releases", ("unused_ms", "number")),
    Index("tombstones_by_time", "tombstones", ("noted_ms", "bucket", "key"), since=3),
    Index("registers_gone", "bucket_registers", ("gone_ms", "name"), "gone_ms IS NOT NULL", 3),
    Index("peer_blobs_by_blob", "peer_blobs", ("blob", "log_uuid", "number"), since=3),
)
TABLE = {table.name: table for table in TABLES}
_BYTES = frozenset(("bucket", "key", "log_uuid", "name"))
"""Columns of indexes that hold bytes; the others hold whole numbers."""


class BadRow(NamedTuple):
    """A row that cannot be used: its table, its key, what is wrong."""

    table: str
    key: tuple[Any, ...]
    reason: str


class Slice(NamedTuple):
    """Rows of a table as stored, in order of their keys; `after` is the key of the last one, None behind the last slice."""

    rows: list[tuple[Any, ...]]
    after: tuple[Any, ...] | None


def value_of(table: Table, row: tuple[Any, ...]) -> Any:
    """What a stored row says. Raises DamagedRow, also for a value that keeps its checksum and still makes no sense."""
    try:
        return table.unpack(*row)
    except _MALFORMED as error:
        raise DamagedRow(f"index table {table.name}: the row of key {row[: table.keys]!r} is malformed: {error}") from error


def check_entry(index: Index, entry: tuple[Any, ...]) -> None:
    """Raises DamagedRow for what cannot be an entry of that index: a page of another table may stand in the place of one of its own.

    SQLite notices that of whole indexes by their count, which of a partial one it does not know.
    """
    for column, value in zip(index.columns, entry, strict=True):
        if type(value) is not (bytes if column in _BYTES else int):
            raise DamagedRow(f"index {index.name}: {entry!r} is no entry of it")


def bad_rows(table: Table, rows: list[tuple[Any, ...]]) -> list[BadRow]:
    """Those of `rows` that fail."""
    bad = []
    for row in rows:
        try:
            value_of(table, row)
        except DamagedRow as error:
            bad.append(BadRow(table.name, row[: table.keys], error.detail))
    return bad


class TableScan:
    """See the module. `rows(statement, *values)` runs one statement; its errors (DamagedRow, VolumeSuspect) pass through."""

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        self._rows = rows

    def slice(self, table: Table, after: tuple[Any, ...] | None, limit: int) -> Slice:
        """At most `limit` rows whose keys come after `after` (None: from the first)."""
        found = self._slice(table.columns, f"FROM {table.name}", "", table.columns[: table.keys], after, limit)
        return Slice(found, found[-1][: table.keys] if len(found) == limit else None)

    def index_slice(self, index: Index, after: tuple[Any, ...] | None, limit: int) -> Slice:
        """At most `limit` entries of a secondary index, as its columns. Raises DamagedRow for one that cannot be an entry of it."""
        source = f"FROM {index.table} INDEXED BY {index.name}"
        found = self._slice(index.columns, source, index.where, index.columns, after, limit)
        for entry in found:
            check_entry(index, entry)
        return Slice(found, found[-1] if len(found) == limit else None)

    def _slice(
        self, columns: tuple[str, ...], source: str, where: str, key: tuple[str, ...], after: tuple[Any, ...] | None, limit: int
    ) -> list[Any]:
        names = ", ".join(key)
        conditions = [where] if where else []
        if after is not None:
            conditions.append(f"({names}) > ({', '.join('?' * len(key))})")
        condition = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._rows(f"SELECT {', '.join(columns)} {source} {condition} ORDER BY {names} LIMIT ?", *(after or ()), limit)

    def schema_names(self) -> list[tuple[str, str]]:
        """(type, name) of everything in the file."""
        return [(str(kind), str(name)) for kind, name in self._rows("SELECT type, name FROM sqlite_schema ORDER BY name")]

    def integrity(self, limit: int) -> list[str]:
        """What SQLite's own check finds, at most `limit` lines. One statement over the whole file: only where nobody writes."""
        lines = [str(row[0]) for row in self._rows(f"PRAGMA integrity_check({limit})")]
        return [] if lines == ["ok"] else lines
