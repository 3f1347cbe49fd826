"""start_response and the way of one response onto the wire.

Owns: where the body ends (Content-Length, chunked or close), whether the connection lives on, and how the body leaves:
a list of bytes in one send together with the head, regions by sendfile, any other iterable as it comes.
Must never: send a body after HEAD, 204 or 304; send more bytes than the declared Content-Length, or let the peer take
fewer for a whole answer. What may stand in the head is decided in web/response_head.py.
Rules: PEP 3333; RFC 9110 sections 6.4.1 and 8.6; RFC 9112 sections 6.3, 7.1, 9.3.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from web.framing import RequestHead
from web.regions import CheckedRegion, FileRegion, Piece, shortened
from web.request_body import RequestBody
from web.response_head import HTTP_NO_CONTENT, HTTP_NOT_MODIFIED, ResponseDefect, read_response, render_head
from web.wire import MORE, Wire

log = logging.getLogger(__name__)

JOIN_MAX_BYTES = 65536
"""Up to this size head and body are joined in memory: one copy is cheaper than a second system call."""
BODYLESS_STATUSES = ("204", "304")


class ResponseWriter:
    """One response. `head_sent` tells whether another answer is still possible, `keep_alive` what was promised in it."""

    __slots__ = ("_body", "_chunked", "_drain_body_bytes", "_head", "_headers", "_left", "_status", "_wire", "head_sent", "keep_alive")

    def __init__(self, wire: Wire, head: RequestHead, body: RequestBody, keep_alive: bool, drain_body_bytes: int) -> None:
        self._wire = wire
        self._head = head
        self._body = body
        self._drain_body_bytes = drain_body_bytes
        self._status: str | None = None
        self._headers: list[tuple[str, str]] = []
        self._chunked = False
        self._left: int | None = None
        """Bytes still to be sent of the declared Content-Length; None if none was declared."""
        self.head_sent = False
        self.keep_alive = keep_alive

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """PEP 3333. Returns the legacy write callable. Raises: the given exception once the head went out."""
        if exc_info is not None:
            if self.head_sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._status is not None:
            raise ResponseDefect("start_response was called twice")
        self._status = status
        self._headers = headers
        return self._write

    def send(self, result: Iterable[bytes]) -> None:
        """Send what the application returned.

        Raises: ResponseDefect (look at head_sent), PeerGone, DeadlinePassed, and what the iterable raises.
        """
        if self.head_sent:  # by the legacy write callable
            self._send_pieces(() if self._has_no_body() else result)
        elif type(result) is list or type(result) is tuple:
            self._send_list(result)
        elif (regions := getattr(result, "regions", None)) is None:
            self._send_stream(iter(result), has_regions=False)
        elif self._has_no_body():
            self._send_head(self._render(None))
        else:
            pieces = regions()
            try:
                self._send_stream(self._weighed(result, pieces), has_regions=True)
            finally:
                self._wire.kept_bytes = 0
                if (close := getattr(pieces, "close", None)) is not None:
                    close()  # now and not when a traceback lets go of it: it holds descriptors

    def _weighed(self, body: Any, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces; with each of them the wire is told what the body keeps beside it."""
        for piece in pieces:
            self._wire.kept_bytes = getattr(body, "held_bytes", 0)
            yield piece

    def _send_list(self, pieces: list[bytes] | tuple[bytes, ...]) -> None:
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        size_bytes = len(body)
        if self._has_no_body():
            self._send_head(self._render(size_bytes or None))
            return
        head = self._render(size_bytes)
        left = self._left
        if size_bytes != left and left is not None:
            if size_bytes < left:
                raise ResponseDefect(f"the body has {size_bytes} bytes, Content-Length says {left}")
            log.error("response body of %d bytes cut to its Content-Length of %d", size_bytes, left)
            body = body[:left]
        if size_bytes <= JOIN_MAX_BYTES:
            self._send_head(head + body)
        else:
            self._send_head(head, MORE)
            self._wire.send(body)

    def _send_stream(self, pieces: Iterator[Piece], has_regions: bool) -> None:
        """Regions or any iterable: the first piece is made before the head, so that a failure there is still a 500."""
        piece = next(pieces, None)
        while piece is not None and not piece:
            piece = next(pieces, None)
        if self._has_no_body():  # known only now: a generator calls start_response when it is first advanced
            self._send_head(self._render(None))
            return
        head = self._render(0 if piece is None else None, unframed=not has_regions)
        if piece is None:
            if self._left:
                raise ResponseDefect(f"the body is empty, Content-Length says {self._left}")
            self._send_head(head)
            return
        if has_regions and self._left is None:
            raise ResponseDefect("a body of regions needs a Content-Length")
        if self._send_piece(head, piece):
            self._send_pieces(pieces)

    def _send_pieces(self, pieces: Iterable[Piece]) -> None:
        """The pieces after the head, and the end of the body. Raises: ResponseDefect when fewer bytes came than were declared."""
        for piece in pieces:
            if not self._send_piece(b"", piece):
                break
        if self._left:
            raise ResponseDefect(f"the body ended {self._left} bytes before its Content-Length")
        if self._chunked:
            self._wire.send(b"0\r\n\r\n")

    def _send_piece(self, head: bytes, piece: Piece) -> bool:
        """Send one piece, with the head before it if there is one; False when the declared length is used up."""
        size_bytes = piece.length if isinstance(piece, (FileRegion, CheckedRegion)) else len(piece)
        left = self._left
        if left is not None:
            if size_bytes > left:
                log.error("response body cut to its Content-Length")
                piece = shortened(piece, left) if isinstance(piece, (FileRegion, CheckedRegion)) else piece[:left]
                size_bytes = left
            self._left = left - size_bytes
        if size_bytes == 0:
            if head:
                self._send_head(head)
            return left != 0
        if isinstance(piece, (FileRegion, CheckedRegion)):
            if head:
                self._send_head(head, MORE)
            if isinstance(piece, FileRegion):
                self._wire.send_region(piece)
            else:
                self._wire.send_checked(piece)
        elif self._chunked:
            self._send_head(b"%s%x\r\n%s\r\n" % (head, size_bytes, piece))
        elif not head:
            self._wire.send(piece)
        elif size_bytes <= JOIN_MAX_BYTES:
            self._send_head(b"%s%s" % (head, piece))
        else:
            self._send_head(head, MORE)
            self._wire.send(piece)
        return True

    def _write(self, data: bytes) -> None:
        """PEP 3333's write callable, for old applications."""
        head = b""
        if not self.head_sent:
            head = self._render(None, unframed=True)
        if self._has_no_body():
            if head:
                self._send_head(head)
        elif data:
            self._send_piece(head, data)
        elif head:
            self._send_head(head)

    def _send_head(self, data: bytes, flags: int = 0) -> None:
        # From here on a 100 Continue would stand in the middle of the response.
        self.head_sent = True
        self._body.expects_continue = False
        self._wire.send(data, flags)

    def _has_no_body(self) -> bool:
        status = self._status
        return self._head.is_head or (status is not None and status[:3] in BODYLESS_STATUSES)

    def _render(self, size_bytes: int | None, unframed: bool = False) -> bytes:
        """The response head; sets how many bytes of body may follow.

        Args: size_bytes, the body's length if it is known and the application declared none; unframed, whether a body
        without any length may be sent in chunks, or to an HTTP/1.0 peer until the close.
        """
        status = self._status
        if status is None:
            raise ResponseDefect("the application did not call start_response")
        code, lines, declared, closes = read_response(status, self._headers)
        if closes:
            self.keep_alive = False
        if declared is None:
            declared = size_bytes
        bodyless = self._head.is_head or code in (HTTP_NO_CONTENT, HTTP_NOT_MODIFIED)
        self._left = None if bodyless else declared
        if declared is None and unframed and not bodyless:
            if self._head.minor:
                self._chunked = True
                lines.append("Transfer-Encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if declared is not None and code != HTTP_NO_CONTENT:
            lines.append(f"Content-Length: {declared}\r\n")
        if not self._keeps_alive():
            lines.append("Connection: close\r\n")
        elif self._head.minor == 0:
            lines.append("Connection: keep-alive\r\n")
        return render_head(status, lines)

    def _keeps_alive(self) -> bool:
        """Whether the next request can be found: the rest of this body is nothing, or small and surely on its way."""
        if not self._body.finished and not self._body.can_drain(self._drain_body_bytes):
            self.keep_alive = False
        return self.keep_alive
