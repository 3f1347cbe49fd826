"""What a sender and a comparer of nodes read: states of keys, registers of buckets, numbers of peers' blobs. Through a read-only view.

Raises as every reading of a view: VolumeSuspect if the medium cannot be read, DamagedRow for whatever else is wrong with the file. A
method runs several short statements; whoever wants them of one moment holds a transaction round it (`IndexView.begin`).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from fasterstore.metadata import replication_schema as schema
from fasterstore.metadata.replication_schema import PeerBlobRow, RegistersRow, ReplicationState, TombstoneRow
from fasterstore.metadata.schema import unpack_bucket, unpack_object
from fasterstore.model import ObjectRow

_OBJECT = """
SELECT o.bucket_id, o.blob, o.value FROM buckets b JOIN objects o ON o.bucket_id = b.bucket_id AND o.key = ?2 WHERE b.name = ?1
"""
_BUCKETS = "SELECT name, bucket_id, value FROM buckets WHERE name > ? ORDER BY name LIMIT ?"
_OBJECTS = "SELECT key, blob, value FROM objects WHERE bucket_id = ? AND key > ? ORDER BY key LIMIT ?"
_FIRST_OBJECTS = "SELECT key, blob, value FROM objects WHERE bucket_id = ? ORDER BY key LIMIT ?"
_TOMBSTONES = "SELECT bucket, key, noted_ms, value FROM tombstones WHERE (bucket, key) > (?, ?) ORDER BY bucket, key LIMIT ?"
_BUCKETS_A_LOOK = 256


class KeyState(NamedTuple):
    """What stands under a key: an object, a tombstone, or neither (nobody has heard of it, or its tombstone has expired)."""

    bucket: str
    key: bytes
    object: ObjectRow | None
    tombstone: TombstoneRow | None


class ReplicationView:
    """Part of an `IndexView`, whose statements it runs (`rows(statement, *values)`)."""

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        self._rows = rows

    def state(self) -> ReplicationState:
        """Return what the log says of replication as a whole."""
        found = self._rows("SELECT value FROM meta WHERE name = 'replication'")
        return schema.unpack_replication_state(found[0][0]) if found else ReplicationState()

    # ---- keys ----

    def key_state(self, bucket: str, key: bytes) -> KeyState:
        """Return what stands under the key."""
        raw = bucket.encode()
        for bucket_id, blob, value in self._rows(_OBJECT, raw, key):
            return KeyState(bucket, key, unpack_object(bucket_id, key, blob, value), None)
        found = self._rows("SELECT noted_ms, value FROM tombstones WHERE bucket = ? AND key = ?", raw, key)
        return KeyState(bucket, key, None, schema.unpack_tombstone(raw, key, *found[0]) if found else None)

    def key_states(self, keys: Iterable[tuple[str, bytes]]) -> list[KeyState]:
        """Return what stands under each (bucket, key), in order."""
        return [self.key_state(bucket, key) for bucket, key in keys]

    def states_after(self, bucket: str, key: bytes | None, limit: int) -> list[KeyState]:
        """Return at most `limit` objects and tombstones in the order of (bucket name, key), from behind (`bucket`, `key`).

        `key` None: from the bucket's first key on; ("", None) from the very first. Fewer than `limit` only where the index ends. An object
        that is deleted between the two looks shows as its tombstone.
        """
        found = {(state.bucket, state.key): state for state in self._objects_after(bucket, key, limit)}
        for state in self._tombstones_after(bucket, key, limit):
            found[state.bucket, state.key] = state
        order = sorted(found, key=lambda place: (place[0].encode(), place[1]))
        return [found[place] for place in order[:limit]]

    def _objects_after(self, bucket: str, key: bytes | None, limit: int) -> list[KeyState]:
        states: list[KeyState] = []
        raw = bucket.encode()
        for bucket_id, value in self._rows("SELECT bucket_id, value FROM buckets WHERE name = ?", raw):
            unpack_bucket(raw, bucket_id, value)
            states += self._objects_of(bucket, bucket_id, key, limit)
        while len(states) < limit:
            buckets = self._rows(_BUCKETS, raw, _BUCKETS_A_LOOK)
            for name, bucket_id, value in buckets:
                unpack_bucket(name, bucket_id, value)
                states += self._objects_of(name.decode(), bucket_id, None, limit - len(states))
                if len(states) == limit:
                    break
            if len(buckets) < _BUCKETS_A_LOOK:
                break
            raw = buckets[-1][0]
        return states

    def _objects_of(self, bucket: str, bucket_id: int, after: bytes | None, limit: int) -> list[KeyState]:
        if after is None:
            rows = self._rows(_FIRST_OBJECTS, bucket_id, limit)
        else:
            rows = self._rows(_OBJECTS, bucket_id, after, limit)
        return [KeyState(bucket, key, unpack_object(bucket_id, key, blob, value), None) for key, blob, value in rows]

    def _tombstones_after(self, bucket: str, key: bytes | None, limit: int) -> list[KeyState]:
        # No key is empty, so behind (bucket, b"") is the bucket's first.
        rows = [schema.unpack_tombstone(*row) for row in self._rows(_TOMBSTONES, bucket.encode(), key or b"", limit)]
        return [KeyState(row.bucket, row.key, None, row) for row in rows]

    # ---- buckets ----

    def registers(self, name: str) -> RegistersRow | None:
        """Return the bucket's registers, whether it exists or not; None if there are none."""
        raw = name.encode()
        found = self._rows("SELECT gone_ms, value FROM bucket_registers WHERE name = ?", raw)
        return schema.unpack_registers(raw, *found[0]) if found else None

    def registers_after(self, name: str, limit: int) -> list[RegistersRow]:
        """Return the registers of at most `limit` buckets in order of name, from behind `name` ("" for the first)."""
        statement = "SELECT name, gone_ms, value FROM bucket_registers WHERE name > ? ORDER BY name LIMIT ?"
        return [schema.unpack_registers(*row) for row in self._rows(statement, name.encode(), limit)]

    # ---- blobs ----

    def local_blob(self, log_uuid: bytes, number: int) -> int | None:
        """Return this node's number of the blob that another log knows as `number`, or None."""
        found = self._rows("SELECT blob, value FROM peer_blobs WHERE log_uuid = ? AND number = ?", log_uuid, number)
        return schema.unpack_peer_blob(log_uuid, number, *found[0]).blob if found else None

    def highest_peer_blob(self, log_uuid: bytes) -> int:
        """Return the highest number of that log under which a blob is known here, 0 if there is none."""
        found = self._rows("SELECT number FROM peer_blobs WHERE log_uuid = ? ORDER BY number DESC LIMIT 1", log_uuid)
        return int(found[0][0]) if found else 0

    def peer_blobs_of(self, blob: int) -> list[PeerBlobRow]:
        """Return the numbers under which other logs know this node's blob."""
        statement = "SELECT log_uuid, number, blob, value FROM peer_blobs WHERE blob = ? ORDER BY log_uuid, number"
        return [schema.unpack_peer_blob(*row) for row in self._rows(statement, blob)]
