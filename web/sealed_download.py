"""The body of a large answer from an encrypted record: decrypted in windows of 1 MiB, the next one while the last one is sent.

The file's own pages are ciphertext, so nothing goes out by sendfile: what is sent are the very bytes that were verified and decrypted.
"""

import logging
from collections.abc import Iterator

from actors.runtime import offload
from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation
from fasterstore.storage.open_segments import OpenSegment
from web.read_ahead import read_ahead
from web.sealed_source import WINDOW_BYTES, SealedSource, open_sealed, window_end
from web.streamed_body import StreamedBody
from web.worker import Worker

logger = logging.getLogger(__name__)


def open_sealed_download(worker: Worker, segment: OpenSegment, location: BlobLocation, first: int, end: int) -> "SealedDownload":
    """The plaintext `first` .. `end` of a record. What comes first is verified here: damage there still gets an error document.

    Raises: DamagedRecord, OSError.
    """
    checked_end = min(window_end(first), end)
    source, window = offload(open_sealed, segment, location, worker.keyring, first, checked_end)
    return SealedDownload(worker, source, window, checked_end, end)


class SealedDownload(StreamedBody):
    """See the module. `window` is the plaintext up to `checked_end`; the rest is read as it is sent."""

    __slots__ = ("_checked_end", "_end", "_source", "_window", "_worker")

    def __init__(self, worker: Worker, source: SealedSource, window: memoryview, checked_end: int, end: int) -> None:
        super().__init__()
        self._worker = worker
        self._source = source
        self._window = window
        self._checked_end = checked_end
        self._end = end

    @property
    def held_bytes(self) -> int:
        """See StreamedBody: the next window, as stored and decrypted."""
        return 2 * WINDOW_BYTES

    def regions(self) -> Iterator[memoryview]:
        """Decrypted bytes. Raises: DamagedRecord (logged and counted), OSError: the connection must be reset."""
        yield self._window
        self._window = memoryview(b"")
        try:
            for _first, _stop, piece in read_ahead(self._source.window, window_end, self._checked_end, self._end):
                yield piece
        except (DamagedRecord, OSError) as error:
            location = self._source.location
            self._worker.metrics.damaged_reads += 1
            logger.error("read of segment %016x at %d broken off: %s", location.segment_id, location.offset, error)
            raise

    def __iter__(self) -> Iterator[bytes]:
        """The same as bytes objects."""
        for piece in self.regions():
            yield bytes(piece)
