"""Peers in /metrics: one line for each peer and gauge, and none on a node that has no peers."""

from actors.replication_samples import replication_samples
from fasterstore.replication.board import PeerCell, PeerState, ReplicationBoard

A, B = "http://10.0.0.1:9000", "http://10.0.0.2:9000"


def values(samples, name):
    found = next(sample for sample in samples if sample["name"] == f"fasterstore_replication_{name}")
    assert found["kind"] == "gauge"
    return {tuple(labels.values()): value for _, labels, value in found["samples"]}


def test_lag_is_told_in_entries_bytes_and_seconds_for_each_peer():
    board = ReplicationBoard((A, B))
    board.write(B, PeerCell(PeerState.UNREACHABLE, 5, 12, 3400, 1_000_000, True))
    samples = replication_samples(board, lambda: 1_007_500)
    assert values(samples, "lag_entries") == {(A,): 0, (B,): 12}
    assert values(samples, "lag_bytes") == {(A,): 0, (B,): 3400}
    assert values(samples, "lag_seconds") == {(A,): 0.0, (B,): 7.5}
    assert values(samples, "degraded") == {(A,): 0.0, (B,): 1.0}


def test_a_peer_is_in_exactly_one_state():
    board = ReplicationBoard((A, B))
    board.write(B, PeerCell(PeerState.RESYNCING))
    states = values(replication_samples(board, lambda: 0), "peer_state")
    assert {place for place, value in states.items() if value} == {(A, "unknown"), (B, "resyncing")}
    assert len(states) == 2 * len(PeerState)


def test_without_peers_there_is_nothing():
    assert replication_samples(None, lambda: 0) == []
