"""An index of an older schema made one of this: in one transaction, so that one that is cut short begins again at the next open.

1 -> 2   `unused_ms` of blobs, and the two indexes that compaction needs
2 -> 3   the tables of replication (`replication_schema.py`); the buckets that are there get registers, as if this node had made each,
         settings and all, at the time that its row names
"""

from collections.abc import Callable
from typing import Any

from fasterstore.clock import COUNTER_BITS
from fasterstore.metadata import schema
from fasterstore.metadata.replication_schema import REPLICATION_TABLES, RegistersRow, pack_registers
from fasterstore.model import BucketRow
from fasterstore.replication.merge import Create, Registers, Setting


def migrate(execute: Callable[..., Any], version: int, node_id: bytes) -> None:
    """Bring the index from `version` to `schema.SCHEMA_VERSION`, within the transaction that is open. Raises DamagedRow, apsw.Error."""
    if version == 1:
        _from_1(execute)
    _from_2(execute, node_id)


def _from_1(execute: Callable[..., Any]) -> None:
    execute(schema.MIGRATE_FROM_1)
    after = 0
    while rows := execute("SELECT number, prefix, segment, value FROM blobs WHERE number > ? LIMIT 1000", (after,)).fetchall():
        for row in (schema.unpack_blob(*columns) for columns in rows):
            if not row.refs:
                execute("UPDATE blobs SET unused_ms = ? WHERE number = ?", (row.zero_since_ms, row.number))
        after = rows[-1][0]


def _from_2(execute: Callable[..., Any], node_id: bytes) -> None:
    execute(REPLICATION_TABLES)
    for columns in execute("SELECT name, bucket_id, value FROM buckets ORDER BY name").fetchall():
        row = RegistersRow(columns[0].decode(), registers_of(schema.unpack_bucket(*columns), node_id))
        execute("INSERT INTO bucket_registers VALUES(?, NULL, ?)", (columns[0], pack_registers(row)))


def registers_of(row: BucketRow, node_id: bytes) -> Registers:
    """Return the registers of a bucket that was made before there were any."""
    stamp = row.created_ms << COUNTER_BITS
    settings = tuple([Setting(name, document, stamp, node_id) for name, document in sorted(row.settings.items())])
    return Registers((Create(stamp, node_id, row.created_ms),), settings=settings)
