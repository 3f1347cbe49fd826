"""The writing side of replication: rows by key, inside the index writer's transaction. Decides nothing.

Owned by `IndexWriter`, whose connection it uses. `state` is kept in memory during the transaction and written once at its end. On a node
that never had a peer no method is called on the way of a PUT or DELETE.
"""

from collections.abc import Callable
from typing import Any

from fasterstore.metadata import replication_schema as schema
from fasterstore.metadata.replication_schema import PeerBlobRow, RegistersRow, ReplicationState, TombstoneRow
from fasterstore.replication.merge import NO_REGISTERS, Registers


class ReplicationWriter:
    """Raises apsw.Error from every method, DamagedRow from those that read."""

    def __init__(self, execute: Callable[..., Any]) -> None:
        self._execute = execute
        self.state = self._stored = ReplicationState()

    def forget(self, sealed: bytes | None) -> None:
        """Take the state as it is stored (None: no row)."""
        self.state = self._stored = ReplicationState() if sealed is None else schema.unpack_replication_state(sealed)

    def flush(self) -> None:
        """Write the state, if it has changed."""
        if self.state is not self._stored:
            self._execute("INSERT OR REPLACE INTO meta VALUES('replication', ?)", (schema.pack_replication_state(self.state),))
            self._stored = self.state

    # ---- tombstones ----

    def tombstone(self, bucket: str, key: bytes) -> TombstoneRow | None:
        """Return the key's tombstone, or None."""
        if not self.state.tombstones:
            return None
        raw = bucket.encode()
        found = self._execute("SELECT noted_ms, value FROM tombstones WHERE bucket = ? AND key = ?", (raw, key)).fetchone()
        return None if found is None else schema.unpack_tombstone(raw, key, *found)

    def add_tombstone(self, row: TombstoneRow) -> None:
        """Insert the tombstone of a key that has none."""
        values = (row.bucket.encode(), row.key, row.noted_ms, schema.pack_tombstone(row))
        self._execute("INSERT INTO tombstones VALUES(?, ?, ?, ?)", values)
        self.state = self.state._replace(tombstones=self.state.tombstones + 1)

    def drop_tombstone(self, bucket: str, key: bytes) -> None:
        """Delete the key's tombstone, if it has one."""
        if not self.state.tombstones:
            return
        statement = "DELETE FROM tombstones WHERE bucket = ? AND key = ? RETURNING 1"
        if self._execute(statement, (bucket.encode(), key)).get is not None:
            self.state = self.state._replace(tombstones=self.state.tombstones - 1)

    def tombstones_before(self, noted_ms: int, limit: int) -> list[TombstoneRow]:
        """Return at most `limit` tombstones that were written at `noted_ms` or before, the oldest first."""
        if not self.state.tombstones:
            return []
        statement = "SELECT bucket, key, noted_ms, value FROM tombstones WHERE noted_ms <= ? ORDER BY noted_ms LIMIT ?"
        return [schema.unpack_tombstone(*row) for row in self._execute(statement, (noted_ms, limit)).fetchall()]

    # ---- registers of buckets ----

    def registers(self, name: str) -> Registers:
        """Return the bucket's registers; those of one that nobody has heard of if there is no row."""
        raw = name.encode()
        found = self._execute("SELECT gone_ms, value FROM bucket_registers WHERE name = ?", (raw,)).fetchone()
        return NO_REGISTERS if found is None else schema.unpack_registers(raw, *found).registers

    def put_registers(self, row: RegistersRow) -> None:
        """Insert or replace a bucket's registers."""
        values = (row.name.encode(), row.gone_ms or None, schema.pack_registers(row))
        self._execute("INSERT OR REPLACE INTO bucket_registers VALUES(?, ?, ?)", values)

    def delete_registers(self, name: str) -> None:
        """Delete a bucket's registers."""
        self._execute("DELETE FROM bucket_registers WHERE name = ?", (name.encode(),))

    def gone_before(self, gone_ms: int, limit: int) -> list[RegistersRow]:
        """Return at most `limit` registers of buckets that ceased to exist at `gone_ms` or before, the longest gone first."""
        statement = "SELECT name, gone_ms, value FROM bucket_registers WHERE gone_ms <= ? ORDER BY gone_ms LIMIT ?"
        return [schema.unpack_registers(*row) for row in self._execute(statement, (gone_ms, limit)).fetchall()]

    # ---- blobs that other logs have under another number ----

    def local_blob(self, log_uuid: bytes, number: int) -> int | None:
        """Return this node's number of the blob that the log knows as `number`, or None."""
        statement = "SELECT blob, value FROM peer_blobs WHERE log_uuid = ? AND number = ?"
        found = self._execute(statement, (log_uuid, number)).fetchone()
        return None if found is None else schema.unpack_peer_blob(log_uuid, number, *found).blob

    def put_peer_blob(self, row: PeerBlobRow) -> None:
        """Insert or replace what a log's number means here."""
        self._execute("INSERT OR REPLACE INTO peer_blobs VALUES(?, ?, ?, ?)", (*row, schema.pack_peer_blob(row)))
        if not self.state.has_peer_blobs:
            self.state = self.state._replace(has_peer_blobs=True)

    def forget_peer_blobs(self, blob: int) -> None:
        """Delete every number under which other logs know this node's blob."""
        if self.state.has_peer_blobs:
            self._execute("DELETE FROM peer_blobs WHERE blob = ?", (blob,))
