"""What the replicator tells operators: a plain dict, the same in `/_admin/replication` and for `fasterstore replication status --json`.

    node_id, log_uuid   this node's, in hex
    ack                 "async" or "one"
    waiting, timeouts   answers that wait for a peer now; answers that were not confirmed in time since the start
    peers               for each entry of FS_REPLICATION_PEERS, in order:
      peer, node_id     its URL; its id in hex, "" while it has not answered yet
      state, reason     "unknown", "shipping", "resyncing", "unreachable" or "refusing"; why, "" if all is well
      last_error        the last trouble with it, also if it is over
      head_lsn          the log's end
      acked_lsn         it has what the entries up to here told of
      acked_stamp       it has every change of this node's own up to this stamp; 0 while it is being sent everything
      lag_entries, lag_bytes, lag_secs    what of the log it lacks, and since when it lacks anything
      degraded          writes do not wait for it although FS_REPLICATION_ACK=one
      in_flight, in_flight_bytes          batches on their way
      owed              changes that it refused, or that were found to differ: sent again until it has them
      shipped_changes, shipped_bytes, failures    since the start
      resync            null, or {reason, done, total, bucket, key}: how much it was sent of all there is, and up to where
      diff              null, or the last comparison: {number, running, items, total, counts by kind, differences (each kind, bucket, key,
                        stamp_here, stamp_there; the first 1,000), healed, sent, refused, error, ended_ms}
"""

from typing import Any

from actors.comparing import Comparing
from actors.peer_shipping import PeerShipping


def peer_status(peer: PeerShipping, comparing: Comparing, head_lsn: int, now: float) -> dict[str, Any]:
    """One row of `peers`; `now` by the monotonic clock."""
    machine = peer.machine
    lag = machine.lag(now)
    return {
        "peer": peer.client.address,
        "node_id": machine.peer_node.hex(),
        "state": machine.state.name.lower(),
        "reason": machine.reason,
        "last_error": peer.last_error,
        "head_lsn": head_lsn,
        "acked_lsn": machine.acked_lsn,
        "acked_stamp": machine.acked_stamp,
        "lag_entries": lag.entries,
        "lag_bytes": lag.bytes,
        "lag_secs": lag.secs if lag.entries or machine.scan_reason else 0.0,
        "degraded": peer.degraded,
        "in_flight": len(machine.flights),
        "in_flight_bytes": sum(flight.size_bytes for flight in machine.flights),
        "owed": len(machine.owed),
        "shipped_changes": machine.shipped_changes,
        "shipped_bytes": machine.shipped_bytes,
        "failures": machine.failures,
        "resync": _resync(peer),
        "diff": comparing.status(),
    }


def _resync(peer: PeerShipping) -> dict[str, Any] | None:
    machine = peer.machine
    if not machine.scan_reason:
        return None
    place = machine.scan_after
    return {
        "reason": machine.scan_reason,
        "done": min(machine.scanned_changes, peer.scan_total),
        "total": peer.scan_total,
        "bucket": place.bucket,
        "key": place.key.decode("utf-8", "backslashreplace"),
    }
