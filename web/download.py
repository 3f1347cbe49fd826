"""Verified reads: from a blob's row to the bytes of an answer. No byte leaves that was not checked first.

Records of one chunk (256 KiB), and cacheable ones, are read and verified as a whole and answered from memory. Larger ones become a
`Download`: header and chunk table are verified before the answer begins, then each chunk in a native thread at most 1 MiB ahead of
what is sent. FS_VERIFY_READS: `true` sends the file's own pages after that check (sendfile) if they had to be read from the disk, and
the checked bytes if they were in memory: those are still in the processor's cache, while with sendfile the receiver would fetch them from
memory again (10 MiB over 16 connections: 248/s against 162/s). `strict` always sends the very bytes that were checked, and where too many
read ahead already, checks them when there is room for them on the way out (`web.read_ahead`); `false` skips the digests; that the record is
the one its row names is checked always.
An encrypted record is always verified and decrypted in memory (`web.sealed_download`).

Raises `DamagedRecord` or `FileNotFoundError` when the record is not where the row says: compaction may have moved it, so the caller looks
the key up again before it believes in damage. A chunk that fails later raises out of the iteration: the connection must be reset.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from actors.runtime import offload, sleep
from fasterstore.errors import DamagedRecord
from fasterstore.keyring import Keyring
from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage.open_segments import OpenSegment
from fasterstore.storage.record import (
    CHUNK_BYTES,
    HEADER_BYTES,
    check_header,
    record_bytes,
    verify_record,
)
from fasterstore.storage.sealed_record import is_sealed
from web.read_ahead import Place, places, read_ahead, read_in_turn, regions_until_place
from web.record_source import (
    WARM_BYTES,
    WINDOW_BYTES,
    Source,
    open_first,
    open_warm,
    read,
    read_if_warm,
    warm_buffers,
)
from web.regions import CheckedRegion, FileRegion, Piece
from web.sealed_download import open_sealed_download
from web.sealed_source import read_record, read_warm_record, sealed_blob_id
from web.streamed_body import StreamedBody
from web.worker import Worker

logger = logging.getLogger(__name__)


def open_blob(
    worker: Worker, blob: BlobRow, file_uuid: bytes, first: int, length: int, keep: bool = True
) -> "Sequence[bytes | memoryview] | StreamedBody":
    """The bytes `first` .. `first + length` of a blob, as the body of an answer.

    Args: `file_uuid`, 16 bytes, of the segment file that the row names; `first` and `length` in bytes, inside the blob; `keep`, whether the
    cache may hold the blob.
    Raises: FileNotFoundError, DamagedRecord (see above), OSError.
    """
    location = blob.location
    settings = worker.settings
    cacheable = keep and worker.cache is not None and location.plaintext_bytes <= settings.cache_object_max_bytes
    if cacheable:
        kept = worker.cache.get(blob.number)  # type: ignore[union-attr]
        if kept is not None:
            return (kept if length == len(kept) else memoryview(kept)[first : first + length],)
    index = worker.index
    segment = worker.segments.reader(location.segment_id, file_uuid)
    whole = length == location.plaintext_bytes
    sealed = is_sealed(location)
    # What is sealed was verified when it was opened, whatever the setting.
    verify = sealed or settings.verify_reads != "false"
    if sealed:
        if location.stored_bytes > CHUNK_BYTES and not (whole and cacheable):
            return open_sealed_download(worker, segment, location, first, first + length)
        warm = read_warm_record(segment, location, worker.keyring)
        payload = offload(read_record, segment, location, worker.keyring) if warm is None else warm
    elif location.stored_bytes <= CHUNK_BYTES:
        payload = _read_small(segment, location, verify)
    elif whole and cacheable and verify:
        payload = offload(_read_record, segment, location, True)
    else:
        return _open_download(worker, segment, location, first, length)
    if cacheable and verify:
        body = bytes(payload)
        # Under an index that came while this was read, the blob's number may mean other bytes.
        if worker.index is index:
            worker.admit(blob.number, body)
        return (body if whole else memoryview(body)[first : first + length],)
    return (payload if whole else payload[first : first + length],)


def verified_blob_id(segment: OpenSegment, location: BlobLocation, keyring: Keyring, new_hasher: Callable[[], Any]) -> bytes:
    """The keyed hash of a record's plaintext, after checking that this is the record its row names. Blocks: call it in a native thread.

    Args: `new_hasher` makes the keyed BLAKE3 hasher. Raises: DamagedRecord, OSError.
    """
    if is_sealed(location):
        return sealed_blob_id(segment, location, keyring, new_hasher)
    check_header(read(segment.fd, HEADER_BYTES, location.offset), location)
    hasher = new_hasher()
    start = location.offset + HEADER_BYTES
    for offset in range(0, location.stored_bytes, CHUNK_BYTES):
        hasher.update(read(segment.fd, min(CHUNK_BYTES, location.stored_bytes - offset), start + offset))
    digest: bytes = hasher.digest()
    return digest


def _read_small(segment: OpenSegment, location: BlobLocation, verify: bool) -> memoryview:
    """The payload of a record of at most one chunk: one pread if its pages are in memory, else read in a native thread."""
    buffer = bytearray(record_bytes(location.stored_bytes))
    if not read_if_warm(segment.fd, memoryview(buffer), location.offset):
        return offload(_read_record, segment, location, verify)
    return _checked(buffer, location, verify)


def _read_record(segment: OpenSegment, location: BlobLocation, verify: bool) -> memoryview:
    return _checked(read(segment.fd, record_bytes(location.stored_bytes), location.offset), location, verify)


def _checked(buffer: bytes | bytearray, location: BlobLocation, verify: bool) -> memoryview:
    if verify:
        return verify_record(buffer, location)
    check_header(buffer, location)
    return memoryview(buffer)[HEADER_BYTES : HEADER_BYTES + location.stored_bytes]


UNBROKEN_PIECES = 8
"""After so many pieces that the socket took at once the other requests get a turn."""


def _open_download(worker: Worker, segment: OpenSegment, location: BlobLocation, first: int, length: int) -> "Download":
    """Verify header, table and first window before the answer's head is sent: damage there still gets an error document."""
    mode = worker.settings.verify_reads
    end = first + length
    if mode == "true":
        checked_end = min(_warm_end(first), end)
        warm = open_warm(segment, location, first, checked_end)
        if warm is not None:
            return Download(worker, warm, first, checked_end, end, mode, [])
    place = None
    if mode == "strict":
        place = places.take(2 * WINDOW_BYTES)
        if place is None:
            source, _ = read_in_turn(open_first, segment, location, mode, first, min(_chunk_end(first), end))
            return Download(worker, source, first, first, end, mode, [])
    checked_end = min(_window_end(first), end)
    try:
        source, window = offload(open_first, segment, location, mode, first, checked_end)
    except BaseException:
        places.give_back(place)
        raise
    return Download(worker, source, first, checked_end, end, mode, window, place)


