"""Reading what a piece of work holds for a peer: from the log which keys have changed, from it or the index how they are.

A short PUT says all there is to say of its key in its own entry; for what else there is, and where a record has moved since, the index is
asked how things are now. Either is a state of the key, and a later one is told by a later entry.

One read transaction for each piece of work, in one native thread. Only entries that are durable are read, and an index row is committed
after its entry is durable, so nothing is shipped that a power cut could take back.
"""

from collections.abc import Iterator, Mapping

from fasterstore.metadata.entries import Entry, ObjectDeleted, ObjectPut, ObjectRenamed, decode
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_entries import ObjectRemoved
from fasterstore.model import BlobLocation
from fasterstore.replication.change import BATCH_MAX_BYTES, BATCH_MAX_CHANGES, INLINE_MAX_BYTES, BucketState, Change, Tombstone
from fasterstore.replication.cursor import Address, Position
from fasterstore.replication.shipment import Shipment, ShipmentBuilder
from fasterstore.replication.state_reading import StateReader
from fasterstore.replication.touched import TouchedBucket, touched
from fasterstore.replication.work import LogRange, OwedKeys, ScanPage, Work
from fasterstore.storage.wal_tail import WalTail

LOOK = 256
"""Rows asked of the index at once."""

Window = list[tuple[int, Entry, list[Address]]]
"""Entries with their LSNs and what each may have changed."""


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
        """What the range tells of: each address once, as of the last entry of those that fit, or as it is now."""
        window = self._window(work)
        puts = [entry.location for _, entry, _ in window if type(entry) is ObjectPut and entry.location is not None]
        bodies = self._states.bodies(puts)
        builder, told = self._fill(window, bodies, peer_node)
        while told < len(window):
            # What was left to an entry that does not fit must be told by one that does: the peer's answer is an answer to all of these.
            window = window[:told]
            builder, told = self._fill(window, bodies, peer_node)
        reached = window[-1][0] if window else work.first_lsn - 1
        return builder.finish(self._node_id, self._log_uuid, work.first_lsn, reached, reached)

    def _fill(self, window: Window, bodies: Mapping[BlobLocation, bytes], peer_node: bytes) -> tuple[ShipmentBuilder, int]:
        """As many of the entries as fit, each address left to the last of them all that tells of it; and how many those are."""
        builder = ShipmentBuilder()
        latest = {address: lsn for lsn, _, addresses in window for address in addresses}
        for number, (lsn, entry, addresses) in enumerate(window):
            mine = [address for address in addresses if latest[address] == lsn]
            changes = [change for address in mine if (change := self._change(entry, address, bodies, peer_node)) is not None]
            if not builder.add(changes):
                return builder, number
        return builder, len(window)

    def _window(self, work: LogRange) -> Window:
        """As many entries as might fit into one batch, with what each may have changed."""
        window: Window = []
        inline_bytes = changes = 0
        for lsn, data in self._tail.entries(work.first_lsn, work.last_lsn):
            entry = decode(data)
            addresses = [
                Address(what.name, None) if isinstance(what, TouchedBucket) else Address(what.bucket, what.key) for what in touched(entry)
            ]
            window.append((lsn, entry, addresses))
            changes += len(addresses)
            if type(entry) is ObjectPut and entry.location is not None and entry.location.plaintext_bytes <= INLINE_MAX_BYTES:
                inline_bytes += entry.location.plaintext_bytes
            if changes >= BATCH_MAX_CHANGES or inline_bytes >= BATCH_MAX_BYTES:
                break
        return window

    def _change(self, entry: Entry, address: Address, bodies: Mapping[BlobLocation, bytes], peer_node: bytes) -> Change | None:
        """What the entry says stands there, or what stands there now; None if there is nothing to tell the peer."""
        if getattr(entry, "origin", None) == peer_node:
            return None
        change = self._states.change_of_put(entry, bodies) if type(entry) is ObjectPut else None
        if change is not None:
            return change
        found = self._states.change_at(address) or _gone_by(entry, address)
        # Not what the peer made itself: that an older entry is not its own does not matter, it has what came after.
        return None if found is None or (not isinstance(found, BucketState) and found.origin == peer_node) else found

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

    def last_blob(self) -> int:
        """The highest number that this node's log has given to a blob."""
        return self._view.state().last_blob

    def close(self) -> None:
        """Let go of the files and the view."""
        self._tail.close()
        self._states.forget_all()
        self._view.close()


def _gone_by(entry: Entry, address: Address) -> Tombstone | None:
    """The tombstone that an entry speaks of, where the index has none: it was never written, or its time is over."""
    if isinstance(entry, ObjectDeleted | ObjectRemoved):
        return Tombstone(entry.bucket, entry.key, entry.stamp, entry.origin, entry.deleted_ms)
    if isinstance(entry, ObjectRenamed) and address.key == entry.key:
        return Tombstone(entry.bucket, entry.key, entry.stamp, entry.origin, entry.renamed_ms)
    return None
