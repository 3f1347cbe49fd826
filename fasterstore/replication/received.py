"""A peer's changes as the journal is asked to join them: values without their bytes. Cross process borders as plain msgpack arrays.

`stamp` and `origin` are the pair by which the change is compared (`merge.py`). Numbers of blobs and manifests are those of the log that
the changes came with, and mean nothing here until they are looked up in `peer_blobs`.
"""

from typing import NamedTuple

from fasterstore.replication.merge import Registers


class ReceivedObject(NamedTuple):
    """A key is now so. Fields as in ObjectRow.

    Its bytes are those of the sender's whole blob `blob`, whose record holds `record_bytes` of plaintext, or of its manifest, or none.
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
    blob: int
    record_bytes: int
    manifest: int


class ReceivedRemoval(NamedTuple):
    """A key is gone since; `deleted_ms` is Unix milliseconds by the origin's clock."""

    bucket: str
    key: bytes
    stamp: int
    origin: bytes
    deleted_ms: int


class ReceivedBucket(NamedTuple):
    """What the sender knows of a bucket."""

    name: str
    registers: Registers
