"""The rows of replication and their bytes. Version 1; sealed as all rows are (`schema.py`). Index schema 3 brought them.

| table            | key              | plain columns | value                                                                        |
|------------------|------------------|---------------|------------------------------------------------------------------------------|
| tombstones       | bucket name, key | noted_ms      | msgpack [stamp, origin, deleted_ms, noted_ms]                                |
| bucket_registers | name             | gone_ms       | msgpack [the fields of `merge.Registers`, gone_ms]                            |
| peer_blobs       | log_uuid, number | blob          | int64: this node's blob number                                               |
| meta             | "replication"    |               | msgpack: the fields of ReplicationState; no row while it has its first value |

A tombstone says that a key is gone since a stamp; a key has an object or a tombstone, never both. It goes by the bucket's name, because
it outlives the bucket. `noted_ms` is when this node wrote it, from where its time to live counts: another node's clock may be wrong.
`gone_ms` is when the bucket ceased to exist here, NULL (0 in the value) while it exists. A row of `peer_blobs` says that the bytes which
another node's log knows under `number` are here blob `blob`.
"""

import struct
from typing import NamedTuple

import msgpack

from fasterstore.errors import DamagedRow
from fasterstore.metadata.replication_entries import restore_registers
from fasterstore.metadata.schema import of_columns, seal, unseal
from fasterstore.replication.merge import Registers

REPLICATION_TABLES = """
CREATE TABLE tombstones(bucket BLOB NOT NULL, key BLOB NOT NULL, noted_ms INTEGER NOT NULL, value BLOB NOT NULL,
                        PRIMARY KEY(bucket, key)) WITHOUT ROWID;
CREATE INDEX tombstones_by_time ON tombstones(noted_ms);
CREATE TABLE bucket_registers(name BLOB PRIMARY KEY, gone_ms INTEGER, value BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX registers_gone ON bucket_registers(gone_ms) WHERE gone_ms IS NOT NULL;
CREATE TABLE peer_blobs(log_uuid BLOB NOT NULL, number INTEGER NOT NULL, blob INTEGER NOT NULL, value BLOB NOT NULL,
                        PRIMARY KEY(log_uuid, number)) WITHOUT ROWID;
CREATE INDEX peer_blobs_by_blob ON peer_blobs(blob);
"""


class ReplicationState(NamedTuple):
    """What the log says of replication as a whole.

    `peers` are their addresses: tombstones are written while there are any. `ahead_stamp` is the highest stamp in any row that did not
    advance the clock; `horizon_ms` is the time up to which a delete may have left no tombstone. `tombstones` counts them; `has_peer_blobs`
    is true once there was a row in `peer_blobs`.
    """

    peers: tuple[str, ...] = ()
    ahead_stamp: int = 0
    horizon_ms: int = 0
    tombstones: int = 0
    has_peer_blobs: bool = False


class TombstoneRow(NamedTuple):
    """A key that is gone since `stamp`; `deleted_ms` by the clock of `origin`, `noted_ms` by this node's."""

    bucket: str
    key: bytes
    stamp: int
    origin: bytes
    deleted_ms: int
    noted_ms: int


class RegistersRow(NamedTuple):
    """A bucket's registers; `gone_ms` is 0 while it exists here."""

    name: str
    registers: Registers
    gone_ms: int = 0


class PeerBlobRow(NamedTuple):
    """The blob that another log (16 bytes) knows as `number` is here `blob`."""

    log_uuid: bytes
    number: int
    blob: int


_NUMBER = struct.Struct("<q")
_LENGTH = struct.Struct("<I")
_pack = msgpack.Packer(use_bin_type=True).pack
_unpack = msgpack.unpackb


def pack_replication_state(state: ReplicationState) -> bytes:
    """Return the row value of meta "replication"."""
    return seal(b"meta", b"replication", _pack(state))


def unpack_replication_state(sealed: bytes) -> ReplicationState:
    """Return the state. Raises DamagedRow."""
    peers, *rest = _unpack(unseal(b"meta", b"replication", sealed))
    return ReplicationState(tuple(peers), *rest)


def _tombstone_key(bucket: bytes, key: bytes) -> bytes:
    return _LENGTH.pack(len(bucket)) + bucket + key


def pack_tombstone(row: TombstoneRow) -> bytes:
    """Return the row value of a tombstone."""
    return seal(b"tombstones", _tombstone_key(row.bucket.encode(), row.key), _pack(row[2:]))


@of_columns
def unpack_tombstone(bucket: bytes, key: bytes, noted_ms: int, sealed: bytes) -> TombstoneRow:
    """Return the tombstone. Raises DamagedRow."""
    fields = _unpack(unseal(b"tombstones", _tombstone_key(bucket, key), sealed))
    row = TombstoneRow(bucket.decode(), key, *fields)
    if row.noted_ms != noted_ms:
        raise DamagedRow(f"index table tombstones: the time of {key!r} differs from its value")
    return row


def pack_registers(row: RegistersRow) -> bytes:
    """Return the row value of a bucket's registers."""
    return seal(b"bucket_registers", row.name.encode(), _pack((row.registers, row.gone_ms)))


@of_columns
def unpack_registers(name: bytes, gone_ms: int | None, sealed: bytes) -> RegistersRow:
    """Return the registers. Raises DamagedRow."""
    registers, stored_ms = _unpack(unseal(b"bucket_registers", name, sealed))
    if stored_ms != (gone_ms or 0):
        raise DamagedRow(f"index table bucket_registers: the time of {name!r} differs from its value")
    return RegistersRow(name.decode(), restore_registers(registers), stored_ms)


def pack_peer_blob(row: PeerBlobRow) -> bytes:
    """Return the row value of a peer's blob number."""
    return seal(b"peer_blobs", _NUMBER.pack(row.number) + row.log_uuid, _NUMBER.pack(row.blob))


@of_columns
def unpack_peer_blob(log_uuid: bytes, number: int, blob: int, sealed: bytes) -> PeerBlobRow:
    """Return the row. Raises DamagedRow."""
    (stored,) = _NUMBER.unpack(unseal(b"peer_blobs", _NUMBER.pack(number) + log_uuid, sealed))
    if stored != blob:
        raise DamagedRow(f"index table peer_blobs: {number} has column blob {blob}, value blob {stored}")
    return PeerBlobRow(log_uuid, number, stored)
