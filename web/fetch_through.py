"""Reading what is not here yet: while a peer sends this node all it has, a reader need not wait until its object's turn has come.

A GET or HEAD of a key that is not here asks the peers for that key's state. What is short, or cannot be told apart from its parts, is
brought here at once, as any change of a peer's, and answered from here. A longer object is answered from the peer's bytes, verified frame
by frame; its turn comes all the same. Only then: a node that is not being sent everything asks nobody, and says 404 as fast as ever.
"""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from actors.peer import PeerRefused, PeerUnreachable
from actors.runtime import Timeout
from fasterstore.customer_key import CHECK_NAME
from fasterstore.model import NO_BLOB, ObjectRow
from fasterstore.replication.anti_entropy import Page
from fasterstore.replication.blob_frames import FRAME_BYTES
from fasterstore.replication.change import BATCH_VERSION, Batch, BlobContent, ManifestContent, ObjectState, OutcomeKind, Piece
from fasterstore.replication.digest import KeyRange, Place, Scope, after
from fasterstore.replication.plausible import is_plausible
from fasterstore.s3.errors import from_store
from web.context import Request
from web.peer_client import PeerClient
from web.pulled_bytes import PulledBytes, Span
from web.receiving import Receiving, is_beaten
from web.regions import Piece as SentPiece
from web.streamed_body import StreamedBody
from web.worker import Worker

logger = logging.getLogger("fasterstore.internal")

CATCHING_UP_MS = 30_000
"""So long after a peer last sent a piece of all it has, or after this node was started, it may lack something."""
SILENCE_MS = 5_000
ASKED_SECS = 3.0
"""So long a peer is waited for that does not say what it has."""
BROUGHT_MAX_BYTES = 1024 * 1024
"""Up to this an object is brought here before it is answered."""


_Answer = TypeVar("_Answer")


class Fetched(NamedTuple):
    """An object that is still at a peer: its row, without bytes here, and where they are."""

    row: ObjectRow
    client: PeerClient
    log_uuid: bytes
    pieces: tuple[Piece, ...]


def is_catching_up(worker: Worker) -> bool:
    """May a peer have objects that have not come here yet?"""
    if not worker.settings.replication_peers:
        return False
    now_ms = worker.now_ms()
    return now_ms - worker.scan_heard_ms[0] < CATCHING_UP_MS and now_ms >= worker.peers.silent_until_ms


def fetch(worker: Worker, request: Request) -> Fetched | None:
    """Look for the request's key at the peers. None: it was brought here, or nobody has it; look again. Raises: S3Error."""
    assert request.key is not None
    for address in worker.settings.replication_peers:
        try:
            fetched = _ask(worker, worker.peers.client(address), request.bucket, request.key, "partNumber" in request.query)
        except PeerUnreachable as error:
            worker.peers.silent_until_ms = worker.now_ms() + SILENCE_MS
            worker.refusals.refused("cannot-pull", str(error))
            continue
        except PeerRefused as error:
            worker.refusals.refused("cannot-pull", str(error))
            continue
        if fetched is not None or worker.reader().replication.key_state(request.bucket, request.key).object is not None:
            return fetched
    return None


def _ask(worker: Worker, client: PeerClient, bucket: str, key: bytes, needs_parts: bool) -> Fetched | None:
    place = Place(bucket, key)
    page = _soon(client, lambda: client.snapshot_page(KeyRange(Scope.OBJECTS, place, after(place)), 1))
    state = page.states[0] if page.states else None
    if not isinstance(state, ObjectState) or (state.bucket, state.key) != (bucket, key):
        return None
    if not is_plausible(state) or is_beaten(worker.reader(), state):
        return None
    is_passed_on = state.size_bytes > BROUGHT_MAX_BYTES and not needs_parts and CHECK_NAME not in state.system
    # The bucket's policy comes first in any case.
    changes = _bucket(client, bucket).states if worker.reader().bucket(bucket) is None else ()
    status = _soon(client, client.status)
    batch = Batch(BATCH_VERSION, status.node_id, status.log_uuid, 0, 0, changes if is_passed_on else (*changes, state))
    for outcome in Receiving(worker, batch, client).run():
        if outcome.kind is OutcomeKind.REFUSED:
            logger.info("not brought for a reader: %s", outcome.name)
    return Fetched(_row_of(state), client, status.log_uuid, _pieces_of(state)) if is_passed_on else None


