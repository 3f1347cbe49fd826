"""wsgi.input of a request in the chunked transfer coding.

Owns: the chunk lines. Must never: accept chunk extensions or trailers (no S3 client sends them, and parsers disagree about
where they end), a bare LF, or a size with a sign, a prefix, a space or more than sixteen digits.
Rule: RFC 9112 section 7.1. Not to be confused with aws-chunked, which is a content coding inside the body.
"""

from __future__ import annotations

import re

from web.body_memory import Account
from web.request_body import RequestBody, RequestBodyMalformed
from web.wire import Wire

CHUNK_LINE_MAX_BYTES = 18
"""Sixteen digits and CR LF."""
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_CHUNK_SIZE_MAX_BYTES = 2**63 - 1


class ChunkedBody(RequestBody):
    """A body in the chunked coding; `_remaining` counts the current chunk, and its CR LF is still due while `_started`."""

    __slots__ = ("_ended", "_started")

    def __init__(self, wire: Wire, held: bytes, expects_continue: bool, account: Account | None = None) -> None:
        super().__init__(wire, None, held, expects_continue, account)
        self._ended = False
        self._started = False

    @property
    def finished(self) -> bool:
        """True when the last chunk and its empty line were read."""
        return self._ended

    @property
    def remaining(self) -> int | None:
        """0 at the end, else unknown."""
        return 0 if self._ended else None

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """As RequestBody.readinto; one call stays within one chunk."""
        if not len(buffer):
            return 0
        if not self._remaining and not self._ended:
            self._next_chunk()
        return super().readinto(buffer)

    def read(self, size: int = -1) -> bytes:
        """As RequestBody.read."""
        return self._read_all() if size < 0 else self._fill(size)

    def _next_chunk(self) -> None:
        if self._started and self._line():
            raise self._malformed("a chunk does not end where its size says")
        self._started = True
        digits = self._line()
        if _CHUNK_SIZE.fullmatch(digits) is None:
            raise self._malformed("a chunk size is malformed or carries an extension")
        self._remaining = int(digits, 16)
        if self._remaining > _CHUNK_SIZE_MAX_BYTES:
            self._remaining = 0
            raise self._malformed("a chunk size is too large")
        if self._remaining == 0:
            if self._line():
                raise self._malformed("trailers are not accepted here")
            self._ended = True

    def _line(self) -> bytes:
        while (end := self._held.find(b"\r\n", self._at, self._at + CHUNK_LINE_MAX_BYTES)) < 0:
            rest = self._held[self._at : self._at + CHUNK_LINE_MAX_BYTES]
            if len(rest) == CHUNK_LINE_MAX_BYTES or b"\n" in rest:
                raise self._malformed("a chunk line is malformed")
            self._receive_more(rest)
        line = self._held[self._at : end]
        self._at = end + 2
        return line

    def _receive_more(self, rest: bytes) -> None:
        """Receive behind the rest of what is at hand; a few KiB, so that chunk data rarely takes a copy."""
        self._held, self._at = b"", 0
        spare = bytearray(4096)
        count = self._take(memoryview(spare))
        self._held = rest + spare[:count]

    def _malformed(self, reason: str) -> RequestBodyMalformed:
        self.failed = True
        return RequestBodyMalformed(reason)
