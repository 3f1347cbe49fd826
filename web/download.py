"""Verified reads: from a blob's row to the bytes of an answer. No byte leaves that was not checked first.

Records of one chunk (256 KiB), and cacheable ones, are read and verified as a whole and answered from memory. Larger ones become a
`Download`: header and chunk table are verified before the answer begins, then each chunk in a native thread at most 1 MiB ahead of
what is sent. FS_VERIFY_READS: `true` sends the file's own pages after that check (sendfile), `strict` sends the very bytes that were
checked, `false` skips the digests; that the record is the one its row names is checked always.

Raises `DamagedRecord` or `FileNotFoundError` when the record is not where the row says: compaction may have moved it, so the caller looks
the key up again before it believes in damage. A chunk that fails later raises out of the iteration: the connection must be reset.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from actors.runtime import offload, spawn
from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage.open_segments import OpenSegment
from fasterstore.storage.record import (
    CHUNK_BYTES,
    HEADER_BYTES,
    check_header,
    record_bytes,
    table_bytes,
    verify_chunk,
    verify_record,
    verify_table,
)
from web.regions import FileRegion
from web.worker import Worker

logger = logging.getLogger(__name__)

WARM_BYTES = 2 * CHUNK_BYTES
"""What is verified in the loop at once, if it is in memory."""
WINDOW_BYTES = 4 * CHUNK_BYTES
"""How far verification runs ahead of sending."""


def open_blob(worker: Worker, blob: BlobRow, file_uuid: bytes, first: int, length: int) -> "Sequence[bytes | memoryview] | Download":
    """The bytes `first` .. `first + length` of a blob, as the body of an answer.

    Args: `file_uuid`, 16 bytes, of the segment file that the row names; `first` and `length` in bytes, inside the blob.
    Raises: FileNotFoundError, DamagedRecord (see above), OSError.
    """
    location = blob.location
    settings = worker.settings
    cacheable = worker.cache is not None and location.plaintext_bytes <= settings.cache_object_max_bytes
    if cacheable:
        kept = worker.cache.get(blob.number)  # type: ignore[union-attr]
        if kept is not None:
            return (kept if length == len(kept) else memoryview(kept)[first : first + length],)
    index = worker.index
    segment = worker.segments.reader(location.segment_id, file_uuid)
    verify = settings.verify_reads != "false"
    whole = length == location.plaintext_bytes
    if location.stored_bytes <= CHUNK_BYTES:
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


def verified_blob_id(segment: OpenSegment, location: BlobLocation, new_hasher: Callable[[], Any]) -> bytes:
    """The keyed hash of the stored bytes, after checking that this is the record its row names. Blocks: call it in a native thread.

    Args: `new_hasher` makes the keyed BLAKE3 hasher. Raises: DamagedRecord, OSError.
    """
    check_header(_read(segment.fd, HEADER_BYTES, location.offset), location)
    hasher = new_hasher()
    start = location.offset + HEADER_BYTES
    for offset in range(0, location.stored_bytes, CHUNK_BYTES):
        hasher.update(_read(segment.fd, min(CHUNK_BYTES, location.stored_bytes - offset), start + offset))
    digest: bytes = hasher.digest()
    return digest


def _read(fd: int, length: int, offset: int) -> bytearray:
    """All of those bytes. Raises as `_read_into` does."""
    data = bytearray(length)
    _read_into(fd, memoryview(data), offset)
    return data


def _read_into(fd: int, view: memoryview, offset: int) -> None:
    """Fill `view` from the file. Raises DamagedRecord if the file ends before, or the medium has lost the bytes; OSError."""
    done = 0
    try:
        while done < len(view):
            count = os.preadv(fd, (view[done:],), offset + done)
            if not count:
                raise DamagedRecord("the segment file ends inside the record")
            done += count
    except OSError as error:
        if error.errno == errno.EIO:
            raise DamagedRecord(f"the disk cannot read the record: {error.strerror}") from error
        raise


def _read_small(segment: OpenSegment, location: BlobLocation, verify: bool) -> memoryview:
    """The payload of a record of at most one chunk: one pread if its pages are in memory, else read in a native thread."""
    buffer = bytearray(record_bytes(location.stored_bytes))
    try:
        # Only what needs no disk is read here: one cold read in the loop would hold up every other request.
        warm = os.preadv(segment.fd, (buffer,), location.offset, os.RWF_NOWAIT) == len(buffer)
    except OSError:
        # Not in memory, or this file system cannot say; a real error shows up again in the thread.
        warm = False
    if not warm:
        return offload(_read_record, segment, location, verify)
    return _checked(buffer, location, verify)


def _read_record(segment: OpenSegment, location: BlobLocation, verify: bool) -> memoryview:
    return _checked(_read(segment.fd, record_bytes(location.stored_bytes), location.offset), location, verify)


def _checked(buffer: bytes | bytearray, location: BlobLocation, verify: bool) -> memoryview:
    if verify:
        return verify_record(buffer, location)
    check_header(buffer, location)
    return memoryview(buffer)[HEADER_BYTES : HEADER_BYTES + location.stored_bytes]


_loop_scratch = bytearray(WARM_BYTES)
_scratch: list[bytearray] = []
"""Buffers of one window, one for each native thread that ever read at once: fresh ones cost more in page faults than the read itself."""


class _Source(NamedTuple):
    """A verified place to read chunks from: everything a native thread needs, and nothing of the request."""

    segment: OpenSegment
    location: BlobLocation
    table: bytes
    """The verified chunk table; b"" when digests are not checked."""

    def window(self, first: int, end: int, keep: bool) -> list[bytes]:
        """Read the chunks that hold the bytes `first` .. `end`, check them, and return them if `keep`. Raises DamagedRecord, OSError."""
        kept = []
        start = first // CHUNK_BYTES * CHUNK_BYTES
        stop = min(-(-end // CHUNK_BYTES) * CHUNK_BYTES, self.location.stored_bytes)
        try:
            buffer = _scratch.pop()
        except IndexError:
            buffer = bytearray(WINDOW_BYTES)
        # One read for all chunks: each call that leaves the interpreter lock has to win it back.
        data = memoryview(buffer)[: stop - start]
        _read_into(self.segment.fd, data, self.location.offset + HEADER_BYTES + start)
        for position in range(0, stop - start, CHUNK_BYTES):
            chunk = data[position : position + CHUNK_BYTES]
            if self.table:
                verify_chunk(self.table, (start + position) // CHUNK_BYTES, chunk)
            if keep:
                kept.append(bytes(chunk))
        _scratch.append(buffer)
        return kept


    def verify_warm(self, first: int, end: int) -> bool:
        """Check the chunks that hold `first` .. `end` without waiting for the disk; False if not all pages are in memory.

        For the loop: at most WARM_BYTES, about 0.1 ms, which is less than two hand-overs to a thread cost on busy cores.
        Raises DamagedRecord.
        """
        start = first // CHUNK_BYTES * CHUNK_BYTES
        stop = min(-(-end // CHUNK_BYTES) * CHUNK_BYTES, self.location.stored_bytes)
        data = memoryview(_loop_scratch)[: stop - start]
        try:
            if os.preadv(self.segment.fd, (data,), self.location.offset + HEADER_BYTES + start, os.RWF_NOWAIT) != len(data):
                return False
        except OSError:
            # Not in memory, or this file system cannot say; a real error shows up again in the thread.
            return False
        for position in range(0, stop - start, CHUNK_BYTES):
            verify_chunk(self.table, (start + position) // CHUNK_BYTES, data[position : position + CHUNK_BYTES])
        return True


def _open_source(segment: OpenSegment, location: BlobLocation, verify: bool) -> _Source:
    header = check_header(_read(segment.fd, HEADER_BYTES, location.offset), location)
    table = b""
    if verify:
        table = bytes(_read(segment.fd, table_bytes(location.stored_bytes), location.offset + HEADER_BYTES + location.stored_bytes))
        verify_table(header, table)
    return _Source(segment, location, table)


def _open_first(segment: OpenSegment, location: BlobLocation, mode: str, first: int, end: int) -> tuple[_Source, list[bytes]]:
    source = _open_source(segment, location, mode != "false")
    return source, source.window(first, end, mode == "strict") if source.table else []


def _open_download(worker: Worker, segment: OpenSegment, location: BlobLocation, first: int, length: int) -> "Download":
    """Verify header, table and first window before the answer's head is sent: damage there still gets an error document."""
    mode = worker.settings.verify_reads
    end = first + length
    source, window = offload(_open_first, segment, location, mode, first, min(_window_end(first), end))
    return Download(worker, source, first, end, mode, window)


