"""Sealing on the way in: the body of a request, encrypted under its customer's key while it is read, takes the way of every upload.

A layer over `web/upload.py`, which is given other bytes of another length and need not know. What the client said of its own bytes
(length, Content-MD5, checksums, signature) is verified here, before the last sealed bytes are handed on: nothing that differs is ever
named. The ETag is the MD5 of the sealed bytes and so tells nothing of the plaintext, as on AWS; checksums are those of the plaintext.
Two buffers of up to UNIT_BYTES a body besides those of the upload, taken before them. No byte of plaintext goes further than this.
"""

import os
from hashlib import md5, sha256
from typing import Any

from actors.runtime import offload
from fasterstore.aead import CHUNK_BYTES, SealedStream, stored_bytes
from fasterstore.customer_key import BODY_SALT_BYTES, CustomerKey
from fasterstore.digests import Digests, checksum_text, new_checksum
from fasterstore.model import PutIntent
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD
from fasterstore.s3.checksums import ChecksumRequest
from fasterstore.sealed_body import new_header, open_stream, sealed_bytes
from web.body import BodyPlan, BodyReader
from web.context import Request
from web.upload import StoredBody, store_body
from web.worker import Worker

UNIT_BYTES = 16 * CHUNK_BYTES
"""Sealed at once at most, in a native thread; less while memory for bodies is short."""
_ETAG_BYTES = 16


def store(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, key: CustomerKey | None) -> StoredBody:
    """As `store_body`, and sealed if there is a key; the intent's system metadata must have the key's check then.

    Raises: S3Error, and what reading the body raises; nothing is named then.
    """
    if key is None:
        return store_body(worker, request, plan, intent)
    if not plan.size_bytes:
        return store_body(worker, request, plan, intent, _named_empty)
    source = SealedInput(request, plan, key)
    received_bytes = request.bytes_in
    request.input = source
    sealed_plan = BodyPlan(sealed_bytes(plan.size_bytes), UNSIGNED_PAYLOAD, None, False, False, ChecksumRequest())
    intent = intent._replace(overhead_bytes=sealed_plan.size_bytes - plan.size_bytes)
    try:
        return store_body(worker, request, sealed_plan, intent, source.named)
    finally:
        request.bytes_in = received_bytes + source.taken_bytes


def _named_empty(intent: PutIntent, digests: Digests) -> PutIntent:
    """No bytes, no sealed bytes: an ETag that is the MD5 of neither."""
    return intent._replace(etag=os.urandom(_ETAG_BYTES).hex(), checksums=digests.checksums)


class SealedInput:
    """A body that has bytes, sealed, in the place of a request's own, as every server offers it (`wsgi.input`)."""

    __slots__ = ("_digests", "_plain", "_plan", "_reader", "_ready", "_sealed", "_stream", "_unit_bytes", "checksums", "taken_bytes")

    def __init__(self, request: Request, plan: BodyPlan, key: CustomerKey) -> None:
        header = new_header(os.urandom(BODY_SALT_BYTES))
        self._reader = BodyReader(request, plan)
        self._plan = plan
        self._stream: SealedStream = open_stream(header, key, plan.size_bytes)
        self._digests = _PlaintextDigests(plan)
        self._ready = memoryview(header)
        self._unit_bytes = request.account.memory.piece_bytes(min(UNIT_BYTES, plan.size_bytes))
        request.account.take(2 * self._unit_bytes)
        self._plain = bytearray(self._unit_bytes)
        self._sealed = bytearray(stored_bytes(self._unit_bytes))
        self.taken_bytes = 0
        """Bytes of plaintext that were received."""
        self.checksums: dict[str, str] = {}
        """The verified checksums of the plaintext, once all of it was read."""

    def named(self, intent: PutIntent, digests: Digests) -> PutIntent:
        """The intent with what is told of the object; `digests` are those of the sealed bytes."""
        return intent._replace(etag=digests.etag, checksums=self.checksums)

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, fewer only at the end. Raises: S3Error for plaintext that is not what the client said, and what receiving
        raises."""
        taken = bytearray()
        while (size < 0 or len(taken) < size) and self._fill():
            count = len(self._ready) if size < 0 else size - len(taken)
            taken += self._ready[:count]
            self._ready = self._ready[count:]
        return bytes(taken)

    def readinto(self, view: memoryview) -> int:
        """Fill the beginning of `view`; return how many bytes, 0 at the end. Raises as `read`."""
        if not self._fill():
            return 0
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _fill(self) -> bool:
        """Have sealed bytes ready; False at the end."""
        if self._ready:
            return True
        left = self._plan.size_bytes - self.taken_bytes
        if not left:
            return False
        view = memoryview(self._plain)[: min(self._unit_bytes, left)]
        self._reader.fill(view)
        first_chunk = self.taken_bytes // CHUNK_BYTES
        self.taken_bytes += len(view)
        length = self._seal(first_chunk, view) if len(view) <= CHUNK_BYTES else offload(self._seal, first_chunk, view)
        if len(view) == left:
            trailers = self._reader.trailers()
            digests = self._digests.results()
            self._plan.verify(digests, trailers)
            self.checksums = digests.checksums
        self._ready = memoryview(self._sealed)[:length]
        return True

    def _seal(self, first_chunk: int, plaintext: memoryview) -> int:
        """In a native thread if it is much."""
        self._digests.update(plaintext)
        return self._stream.seal_chunks(first_chunk, plaintext, memoryview(self._sealed))


class _PlaintextDigests:
    """Only what the client said something of: the ETag is not an MD5 of these bytes, and no blob has their id."""

    __slots__ = ("_checksums", "_md5", "_parts", "_sha256")

    def __init__(self, plan: BodyPlan) -> None:
        self._md5 = None if plan.checksums.md5_hex is None else md5(usedforsecurity=False)
        self._sha256 = sha256() if plan.signed_hash else None
        self._checksums = {name: new_checksum(name) for name in plan.checksums.names}
        self._parts: list[Any] = [part for part in (self._md5, self._sha256, *self._checksums.values()) if part is not None]

    def update(self, data: memoryview) -> None:
        for part in self._parts:
            part.update(data)

    def results(self) -> Digests:
        """Without blob id; the MD5, if there is one, where an ETag stands otherwise."""
        return Digests(
            "" if self._md5 is None else self._md5.hexdigest(),
            b"",
            None if self._sha256 is None else self._sha256.hexdigest(),
            {name: checksum_text(running) for name, running in self._checksums.items()},
        )
