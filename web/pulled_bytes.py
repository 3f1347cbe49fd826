"""Bytes of a peer's blobs, in order and verified, as if they were a file: a broken transfer goes on where it broke.

Owns one stream at a time and one frame. What it waits for is progress: a peer that gives none for `patience_secs` is given up.
"""

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from actors.peer import PeerUnreachable
from actors.runtime import sleep
from fasterstore.replication.blob_frames import FRAME_BYTES
from web.peer_client import PeerClient
from web.peer_stream import BlobStream, WrongBytes

RETRY_FIRST_SECS = 0.2
RETRY_MOST_SECS = 2.0
WRONG_FRAMES_MAX = 3
"""So often a frame may differ from its hash before the peer is given up: a line may flip a bit, but not every time."""


class Span(NamedTuple):
    """Bytes `first` .. `first + length` of the blob that the peer's log knows by that id (32 bytes) and number."""

    blob_id: bytes
    number: int
    first: int
    length: int


class PulledBytes:
    """The bytes of spans, one after the other. Close it when done."""

    def __init__(self, client: PeerClient, log_uuid: bytes, spans: Sequence[Span], patience_secs: float) -> None:
        self._client = client
        self._log_uuid = log_uuid
        self._spans = [span for span in spans if span.length]
        self._patience_secs = patience_secs
        self._stream: BlobStream | None = None
        self._place = 0
        self._done = 0
        """Bytes of the present span that were verified."""
        self._frame: bytearray | None = None
        self._kept = memoryview(b"")

    @property
    def size_bytes(self) -> int:
        """How many bytes all spans have together."""
        return sum(span.length for span in self._spans)

    def fill(self, view: memoryview) -> None:
        """Fill all of `view`, which must not be longer than what is left. Raises PeerUnreachable, PeerRefused (NotThere: it is gone)."""
        filled = 0
        while filled < len(view):
            room = view[filled:]
            if self._kept:
                count = min(len(self._kept), len(room))
                room[:count] = self._kept[:count]
                self._kept = self._kept[count:]
            elif len(room) >= self._frame_bytes():
                count = self._next_frame(room)
            else:
                if self._frame is None:
                    self._frame = bytearray(FRAME_BYTES)
                self._kept = memoryview(self._frame)[: self._next_frame(memoryview(self._frame))]
                continue
            filled += count

    def close(self) -> None:
        """Let go of the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _frame_bytes(self) -> int:
        return min(FRAME_BYTES, self._spans[self._place].length - self._done)

    def _next_frame(self, room: memoryview) -> int:
        """The next frame into the beginning of `room`; how long it is. Tries again for as long as there is hope."""
        began, wait_secs, wrong = monotonic(), RETRY_FIRST_SECS, 0
        while True:
            try:
                count = self._opened().read_frame(room)
            except PeerUnreachable as error:
                self.close()
                wrong += isinstance(error, WrongBytes)
                if wrong >= WRONG_FRAMES_MAX or monotonic() - began > self._patience_secs:
                    raise
                sleep(wait_secs)
                wait_secs = min(2 * wait_secs, RETRY_MOST_SECS)
                continue
            self._done += count
            if self._done == self._spans[self._place].length:
                self.close()
                self._place, self._done = self._place + 1, 0
            return count

    def _opened(self) -> BlobStream:
        if self._stream is None:
            blob_id, number, first, length = self._spans[self._place]
            self._stream = self._client.open_blob(blob_id, number, self._log_uuid, first + self._done, length - self._done)
        return self._stream