def _warm_end(first: int) -> int:
    return (first // WARM_BYTES + 1) * WARM_BYTES


def _chunk_end(first: int) -> int:
    return (first // CHUNK_BYTES + 1) * CHUNK_BYTES


def _window_end(first: int) -> int:
    """Windows end at multiples of their size, so that no chunk is read twice."""
    return (first // WINDOW_BYTES + 1) * WINDOW_BYTES


class Download(StreamedBody):
    """The body of a large answer: the bytes `first` .. `end` of one record, in windows."""

    __slots__ = ("_checked_end", "_end", "_first", "_mode", "_place", "_source", "_window", "_worker")

    def __init__(
        self,
        worker: Worker,
        source: Source,
        first: int,
        checked_end: int,
        end: int,
        mode: str,
        window: list[bytes],
        place: Place | None = None,
    ) -> None:
        """`first` .. `checked_end` has been verified; with `strict`, its chunks are in `window`, and `place` is that to read ahead."""
        super().__init__()
        self._worker = worker
        self._source = source
        self._first = first
        self._checked_end = checked_end
        self._end = end
        self._mode = mode
        self._window = window
        self._place = place

    @property
    def held_bytes(self) -> int:
        """See StreamedBody: with `strict`, the window that is being sent and the next one."""
        return 0 if self._place is None else self._place.held_bytes

    def regions(self) -> Iterator[Piece]:
        """Pieces of the file, each verified before it is yielded; with `strict`, the verified bytes themselves.

        Raises: DamagedRecord (already logged and counted), OSError: the answer cannot be completed, reset the connection.
        """
        if self._mode == "strict":
            yield from self._strict_pieces()
            return
        fd = self._source.segment.fd
        start = self._source.location.offset + HEADER_BYTES
        if not self._source.table:
            yield FileRegion(fd, start + self._first, self._end - self._first)
            return
        yield FileRegion(fd, start + self._first, self._checked_end - self._first)
        position = self._checked_end
        for piece in self._warm_pieces(position):
            yield piece
            position += len(piece)
        for first, end, _ in self._windows(position, keep=False):
            yield FileRegion(fd, start + first, end - first)

    def __iter__(self) -> Iterator[bytes]:
        """Verified bytes. Raises as `regions()` does."""
        if self._mode == "strict":
            for piece in self._strict_pieces():
                if isinstance(piece, CheckedRegion):
                    yield from piece.pieces()
                else:
                    yield bytes(piece)
            return
        for start, end, chunks in self._windows(self._first, keep=True):
            for piece in _cut(chunks, start, end):
                yield bytes(piece)

    def _warm_pieces(self, first: int) -> Iterator[memoryview]:
        """Verified bytes from `first` on, for as long as they are in memory and there is a buffer for them. Raises as `regions()` does."""
        buffer = warm_buffers.take()
        if buffer is None:
            return
        try:
            unbroken = 0
            while first < self._end:
                end = min(_warm_end(first), self._end)
                try:
                    piece = self._source.read_warm(first, end, buffer)
                except DamagedRecord as error:
                    raise self._damaged(error) from error
                if piece is None:
                    return
                yield piece
                first = end
                unbroken += 1
                if unbroken == UNBROKEN_PIECES:
                    sleep(0)
                    unbroken = 0
        finally:
            warm_buffers.give_back(buffer)

    def _strict_pieces(self) -> Iterator[bytes | memoryview | CheckedRegion]:
        """All of it as verified chunks, or to be read and verified when they are sent."""
        first = self._checked_end
        try:
            if self._window:
                yield from _cut(self._window, self._first, first)
                self._window = []
            if self._place is None:
                until_place = regions_until_place(self._read_chunk, _window_end, first, self._end, 2 * WINDOW_BYTES)
                first, self._place = yield from until_place
            for start, end, chunks in self._windows(first, keep=True):
                yield from _cut(chunks, start, end)
        finally:
            self._give_back_place()

    def close(self) -> None:
        """See StreamedBody."""
        self._give_back_place()
        super().close()

    def _give_back_place(self) -> None:
        place, self._place = self._place, None
        places.give_back(place)

    def _read_chunk(self, first: int, end: int) -> memoryview:
        """The verified bytes `first` .. `end` of one chunk, of the first one if there are more. Raises as `regions()` does."""
        try:
            (chunk,) = read_in_turn(self._source.window, first, min(_chunk_end(first), end), True)
        except (DamagedRecord, OSError) as error:
            raise self._damaged(error) from error
        start = first % CHUNK_BYTES
        return memoryview(chunk)[start : start + end - first]

    def _windows(self, first: int, keep: bool) -> Iterator[tuple[int, int, list[bytes]]]:
        """(first, end, chunks) of each window from `first` on, the next one being read and verified meanwhile."""
        source = self._source
        try:
            yield from read_ahead(lambda start, stop: source.window(start, stop, keep), _window_end, first, self._end)
        except (DamagedRecord, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> Exception:
        location = self._source.location
        self._worker.metrics.damaged_reads += 1
        logger.error("read of segment %016x at %d broken off: %s", location.segment_id, location.offset, error)
        return error


def _cut(chunks: list[bytes], first: int, end: int) -> Iterator[bytes | memoryview]:
    """The bytes `first` .. `end` of chunks that begin with the one that holds `first`."""
    position = first // CHUNK_BYTES * CHUNK_BYTES
    for chunk in chunks:
        low, high = max(first - position, 0), min(end - position, len(chunk))
        yield chunk if low == 0 and high == len(chunk) else memoryview(chunk)[low:high]
        position += len(chunk)
