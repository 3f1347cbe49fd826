"""How it stands with this node's peers, as answers tell it: the status of one object, and lines for `/readyz`. Nothing on a node without.

Reads the board that the replicator writes; asks nobody, so it costs no message. Names no peer: /readyz is open to everybody.
Source of the header: S3 API page HeadObject, x-amz-replication-status.
"""

from typing import Any

from fasterstore.model import ObjectRow
from fasterstore.replication.board import PeerCell, PeerState, ReplicationBoard
from fasterstore.s3.errors import from_store
from web.fetch_through import CATCHING_UP_MS
from web.reply import Headers
from web.worker import Worker

STATUS_HEADER = "x-amz-replication-status"
REPLICA, COMPLETED, PENDING = "REPLICA", "COMPLETED", "PENDING"
LATE_SECS = 5.0
"""A peer that has lacked something for so long is behind; less is the way that each change takes."""


def replication_headers(worker: Worker, row: ObjectRow) -> Headers:
    """Whether every peer has that version of an object (COMPLETED or PENDING), or it came from one (REPLICA)."""
    board = worker.replication
    if board is None:
        return []
    if row.origin != worker.node_id:
        return [(STATUS_HEADER, REPLICA)]
    return [(STATUS_HEADER, COMPLETED if row.stamp <= board.acked_stamp() else PENDING)]


def require_peer(worker: Worker, row: ObjectRow) -> None:
    """For an answer that no actor gives: with FS_REPLICATION_ACK=one a peer must have that version of the object by now.

    Unless writes do not wait for any peer at present, or it came from one. Raises: S3Error ServiceUnavailable (ReplicationTimeout).
    """
    board = worker.replication
    if board is None or worker.settings.replication_ack != "one" or row.origin != worker.node_id:
        return
    cells = [cell for _peer, cell in board.cells()]
    if not (any(row.stamp <= cell.acked_stamp for cell in cells) or all(cell.degraded for cell in cells)):
        raise from_store("ReplicationTimeout")


def peer_lines(worker: Worker) -> list[str]:
    """One line for each peer that is not as it should be, numbered as in FS_REPLICATION_PEERS; none if all are, or there are none.

    One more while a peer sends this node all it has.
    """
    board = worker.replication
    if board is None:
        return []
    now_ms = worker.now_ms()
    told = ((number, _trouble(cell, now_ms)) for number, (_peer, cell) in enumerate(board.cells(), 1))
    lines = [f"replication: peer {number} of {len(board.peers)} {trouble}" for number, trouble in told if trouble]
    heard_ms = worker.scan_heard_ms[0]
    if heard_ms > worker.started_ms and now_ms - heard_ms < CATCHING_UP_MS:
        lines.append("replication: this node is being sent everything; what is not here yet is read from the peer")
    return lines


def peer_rows(board: ReplicationBoard, now_ms: int) -> list[dict[str, Any]]:
    """Every peer as the inspector shows it."""
    return [
        {
            "peer": peer,
            "state": cell.state.name.lower(),
            "lag_entries": cell.lag_entries,
            "lag_bytes": cell.lag_bytes,
            "lag_secs": cell.lag_secs(now_ms),
            "degraded": cell.degraded,
        }
        for peer, cell in board.cells()
    ]


def _trouble(cell: PeerCell, now_ms: int) -> str:
    parts = []
    if cell.state is PeerState.UNREACHABLE:
        parts.append("does not answer")
    elif cell.state is PeerState.REFUSING:
        parts.append("refuses: see the log")
    elif cell.state is PeerState.RESYNCING:
        parts.append("is being sent everything")
    late_secs = cell.lag_secs(now_ms)
    if late_secs >= LATE_SECS:
        parts.append(f"is behind by {cell.lag_entries} entries and {late_secs:.0f} s")
    if cell.degraded:
        parts.append("is not waited for, although FS_REPLICATION_ACK=one: what is written now is on this node only")
    return ", ".join(parts)
