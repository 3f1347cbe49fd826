"""Journal entries of replication: a peer's changes as they were joined here, and what the node knows of peers. Part of `entries.py`.

A peer's change keeps its stamp and origin and is logged under an LSN of this log, so that it goes on to other peers. What changed nothing
is not logged.
"""

from typing import NamedTuple

from fasterstore.metadata.blob_source import BlobSource
from fasterstore.model import BlobLocation, BlobNumber, ManifestNumber
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting


class ObjectReplicated(NamedTuple):
    """Logical up to `origin_manifest`, as in ObjectPut: a key is now as a peer has it.

    The annex: the blob or manifest that holds the bytes here; with `upload` that upload becomes the manifest, by `part_map`
    (`drops_parts`: it has parts that the map leaves out). `advances_clock`: the stamp was not too far ahead. `applied_ms` is when it came.
    """

    bucket: str
    key: bytes
    size_bytes: int
    etag: str
    modified_ms: int
    system: dict
    user: dict
    checksums: dict
    tags: dict
    acl: str
    stamp: int
    origin: bytes
    origin_log: bytes
    origin_blob: int
    origin_manifest: int
    blob: BlobNumber
    source: BlobSource
    blob_id: bytes
    location: BlobLocation | None
    manifest: ManifestNumber
    upload: ManifestNumber
    part_map: bytes
    drops_parts: bool
    advances_clock: bool
    applied_ms: int


class ObjectRemoved(NamedTuple):
    """Logical up to `origin`: a peer's tombstone; the key is gone, if it was there. The annex as in ObjectReplicated."""

    bucket: str
    key: bytes
    deleted_ms: int
    stamp: int
    origin: bytes
    advances_clock: bool
    applied_ms: int


class BucketJoined(NamedTuple):
    """Logical up to `registers`: the bucket's registers are now these. The annex: whether it exists here, then as in ObjectReplicated."""

    bucket: str
    registers: Registers
    exists: bool
    advances_clock: bool
    applied_ms: int


class BucketHomed(NamedTuple):
    """Logical: conditional writes of the bucket are judged at the node with that id from now on."""

    bucket: str
    node_id: bytes
    changed_ms: int
    stamp: int
    origin: bytes


class PeersChanged(NamedTuple):
    """Local: these are the node's peers now (their addresses); tombstones are kept while there are any."""

    peers: tuple[str, ...]
    changed_ms: int


class TombstonesExpired(NamedTuple):
    """Local: these (bucket, key) tombstones, and the registers of these deleted buckets, are forgotten.

    `horizon_ms` is when the last of them was noted: who has not heard of changes since then may have what was deleted here.
    """

    tombstones: tuple[tuple[str, bytes], ...]
    buckets: tuple[str, ...]
    horizon_ms: int
    expired_ms: int


class PeerBlobsLearned(NamedTuple):
    """Local: the bytes that the log `log_uuid` knows under the first number of each pair are here under the second."""

    log_uuid: bytes
    numbers: tuple[tuple[int, BlobNumber], ...]


ReplicationEntry = ObjectReplicated | ObjectRemoved | BucketJoined | BucketHomed | PeersChanged | TombstonesExpired | PeerBlobsLearned


def restore_replication(entry: ReplicationEntry) -> ReplicationEntry:
    """Return a decoded entry with the types that msgpack does not keep."""
    if isinstance(entry, ObjectReplicated):
        place = None if entry.location is None else BlobLocation(*entry.location)
        return entry._replace(source=BlobSource(entry.source), location=place)
    if isinstance(entry, BucketJoined):
        return entry._replace(registers=restore_registers(entry.registers))
    if isinstance(entry, PeersChanged):
        return entry._replace(peers=tuple(entry.peers))
    if isinstance(entry, TombstonesExpired):
        return entry._replace(tombstones=tuple([(bucket, key) for bucket, key in entry.tombstones]), buckets=tuple(entry.buckets))
    if isinstance(entry, PeerBlobsLearned):
        return entry._replace(numbers=tuple([(theirs, BlobNumber(ours)) for theirs, ours in entry.numbers]))
    return entry


def restore_registers(fields: tuple | list) -> Registers:
    """Return the registers that msgpack gave back as nested arrays."""
    creates, deleted, settings, home = fields
    return Registers(
        tuple([Create(*create) for create in creates]),
        Deletion(*deleted),
        tuple([Setting(*setting) for setting in settings]),
        None if home is None else Home(*home),
    )
