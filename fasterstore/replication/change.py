"""What one node tells another: the state of keys and buckets, in batches. Format version 1, msgpack.

A batch is the array

| field     | type | meaning                                                                                                |
|-----------|------|--------------------------------------------------------------------------------------------------------|
| version   | int  | 1; another is refused by name                                                                          |
| node_id   | bin  | 16 bytes: the sender                                                                                   |
| log_uuid  | bin  | 16 bytes: the sender's log; blob and manifest numbers below count there                                |
| first_lsn | int  | the entries first_lsn .. upto_lsn of that log are what this batch tells of; both 0 if it tells of none |
| upto_lsn  | int  |                                                                                                        |
| changes   | list | at most 256, in any order: each is a state, not a step, and joins with whatever the receiver has       |

A change is one of three arrays; `bucket` is a name (str), `key` bin, `stamp` int, `origin` bin (16 bytes), sizes bytes, times Unix ms:

| kind | fields behind it                                                                                              | is              |
|------|---------------------------------------------------------------------------------------------------------------|-----------------|
| 1    | bucket, key, stamp, origin, size_bytes, etag, modified_ms, system, user, checksums, tags, acl, content        | `ObjectState`   |
| 2    | bucket, key, stamp, origin, deleted_ms                                                                        | `Tombstone`     |
| 3    | name, registers                                                                                               | `BucketState`   |

`registers` is [creates, deleted, settings, home] as in `merge.Registers`: creates each [stamp, origin, created_ms]; deleted [stamp,
origin], [0, b""] for never; settings each [name, document bin or nil, stamp, origin]; home [stamp, origin, node_id] or nil.

`content` says where the bytes are:

| content                                                                            | is                                               |
|------------------------------------------------------------------------------------|--------------------------------------------------|
| nil                                                                                | `Empty`: there are none                          |
| [1, piece, inline bin or nil]                                                      | `BlobContent`: one record, maybe with its bytes |
| [2, number, etag, [[part number, size_bytes, etag, checksums, [piece, ...]], ...]] | `ManifestContent`: parts in order                |
| piece: [blob_id bin (32 bytes), number, first, length, record_bytes]               | `Piece`                                          |

The answer to a batch is [version, node_id, log_uuid, outcomes]: the receiver's ids, and for each change, in order, 0 (applied), 1 (it
knows the same or something later) or the name (str) under which it was refused. It is sent when all that is applied is on stable storage.

Read back by `change_reading.py`, which believes nothing.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from fasterstore.model import SMALL_BODY_MAX_BYTES
from fasterstore.replication.merge import Registers

BATCH_VERSION = 1
BATCH_MAX_CHANGES = 256
BATCH_MAX_BYTES = 1 << 20
"""What a sender puts into one batch; a change that is larger goes alone."""
BATCH_HARD_MAX_BYTES = 64 << 20
"""No batch is longer: an object of 10,000 parts of 64 pieces each is not."""
INLINE_MAX_BYTES = SMALL_BODY_MAX_BYTES
"""Records up to this ride inside a batch."""


class Piece(NamedTuple):
    """Some bytes of a blob of the sender: `length` from `first`, counted as clients see them (`model.Slice`).

    `blob_id` is the sender's (keyed there, so it means nothing elsewhere) and `number` its number in the sender's log; `record_bytes` is
    the whole record's plaintext, which for a blob sealed under a customer's key is the sealed body, and longer than what is inside.
    """

    blob_id: bytes
    number: int
    first: int
    length: int
    record_bytes: int


class BlobContent(NamedTuple):
    """The object's bytes are one record; `inline` is the record's whole plaintext, verified by the sender, if it is short."""

    piece: Piece
    inline: bytes | None


class PartContent(NamedTuple):
    """One part: its bytes are those of its pieces in order."""

    number: int
    size_bytes: int
    etag: str
    checksums: dict
    pieces: tuple[Piece, ...]


class ManifestContent(NamedTuple):
    """The object's bytes are those of its parts; `number` is the manifest's in the sender's log, `etag` that of the upload, or ""."""

    number: int
    etag: str
    parts: tuple[PartContent, ...]