def _window_end(first: int) -> int:
    """Windows end at multiples of their size, so that no chunk is read twice."""
    return (first // WINDOW_BYTES + 1) * WINDOW_BYTES


class Download:
    """The body of a large answer: the bytes `first` .. `end` of one record, in windows.

    A connection handler that can sendfile uses `regions()`; any other WSGI server iterates and gets verified bytes.
    `finished`, if set, is called once by `close()`.
    """

    __slots__ = ("_end", "_first", "_mode", "_source", "_window", "_worker", "finished")

    def __init__(self, worker: Worker, source: _Source, first: int, end: int, mode: str, window: list[bytes]) -> None:
        self._worker = worker
        self._source = source
        self._first = first
        self._end = end
        self._mode = mode
        self._window = window
        self.finished: Callable[[], None] | None = None

    def regions(self) -> Iterator[FileRegion | bytes | memoryview]:
        """Pieces of the file, each verified before it is yielded; with `strict`, the verified bytes themselves.

        Raises: DamagedRecord (already logged and counted), OSError: the answer cannot be completed, reset the connection.
        """
        if self._mode == "strict":
            yield from self._pieces(self._window)
            return
        fd = self._source.segment.fd
        start = self._source.location.offset + HEADER_BYTES
        if not self._source.table:
            yield FileRegion(fd, start + self._first, self._end - self._first)
            return
        for first, end, _ in self._windows(keep=False, ready=[]):
            yield FileRegion(fd, start + first, end - first)

    def __iter__(self) -> Iterator[bytes]:
        """Verified bytes. Raises as `regions()` does."""
        for piece in self._pieces(self._window or None):
            yield bytes(piece)

    def close(self) -> None:
        """The answer was sent or given up."""
        finished, self.finished = self.finished, None
        if finished is not None:
            finished()

    def _pieces(self, ready: list[bytes] | None) -> Iterator[bytes | memoryview]:
        for first, end, chunks in self._windows(keep=True, ready=ready):
            position = first // CHUNK_BYTES * CHUNK_BYTES
            for chunk in chunks:
                low, high = max(first - position, 0), min(end - position, len(chunk))
                yield chunk if low == 0 and high == len(chunk) else memoryview(chunk)[low:high]
                position += len(chunk)

    def _windows(self, keep: bool, ready: list[bytes] | None) -> Iterator[tuple[int, int, list[bytes]]]:
        """(first, end, chunks) of each window, the next one being verified meanwhile. `ready`: the first window's, if it has been read."""
        first, end = self._first, min(_window_end(self._first), self._end)
        ahead = None
        while first < self._end:
            first_from_open = ready is not None
            if ready is not None:
                chunks, ready = ready, None
            elif ahead is None and not keep and self._is_warm(first, warm_end := min((first // WARM_BYTES + 1) * WARM_BYTES, self._end)):
                yield first, warm_end, []
                first, end = warm_end, min(_window_end(warm_end), self._end)
                continue
            else:
                outcome = ahead.get() if ahead is not None else _outcome(self._source, first, end, keep)
                if not isinstance(outcome, list):
                    raise self._damaged(outcome)
                chunks = outcome
            following, following_end = end, min(_window_end(end), self._end)
            # After a window that was read from the disk the next one is read ahead; after one from memory it is tried in the loop first.
            was_cold = keep or not first_from_open
            ahead = spawn(_outcome, self._source, following, following_end, keep) if was_cold and following < self._end else None
            yield first, end, chunks
            first, end = following, following_end

    def _is_warm(self, first: int, end: int) -> bool:
        """Verify a piece in the loop if all its pages are in memory. Raises as `regions()` does."""
        try:
            return self._source.verify_warm(first, end)
        except (DamagedRecord, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> Exception:
        location = self._source.location
        self._worker.metrics.damaged_reads += 1
        logger.error("read of segment %016x at %d broken off: %s", location.segment_id, location.offset, error)
        return error


def _outcome(source: _Source, first: int, end: int, keep: bool) -> list[bytes] | Exception:
    """The window, or its error as a value: a greenlet that raises would print a traceback besides."""
    try:
        return offload(source.window, first, end, keep)
    except (DamagedRecord, OSError) as error:
        return error
