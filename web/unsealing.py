"""Unsealing on the way out: a blob that is sealed under a customer's key, read through the verified reads of every blob.

A layer over `web/download.py`: what that verified is opened chunk by chunk (64 KiB), of a range only its own chunks. The cache is
passed by both ways. No byte leaves whose tag was not checked.
"""

import logging
from collections.abc import Generator, Iterator, Sequence

from actors.runtime import offload
from fasterstore.aead import CHUNK_BYTES, SEALED_CHUNK_BYTES, ChunkRun, SealedStream, chunk_run
from fasterstore.customer_key import CustomerKey
from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobRow
from fasterstore.sealed_body import HEADER_BYTES, open_stream, plaintext_bytes_of
from fasterstore.storage.record import CHUNK_BYTES as STORED_CHUNK_BYTES
from web.download import open_blob
from web.record_source import WINDOW_BYTES
from web.streamed_body import StreamedBody
from web.worker import Worker

logger = logging.getLogger(__name__)

Sealed = Sequence[bytes | memoryview] | StreamedBody


def open_sealed_blob(
    worker: Worker, blob: BlobRow, file_uuid: bytes, key: CustomerKey, first: int, length: int
) -> "Sequence[bytes | memoryview] | SealedDownload":
    """The bytes `first` .. `first + length` of what is inside a sealed blob, as the body of an answer; at least one.

    Args as `open_blob`. Raises: FileNotFoundError, DamagedRecord (look the key up again), OSError.
    """
    stored = blob.location.plaintext_bytes
    plaintext_bytes = plaintext_bytes_of(stored)
    run = chunk_run(plaintext_bytes, first, length)
    if stored <= STORED_CHUNK_BYTES:
        body = _joined(open_blob(worker, blob, file_uuid, 0, stored, keep=False))
        stream = open_stream(body[:HEADER_BYTES], key, plaintext_bytes)
        start = HEADER_BYTES + run.stored_offset
        return (_open(stream, run.first_chunk, body[start : start + run.stored_length])[run.skip : run.skip + length],)
    header = _joined(open_blob(worker, blob, file_uuid, 0, HEADER_BYTES, keep=False))
    stream = open_stream(header, key, plaintext_bytes)
    sealed = open_blob(worker, blob, file_uuid, HEADER_BYTES + run.stored_offset, run.stored_length, keep=False)
    return SealedDownload(worker, blob, sealed, stream, run, length)


class SealedDownload(StreamedBody):
    """The body of a large answer that is opened while it is sent."""

    __slots__ = ("_blob", "_first", "_length", "_pieces", "_run", "_sealed", "_stream", "_worker")

    def __init__(self, worker: Worker, blob: BlobRow, sealed: Sealed, stream: SealedStream, run: ChunkRun, length: int) -> None:
        """`sealed` are the verified bytes of the chunks of `run`, which hold `length` bytes behind those to skip.

        The first of them are opened before the answer begins: damage there still gets an error document. Raises: DamagedRecord, OSError.
        """
        super().__init__()
        self._worker = worker
        self._blob = blob
        self._sealed = sealed
        self._stream = stream
        self._run = run
        self._length = length
        self._first: memoryview | None = None
        self._pieces = self._opened()
        self._first = next(self._pieces)

    @property
    def held_bytes(self) -> int:
        """See StreamedBody: what is read to be opened, and what that keeps itself."""
        below = self._sealed.held_bytes if isinstance(self._sealed, StreamedBody) else 0
        return WINDOW_BYTES + below

    def regions(self) -> Iterator[bytes | memoryview]:
        """Byte strings only: what lies in the file is sealed. Once. Raises as every StreamedBody."""
        first, self._first = self._first, memoryview(b"")
        if first is not None:
            yield first
        del first
        yield from self._pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.regions():
            yield bytes(piece)

    def close(self) -> None:
        """See StreamedBody. The descriptor is let go now and not when a traceback lets go of it."""
        self._pieces.close()
        super().close()

    def _opened(self) -> Generator[memoryview, None, None]:
        chunk, skip, left = self._run.first_chunk, self._run.skip, self._length
        expected = self._run.stored_length
        held = bytearray()
        pieces = iter(self._sealed)
        try:
            for piece in pieces:
                held += piece
                expected -= len(piece)
                ready = len(held) if not expected else len(held) // SEALED_CHUNK_BYTES * SEALED_CHUNK_BYTES
                if not ready:
                    continue
                sealed, held = held, held[ready:]
                del sealed[ready:]
                try:
                    plaintext = _open(self._stream, chunk, sealed)
                except DamagedRecord as error:
                    raise self._damaged(error) from error
                chunk += -(-ready // SEALED_CHUNK_BYTES)
                yield plaintext[skip : skip + left]
                left -= min(left, len(plaintext) - skip)
                skip = 0
        finally:
            if isinstance(pieces, Generator):
                pieces.close()

    def _damaged(self, error: DamagedRecord) -> DamagedRecord:
        """Told here once the answer has begun; before, whoever opens it looks again and tells in the end."""
        if self._first is not None:
            location = self._blob.location
            self._worker.metrics.damaged_reads += 1
            logger.error("read of segment %016x at %d broken off: %s", location.segment_id, location.offset, error)
        return error


def _open(stream: SealedStream, first_chunk: int, sealed: memoryview | bytearray) -> memoryview:
    """Raises DamagedRecord."""
    if len(sealed) <= CHUNK_BYTES:
        return stream.open_chunks(first_chunk, sealed)
    return offload(stream.open_chunks, first_chunk, sealed)


def _joined(body: Sealed) -> memoryview:
    pieces = list(body)
    return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
