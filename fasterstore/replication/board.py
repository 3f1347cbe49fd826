"""What the replicator knows of its peers, for every process of the node to read: a page of shared memory, made before the fork.

One writer (the storage process), many readers, no lock: each peer's cell carries a count that is odd while it is being written.

| offset | type   | field                                                       |
|--------|--------|-------------------------------------------------------------|
| 0      | uint64 | writes begun and ended                                      |
| 8      | int64  | `PeerState`                                                 |
| 16     | int64  | acked_stamp                                                 |
| 24     | int64  | lag_entries                                                 |
| 32     | int64  | lag_bytes                                                   |
| 40     | int64  | behind_since_ms                                             |
| 48     | int64  | degraded: 1 while writes are answered without this peer     |
| 56     | 16     | node_id, zeros if it is not known                           |
"""

import mmap
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

_COUNT = struct.Struct("<Q")
_CELL = struct.Struct("<6q16s")
_CELL_BYTES = 128
_NO_ID = bytes(16)
assert _COUNT.size + _CELL.size <= _CELL_BYTES
_TRIES = 1000


class PeerState(IntEnum):
    """How it stands with a peer."""

    UNKNOWN = 0
    """Not asked yet since the start."""
    SHIPPING = 1
    """It answers; what it lacks is on its way."""
    RESYNCING = 2
    """It answers; it is being sent everything."""
    UNREACHABLE = 3
    """It does not answer; tried again and again."""
    REFUSING = 4
    """It answers and refuses: an operator has to look."""


class PeerCell(NamedTuple):
    """One peer. The peer has every change of this node's own with a stamp up to `acked_stamp` (0: not known to have any).

    `lag_entries` and `lag_bytes` of the log are not acknowledged by it. `behind_since_ms` is the Unix time since when there have been
    such, 0 if there are none: the lag in seconds is counted from it. `degraded`: writes do not wait for it although FS_REPLICATION_ACK=one.
    `node_id` is what it called itself last (16 bytes), b"" if it has not answered yet.
    """

    state: PeerState = PeerState.UNKNOWN
    acked_stamp: int = 0
    lag_entries: int = 0
    lag_bytes: int = 0
    behind_since_ms: int = 0
    degraded: bool = False
    node_id: bytes = b""

    def lag_secs(self, now_ms: int) -> float:
        """For how long the peer has lacked something."""
        return max(0, now_ms - self.behind_since_ms) / 1000 if self.behind_since_ms else 0.0


class ReplicationBoard:
    """`peers` are the entries of FS_REPLICATION_PEERS, whose order names the cells."""

    def __init__(self, peers: Sequence[str]) -> None:
        self.peers = tuple(peers)
        self._memory = mmap.mmap(-1, max(1, len(self.peers)) * _CELL_BYTES)

    def write(self, peer: str, cell: PeerCell) -> None:
        """For the one writer."""
        at = self.peers.index(peer) * _CELL_BYTES
        count = _COUNT.unpack_from(self._memory, at)[0] | 1
        _COUNT.pack_into(self._memory, at, count)
        _CELL.pack_into(self._memory, at + _COUNT.size, *map(int, cell[:-1]), cell.node_id)
        _COUNT.pack_into(self._memory, at, count + 1)

    def read(self, peer: str) -> PeerCell:
        """The peer's cell as it was at one moment."""
        at = self.peers.index(peer) * _CELL_BYTES
        for _ in range(_TRIES):
            before = _COUNT.unpack_from(self._memory, at)[0]
            state, acked_stamp, entries, size_bytes, since_ms, degraded, node_id = _CELL.unpack_from(self._memory, at + _COUNT.size)
            if before % 2 == 0 and _COUNT.unpack_from(self._memory, at)[0] == before:
                known = b"" if node_id == _NO_ID else node_id
                return PeerCell(PeerState(state), acked_stamp, entries, size_bytes, since_ms, bool(degraded), known)
        return PeerCell()  # the writer died half-way: nothing is known until it is back

    def cells(self) -> list[tuple[str, PeerCell]]:
        """Every peer's cell, in order."""
        return [(peer, self.read(peer)) for peer in self.peers]

    def acked_stamp(self) -> int:
        """Every peer has all of this node's own changes with stamps up to this one; 0 if one of them is not known to have any."""
        return min((self.read(peer).acked_stamp for peer in self.peers), default=0)
