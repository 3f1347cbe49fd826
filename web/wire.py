"""One accepted socket and the deadlines on it.

Owns: every receive and send of a connection, and the moment by which the peer must have done something.
Deadlines are looked at by one sweeper per server, which shuts the socket: a blocked call then returns, and no timer is
made per request. A deadline stands only while the peer is waited for, never while the application works. How fast the peer is
and how much memory waits for it is known here too, for the sweeper to choose by (`web/slow_clients.py`).
Must never: know HTTP; close the socket from any greenlet but the connection's own.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
import termios
from contextlib import suppress
from time import monotonic

from gevent import sleep
from gevent.socket import wait_write

from web.http_counters import HttpCounters
from web.http_limits import HttpLimits
from web.regions import CheckedRegion, FileRegion

NEVER = float("inf")
IDLE, HEAD, BODY, WORK, WRITE, LINGER = range(6)
SENDFILE_MAX_BYTES = 4 * 1024 * 1024
"""After this much without a wait other greenlets get a turn: a fast reader never fills the socket."""
MORE = socket.MSG_MORE
_RESET = struct.pack("ii", 1, 0)
_UNKNOWN = -1


def buffer_bytes(data: bytes | bytearray | memoryview) -> int:
    """What is kept in memory for the sake of data: of a part, the whole."""
    return len(data.obj) if type(data) is memoryview else len(data)  # type: ignore[arg-type]


class PeerGone(Exception):
    """The peer closed or reset the connection while more was expected of it."""


class DeadlinePassed(Exception):
    """The peer was waited for too long, or brought too little."""


class Wire:
    """A socket with TCP_NODELAY, its peer's address and its deadline.

    `phase` says what is waited for; the sweeper reads it and `deadline` (monotonic seconds). `held_bytes`: what is kept in memory until
    the present wait ends, in the phases HEAD, BODY and WRITE. `body_bytes`: the length of the last request body.
    """

    __slots__ = (
        "_counters", "_limits", "_rate_bytes", "_rate_waited_secs", "_read_bytes", "_read_waited_secs", "_undelivered_bytes",
        "_waits_since", "body_bytes", "deadline", "expired", "held_bytes", "kept_bytes", "peer", "phase", "socket", "woken",
    )  # fmt: skip

    def __init__(self, client: socket.socket, peer: tuple[str, int], limits: HttpLimits, counters: HttpCounters) -> None:
        self.socket = client
        self.peer = peer
        self._limits = limits
        self._counters = counters
        self.deadline = NEVER
        self.phase = IDLE
        self.expired = False
        self.woken = False
        self.held_bytes = 0
        self.body_bytes = 0
        self.kept_bytes = 0
        """What the present answer keeps in memory beside what is handed to `send`; set by who sends it."""
        self._rate_bytes = 0
        self._rate_waited_secs = 0.0
        self._read_bytes = 0
        """What the peer took of responses while it was waited for, in the present window."""
        self._read_waited_secs = 0.0
        self._undelivered_bytes = _UNKNOWN
        self._waits_since = 0.0

    # ---- receiving

    def receive(self, max_bytes: int) -> bytes:
        """Up to max_bytes; b"" when the peer has finished sending.

        Raises: DeadlinePassed (the caller set phase and deadline before), PeerGone on a reset.
        """
        try:
            data = self.socket.recv(max_bytes)
        except OSError:
            data = self._after_interruption(max_bytes)
        if self.expired:  # looked at even when bytes came: after SHUT_RD the kernel still hands out what arrives
            raise DeadlinePassed
        return data

    def _after_interruption(self, max_bytes: int) -> bytes:
        if self.expired:
            raise DeadlinePassed from None
        if self.woken:
            # A drain interrupted the wait: bytes that had come before it are still there and are a request to be served.
            try:
                return self.socket.recv(max_bytes)
            except OSError:
                return b""
        raise PeerGone from None

    def begin_body(self, body_bytes: int) -> None:
        """Start the rate window of a request body of that length."""
        self.body_bytes = body_bytes
        self._begin_rate_window()

    def _begin_rate_window(self) -> None:
        self._rate_bytes = 0
        self._rate_waited_secs = 0.0

    def receive_body(self, view: memoryview, held_bytes: int = 0) -> int:
        """Fill the front of view with body bytes; returns how many, at least 1. `held_bytes`: what is kept meanwhile, if not view's buffer.

        Raises: DeadlinePassed without progress or below the minimum rate, PeerGone when the peer has finished or reset.
        """
        began = monotonic()
        self.phase = BODY
        self.held_bytes = held_bytes or len(view.obj)  # type: ignore[arg-type]
        self.deadline = began + self._limits.progress_timeout_secs
        try:
            count = self.socket.recv_into(view)
        except OSError:
            if self.expired:
                raise DeadlinePassed from None
            raise PeerGone from None
        finally:
            self.phase = WORK
            self.deadline = NEVER
        if self.expired:
            raise DeadlinePassed
        if count == 0:
            raise PeerGone
        self._judge_rate(count, monotonic() - began)
        return count

    def _judge_rate(self, count: int, waited_secs: float) -> None:
        self._rate_bytes += count
        self._rate_waited_secs += waited_secs
        if self._rate_waited_secs >= self._limits.rate_window_secs:
            if self._rate_bytes < self._limits.min_body_rate_bytes * self._rate_waited_secs:
                self.expired = True
                self._counters.deadlines_passed += 1
                raise DeadlinePassed
            self._begin_rate_window()

    # ---- sending

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0, held_bytes: int = 0) -> None:
        """Send all of data; what the peer takes renews the deadline. `held_bytes`: what is kept meanwhile, if not data's buffer.

        Raises: PeerGone on a closed or reset connection, DeadlinePassed when nothing moved for too long.
        """
        self.phase = WRITE
        self.held_bytes = held_bytes or buffer_bytes(data) + self.kept_bytes
        self._undelivered_bytes = _UNKNOWN
        self.deadline = monotonic() + self._limits.progress_timeout_secs
        try:
            sent = self.socket.send(data, flags)
            if sent != len(data):
                self._send_rest(memoryview(data), sent, flags)
        except OSError:
            raise self._broken_send() from None
        self.deadline = NEVER
        self.phase = WORK

    def _send_rest(self, view: memoryview, sent: int, flags: int) -> None:
        while sent != len(view):
            self._begin_waiting_for_reader()
            count = self.socket.send(view[sent:], flags)
            sent += count
            self._end_waiting_for_reader(count)

    def _begin_waiting_for_reader(self) -> None:
        """The socket has taken all it could."""
        self._undelivered_bytes = self._count_undelivered()
        self._waits_since = monotonic()
        self.deadline = self._waits_since + self._limits.progress_timeout_secs

    def _end_waiting_for_reader(self, count: int) -> None:
        """There was room for `count` more bytes."""
        self._note_delivered(self._count_undelivered() - count)
        self._undelivered_bytes = _UNKNOWN
        self._read_waited_secs += monotonic() - self._waits_since
        if self._is_reader_too_slow():
            self.expired = True
            self._counters.deadlines_passed += 1
            raise self._broken_send()

    def _note_delivered(self, left_bytes: int) -> bool:
        delivered_bytes = self._undelivered_bytes - left_bytes
        if delivered_bytes <= 0:
            return False
        self._undelivered_bytes = left_bytes
        self._read_bytes += delivered_bytes
        return True

    def _is_reader_too_slow(self) -> bool:
        """Judged once a window; begins the next one."""
        if self._read_waited_secs < self._limits.progress_timeout_secs:
            return False
        if self._read_bytes < self._limits.min_body_rate_bytes * self._read_waited_secs:
            return True
        self._read_bytes = 0
        self._read_waited_secs = 0.0
        return False

    def _count_undelivered(self) -> int:
        """Bytes that the kernel holds because the peer has not taken them."""
        try:
            return int.from_bytes(fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

    def send_region(self, region: FileRegion) -> None:
        """Send a region of a file from the page cache.

        Raises: PeerGone, DeadlinePassed as `send`; EOFError when the file ends before the region does.
        """
        file_fd, offset, remaining = region
        socket_fd = self.socket.fileno()
        self.phase = WRITE
        self.held_bytes = self.kept_bytes
        self._undelivered_bytes = _UNKNOWN
        unbroken = 0
        waited = False
        try:
            while remaining:
                self.deadline = monotonic() + self._limits.progress_timeout_secs
                try:
                    sent = os.sendfile(socket_fd, file_fd, offset, min(remaining, SENDFILE_MAX_BYTES))
                except BlockingIOError:
                    self._begin_waiting_for_reader()
                    waited = True
                    wait_write(socket_fd)
                    unbroken = 0
                    continue
                if waited:
                    self._end_waiting_for_reader(sent)
                    waited = False
                if sent == 0:
                    raise EOFError("the file ends before its region")
                offset += sent
                remaining -= sent
                unbroken += sent
                if unbroken >= SENDFILE_MAX_BYTES:
                    self.deadline = NEVER
                    sleep(0)
                    unbroken = 0
        except OSError as error:
            raise self._broken_send() from error
        finally:
            self.deadline = NEVER
            self.phase = WORK

    def send_checked(self, region: CheckedRegion) -> None:
        """Send bytes of a record; what the socket does not take at once is dropped, and read again when it has room.

        Raises: PeerGone, DeadlinePassed as `send`; as `region.read`.
        """
        position = region.first
        while position < region.end:
            piece = region.read(position, region.end)
            count = self._send_now(piece)
            position += count
            if count < len(piece):
                del piece
                self._wait_for_room()

    def _send_now(self, data: memoryview) -> int:
        """Send what the socket takes without a wait; returns how much. Raises: PeerGone, DeadlinePassed."""
        try:
            return os.write(self.socket.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError:
            raise self._broken_send() from None

    def _wait_for_room(self) -> None:
        """Wait until the socket takes more, with nothing held for it. Raises: PeerGone, DeadlinePassed."""
        self.phase = WRITE
        self.held_bytes = self.kept_bytes
        self._begin_waiting_for_reader()
        try:
            wait_write(self.socket.fileno())
        except OSError:
            raise self._broken_send() from None
        self._end_waiting_for_reader(0)
        if self.expired:
            raise self._broken_send()
        self.deadline = NEVER
        self.phase = WORK

    def _broken_send(self) -> Exception:
        self.deadline = NEVER
        return DeadlinePassed() if self.expired else PeerGone()

    # ---- ending

    def watch_reader(self, now: float) -> None:
        """Called by the sweeper during a wait for the reader: what it took of the kernel's buffer is progress too.

        That buffer grows to megabytes, and a slow link needs minutes until there is room in it for the next piece.
        """
        if self._undelivered_bytes == _UNKNOWN:
            self._undelivered_bytes = self._count_undelivered()
            self._waits_since = self.deadline - self._limits.progress_timeout_secs
        elif self._note_delivered(self._count_undelivered()):
            self.deadline = now + self._limits.progress_timeout_secs
        self._read_waited_secs += now - self._waits_since
        self._waits_since = now
        if self._is_reader_too_slow():
            self.expire()

    def stalled_secs(self, now: float) -> float:
        """How long the peer has made no progress in the middle of something, or how long a head has been coming; else 0."""
        phase, limits = self.phase, self._limits
        if self.deadline == NEVER or phase not in (HEAD, BODY, WRITE):
            return 0.0
        return now - self.deadline + (limits.header_deadline_secs if phase == HEAD else limits.progress_timeout_secs)

    def bytes_per_sec(self, now: float) -> float:
        """How fast the peer is while it is waited for, in the phases BODY and WRITE; infinite as long as it is too early to say."""
        if self.phase == BODY:
            count, waited_secs = self._rate_bytes, self._rate_waited_secs + self.stalled_secs(now)
        else:
            count, waited_secs = self._read_bytes, self._read_waited_secs  # the sweeper has just brought them up to now
        return count / waited_secs if waited_secs >= self._limits.slow_after_secs else NEVER

    def expire(self) -> None:
        """Called by the sweeper: ends the wait as one that took too long; the connection's greenlet does the rest."""
        phase = self.phase
        self.deadline = NEVER
        self.expired = True
        if phase not in (IDLE, LINGER):
            self._counters.deadlines_passed += 1
        if phase == WRITE:
            self.abort()
        else:
            self._shut(socket.SHUT_RD)

    def wake(self) -> None:
        """End the wait for a next request, a drain has begun; not if one has just come, which will be served."""
        if self.has_unread():
            return
        self.woken = True
        self._shut(socket.SHUT_RD)

    def has_unread(self) -> bool:
        """Whether bytes, a request perhaps, have come and were not yet received."""
        try:
            return bool(int.from_bytes(fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder))
        except OSError:
            return False

    def abort(self) -> None:
        """Make the close a reset, and end any wait, from whichever greenlet."""
        self.expired = True
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            return
        self._shut(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close with a reset, so that the peer cannot take a broken response for a whole one."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()

    def linger_and_close(self) -> None:
        """Finish sending, read and drop what the peer still sends for a short while, close."""
        self.phase = LINGER
        self.deadline = until = monotonic() + self._limits.linger_secs
        if self._shut(socket.SHUT_WR):
            with suppress(OSError):
                while self.socket.recv(65536) and monotonic() < until:
                    sleep(0)  # a peer that sends on at full speed is never waited for
        self.deadline = NEVER
        self.socket.close()

    def close(self) -> None:
        """Close at once; bytes already handed to the socket still leave."""
        self.socket.close()

    def _shut(self, how: int) -> bool:
        try:
            self.socket.shutdown(how)
        except OSError:
            return False
        return True
