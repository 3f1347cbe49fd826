"""Checking the index: every row through its checksum, every secondary index read, and what the rows add up to.

Where nobody writes, SQLite's own check is run as well, which finds a b-tree that is wrong and an index that differs from its table.
While a node runs every slice is a short read transaction of its own, so that comparisons of rows are of different moments: `confirm.py`
says which of them hold.
"""

from collections.abc import Iterator
from typing import Any

from fasterstore.check.finding import Finding, Kind
from fasterstore.check.parts import Parts
from fasterstore.check.references import References
from fasterstore.check.replication_rows import ReplicationRows
from fasterstore.errors import DamagedRow, StorageFailure, StoreError
from fasterstore.metadata.index import IndexView, says_damage
from fasterstore.metadata.table_scan import INDEXES, TABLE, Index, Slice, Table, value_of

ROWS = 1024
INTEGRITY_LINES_MAX = 100
ORDER = (
    "meta", "buckets", "segments", "blobs", "manifests", "objects", "uploads", "releases", "parts", "maps", "usage", "tombstones",
    "bucket_registers", "peer_blobs",
)  # fmt: skip


class IndexCheck:
    """See the module. `whole`: nobody writes."""

    def __init__(self, view: IndexView, *, whole: bool) -> None:
        self._view = view
        self._whole = whole
        self._rows = 0
        self._bad: list[Finding] = []
        self._references = References(view)
        self._parts = Parts(view, self._references)
        self._replication = ReplicationRows(view, self._references)
        self._usage: dict[int, tuple[int, int]] = {}

    def run(self) -> Iterator[Finding | int]:
        """Yield findings, and the rows read so far. Raises StorageFailure if this process cannot read the index at all."""
        broken = False
        for name in ORDER:
            for row, value in self._scan(TABLE[name]):
                try:
                    yield from self._put(name, row, value)
                except DamagedRow:  # a row that was looked up besides: its own table tells
                    broken = True
                if not self._rows % ROWS:
                    yield self._rows
            broken |= bool(self._bad)
            yield from self._drain()
        for index in INDEXES:
            for _entry in self._slices(index):
                yield self._rows
            broken |= bool(self._bad)
            yield from self._drain()
        if self._whole:
            try:
                for line in self._view.scan.integrity(INTEGRITY_LINES_MAX):
                    yield Finding(Kind.INDEX_STRUCTURE, "index.db", line)
            except StoreError as error:
                yield Finding(Kind.INDEX_UNREADABLE, "index.db", error.detail)
        if not broken:  # sums over rows of which some are missing would say nothing
            yield from self._sums()

    def _put(self, name: str, row: tuple[Any, ...], value: Any) -> Iterator[Finding]:
        references, parts = self._references, self._parts
        if name == "buckets":
            references.bucket(value)
        elif name == "segments":
            references.segment(value)
        elif name == "blobs":
            yield from references.blob(value)
        elif name == "manifests":
            references.manifest(value)
        elif name == "objects":
            yield from references.object(row[0], row[1], value)
            self._replication.object(value)
        elif name == "uploads":
            yield from parts.upload(value)
        elif name == "releases":
            parts.release(value)
        elif name == "parts":
            yield from parts.part(row[0], value)
        elif name == "maps" and row[0] not in references.manifests and self._view.uploads.manifest(row[0]) is None:
            yield Finding(Kind.STRAY_ROW, f"map {row[0]}", "there is no such manifest", ("manifest", row[0]))
        elif name == "usage":
            self._usage[row[0]] = value
        elif name == "tombstones":
            yield from self._replication.tombstone(value)
        elif name == "bucket_registers":
            yield from self._replication.registers(value)
        elif name == "peer_blobs":
            yield from self._replication.peer_blob(value)

    def _sums(self) -> Iterator[Finding | int]:
        references = self._references
        try:
            yield from self._parts.rest()
            yield from references.manifest_refs()
            yield from references.usage(self._usage)
            for _row, blob in self._scan(TABLE["blobs"]):
                found = references.blob_refs(blob)
                if found is not None:
                    yield found
                if not self._rows % ROWS:
                    yield self._rows
            yield from references.live_bytes()
            yield from references.counters(self._view.state(), self._view.damaged_blobs())
            yield from self._replication.sums()
        except DamagedRow as error:
            yield Finding(Kind.INDEX_ROW, "index", error.detail)
        yield from self._drain()

    def _drain(self) -> Iterator[Finding]:
        yield from self._bad
        self._bad = []

    def _scan(self, table: Table) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Each sound row and its value; the others become findings."""
        for found in self._slices(table):
            for row in found.rows:
                self._rows += 1
                try:
                    yield row, value_of(table, row)
                except DamagedRow as error:
                    self._bad.append(Finding(Kind.INDEX_ROW, f"table {table.name}", error.detail))

    def _slices(self, part: Table | Index) -> Iterator[Slice]:
        after: tuple[Any, ...] | None = None
        while True:
            try:
                scan = self._view.scan
                found = scan.slice(part, after, ROWS) if isinstance(part, Table) else scan.index_slice(part, after, ROWS)
            except StoreError as error:
                if not says_damage(error):
                    raise StorageFailure(f"the index cannot be read: {error.detail}") from error
                self._bad.append(Finding(Kind.INDEX_UNREADABLE, part.name, f"behind key {after}: {error.detail}"))
                return
            yield found
            after = found.after
            if after is None:
                return


def is_of_this_version(view: IndexView) -> bool:
    """Whether the file has all tables and indexes that this version knows."""
    return {index.name for index in INDEXES} <= {name for _kind, name in view.scan.schema_names()}
