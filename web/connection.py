"""One connection: heads in, the WSGI application, responses out, in order, until one side has had enough.

Owns: the life of an accepted socket: keep-alive, pipelining, what is answered when the head, the body or the application
fails, and whether the close is orderly (after a lingering read) or a reset (a response that could not be finished).
The framing rules are in web/framing.py, the body in web/request_body.py, the response in web/response_writer.py and the
deadlines in web/wire.py. Must never: decide how long a request is by anything but those rules; look at buckets or keys.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from gevent import GreenletExit, sleep

from web.body_memory import Account, BodyMemory
from web.chunked_body import ChunkedBody
from web.framing import LENGTH_MAX_BYTES, RequestHead, read_head, refuse_unfinished
from web.http_counters import HttpCounters
from web.http_limits import HttpLimits
from web.refusal import HttpRefusal, render_refusal
from web.request_body import EMPTY_BODY, RequestBody, RequestBodyError
from web.response_head import response_prefix
from web.response_writer import ResponseWriter
from web.wire import HEAD, IDLE, NEVER, WORK, DeadlinePassed, PeerGone, Wire

log = logging.getLogger(__name__)

RECEIVE_BYTES = 65536
"""One receive takes a head and a small body, or many pipelined heads."""
SHORT_RECEIVE_BYTES = 4096
"""The same while memory for bodies is short: what comes of one with its head is in memory before there is room for it."""
UNBROKEN_REQUESTS = 8
"""After so many other connections get a turn: whoever sends faster than he is answered is never waited for, and would keep the worker."""

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ServerShared:
    """What all connections of one server share; `draining` is switched on once, by the server."""

    __slots__ = ("application", "counters", "draining", "environ", "limits", "memory", "new_request_id")

    def __init__(
        self,
        application: WsgiApplication,
        limits: HttpLimits,
        counters: HttpCounters,
        environ: dict[str, Any],
        new_request_id: Callable[[], str],
        memory: BodyMemory,
    ) -> None:
        self.memory = memory
        self.application = application
        self.limits = limits
        self.counters = counters
        self.environ = environ
        """The part of every environ that is the same for all requests; copied, never changed."""
        self.new_request_id = new_request_id
        self.draining = False


class Connection:
    """Serves one socket; `run` returns when it is closed and raises nothing but GreenletExit."""

    __slots__ = ("_buffer", "_environ", "_shared", "_wire")

    def __init__(self, wire: Wire, shared: ServerShared) -> None:
        self._wire = wire
        self._shared = shared
        self._buffer = b""
        self._environ = {**shared.environ, "REMOTE_ADDR": wire.peer[0], "REMOTE_PORT": str(wire.peer[1]), "fs.peer": wire.peer}

    def run(self) -> None:
        """Serve requests until the connection ends."""
        wire = self._wire
        counters = self._shared.counters
        raw = b""
        served = 0
        try:
            while raw := self._next_head():
                if not self._serve(read_head(raw, self._environ.copy(), self._shared.limits.max_header_count)):
                    wire.linger_and_close()
                    return
                raw = b""  # what is refused from here on is the next request, of whatever method
                served += 1
                if served % UNBROKEN_REQUESTS == 0:
                    sleep(0)
            wire.close()
        except HttpRefusal as refusal:
            counters.refused_heads += 1
            self._refuse(refusal, with_body=not (raw or self._buffer).startswith(b"HEAD "))
        except DeadlinePassed:
            if wire.phase == HEAD:
                self._refuse(HttpRefusal(400, "RequestTimeout", "the request head did not arrive in time"))
            else:
                self._end_late()
        except PeerGone:
            counters.disconnects += 1
            wire.close()
        except GreenletExit:
            wire.reset()
            raise

    def _end_late(self) -> None:
        if self._wire.phase == IDLE:
            self._wire.close()
        else:
            self._shared.counters.resets += 1
            self._wire.reset()

    def _next_head(self) -> bytes:
        """The bytes of the next head, to its empty line inclusive; b"" when the peer has no more requests.

        Raises: HttpRefusal for what cannot become a head, DeadlinePassed, PeerGone in the middle of a head.
        """
        wire = self._wire
        limits = self._shared.limits
        buffer = self._buffer
        wire.phase = IDLE
        wire.deadline = NEVER
        may_skip_line = True
        searched = 0
        while True:
            if may_skip_line and buffer.startswith(b"\r\n"):
                buffer = buffer[2:]  # RFC 9112 section 2.2: one empty line before a request line is forgiven
                may_skip_line = False
            if buffer:
                end = buffer.find(b"\r\n\r\n", searched)
                if 0 <= end <= limits.max_header_bytes - 4:
                    wire.phase = WORK
                    wire.deadline = NEVER
                    self._buffer = buffer[end + 4 :]
                    return buffer[: end + 4]
                self._buffer = buffer
                if not (may_skip_line and buffer == b"\r"):
                    self._judge_unfinished(buffer, end)
                    searched = max(0, len(buffer) - 3)
            if wire.deadline == NEVER:
                self._begin_idle()
            data = wire.receive(SHORT_RECEIVE_BYTES if self._shared.memory.is_short else RECEIVE_BYTES)
            if not data:
                if wire.phase == HEAD:
                    raise PeerGone
                return b""
            buffer = buffer + data if buffer else data

    def _judge_unfinished(self, buffer: bytes, end: int) -> None:
        """A head that has begun: refuse it early where that is certain, and start its deadline at its first byte."""
        limits = self._shared.limits
        if len(buffer) >= limits.max_header_bytes or end >= 0:
            raise HttpRefusal(400, "RequestHeaderSectionTooLarge", f"the head is larger than {limits.max_header_bytes} bytes")
        if (refusal := refuse_unfinished(buffer)) is not None:
            raise refusal
        wire = self._wire
        wire.held_bytes = len(buffer)
        if wire.phase == IDLE:
            wire.phase = HEAD
            wire.deadline = monotonic() + limits.header_deadline_secs

    def _begin_idle(self) -> None:
        wire = self._wire
        wire.deadline = monotonic() + self._shared.limits.progress_timeout_secs
        if self._shared.draining:
            wire.wake()

    def _serve(self, head: RequestHead) -> bool:
        """One request; returns whether the connection lives on.

        Raises: PeerGone, DeadlinePassed, GreenletExit; all that the application does wrong is answered or reset here.
        """
        shared = self._shared
        shared.counters.requests += 1
        wire = self._wire
        body = self._body_of(head)
        environ = head.environ
        environ["wsgi.input"] = body
        environ["fs.account"] = body.account
        limits = shared.limits
        writer = ResponseWriter(wire, head, body, head.keep_alive, limits.drain_body_bytes)
        result: Iterable[bytes] | None = None
        try:
            try:
                result = shared.application(environ, writer.start_response)
                if shared.draining:  # asked only now: a drain that began while the application worked counts too
                    writer.keep_alive = False
                writer.send(result)
            finally:
                body.account.close()
                if result is not None and (close := getattr(result, "close", None)) is not None:
                    close()
        except (PeerGone, DeadlinePassed, GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except RequestBodyError as error:
            return self._answer_failed_body(error, writer, head)
        except BaseException:  # a gevent.Timeout that escapes the application is one of these too
            shared.counters.defects += 1
            # The path alone: a presigned query is a credential.
            log.exception("the application failed on %s %s", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return self._answer_defect(writer, head)
        if not writer.keep_alive:
            if not head.keep_alive and body.finished and not self._buffer and not wire.has_unread():
                wire.close()  # the peer asked for it and has nothing under way that a close could turn into a reset
            return False
        if body is not EMPTY_BODY:
            self._drain(body)
            self._buffer = body.leftover()
        return True

    def _body_of(self, head: RequestHead) -> RequestBody:
        length = head.content_length
        if not length and not head.chunked:
            return EMPTY_BODY
        wire = self._wire
        wire.begin_body(length or LENGTH_MAX_BYTES)
        held, self._buffer = self._buffer, b""
        # A peer that has begun to send is not waiting for a 100.
        expects_continue = head.expects_continue and not held
        account = Account(self._shared.memory)
        if head.chunked:
            return ChunkedBody(wire, held, expects_continue, account)
        return RequestBody(wire, length, held, expects_continue, account)

    def _drain(self, body: RequestBody) -> None:
        if body.finished:
            return
        spare = bytearray(SHORT_RECEIVE_BYTES)
        try:
            while body.readinto(spare):
                pass
        except RequestBodyError:
            raise PeerGone from None

    def _answer_failed_body(self, error: RequestBodyError, writer: ResponseWriter, head: RequestHead) -> bool:
        if self._wire.woken:
            raise PeerGone from None  # our own drain cut the body off: an answer would blame the client, a close is retried
        if error.code == "IncompleteBody":
            self._shared.counters.disconnects += 1
        return self._answer_instead(HttpRefusal(error.status, error.code, str(error)), writer, head)

    def _answer_defect(self, writer: ResponseWriter, head: RequestHead) -> bool:
        return self._answer_instead(HttpRefusal(500, "InternalError", "the request could not be answered"), writer, head)

    def _answer_instead(self, refusal: HttpRefusal, writer: ResponseWriter, head: RequestHead) -> bool:
        """A refusal in place of the application's response; a reset if that has begun."""
        if writer.head_sent:
            self._shared.counters.resets += 1
            self._wire.reset()
            return False
        self._send_refusal(refusal, not head.is_head)
        return False

    def _refuse(self, refusal: HttpRefusal, with_body: bool = True) -> None:
        try:
            self._send_refusal(refusal, with_body)
        except (PeerGone, DeadlinePassed):
            self._shared.counters.disconnects += 1
        self._wire.linger_and_close()

    def _send_refusal(self, refusal: HttpRefusal, with_body: bool) -> None:
        self._wire.send(render_refusal(refusal, self._shared.new_request_id(), response_prefix(), with_body))
