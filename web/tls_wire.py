"""A wire under TLS: the same deadlines on the same socket, the bytes sealed and opened in between.

Owns: the handshake, and the two memory buffers between OpenSSL and the socket. Waiting is the plain wire's: what it says of receiving,
sending, deadlines and ends holds for the sealed bytes. Must never: send a byte in the clear but the refusal of a client that speaks
no TLS; say a proper goodbye (close_notify) after a broken response, which a peer could then take for a whole one.
Rules: RFC 8446 section 6.1 (closure alerts), RFC 9112 section 9.8 (TLS connection closure).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from actors.runtime import offload, sleep
from web.http_counters import HttpCounters
from web.http_limits import HttpLimits
from web.record_source import read, read_if_warm
from web.regions import CheckedRegion, FileRegion
from web.wire import HEAD, IDLE, MORE, SENDFILE_MAX_BYTES, PeerGone, Wire, buffer_bytes

PIECE_BYTES = 16384
"""Sealed and sent at once, one full record. OpenSSL's buffers keep what they once grew to for as long as the connection lives, and a
larger piece was no faster (10 MiB objects: 12.8 ms of CPU each, 14.3 with 64 KiB)."""
RECEIVE_BYTES = 65536
"""Received at once (uploads of 10 MiB: 46 ms of CPU each, 61 with 16 KiB, 56 with 256 KiB)."""
HANDSHAKE_RECORD = 22
"""RFC 8446 section 5.1: the first byte of every TLS connection."""
_RECEIVE_MIN_BYTES = 8192
"""The end of a body may be a few bytes in a larger record: a receive has room for what seals them."""
_UNASKED_MAX_BYTES = 4096
"""What may wait to be sent because of what the peer sent between the application's bytes. A request for a new key (KeyUpdate, RFC 8446
section 4.6.3) takes 27 bytes either way; honest peers send one in hundreds of gigabytes."""

_region_buffer = bytearray(PIECE_BYTES)
"""Where a piece of a file lies between its read and its sealing, during which no other greenlet runs."""


class SpeaksNoTls(Exception):
    """The peer's first bytes are no handshake: they are in the clear, and so may one refusal be. `first_bytes` as received."""

    def __init__(self, first_bytes: bytes) -> None:
        super().__init__("no handshake")
        self.first_bytes = first_bytes


class NothingAgreed(Exception):
    """The two sides have no version, cipher or key in common, or the peer broke the rules; it has been told."""


