"""Messages by which a peer's changes reach the journal. Part of `messages.py`, whose conventions hold.

A receiver's flow for one object, as long as the index does not already beat it (then it needs no message):

    no bytes, or bytes known by their number in the sender's log   ApplyChanges; BytesMissing says that they are not known after all
    bytes that came along, at most 64 KiB                          PutObject with `PutIntent.replica`
    bytes that are pulled                                          ReserveExtent, FinishExtent with `PutIntent.replica`
    an object of parts                                             ApplyChanges; if BytesMissing: CreateUpload with a hidden token, then
                                                                   for each part ClaimPart or PutObject/FinishExtent with `upload`, `part`
                                                                   and `replica`; then AdoptUpload
"""

from typing import Any, NamedTuple

from fasterstore.model import PutIntent, Slice
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval

# ---- to metadata-journal -------------------------------------------------------------------------------------------------------


class ApplyChanges(NamedTuple):
    """Ask, web -> metadata-journal: join these states, buckets first. Reply: ChangesApplied, or Refused for all of them.

    `origin_log` (16 bytes) is the log whose numbers the objects' blobs and manifests are.
    """

    origin_log: bytes
    buckets: list[ReceivedBucket]
    objects: list[ReceivedObject]
    removals: list[ReceivedRemoval]


class ChangesApplied(NamedTuple):
    """Reply: for each change, in order, "" if it was applied, "Superseded", or the name of the StoreError that refused it.

    BytesMissing refuses an object whose bytes are not known here: pull them.
    """

    buckets: list[str]
    objects: list[str]
    removals: list[str]


class ClaimPart(NamedTuple):
    """Ask, web -> metadata-journal: pieces of blobs that are known here become a part of a hidden upload. Reply: Stored or Refused.

    `slices` have the numbers of the log `origin_log`. Refused with BytesMissing if one of them is not known here, or is damaged.
    """

    intent: PutIntent
    origin_log: bytes
    slices: list[Slice]


class AdoptUpload(NamedTuple):
    """Ask, web -> metadata-journal: a hidden upload becomes the object. Reply: Stored or Refused (Superseded, UploadChanged, ...).

    `intent` is the object with `replica` and `upload`; `version` is the upload's as looked at, `part_map` the manifest's map.
    """

    intent: PutIntent
    version: int
    part_map: bytes


class SetHome(NamedTuple):
    """Ask, web -> metadata-journal: move a bucket's home to the node with that id (16 bytes). Reply: Done or Refused."""

    bucket: str
    node_id: bytes


class SetPeers(NamedTuple):
    """Ask, node -> metadata-journal at the start: these are the peers' addresses, perhaps none. Reply: Done."""

    peers: list[str]


JOURNAL_REPLICATION_WIRE_TYPES: tuple[type[Any], ...] = (ApplyChanges, ChangesApplied, ClaimPart, AdoptUpload, SetHome, SetPeers)
