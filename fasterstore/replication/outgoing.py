"""Reading what a piece of work holds for a peer: from the log which keys have changed, from the index how they are now.

One read transaction for each piece of work, in one native thread. Only entries that are durable are read, and an index row is committed
after its entry is durable, so nothing is shipped that a power cut could take back.
"""

from collections.abc import Iterator

from fasterstore.metadata.entries import decode
from fasterstore.metadata.index import IndexView
from fasterstore.replication.change import BucketState, Change
from fasterstore.replication.cursor import Address, Position
from fasterstore.replication.shipment import Shipment, ShipmentBuilder
from fasterstore.replication.state_reading import StateReader
from fasterstore.replication.touched import TouchedBucket, touched
from fasterstore.replication.work import LogRange, OwedKeys, ScanPage, Work
from fasterstore.storage.wal_tail import WalTail

LOOK = 256
"""Rows asked of the index at once."""


class Outgoing:
    """See the module. `node_id` and `log_uuid` are this node's."""

    def __init__(self, node_id: bytes, log_uuid: bytes, view: IndexView, states: StateReader, tail: WalTail) -> None:
        self._node_id = node_id
        self._log_uuid = log_uuid
        self._view = view
        self._states = states
        self._tail = tail

    def read(self, work: Work, peer_node: bytes) -> Shipment:
        """What the work holds, as much of it as fits. Blocking. `peer_node` is the peer's id: its own changes are not sent back to it.

        Raises LogGone, DamagedLog, DamagedRow, VolumeSuspect, UnsupportedFormat, OSError.
        """
        self._view.begin()
        try:
            if isinstance(work, LogRange):
                return self._log(work, peer_node)
            if isinstance(work, ScanPage):
                return self._page(work)
            return self._owed(work)
        finally:
            self._view.end()

    def _log(self, work: LogRange, peer_node: bytes) -> Shipment:
        builder = ShipmentBuilder()
        reached = work.first_lsn - 1
        for lsn, data in self._tail.entries(work.first_lsn, work.last_lsn):
            if not builder.add(self._told_by(data, peer_node, builder)):
                break
            reached = lsn
        return builder.finish(self._node_id, self._log_uuid, work.first_lsn, reached, reached)

    def _told_by(self, data: bytes, peer_node: bytes, builder: ShipmentBuilder) -> list[Change]:
        entry = decode(data)
        if getattr(entry, "origin", None) == peer_node:
            return []
        changes = []
        for what in touched(entry):
            address = Address(what.name, None) if isinstance(what, TouchedBucket) else Address(what.bucket, what.key)
            change = None if builder.has(address) else self._states.change_at(address)
            # Not what the peer made itself: that an older entry is not its own does not matter, it has what came after.
            if change is not None and (isinstance(change, BucketState) or change.origin != peer_node):
                changes.append(change)
        return changes

    def _owed(self, work: OwedKeys) -> Shipment:
        builder = ShipmentBuilder()
        reached = 0
        for address in work.addresses:
            change = self._states.change_at(address)
            if change is not None and not builder.add([change]):
                break
            reached += 1
        return builder.finish(self._node_id, self._log_uuid, 0, 0, reached)

    def _page(self, work: ScanPage) -> Shipment:
        """Everything, also what the peer made itself: it may have lost it."""
        builder = ShipmentBuilder()
        reached: Position | None = work.after
        for place, change in self._in_order(work.after):
            if work.upto is not None and place > work.upto:
                reached = None
                break
            if change is not None and not builder.add([change]):
                break
            reached = place
        else:
            reached = None
        return builder.finish(self._node_id, self._log_uuid, 0, 0, None if reached == work.upto else reached)

    def _in_order(self, after: Position) -> Iterator[tuple[Position, Change | None]]:
        """Everything behind that place: each bucket's registers, then its objects and tombstones by key."""
        buckets = self._buckets(after.bucket)
        bucket = next(buckets, None)
        for place, change in self._keys(after):
            while bucket is not None and Position(bucket.name, b"") <= place:
                yield Position(bucket.name, b""), bucket
                bucket = next(buckets, None)
            yield place, change
        while bucket is not None:
            yield Position(bucket.name, b""), bucket
            bucket = next(buckets, None)

    def _buckets(self, after: str) -> Iterator[BucketState]:
        while rows := self._view.replication.registers_after(after, LOOK):
            for row in rows:
                yield BucketState(row.name, row.registers)
            after = rows[-1].name

    def _keys(self, after: Position) -> Iterator[tuple[Position, Change | None]]:
        bucket, key = after.bucket, after.key or None
        while states := self._view.replication.states_after(bucket, key, LOOK):
            for state in states:
                yield Position(state.bucket, state.key), self._states.change_of(state)
            bucket, key = states[-1].bucket, states[-1].key

    def horizon_ms(self) -> int:
        """What was deleted here by that time may have left no tombstone. Also lets go of segment files that have no name any more."""
        self._states.forget_unlinked()
        return self._view.replication.state().horizon_ms

    def close(self) -> None:
        """Let go of the files and the view."""
        self._tail.close()
        self._states.forget_all()
        self._view.close()
