"""How it stands with a node's peers, as metrics: read from the board when asked for. Peers are named by their entry of the settings."""

from collections.abc import Callable
from typing import Any

from actors.samples import MetricSamples, metric
from fasterstore.replication.board import PeerCell, PeerState, ReplicationBoard


def replication_samples(board: ReplicationBoard | None, now_ms: Callable[[], int]) -> list[MetricSamples]:
    """State, lag in entries, bytes and seconds, and whether writes wait, for each peer; nothing without peers."""
    if board is None:
        return []
    cells, now = board.cells(), now_ms()

    def gauge(name: str, text: str, value: Callable[[PeerCell], float]) -> MetricSamples:
        return metric(f"fasterstore_replication_{name}", "gauge", text, [["", {"peer": peer}, value(cell)] for peer, cell in cells])

    states: list[list[Any]] = [
        ["", {"peer": peer, "state": state.name.lower()}, float(cell.state is state)] for peer, cell in cells for state in PeerState
    ]
    return [
        metric("fasterstore_replication_peer_state", "gauge", "1 for the state that a peer is in.", states),
        gauge("lag_entries", "Journal entries that a peer has not confirmed.", lambda cell: cell.lag_entries),
        gauge("lag_bytes", "Bytes of journal that a peer has not confirmed.", lambda cell: cell.lag_bytes),
        gauge("lag_seconds", "For how long a peer has lacked something.", lambda cell: cell.lag_secs(now)),
        gauge("degraded", "1 while FS_REPLICATION_ACK=one does not wait for a peer.", lambda cell: float(cell.degraded)),
    ]
