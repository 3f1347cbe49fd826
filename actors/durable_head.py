"""What metadata-journal hands on to the replicator: how far the log is durable, and the answers that wait for a peer's ack.

Both actors are in one process. The journal sets the values after each batch and tells once; however many batches follow before the
replicator gets its turn, one message is in its mailbox.
"""

from collections.abc import Sequence
from typing import Any

from actors import messages as m
from actors.directory import Directory
from actors.replication_messages import SetHome
from actors.replicator_messages import DurableMoved, HoldForAck
from actors.runtime import Envelope, tell

REPLICATOR = "replicator"


class DurableHead:
    """The log up to `lsn` is durable; `log_bytes` of entries were logged since the start.

    Every change that this node made itself and logged up to `lsn` has a stamp up to `stamp`, every later one a higher one.
    """

    def __init__(self, directory: Directory, peers: Sequence[str], *, waits_for_ack: bool) -> None:
        """`peers` are their URLs; `waits_for_ack`: FS_REPLICATION_ACK is "one"."""
        self.acked_lsns = dict.fromkeys(peers, 0)
        """By peer: it has what the entries up to here told of; kept by the replicator, 0 until it knows."""
        self.lsn = 0
        self.stamp = 0
        self.log_bytes = 0
        self._directory = directory
        self._waits_for_ack = waits_for_ack
        self._told = False

    def begin(self, lsn: int, stamp: int) -> None:
        """The log as it was found at the start."""
        self.lsn, self.stamp = lsn, stamp

    def moved(self, lsn: int, stamp: int, entry_bytes: int) -> None:
        """For the journal, after a batch of so many bytes of entries."""
        self.lsn, self.stamp = lsn, stamp
        self.log_bytes += entry_bytes
        if not self._told:
            replicator = self._directory.find(REPLICATOR)
            self._told = replicator is not None and tell(replicator, DurableMoved())

    def wanted_after(self) -> list[int]:
        """For whoever shortens the log: the entries above each of these are wanted."""
        return list(self.acked_lsns.values())

    def seen(self) -> None:
        """For the replicator, before it reads the values."""
        self._told = False

    def hold(self, envelope: Envelope, answer: Any) -> bool:
        """For the journal: hand the asker on to the replicator, which gives the answer when a peer has the change; False if it need not."""
        if not self._waits_for_ack or type(answer) is m.Refused or not _is_for_peers(envelope.message):
            return False
        replicator = self._directory.find(REPLICATOR)
        if replicator is None:
            return False
        envelope.forward(replicator, HoldForAck(self.lsn, answer))
        return True


_FOR_PEERS = frozenset({
    m.DeleteObject, m.DeleteObjects, m.CopyObject, m.RenameObject, m.AmendObject, m.ConfigureBucket, m.CompleteUpload, m.CreateBucket,
    m.DeleteBucket, SetHome,
})  # fmt: skip
"""Requests whose changes peers are told of, also where nothing was left to change: a DELETE that is sent again after a 503 says that
the key is gone, and the peer may have it yet. Not what came from a peer: two nodes that wait for each other would wait for ever."""


def _is_for_peers(message: Any) -> bool:
    if type(message) is m.CommitPut:
        return message.intent.replica is None and not (message.intent.upload or message.intent.repairs)
    return type(message) in _FOR_PEERS
