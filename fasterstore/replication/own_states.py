"""What this node holds of a range, for a comparison with a peer: digests, and pages of states without bytes. Blocking."""

from collections.abc import Iterator, Sequence
from itertools import islice

from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_view import KeyState
from fasterstore.replication.anti_entropy import PAGE_STATES, SLAB_ITEMS, Page
from fasterstore.replication.change import BucketState, Change
from fasterstore.replication.cursor import Address
from fasterstore.replication.digest import (
    KeyRange,
    Leaf,
    Place,
    RangeDigest,
    Scope,
    bucket_leaf,
    digest_ranges,
    object_leaf,
)
from fasterstore.replication.state_reading import StateReader

LOOK = 256


class OwnStates:
    """See the module. Raises as readings of a view do."""

    def __init__(self, view: IndexView, states: StateReader) -> None:
        self._view = view
        self._states = states

    def digests(self, ranges: Sequence[KeyRange]) -> list[RangeDigest]:
        """The digests of the ranges, of at most SLAB_ITEMS items in all."""
        return digest_ranges(ranges, self._leaves, SLAB_ITEMS)

    def page(self, asked: KeyRange) -> Page:
        """The first states of the range, at most PAGE_STATES."""
        found = list(islice(self._changes(asked), PAGE_STATES + 1))
        return Page(tuple(found[:PAGE_STATES]), len(found) <= PAGE_STATES)

    def objects(self) -> int:
        """How many objects and buckets there are."""
        usage = self._view.usage()
        return len(usage) + sum(row.objects for row in usage)

    def _leaves(self, asked: KeyRange) -> Iterator[Leaf]:
        if asked.scope is Scope.BUCKETS:
            for bucket in self._buckets(asked):
                if bucket.registers.creates:
                    yield bucket_leaf(bucket.name, bucket.registers)
            return
        for state in self._keys(asked):
            if (row := state.object) is not None:
                yield object_leaf(state.bucket, state.key, row.stamp, row.origin, row.etag, row.size_bytes)

    def _changes(self, asked: KeyRange) -> Iterator[Change]:
        if asked.scope is Scope.BUCKETS:
            yield from self._buckets(asked)
            return
        for state in self._keys(asked):
            if (change := self._states.change_of(state)) is not None:
                yield change

    def _keys(self, asked: KeyRange) -> Iterator[KeyState]:
        bucket, key = asked.first
        if key:
            rows = [self._view.replication.key_state(bucket, key), *self._view.replication.states_after(bucket, key, LOOK)]
        else:
            rows = self._view.replication.states_after(bucket, None, LOOK)
        while rows:
            for row in rows:
                if asked.end is not None and Place(row.bucket, row.key) >= asked.end:
                    return
                yield row
            rows = self._view.replication.states_after(rows[-1].bucket, rows[-1].key, LOOK)

    def _buckets(self, asked: KeyRange) -> Iterator[BucketState]:
        name, key = asked.first
        exact = self._states.change_at(Address(name, None)) if name and not key else None
        if isinstance(exact, BucketState):
            yield exact
        while rows := self._view.replication.registers_after(name, LOOK):
            for row in rows:
                if asked.end is not None and Place(row.name, b"") >= asked.end:
                    return
                yield BucketState(row.name, row.registers)
            name = rows[-1].name
