"""What metadata-journal answers to a peer's changes: message in, reply out, judged and folded in the running batch.

Part of `metadata_journal.py`, which owns batch and order.
"""

from collections.abc import Callable
from typing import Any

from actors import replication_messages as m
from actors.messages import Done, Stored
from fasterstore.metadata.replication_requests import ReplicationRequests


class ReplicationJudges:
    """One method a message; `by_message` is for the journal's table of judges."""

    def __init__(self, requests: ReplicationRequests) -> None:
        self._requests = requests
        self.by_message: dict[type, Callable[[Any, int], Any]] = {
            m.ApplyChanges: self._apply,
            m.ClaimPart: self._claim_part,
            m.AdoptUpload: self._adopt,
            m.SetHome: self._set_home,
            m.SetPeers: self._set_peers,
        }

    def _apply(self, message: m.ApplyChanges, now_ms: int) -> m.ChangesApplied:
        return m.ChangesApplied(*self._requests.apply(message.origin_log, message.buckets, message.objects, message.removals, now_ms))

    def _claim_part(self, message: m.ClaimPart, now_ms: int) -> Stored:
        lsn = self._requests.claim_part(message.intent, message.origin_log, message.slices, now_ms)
        return Stored(message.intent.etag, now_ms, lsn, True)

    def _adopt(self, message: m.AdoptUpload, now_ms: int) -> Stored:
        return Stored(message.intent.etag, now_ms, self._requests.adopt(message.intent, message.version, message.part_map, now_ms))

    def _set_home(self, message: m.SetHome, now_ms: int) -> Done:
        self._requests.set_home(message.bucket, message.node_id, now_ms)
        return Done()

    def _set_peers(self, message: m.SetPeers, now_ms: int) -> Done:
        self._requests.set_peers(message.peers, now_ms)
        return Done()
