"""A record of this node's own, from bytes that another node sends: pulled, hashed under this node's key, encrypted by its rules, and named.

The twin of `web/upload.py` for bytes that no client sends: two buffers at any size, the next one received while the last is written.
Nothing is named before all of it was verified, and what was begun is given back on every other end.
"""

from blake3 import blake3

from actors.messages import PutObject, Refused, Stored
from fasterstore.digests import blob_id_of
from fasterstore.model import SMALL_BODY_MAX_BYTES, PutIntent
from web.extent import BUFFER_BYTES, Extent
from web.pulled_bytes import PulledBytes
from web.worker import Worker


def store_pulled(worker: Worker, source: PulledBytes, intent: PutIntent) -> Stored | Refused:
    """Pull all of `source`, store it and have it named by `intent`.

    Raises: PeerUnreachable, PeerRefused; S3Error if it cannot be written.
    """
    try:
        if source.size_bytes > SMALL_BODY_MAX_BYTES:
            return _store_in_extent(worker, source, intent)
        body = bytearray(source.size_bytes)
        source.fill(memoryview(body))
        return store_bytes(worker, bytes(body), intent)
    finally:
        source.close()


def store_bytes(worker: Worker, body: bytes, intent: PutIntent) -> Stored | Refused:
    """Store a record that is in memory. Raises: S3Error if it cannot be written."""
    if len(body) <= SMALL_BODY_MAX_BYTES:
        answer: Stored | Refused = worker.answer_of("segment-writer", put_message(worker, body, intent))
        return answer
    extent = Extent(worker, len(body), len(body))
    try:
        extent.start(extent.hash_and_write, [], memoryview(body), 0)
        return extent.finish_or_not(intent, blob_id_of(body, worker.blob_key))
    finally:
        extent.abort()


def put_message(worker: Worker, body: bytes, intent: PutIntent) -> PutObject:
    """The message that stores a small record. A body sealed under a customer's key is like no other, and not compared."""
    return PutObject(intent, blob_id_of(body, worker.blob_key), body, intent.overhead_bytes > 0)


def _store_in_extent(worker: Worker, source: PulledBytes, intent: PutIntent) -> Stored | Refused:
    size_bytes = source.size_bytes
    extent = Extent(worker, size_bytes)
    try:
        hasher = blake3(key=worker.blob_key)
        buffers = [bytearray(BUFFER_BYTES) for _ in range(2)]
        for offset in range(0, size_bytes, BUFFER_BYTES):
            view = memoryview(buffers[offset // BUFFER_BYTES % 2])[: min(BUFFER_BYTES, size_bytes - offset)]
            source.fill(view)
            # Only now is the buffer before waited for: it was hashed and written while this one was received.
            extent.join()
            extent.start(extent.hash_and_write, [hasher.update], view, offset)
        extent.join()
        return extent.finish_or_not(intent, hasher.digest())
    finally:
        # Changes nothing once the record was named.
        extent.abort()
