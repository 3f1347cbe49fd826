"""The way of an uploaded body to the storage process: in a message if it is small, else into an extent.

    up to 64 KiB                              one PutObject with the bytes
    up to FS_SMALL_OBJECT_THRESHOLD_BYTES     collected in memory, hashed, then written into an extent at once
    above                                     an extent first; each 1 MiB is hashed and written in native threads while the next arrives

Memory is bounded by two buffers an upload at any size, three where it is encrypted: on a node with a master key the plaintext is hashed
and its ciphertext written (a small body is encrypted by segment-writer). What the client said of the bytes is verified before
FinishExtent, so nothing that differs is ever named.
"""

from collections.abc import Callable
from typing import NamedTuple

from actors.messages import PutObject, Stored
from actors.runtime import offload
from fasterstore.digests import BodyDigests, Digests
from fasterstore.model import SMALL_BODY_MAX_BYTES, PutIntent
from fasterstore.s3.errors import from_store
from web.body import BodyPlan, BodyReader
from web.context import Request
from web.extent import BUFFER_BYTES, Extent
from web.worker import Worker

STREAMED_UPLOADS_MAX = 128
"""At once in one worker, two buffers each; past it the client is told to slow down before it sends the body."""

SPARE_MAX = 16
_spare: list[bytearray] = []
"""Buffers of finished uploads: fresh memory costs a page fault each 4 KiB. A failed one keeps its own: a job may still read them."""


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
    if plan.size_bytes <= worker.settings.small_object_threshold_bytes:
        return _store_collected(worker, request, plan, intent, named)
    return _store_streamed(worker, request, plan, intent, named)


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
    reader = BodyReader(request, plan)
    body = bytearray(plan.size_bytes)
    reader.fill(memoryview(body))
    trailers = reader.trailers()
    digests = offload(plan.digests_of, body, worker.blob_key)
    plan.verify(digests, trailers)
    extent = Extent(worker, plan.size_bytes, plan.size_bytes)
    try:
        extent.start(extent.hash_and_write, [], memoryview(body), 0)
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
        buffers = [_spare.pop() if _spare else bytearray(BUFFER_BYTES) for _ in range(2)]
        for offset in range(0, plan.size_bytes, BUFFER_BYTES):
            view = memoryview(buffers[offset // BUFFER_BYTES % 2])[: min(BUFFER_BYTES, plan.size_bytes - offset)]
            reader.fill(view)
            # Only now is the buffer before waited for: it was hashed and written while this one was received.
            extent.join()
            extent.start(md5_update, view)
            extent.start(extent.hash_and_write, updates, view, offset)
        trailers = reader.trailers()
        extent.join()
        if len(_spare) < SPARE_MAX:
            _spare.extend(buffers)
        results = digests.results()
        plan.verify(results, trailers)
        intent = named(intent, results)
        answer = extent.finish(intent, results.blob_id)
        return StoredBody(answer.etag, answer.modified_ms, intent.checksums)
    except BaseException:
        extent.abort()
        raise