class TlsWire(Wire):
    """Nothing can be sent or received before `handshake` has returned; a wire that is closed before says nothing."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, client: socket.socket, peer: tuple[str, int], limits: HttpLimits, counters: HttpCounters) -> None:
        super().__init__(client, peer, limits, counters)
        self._tls: ssl.SSLObject | None = None

    # ---- the handshake

    def handshake(self, context: Callable[[], ssl.SSLContext]) -> None:
        """Agree on keys, within the deadline of a head from now on.

        Args: context, asked for once the peer has sent something. Raises: SpeaksNoTls, NothingAgreed, DeadlinePassed, PeerGone; phase is
        still IDLE if the peer has sent nothing.
        """
        until = monotonic() + self._limits.header_deadline_secs
        self.phase, self.deadline = IDLE, until  # until its first byte a drain may end the wait
        while True:
            data = super().receive(RECEIVE_BYTES)
            if not data:
                raise PeerGone
            if self._tls is None:
                if data[0] != HANDSHAKE_RECORD:
                    raise SpeaksNoTls(data)
                self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                self._tls = context().wrap_bio(self._incoming, self._outgoing, server_side=True)
            self._incoming.write(data)
            agreed = self._go_on_shaking_hands()
            if self._outgoing.pending:
                super().send(self._outgoing.read())
            if agreed:
                return
            self.phase, self.deadline = HEAD, until

    def _go_on_shaking_hands(self) -> bool:
        try:
            self._tls.do_handshake()  # type: ignore[union-attr]
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            if self._outgoing.pending:
                super().send(self._outgoing.read())  # the alert says to the peer what it was
            self._tls = None
            raise NothingAgreed from None
        return True

    def send_in_the_clear(self, data: bytes) -> None:
        """The refusal of a peer that speaks no TLS. Raises as `send`."""
        super().send(data)

    # ---- receiving

    def receive(self, max_bytes: int) -> bytes:
        """See Wire; b"" also at the peer's goodbye."""
        tls = self._secured()
        is_first = True
        while True:
            try:
                return tls.read(max_bytes)
            except ssl.SSLWantReadError:
                if not is_first:
                    self._go_on_without_bytes()
                is_first = False
                data = super().receive(RECEIVE_BYTES)
            except ssl.SSLError:
                raise PeerGone from None
            if not data:
                return b""
            self._incoming.write(data)

    def receive_body(self, view: memoryview, held_bytes: int = 0) -> int:
        """See Wire; the rate is that of the sealed bytes."""
        count = self._open_into(view)
        held_bytes = held_bytes or buffer_bytes(view)
        while not count:
            sealed = view[:RECEIVE_BYTES] if len(view) >= _RECEIVE_MIN_BYTES else memoryview(bytearray(_RECEIVE_MIN_BYTES))
            self._incoming.write(sealed[: super().receive_body(sealed, held_bytes)])
            count = self._open_into(view)
            if not count:
                self._go_on_without_bytes()
        return count

    def _go_on_without_bytes(self) -> None:
        """What came had no byte for the application, and more of it may come faster than it is opened: others get a turn.

        Raises: PeerGone for a peer that goes on making us answer before it comes to its request.
        """
        if self._outgoing.pending > _UNASKED_MAX_BYTES:
            raise PeerGone
        sleep(0)

    def _open_into(self, view: memoryview) -> int:
        """Fill the front of view with what is at hand, a record after another. Raises: PeerGone if there will be no more."""
        tls = self._secured()
        count = 0
        try:
            while count < len(view):
                opened = tls.read(len(view) - count, view[count:])
                if not opened:
                    break
                count += opened  # type: ignore[operator]
        except ssl.SSLWantReadError:
            return count
        except ssl.SSLError:
            raise PeerGone from None
        if not count:
            raise PeerGone
        return count

    def has_unread(self) -> bool:
        """See Wire; what was received and not yet opened counts."""
        return super().has_unread() or (self._tls is not None and bool(self._incoming.pending or self._tls.pending()))

    # ---- sending

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0, held_bytes: int = 0) -> None:
        """See Wire. With MORE the end is kept back and leaves with what comes next."""
        view = memoryview(data)
        held_bytes = held_bytes or buffer_bytes(data) + self.kept_bytes
        for start in range(0, len(view), PIECE_BYTES):
            self._seal(view[start : start + PIECE_BYTES])
            if not flags & MORE or start + PIECE_BYTES < len(view):
                super().send(self._outgoing.read(), 0, held_bytes)

    def send_region(self, region: FileRegion) -> None:
        """See Wire: read from the page cache and sealed, where the plain wire uses sendfile."""
        file_fd, offset, remaining = region
        unbroken = 0
        while remaining:
            piece = memoryview(_region_buffer)[: min(remaining, PIECE_BYTES)]
            if not read_if_warm(file_fd, piece, offset):
                piece = memoryview(offload(read, file_fd, len(piece), offset))
            self._seal(piece)
            super().send(self._outgoing.read())
            offset += len(piece)
            remaining -= len(piece)
            unbroken += len(piece)
            if unbroken >= SENDFILE_MAX_BYTES:
                sleep(0)
                unbroken = 0

    def send_checked(self, region: CheckedRegion) -> None:
        """See Wire; what was sealed must leave, so that at most one record of it is held while the reader is waited for."""
        position = region.first
        while position < region.end:
            piece = region.read(position, region.end)
            for start in range(0, len(piece), PIECE_BYTES):
                part = piece[start : start + PIECE_BYTES]
                position += len(part)
                self._seal(part)
                sealed = self._outgoing.read()
                count = self._send_now(memoryview(sealed))
                if count < len(sealed):
                    del piece, part
                    super().send(memoryview(sealed)[count:])
                    break

    def _seal(self, data: memoryview) -> None:
        try:
            self._secured().write(data)
        except ssl.SSLError:
            raise PeerGone from None

    def _secured(self) -> ssl.SSLObject:
        if self._tls is None:
            raise self._broken_send()
        return self._tls

    # ---- ending

    def reset(self) -> None:
        """See Wire."""
        self._tls = None
        super().reset()

    def abort(self) -> None:
        """See Wire."""
        self._tls = None
        super().abort()

    def linger_and_close(self) -> None:
        """See Wire."""
        self._say_goodbye()
        super().linger_and_close()

    def close(self) -> None:
        """See Wire."""
        self._say_goodbye()
        super().close()

    def _say_goodbye(self) -> None:
        """close_notify, as far as the socket takes it at once: a peer that does not read is not waited for."""
        tls, self._tls = self._tls, None
        if tls is None:
            return
        with suppress(ssl.SSLError):
            tls.unwrap()
        with suppress(OSError):
            os.write(self.socket.fileno(), self._outgoing.read())
