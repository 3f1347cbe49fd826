"""GET /_internal/replicate/snapshot: a page of what this node holds of a range, as states without bytes (`replication.state_page`)."""

from collections.abc import Iterator
from itertools import islice

from actors.runtime import sleep
from fasterstore.replication.change import BucketState, Change, encode_change
from fasterstore.replication.cursor import Address
from fasterstore.replication.digest import KeyRange, Place, Scope
from fasterstore.replication.state_page import PAGE_BYTES, MalformedQuestion, encode_page, read_question
from fasterstore.replication.state_reading import StateReader
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.internal_status import packed_reply
from web.reply import Reply
from web.worker import Worker

ROWS_IN_A_TURN = 64


def snapshot(worker: Worker, request: Request) -> Reply:
    """The handler. Raises: S3Error InvalidArgument, ServiceUnavailable."""
    try:
        asked, limit = read_question(request.query)
    except MalformedQuestion as error:
        raise S3Error("InvalidArgument", f"The query asks for no page of states: {error}.") from None
    changes: list[bytes] = []
    size_bytes = 0
    states = _objects(worker, asked) if asked.scope is Scope.OBJECTS else _buckets(worker, asked)
    for change in islice(states, limit):
        changes.append(encode_change(change))
        size_bytes += len(changes[-1])
        if size_bytes >= PAGE_BYTES:
            break
    whole = next(states, None) is None
    return packed_reply(encode_page(worker.node_id, worker.reader().log_uuid(), changes, whole))


def _reader(worker: Worker) -> StateReader:
    return StateReader(worker.reader(), worker.disk, worker.segments, worker.keyring, with_bytes=False)


def _objects(worker: Worker, asked: KeyRange) -> Iterator[Change]:
    """Objects and tombstones of the range, in order. The index is asked for anew at each turn: during a switch it may have gone."""
    bucket, key = asked.first
    if key and (exact := _reader(worker).change_at(Address(bucket, key))) is not None:
        yield exact
    after = key or None
    while rows := worker.reader().replication.states_after(bucket, after, ROWS_IN_A_TURN):
        for row in rows:
            if asked.end is not None and Place(row.bucket, row.key) >= asked.end:
                return
            change = _reader(worker).change_of(row)
            if change is not None:
                yield change
        bucket, after = rows[-1].bucket, rows[-1].key
        sleep(0)


def _buckets(worker: Worker, asked: KeyRange) -> Iterator[Change]:
    name = asked.first.bucket
    if name and not asked.first.key and (exact := _reader(worker).change_at(Address(name, None))) is not None:
        yield exact
    while rows := worker.reader().replication.registers_after(name, ROWS_IN_A_TURN):
        for row in rows:
            if asked.end is not None and Place(row.name, b"") >= asked.end:
                return
            yield BucketState(row.name, row.registers)
        name = rows[-1].name
        sleep(0)
