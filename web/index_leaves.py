"""What this node holds of a range of keys or buckets, as the leaves of a digest.

Reads a page at a time; others get their turn between two.
"""

from collections.abc import Iterator

from actors.runtime import sleep
from fasterstore.metadata.replication_schema import RegistersRow
from fasterstore.metadata.replication_view import KeyState
from fasterstore.replication.digest import KeyRange, Leaf, Scope, bucket_leaf, object_leaf
from web.worker import Worker

ROWS_IN_A_TURN = 250
"""About two milliseconds, hashing included."""


def leaves(worker: Worker, asked: KeyRange) -> Iterator[Leaf]:
    """The leaves of a range, in order of place. Raises: S3Error ServiceUnavailable if the index goes meanwhile, DamagedRow."""
    found = _objects(worker, asked) if asked.scope is Scope.OBJECTS else _buckets(worker, asked)
    for leaf in found:
        if asked.end is not None and leaf.place >= asked.end:
            return
        yield leaf


def _objects(worker: Worker, asked: KeyRange) -> Iterator[Leaf]:
    bucket, key = asked.first
    states = [worker.reader().replication.key_state(bucket, key)] if key else []
    after = key or None
    while True:
        yield from map(_object_leaf, filter(_has_object, states))
        sleep(0)
        states = worker.reader().replication.states_after(bucket, after, ROWS_IN_A_TURN)
        if not states:
            return
        bucket, after = states[-1].bucket, states[-1].key


def _has_object(state: KeyState) -> bool:
    return state.object is not None


def _object_leaf(state: KeyState) -> Leaf:
    row = state.object
    assert row is not None
    return object_leaf(state.bucket, state.key, row.stamp, row.origin, row.etag, row.size_bytes)


def _buckets(worker: Worker, asked: KeyRange) -> Iterator[Leaf]:
    name = asked.first.bucket
    exact = worker.reader().replication.registers(name) if name and not asked.first.key else None
    rows: list[RegistersRow] = [] if exact is None else [exact]
    while True:
        yield from (bucket_leaf(row.name, row.registers) for row in rows if row.registers.creates)
        sleep(0)
        rows = worker.reader().replication.registers_after(name, ROWS_IN_A_TURN)
        if not rows:
            return
        name = rows[-1].name