class Empty(NamedTuple):
    """The object has no bytes."""


EMPTY = Empty()

Content = Empty | BlobContent | ManifestContent


class ObjectState(NamedTuple):
    """The key has this object now. Fields as in `model.ObjectRow`."""

    bucket: str
    key: bytes
    stamp: int
    origin: bytes
    size_bytes: int
    etag: str
    modified_ms: int
    system: dict
    user: dict
    checksums: dict
    tags: dict
    acl: str
    content: Content


class Tombstone(NamedTuple):
    """The key's object is gone since."""

    bucket: str
    key: bytes
    stamp: int
    origin: bytes
    deleted_ms: int


class BucketState(NamedTuple):
    """All that is known of a bucket name."""

    name: str
    registers: Registers


Change = ObjectState | Tombstone | BucketState


class Batch(NamedTuple):
    """One message to a peer."""

    version: int
    node_id: bytes
    log_uuid: bytes
    first_lsn: int
    upto_lsn: int
    changes: tuple[Change, ...]


class OutcomeKind(IntEnum):
    """What became of one change at the receiver."""

    APPLIED = 0
    """It is on stable storage there."""
    SUPERSEDED = 1
    """The receiver has the same, or something later, on stable storage."""
    REFUSED = 2
    """Nothing was changed; it is to be sent again, as it is then."""


class Outcome(NamedTuple):
    """What became of one change; `name` says why it was refused."""

    kind: OutcomeKind
    name: str = ""


APPLIED = Outcome(OutcomeKind.APPLIED)
SUPERSEDED = Outcome(OutcomeKind.SUPERSEDED)


def refused(name: str) -> Outcome:
    """The outcome of a change that was refused under that StoreError name."""
    return Outcome(OutcomeKind.REFUSED, name)


class BatchAnswer(NamedTuple):
    """The answer to a batch: who answers, and an outcome for each change."""

    node_id: bytes
    log_uuid: bytes
    outcomes: tuple[Outcome, ...]


# ---- bytes ---------------------------------------------------------------------------------------------------------------------

OBJECT_KIND, TOMBSTONE_KIND, BUCKET_KIND = 1, 2, 3
BLOB_CONTENT, MANIFEST_CONTENT = 1, 2
_pack = msgpack.Packer(use_bin_type=True).pack


def encode_change(change: Change) -> bytes:
    """The change's bytes as they stand in a batch."""
    if type(change) is ObjectState:
        return _pack((OBJECT_KIND, *change[:-1], _content_fields(change.content)))
    if type(change) is Tombstone:
        return _pack((TOMBSTONE_KIND, *change))
    return _pack((BUCKET_KIND, *change))


def encode_batch(batch: Batch) -> bytes:
    """The batch's bytes. Deterministic: equal batches give equal bytes."""
    return join_batch(batch, [encode_change(change) for change in batch.changes])


def join_batch(head: Batch, changes: Sequence[bytes]) -> bytes:
    """The bytes of the batch with the fields of `head`, but with these encoded changes in place of its own."""
    return b"".join((b"\x96", *map(_pack, head[:-1]), msgpack.Packer().pack_array_header(len(changes)), *changes))


def encode_answer(answer: BatchAnswer) -> bytes:
    """The answer's bytes."""
    outcomes = [name if kind is OutcomeKind.REFUSED else int(kind) for kind, name in answer.outcomes]
    return _pack((BATCH_VERSION, answer.node_id, answer.log_uuid, outcomes))


def _content_fields(content: Content) -> Any:
    if type(content) is BlobContent:
        return (BLOB_CONTENT, *content)
    if type(content) is ManifestContent:
        return (MANIFEST_CONTENT, *content)
    return None
