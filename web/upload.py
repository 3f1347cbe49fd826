"""The way of an uploaded body to the storage process: in a message if it is small, else into an extent.

    up to 64 KiB                              one PutObject with the bytes
    up to FS_SMALL_OBJECT_THRESHOLD_BYTES     collected in memory, hashed, then written into an extent at once; but above 1 MiB only while
                                              there is room for it
    above                                     an extent first; each piece is hashed and written in native threads while the next arrives

Memory is bounded at any size and number: an upload holds two pieces of at most 1 MiB, and all of them take room (`web/body_memory.py`).
On a node with a master key the plaintext is hashed and its ciphertext written, from a buffer as large as the piece (a small body is
encrypted by segment-writer). What the client said of the bytes is verified before FinishExtent, so nothing that differs is ever named.
"""

from collections.abc import Callable
from typing import NamedTuple

from actors.messages import PutObject, Stored
from actors.runtime import offload
from fasterstore.digests import BodyDigests, Digests
from fasterstore.model import SMALL_BODY_MAX_BYTES, PutIntent
from fasterstore.s3.errors import from_store
from fasterstore.storage.sealed_record import stored_bytes
from web.body import BodyPlan, BodyReader
from web.body_memory import PIECE_MAX_BYTES
from web.context import Request
from web.extent import Extent
from web.pieces import Pieces
from web.worker import Worker

STREAMED_UPLOADS_MAX = 128
"""At once in one worker; past it the client is told to slow down before it sends the body."""


class StoredBody(NamedTuple):
    """What was stored: ETag and time (Unix milliseconds) as the journal answered, and the verified checksums as ObjectRow's."""

    etag: str
    modified_ms: int
    checksums: dict[str, str]


def with_digests(intent: PutIntent, digests: Digests) -> PutIntent:
    """The intent with the ETag and checksums of a body that is stored as it came."""
    return intent._replace(etag=digests.etag, checksums=digests.checksums)


Named = Callable[[PutIntent, Digests], PutIntent]


def store_body(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named = with_digests) -> StoredBody:
    """Receive the body, verify it, store it and have it named.

    Args: `intent` with everything but `etag` and `checksums`, which `named` fills in once the body was verified.
    Raises: S3Error, and what reading the body raises; nothing is named then.
    """
    if plan.size_bytes <= SMALL_BODY_MAX_BYTES:
        return _store_small(worker, request, plan, intent, named)
    if plan.size_bytes <= worker.settings.small_object_threshold_bytes and _may_collect(worker, request, plan):
        return _store_collected(worker, request, plan, intent, named)
    return _store_streamed(worker, request, plan, intent, named)


def _may_collect(worker: Worker, request: Request, plan: BodyPlan) -> bool:
    """Whether the body is short enough to wait for room for all of it, or there is that room."""
    return plan.size_bytes <= PIECE_MAX_BYTES or request.account.memory.has_room(plan.size_bytes * (1 + worker.keyring.seals))


def _store_small(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    reader = BodyReader(request, plan)
    body = reader.read_all()
    trailers = reader.trailers()
    digests = plan.digests_of(body, worker.blob_key)
    plan.verify(digests, trailers)
    intent = named(intent, digests)
    answer: Stored = worker.ask("segment-writer", PutObject(intent, digests.blob_id, body, intent.overhead_bytes > 0))
    return StoredBody(answer.etag, answer.modified_ms, intent.checksums)


def _store_collected(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    seals = worker.keyring.seals
    request.account.take(plan.size_bytes * (1 + seals))
    reader = BodyReader(request, plan)
    body = bytearray(plan.size_bytes)
    reader.fill(memoryview(body))
    trailers = reader.trailers()
    digests = offload(plan.digests_of, body, worker.blob_key)
    plan.verify(digests, trailers)
    extent = Extent(worker, plan.size_bytes)
    scratch = memoryview(bytearray(stored_bytes(worker.keyring, plan.size_bytes))) if seals else None
    try:
        extent.start(extent.hash_and_write, [], memoryview(body), scratch, 0)
        intent = named(intent, digests)
        answer = extent.finish(intent, digests.blob_id)
        return StoredBody(answer.etag, answer.modified_ms, intent.checksums)
    except BaseException:
        extent.abort()
        raise


def _store_streamed(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    if worker.streamed_uploads >= STREAMED_UPLOADS_MAX:
        raise from_store("Overloaded", "too many large uploads at once")
    worker.streamed_uploads += 1
    try:
        return _stream(worker, request, plan, intent, named)
    finally:
        worker.streamed_uploads -= 1


def _stream(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    reader = BodyReader(request, plan)
    extent = Extent(worker, plan.size_bytes)
    try:
        digests = BodyDigests(worker.blob_key, plan.signed_hash, plan.checksums.names)
        # MD5 takes as long as everything else together: it has a lane of its own.
        md5_update, *updates = digests.parts()
        pieces = Pieces(request.account, worker.keyring.seals)
        offset = 0
        while offset < plan.size_bytes:
            piece = pieces.next(plan.size_bytes - offset)
            reader.fill(piece.view)
            # Only now is the piece before waited for: it was hashed and written while this one was received.
            extent.join()
            hashing = extent.start(md5_update, piece.view)
            writing = extent.start(extent.hash_and_write, updates, piece.view, piece.scratch, offset)
            offset += len(piece.view)
            piece.give_back_after((hashing, writing))
            del piece
        trailers = reader.trailers()
        extent.join()
        results = digests.results()
        plan.verify(results, trailers)
        intent = named(intent, results)
        answer = extent.finish(intent, results.blob_id)
        return StoredBody(answer.etag, answer.modified_ms, intent.checksums)
    except BaseException:
        extent.abort()
        raise
