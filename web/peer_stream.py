"""The bytes of a peer's answer as they come: never waits longer than the timeout for a piece, and hands out no blob's byte unverified."""

from time import monotonic

import requests
import urllib3

from actors.peer import PeerUnreachable
from fasterstore.replication.blob_frames import FRAME_BYTES, HASH_BYTES, frame_hash

PIECE_BYTES = 64 * 1024


class WrongBytes(PeerUnreachable):
    """The bytes of a frame are not those of its hash."""


class BlobStream:
    """Bytes of a blob on their way, frame by frame. Raises PeerUnreachable whenever they stop coming."""

    def __init__(self, address: str, response: requests.Response, length: int, timeout_secs: float) -> None:
        self._address = address
        self._response = response
        self._left = length
        self._timeout_secs = timeout_secs
        self._kept = memoryview(b"")

    def read_frame(self, buffer: memoryview) -> int:
        """The next frame, verified, at the beginning of `buffer` (FRAME_BYTES long, or all that is left); how long it is, 0 at the end.

        Raises: PeerUnreachable; WrongBytes, and `buffer` holds what must not be used.
        """
        length = min(FRAME_BYTES, self._left)
        if not length:
            return 0
        self._fill(buffer[:length])
        stated = bytearray(HASH_BYTES)
        self._fill(memoryview(stated))
        if frame_hash(buffer[:length]) != stated:
            raise WrongBytes(f"{self._address} sent bytes that are not those of their hash")
        self._left -= length
        return length

    def close(self) -> None:
        """Give the connection back, or close it if anything is left."""
        self._response.close()

    def _fill(self, view: memoryview) -> None:
        filled = 0
        began = monotonic()
        while filled < len(view):
            if not self._kept:
                piece = read_some(self._address, self._response)
                if not piece:
                    raise PeerUnreachable(f"{self._address} ended the bytes of a blob too soon")
                if monotonic() - began > paced_secs(self._timeout_secs, filled):
                    raise PeerUnreachable(f"{self._address} sends too slowly")
                self._kept = memoryview(piece)
            count = min(len(self._kept), len(view) - filled)
            view[filled : filled + count] = self._kept[:count]
            self._kept = self._kept[count:]
            filled += count


def paced_secs(timeout_secs: float, size_bytes: int) -> float:
    """How long that many bytes may take in all: who sends one now and then is given up like who sends none."""
    return timeout_secs * (1 + size_bytes // PIECE_BYTES)


def read_some(address: str, response: requests.Response) -> bytes:
    """What has come of an answer's body, b"" at its end. Raises PeerUnreachable."""
    try:
        piece: bytes = response.raw.read1(PIECE_BYTES, decode_content=False)
    except (urllib3.exceptions.TimeoutError, TimeoutError):
        raise PeerUnreachable(f"{address} stopped in the middle of an answer") from None
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise PeerUnreachable(f"{address}: {innermost(error)}") from None
    return piece


def innermost(error: BaseException) -> str:
    """The last cause in one line: what requests wraps round it repeats the whole URL."""
    while True:
        reason = getattr(error, "reason", None)
        cause = reason if isinstance(reason, BaseException) else next((one for one in error.args if isinstance(one, BaseException)), None)
        if cause is None:
            return f"{type(error).__name__}: {str(error).rpartition('object at ')[2].partition('>: ')[2] or error}"[:200]
        error = cause
