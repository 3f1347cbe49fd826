"""What is read for one piece of work: changes, encoded and put together into at most two batches, one of objects and one of deletes."""

from typing import NamedTuple

from fasterstore.replication.change import (
    BATCH_MAX_BYTES,
    BATCH_MAX_CHANGES,
    BATCH_VERSION,
    Batch,
    BlobContent,
    BucketState,
    Change,
    ManifestContent,
    ObjectState,
    encode_change,
    join_batch,
)
from fasterstore.replication.cursor import Address, Position

HEAVY_BYTES = 1 << 20
"""With more than this to fetch the peer takes its time."""
PULL_MAX_BYTES = 8 << 20
"""What a peer is given to fetch for one piece of work; an object that is larger goes alone."""


class Ready(NamedTuple):
    """A batch ready to be sent: to the endpoint of deletes, or to that of objects. `addresses` are those of its changes, in order."""

    deletes: bool
    head: Batch
    changes: tuple[bytes, ...]
    addresses: tuple[Address, ...]

    @property
    def body(self) -> bytes:
        """The batch's bytes."""
        return join_batch(self.head, self.changes)

    def halves(self) -> "tuple[Ready, Ready]":
        """The same in two batches."""
        middle = len(self.changes) // 2
        first = self._replace(changes=self.changes[:middle], addresses=self.addresses[:middle])
        return first, self._replace(changes=self.changes[middle:], addresses=self.addresses[middle:])


class Shipment(NamedTuple):
    """What a piece of work holds; `reached` as in `Shipping.was_read`."""

    reached: int | Position | None
    batches: tuple[Ready, ...]
    heavy: bool

    @property
    def size_bytes(self) -> int:
        """The length of all changes."""
        return sum(len(change) for batch in self.batches for change in batch.changes)

    @property
    def changes(self) -> int:
        """How many changes there are."""
        return sum(len(batch.addresses) for batch in self.batches)


class ShipmentBuilder:
    """Takes changes for as long as they fit; one alone always does. A key that comes again is taken once."""

    def __init__(self) -> None:
        self._buckets: list[tuple[Address, bytes]] = []
        self._objects: list[tuple[Address, bytes]] = []
        self._deletes: list[tuple[Address, bytes]] = []
        self._seen: set[Address] = set()
        self._size_bytes = 0
        self._pull_bytes = 0

    def has(self, address: Address) -> bool:
        """Whether that address is in it already, as it is now."""
        return address in self._seen

    def add(self, changes: list[Change]) -> bool:
        """Take all of these or, if they do not fit, none, and return False."""
        encoded = [(address_of(change), encode_change(change), pull_bytes_of(change), change) for change in changes]
        size_bytes = self._size_bytes + sum(len(data) for _, data, _, _ in encoded)
        pull_bytes = self._pull_bytes + sum(pulled for _, _, pulled, _ in encoded)
        over = len(self._seen) + len(encoded) > BATCH_MAX_CHANGES or size_bytes > BATCH_MAX_BYTES or pull_bytes > PULL_MAX_BYTES
        if over and self._seen:
            return False
        self._size_bytes, self._pull_bytes = size_bytes, pull_bytes
        for address, data, _, change in encoded:
            self._seen.add(address)
            if isinstance(change, ObjectState):
                self._objects.append((address, data))
            else:
                (self._buckets if isinstance(change, BucketState) else self._deletes).append((address, data))
        return True

    def finish(self, node_id: bytes, log_uuid: bytes, first_lsn: int, upto_lsn: int, reached: int | Position | None) -> Shipment:
        """The batches; buckets are first in that of the objects, if there are any."""
        head = Batch(BATCH_VERSION, node_id, log_uuid, first_lsn, upto_lsn, ())
        objects, deletes = self._buckets + self._objects, self._deletes
        if not self._objects:
            objects, deletes = [], self._buckets + self._deletes
        batches = [
            Ready(is_deletes, head, tuple([data for _, data in changes]), tuple([address for address, _ in changes]))
            for is_deletes, changes in ((False, objects), (True, deletes))
            if changes
        ]
        return Shipment(reached, tuple(batches), self._pull_bytes > HEAVY_BYTES)


def address_of(change: Change) -> Address:
    """What the change is about."""
    return Address(change.name, None) if isinstance(change, BucketState) else Address(change.bucket, change.key)


def pull_bytes_of(change: Change) -> int:
    """How many bytes a peer that has none of them has to fetch."""
    if not isinstance(change, ObjectState):
        return 0
    content = change.content
    if isinstance(content, BlobContent):
        return 0 if content.inline is not None else content.piece.record_bytes
    return change.size_bytes if isinstance(content, ManifestContent) else 0