def _bucket(client: PeerClient, bucket: str) -> Page:
    place = Place(bucket, b"")
    return _soon(client, lambda: client.snapshot_page(KeyRange(Scope.BUCKETS, place, after(place)), 1))


def _soon(client: PeerClient, question: Callable[[], _Answer]) -> _Answer:
    """The answer to one question. Raises PeerUnreachable, also after ASKED_SECS: a reader waits, and perhaps for nothing."""
    bound = Timeout(ASKED_SECS)
    try:
        with bound:
            return question()
    except Timeout as passed:
        if passed is not bound:
            raise
        raise PeerUnreachable(f"{client.address} did not answer a reader in {ASKED_SECS:g} s") from None


def _row_of(state: ObjectState) -> ObjectRow:
    return ObjectRow(
        NO_BLOB, state.size_bytes, state.etag, state.modified_ms, state.system, state.user, state.checksums, state.stamp, state.origin,
        tags=state.tags, acl=state.acl,
    )  # fmt: skip


def _pieces_of(state: ObjectState) -> tuple[Piece, ...]:
    content = state.content
    if isinstance(content, ManifestContent):
        return tuple([piece for part in content.parts for piece in part.pieces])
    return (content.piece,) if isinstance(content, BlobContent) else ()


def open_fetched(worker: Worker, fetched: Fetched, first: int, length: int) -> StreamedBody:
    """The bytes `first` .. `first + length` of the object, as the body of an answer. Raises: S3Error if the first do not come."""
    spans, position, end = [], 0, first + length
    for piece in fetched.pieces:
        low, high = max(first - position, 0), min(end - position, piece.length)
        if low < high:
            spans.append(Span(piece.blob_id, piece.number, piece.first + low, high - low))
        position += piece.length
    source = PulledBytes(fetched.client, fetched.log_uuid, spans, worker.settings.request_timeout_secs)
    body = FetchedBody(source, length)
    try:
        body.begin()
    except (PeerUnreachable, PeerRefused) as error:
        body.close()
        worker.refusals.refused("cannot-pull", str(error))
        raise from_store("Unavailable") from None
    return body


class FetchedBody(StreamedBody):
    """Bytes that a peer sends, passed on as they come: one frame at a time, each verified before it leaves."""

    __slots__ = ("_buffer", "_filled", "_left", "_source")

    def __init__(self, source: PulledBytes, length: int) -> None:
        super().__init__()
        self._source = source
        self._left = length
        self._buffer = bytearray(min(FRAME_BYTES, length))
        self._filled = 0

    @property
    def held_bytes(self) -> int:
        """See StreamedBody."""
        return len(self._buffer)

    def begin(self) -> None:
        """Have the first bytes here. Raises: PeerUnreachable, PeerRefused."""
        self._filled = min(len(self._buffer), self._left)
        self._source.fill(memoryview(self._buffer)[: self._filled])

    def regions(self) -> Iterator[SentPiece]:
        """See StreamedBody. Raises PeerUnreachable, PeerRefused: the peer stopped, and the connection is to be reset."""
        while self._left:
            if not self._filled:
                self.begin()
            piece = memoryview(self._buffer)[: self._filled]
            self._left -= self._filled
            self._filled = 0
            yield piece

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.regions():
            yield bytes(piece)  # type: ignore[arg-type]

    def close(self) -> None:
        """See StreamedBody."""
        self._source.close()
        super().close()
