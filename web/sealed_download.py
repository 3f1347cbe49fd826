"""The body of a large answer from an encrypted record: decrypted in windows of 512 KiB, the next one while the last one is sent.

Where too many read ahead already, 256 KiB at a time are decrypted when there is room for them on the way out (`web.read_ahead`).
The file's own pages are ciphertext, so nothing goes out by sendfile: what is sent are the very bytes that were verified and decrypted.
"""

import logging
from collections.abc import Iterator

from actors.runtime import offload
from fasterstore.aead import CHUNK_BYTES
from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation
from fasterstore.storage.open_segments import OpenSegment
from web.read_ahead import Place, places, read_ahead, read_in_turn, regions_until_place
from web.regions import CheckedRegion
from web.sealed_source import WINDOW_BYTES, SealedSource, open_sealed, window_end
from web.streamed_body import StreamedBody
from web.worker import Worker

logger = logging.getLogger(__name__)

_STEP_BYTES = 4 * CHUNK_BYTES
"""Decrypted at once without a place to read ahead."""


def open_sealed_download(worker: Worker, segment: OpenSegment, location: BlobLocation, first: int, end: int) -> "SealedDownload":
    """The plaintext `first` .. `end` of a record. What comes first is verified here: damage there still gets an error document.

    Raises: DamagedRecord, OSError.
    """
    place = places.take(2 * WINDOW_BYTES)
    if place is None:
        source, _ = read_in_turn(open_sealed, segment, location, worker.keyring, first, min(_step_end(first), end))
        return SealedDownload(worker, source, memoryview(b""), first, end, None)
    checked_end = min(window_end(first), end)
    try:
        source, window = offload(open_sealed, segment, location, worker.keyring, first, checked_end)
    except BaseException:
        places.give_back(place)
        raise
    return SealedDownload(worker, source, window, checked_end, end, place)


def _step_end(first: int) -> int:
    return (first // _STEP_BYTES + 1) * _STEP_BYTES


class SealedDownload(StreamedBody):
    """See the module. `window` is the plaintext up to `checked_end`; the rest is read as it is sent."""

    __slots__ = ("_checked_end", "_end", "_place", "_source", "_window", "_worker")

    def __init__(self, worker: Worker, source: SealedSource, window: memoryview, checked_end: int, end: int, place: Place | None) -> None:
        super().__init__()
        self._worker = worker
        self._source = source
        self._window = window
        self._checked_end = checked_end
        self._end = end
        self._place = place

    @property
    def held_bytes(self) -> int:
        """See StreamedBody: the next window, as stored and decrypted."""
        return 0 if self._place is None else self._place.held_bytes

    def regions(self) -> Iterator[memoryview | CheckedRegion]:
        """Decrypted bytes. Raises: DamagedRecord (logged and counted), OSError: the connection must be reset."""
        try:
            if self._window:
                yield self._window
                self._window = memoryview(b"")
            first = self._checked_end
            if self._place is None:
                first, self._place = yield from regions_until_place(self._read, window_end, first, self._end, 2 * WINDOW_BYTES)
            for _first, _stop, piece in read_ahead(self._source.window, window_end, first, self._end):
                yield piece
        except (DamagedRecord, OSError) as error:
            raise self._damaged(error) from error
        finally:
            self._give_back_place()

    def close(self) -> None:
        """See StreamedBody."""
        self._give_back_place()
        super().close()

    def _give_back_place(self) -> None:
        place, self._place = self._place, None
        places.give_back(place)

    def __iter__(self) -> Iterator[bytes]:
        """The same as bytes objects."""
        for piece in self.regions():
            if isinstance(piece, CheckedRegion):
                yield from piece.pieces()
            else:
                yield bytes(piece)

    def _read(self, first: int, end: int) -> memoryview:
        try:
            piece: memoryview = read_in_turn(self._source.window, first, min(_step_end(first), end))
        except (DamagedRecord, OSError) as error:
            raise self._damaged(error) from error
        return piece

    def _damaged(self, error: Exception) -> Exception:
        location = self._source.location
        self._worker.metrics.damaged_reads += 1
        logger.error("read of segment %016x at %d broken off: %s", location.segment_id, location.offset, error)
        return error
