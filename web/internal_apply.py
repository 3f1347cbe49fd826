"""POST /_internal/replicate/object and /_internal/replicate/delete: a batch of a peer's changes; answered when it is on stable storage.

Both take the same batches (`fasterstore.replication.change`): objects and the buckets they need come by the first, tombstones and buckets
by the second. While bytes are pulled the answer is begun, and says with a space a second that this node is at work. A sender that goes
away meanwhile stops no pull that was begun, but nobody waits for it any more: over a line that breaks every few seconds each batch would
be kept until the longest pull has ended. Applying a batch twice changes nothing.
"""

import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from actors.runtime import joinall, spawn
from fasterstore.errors import UnsupportedFormat
from fasterstore.internal_signing import SOURCE_PARAMETER
from fasterstore.replication.change import BatchAnswer, ObjectState, Outcome, Tombstone, encode_answer
from fasterstore.replication.change_reading import MalformedBatch, decode_batch
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.internal_body import receive, refuse_unreadable
from web.internal_status import packed_reply
from web.peer_client import LIFE_SIGN
from web.receiving import Receiving
from web.reply import Reply
from web.worker import Worker

logger = logging.getLogger(__name__)

LIFE_SIGN_SECS = 1.0


def objects(worker: Worker, request: Request) -> Reply:
    """The handler of replicate/object. Raises: S3Error."""
    return _apply(worker, request, Tombstone)


def deletes(worker: Worker, request: Request) -> Reply:
    """The handler of replicate/delete. Raises: S3Error."""
    return _apply(worker, request, ObjectState)


def _apply(worker: Worker, request: Request, foreign: type) -> Reply:
    index = worker.writer()
    source = request.query.get(SOURCE_PARAMETER, "")
    body = receive(worker, request)
    try:
        batch = decode_batch(body)
        if any(isinstance(change, foreign) for change in batch.changes):
            raise MalformedBatch(f"a {foreign.__name__} belongs to the other route")
    except (MalformedBatch, UnsupportedFormat) as error:
        raise refuse_unreadable(worker, request, error) from None
    if batch.node_id == worker.node_id:
        worker.refusals.refused(
            "same-node", f"{source} has this node's own id: its data dir is a copy of this one, or FS_REPLICATION_PEERS names this node"
        )
        raise S3Error("InvalidRequest", "The sender has this node's own id: give it a data dir of its own.")
    if not batch.upto_lsn:
        worker.scan_heard_ms[0] = worker.now_ms()
    log_uuid = index.log_uuid()
    receiving = Receiving(worker, batch, worker.peers.client(source))
    work = spawn(_outcomes, receiving)
    joinall([work], timeout=LIFE_SIGN_SECS)
    if not work.ready():
        late = _LateAnswer(receiving, work, lambda: _answer(worker, log_uuid, work.value))
        return Reply(HTTPStatus.OK, [("Content-Type", "application/msgpack")], late)  # type: ignore[arg-type]
    return packed_reply(_answer(worker, log_uuid, work.value))


def _outcomes(receiving: Receiving) -> list[Outcome] | Exception:
    """The outcomes as a value: a greenlet that raises would print a traceback besides."""
    try:
        return receiving.run()
    except Exception as error:
        return error


def _answer(worker: Worker, log_uuid: bytes, outcomes: "list[Outcome] | Exception") -> bytes:
    if isinstance(outcomes, Exception):
        raise outcomes
    return encode_answer(BatchAnswer(worker.node_id, log_uuid, tuple(outcomes)))


class _LateAnswer:
    """The answer's body, begun before it is known. Raises what `answer` raises: the connection is reset then."""

    def __init__(self, receiving: Receiving, work: Any, answer: Callable[[], bytes]) -> None:
        self._receiving = receiving
        self._work = work
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        while not self._work.ready():
            yield LIFE_SIGN
            joinall([self._work], timeout=LIFE_SIGN_SECS)
        yield self._answer()

    def close(self) -> None:
        """Called at the end in any case."""
        if not self._work.ready():
            self._receiving.leave(self._work)
