"""What the journal may be asked for replication's sake within a batch. Part of `requests.py`, whose conventions hold."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from fasterstore.errors import StoreError
from fasterstore.metadata import judge_peers, judge_replication
from fasterstore.metadata.entries import Entry
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.judge import Claim, ClaimGone, Identity
from fasterstore.model import PutIntent, Slice, UploadIntent
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval


class Outcomes(NamedTuple):
    """For each change, in order, "" if it was applied, else the name of the StoreError that refused it (Superseded: nothing to do)."""

    buckets: list[str]
    objects: list[str]
    removals: list[str]


class ReplicationRequests:
    """See the module. `record_all` folds entries, adds them to the batch and returns the last LSN, 0 if there was none."""

    def __init__(self, index: IndexWriter, who: Identity, record_all: Callable[[list[Entry]], int]) -> None:
        self._index = index
        self._who = who
        self._record_all = record_all

    def put(self, intent: PutIntent, claim: Claim, now_ms: int) -> list[Entry] | ClaimGone:
        """Judge a peer's object, or a part of one, whose bytes came along. Raises as judge_replica, judge_replica_part."""
        if intent.upload:
            return judge_peers.judge_replica_part(self._index, intent, claim, now_ms)
        return judge_replication.judge_replica(self._index, self._who, intent, claim, now_ms)

    def apply(
        self,
        origin_log: bytes,
        buckets: Sequence[ReceivedBucket],
        objects: Sequence[ReceivedObject],
        removals: Sequence[ReceivedRemoval],
        now_ms: int,
    ) -> Outcomes:
        """Judge and fold a peer's changes one by one, buckets first; one that is refused does not hold back the others."""
        index, who = self._index, self._who
        bucket = partial(judge_replication.judge_received_bucket, index, who, now_ms=now_ms)
        held = partial(judge_replication.judge_received_object, index, who, origin_log, now_ms=now_ms)
        removal = partial(judge_replication.judge_received_removal, index, who, now_ms=now_ms)
        return Outcomes(
            [self._one(bucket, change) for change in buckets],
            [self._one(held, change) for change in objects],
            [self._one(removal, change) for change in removals],
        )

    def _one(self, judge: Callable[[Any], list[Entry]], change: Any) -> str:
        try:
            entries = judge(change)
        except StoreError as error:
            return error.name
        self._record_all(entries)
        return ""

    def begin_upload(self, intent: UploadIntent, now_ms: int) -> int:
        """Judge and fold that a hidden upload begins; return its LSN, which is its number."""
        return self._record_all(judge_peers.judge_hidden_upload(self._index, self._who, intent, now_ms))

    def claim_part(self, intent: PutIntent, origin_log: bytes, slices: Sequence[Slice], now_ms: int) -> int:
        """Judge and fold a part of a hidden upload whose bytes are here; return its LSN. Raises as judge_claim_part."""
        return self._record_all(judge_peers.judge_claim_part(self._index, intent, origin_log, slices, now_ms))

    def adopt(self, intent: PutIntent, version: int, part_map: bytes, now_ms: int) -> int:
        """Judge and fold that a hidden upload becomes the object; return its LSN. Raises as judge_adopt."""
        return self._record_all(judge_replication.judge_adopt(self._index, self._who, intent, version, part_map, now_ms))

    def set_home(self, bucket: str, node_id: bytes, now_ms: int) -> int:
        """Judge and fold that a bucket's home moves; return its LSN, 0 if it is there already. Raises NoSuchBucket, ImpossibleChange."""
        return self._record_all(judge_peers.judge_set_home(self._index, self._who, bucket, node_id, now_ms))

    def set_peers(self, peers: Sequence[str], now_ms: int) -> int:
        """Fold who the node's peers are; return the LSN, 0 if the log says so already."""
        return self._record_all(judge_peers.judge_set_peers(self._index, peers, now_ms))

    def expire_tombstones(self, before_ms: int, now_ms: int) -> int:
        """Forget some tombstones that were noted by `before_ms`; return the LSN, 0 if there was none."""
        return self._record_all(judge_peers.judge_expire_tombstones(self._index, before_ms, now_ms))
