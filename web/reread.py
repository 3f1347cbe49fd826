"""Bytes that are here already, stored once more as if a client had sent them: what copies do that cannot share the bytes."""

from collections.abc import Generator

from fasterstore.customer_key import CustomerKey
from fasterstore.model import PutIntent
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD
from fasterstore.s3.checksums import ChecksumRequest
from web.body import BodyPlan
from web.context import Request
from web.sealing import store
from web.upload import StoredBody
from web.worker import Worker

Pieces = Generator[bytes | memoryview, None, None]


def store_again(
    worker: Worker, request: Request, pieces: Pieces, intent: PutIntent, checksum_names: tuple[str, ...], key: CustomerKey | None
) -> StoredBody:
    """Store `intent.size_bytes` verified bytes, sealed if there is a `key`, and have them named; `checksum_names` are computed of them.

    Raises: S3Error, and what reading the pieces raises (they are closed in any case); nothing is named then.
    """
    plan = BodyPlan(intent.size_bytes, UNSIGNED_PAYLOAD, None, False, False, ChecksumRequest(checksum_names))
    received_bytes = request.bytes_in
    try:
        request.input = Reread(pieces)
        return store(worker, request, plan, intent, key)
    finally:
        request.bytes_in = received_bytes
        pieces.close()


class Reread:
    """Verified bytes in the place of a request's body, as every server offers it."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        taken = bytearray()
        while size < 0 or len(taken) < size:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._left = memoryview(bytes(piece))
            count = len(self._left) if size < 0 else min(size - len(taken), len(self._left))
            taken += self._left[:count]
            self._left = self._left[count:]
        return bytes(taken)
