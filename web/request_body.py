"""wsgi.input: the body of one request, read from the socket only as the application asks for it.

Owns: how many bytes belong to this request, and the moment of "100 Continue"; web/chunked_body.py adds the chunked coding.
Bytes that came with the head are handed out first; the rest goes from the socket straight into the caller's buffer, and
never a byte more than belongs to the request, so that nothing of the next request is swallowed.
Must never: collect a body in memory unless it is asked for whole.
Rules: RFC 9110 section 10.1.1 (100-continue), PEP 3333 (the methods).
"""

from __future__ import annotations

from collections.abc import Iterator

from web.body_memory import Account, unbounded
from web.wire import DeadlinePassed, PeerGone, Wire

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_READ_ALL_STEP_BYTES = 262144


class RequestBodyError(Exception):
    """The body cannot be had; the connection closes after the answer. `status` and `code` are what S3 answers."""

    status = 400
    code = "IncompleteBody"


class RequestBodyTimeout(RequestBodyError):
    """No progress, or less than the minimum rate, for too long."""

    code = "RequestTimeout"


class RequestBodyDisconnected(RequestBodyError):
    """The peer finished or reset the connection before the end of the body."""


class RequestBodyMalformed(RequestBodyError):
    """The chunked coding is broken."""

    code = "InvalidRequest"


class RequestBody:
    """A body of known length.

    Attributes: length, bytes in all, or None if chunked; sent_continue, True once the 100 went out; failed, True once a
    read raised; finished, True when the last byte was handed out; account, the memory that is taken for it: by `read` for what must be
    waited for, with `readinto` by the caller.
    """

    __slots__ = ("_at", "_held", "_remaining", "_wire", "account", "expects_continue", "failed", "length", "sent_continue")

    def __init__(
        self, wire: Wire | None, length: int | None, held: bytes, expects_continue: bool, account: Account | None = None
    ) -> None:
        self.account = account or unbounded()
        self._wire = wire
        self._held = held
        self._at = 0
        self._remaining = length or 0
        self.length = length
        self.expects_continue = expects_continue
        self.sent_continue = False
        self.failed = False

    @property
    def finished(self) -> bool:
        """True when no byte of this request is left on the connection."""
        return self._remaining == 0

    @property
    def remaining(self) -> int | None:
        """Bytes not yet handed out, None if unknown."""
        return self._remaining

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the front of buffer with at least one byte; returns how many, 0 at the end of the body.

        Raises: RequestBodyTimeout, RequestBodyDisconnected, RequestBodyMalformed.
        """
        view = memoryview(buffer)
        if len(view) > self._remaining:
            view = view[: self._remaining]
        if not len(view):
            return 0
        count = self._take(view)
        self._remaining -= count
        return count

    def read(self, size: int = -1) -> bytes:
        """Exactly size bytes, fewer only at the end of the body; all that is left if size is negative.

        Raises: as readinto, and S3Error SlowDown.
        """
        if size < 0:
            return self._read_all()
        size = min(size, self._remaining)
        at = self._at
        if size and size <= len(self._held) - at:
            self._at = at + size
            self._remaining -= size
            return self._held[at : at + size]
        return self._fill(size)

    def _fill(self, size: int) -> bytes:
        self.account.take(size)
        buffer = bytearray(size)
        view = memoryview(buffer)
        filled = 0
        while filled < size and (count := self.readinto(view[filled:])):
            filled += count
        return bytes(view[:filled])

    def _read_all(self) -> bytes:
        pieces = []
        while piece := self.read(_READ_ALL_STEP_BYTES):
            pieces.append(piece)
        return b"".join(pieces)

    def readline(self, size: int = -1) -> bytes:
        """One line; byte by byte, because PEP 3333 wants the method and nothing here uses it."""
        line = bytearray()
        while len(line) != size and (byte := self.read(1)):
            line += byte
            if byte == b"\n":
                break
        return bytes(line)

    def readlines(self, hint: int = -1) -> list[bytes]:
        """All lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def can_drain(self, max_bytes: int) -> bool:
        """Whether the unread rest is at most max_bytes and sure to come. While a 100 is owed the peer may send it or not."""
        remaining = self.remaining
        return remaining is not None and remaining <= max_bytes and not self.expects_continue and not self.failed

    def leftover(self) -> bytes:
        """Bytes received that belong to the next request; right only once the body is finished."""
        return self._held[self._at :]

    def _take(self, view: memoryview) -> int:
        """Into view from the bytes at hand, else from the socket."""
        at = self._at
        if at < len(self._held):
            count = min(len(self._held) - at, len(view))
            view[:count] = self._held[at : at + count]
            self._at = at + count
            if self._at == len(self._held):
                self._held, self._at = b"", 0  # the caller has them now: a stalled body must not be kept twice
            return count
        wire = self._ready_wire()
        try:
            return wire.receive_body(view, self.account.held_bytes)
        except DeadlinePassed:
            self.failed = True
            raise RequestBodyTimeout("the body did not arrive in time") from None
        except PeerGone:
            self.failed = True
            raise RequestBodyDisconnected("the connection ended before the body did") from None

    def _ready_wire(self) -> Wire:
        wire = self._wire
        if wire is None or self.failed:
            raise RequestBodyDisconnected("the body cannot be read any more")
        if self.expects_continue:
            self.expects_continue = False
            self.sent_continue = True
            try:
                wire.send(CONTINUE)
            except PeerGone:
                self.failed = True
                raise RequestBodyDisconnected("the connection ended before the body did") from None
            except DeadlinePassed:
                self.failed = True
                raise RequestBodyTimeout("the 100 Continue could not be sent") from None
        return wire


EMPTY_BODY = RequestBody(None, 0, b"", False)
"""The body of every request without one; it has no state that could change."""
