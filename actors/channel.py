"""One connection between storage and a worker, and what hangs on it: pending asks, credit, refs and replies that go through it.

Owns the descriptor, the asks without an answer and the frames not yet written. Must never resend, and never look into a message.

What an asker can rely on: a `Refused("Unavailable")` or `Refused("Overloaded")` was not sent. Everything else that is not an answer
(the connection broke, the time is over) is `Refused("OutcomeUnknown")`: it may or may not have happened. Credit of an ask whose time
is over comes back with its late answer, because storage still holds the message until then.

Reads and writes run in loop callbacks, not in greenlets: a message costs no switch but the one to the greenlet that waits for it,
and all that is queued in one turn of the loop goes out in one write.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from actors.directory import Directory
from actors.messages import ALWAYS_ADMITTED, Refused
from actors.runtime import ActorDeadError, ActorFailure, AskTimeout, Envelope, GeventRef, Reply, close_now, get_hub, native_thread_id
from actors.wire import ASK, FAILURE, REPLY, TELL, Failure, Frame, FrameReader, MalformedFrame, encode
from fasterstore.errors import InvariantError

logger = logging.getLogger(__name__)

JOIN_MAX_BYTES = 64 * 1024
"""Up to this, queued frames are joined into one buffer; above, they go out by writev without a copy."""
WRITEV_MAX_BUFFERS = 1024
"""Linux's IOV_MAX."""
_READABLE, _WRITABLE = 1, 2


class Channel:
    """One connection, either end. Both ends may ask. Everything here runs in the loop's thread and never waits."""

    def __init__(
        self,
        connected: Any,
        directory: Directory,
        on_control: Callable[["Channel", Frame], None],
        on_close: Callable[["Channel"], None],
    ) -> None:
        """Take over `connected`, a gevent socket; `on_control` gets HELLO and PROGRESS frames, neither callback may wait."""
        self.closed = False
        self.accepts_asks = True
        self.outstanding_bytes = 0
        self.credit_bytes: int | None = None
        self.max_depth: int | None = None
        self._directory = directory
        self._on_control = on_control
        self._on_close = on_close
        self._reader = FrameReader()
        self._pending: dict[int, tuple[Reply, int]] = {}
        self._last_request_id = 0
        self._out: list[bytes | memoryview] = []
        self._flush_scheduled = False
        self._thread_id = native_thread_id()
        self._fd: int = connected.detach()
        self._loop = get_hub().loop
        self._read_watcher = self._loop.io(self._fd, _READABLE)
        self._write_watcher = self._loop.io(self._fd, _WRITABLE)
        self._read_watcher.start(self._readable)

    def admits(self, size_bytes: int) -> bool:
        """Whether an ask of `size_bytes` on the wire stays within the peer's credit and depth."""
        if self.max_depth is not None and len(self._pending) >= self.max_depth:
            return False
        return self.credit_bytes is None or self.outstanding_bytes + size_bytes <= self.credit_bytes

    def ask(self, target: str, message: Any, exempt: bool) -> Reply:
        """Send; the answer, or what stands for it, comes to the returned reply. `exempt`: credit and depth do not apply.

        Raises: InvariantError for a message that cannot be packed or is too large (a defect of the caller).
        """
        reply = Reply()
        if self.closed:
            reply.set(Refused("Unavailable", "no connection"))
            return reply
        if not exempt and not self.admits(0):
            reply.set(Refused("Overloaded", "too many requests in flight"))
            return reply
        request_id = self._last_request_id + 1
        prefix, body = self._encode(ASK, request_id, target, message)
        size_bytes = len(body)
        if not exempt and not self.admits(size_bytes):
            reply.set(Refused("Overloaded", "too many bytes in flight"))
            return reply
        self._last_request_id = request_id
        self._pending[request_id] = (reply, size_bytes)
        self.outstanding_bytes += size_bytes
        self._queue(prefix, body)
        return reply

    def send(self, kind: int, request_id: int, target: str, value: Any) -> None:
        """Queue any other frame; dropped if the connection is closed. Raises: InvariantError as `ask`."""
        if not self.closed:
            self._queue(*self._encode(kind, request_id, target, value))

    def close(self, reason: str) -> None:
        """Send what can be sent at once, then end: pending asks get OutcomeUnknown. Idempotent."""
        if self.closed:
            return
        self._flush()
        self._abandon(reason)

    def _abandon(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        for watcher in (self._read_watcher, self._write_watcher):
            watcher.stop()
            watcher.close()
        close_now(self._fd)
        self._out.clear()
        pending, self._pending = self._pending, {}
        self.outstanding_bytes = 0
        for reply, _size in pending.values():
            reply.set(Refused("OutcomeUnknown", reason))
        self._on_close(self)

    def _encode(self, kind: int, request_id: int, target: str, value: Any) -> tuple[bytes, bytes]:
        if native_thread_id() != self._thread_id:
            raise InvariantError(f"a native thread sends to {target}")
        try:
            return encode(kind, request_id, target, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvariantError(f"{type(value).__name__} has no place on the wire: {error}") from None

    def _queue(self, prefix: bytes, body: bytes) -> None:
        self._out.append(prefix)
        self._out.append(body)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.run_callback(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self.closed or not self._out:
            return
        try:
            self._write()
        except BlockingIOError:
            # The peer reads slowly: go on when it has room, and queue meanwhile (credit bounds how much).
            self._flush_scheduled = True
            if not self._write_watcher.active:
                self._write_watcher.start(self._flush)
            return
        except OSError as error:
            self._abandon(f"write: {error}")
            return
        if self._write_watcher.active:
            self._write_watcher.stop()

    def _write(self) -> None:
        if sum(map(len, self._out)) <= JOIN_MAX_BYTES:
            self._out = [b"".join(self._out)]
        while self._out:
            sent = os.writev(self._fd, self._out[:WRITEV_MAX_BUFFERS])
            done = 0
            while done < len(self._out) and sent >= len(self._out[done]):
                sent -= len(self._out[done])
                done += 1
            del self._out[:done]
            if sent:
                self._out[0] = memoryview(self._out[0])[sent:]

    def _readable(self) -> None:
        try:
            frames = self._reader.read(self._fd)
            if frames is None:
                self._abandon("the peer closed the connection")
                return
            for frame in frames:
                if self.closed:
                    return
                self._dispatch(frame)
        except BlockingIOError:
            return
        except MalformedFrame as error:
            logger.error("malformed frame, connection closed: %s", error)
            self._abandon(f"malformed frame: {error}")
        except OSError as error:
            self._abandon(f"read: {error}")
        except Exception as error:
            logger.exception("defect while a frame was handled, connection closed")
            self._abandon(f"defect: {error}")

    def _dispatch(self, frame: Frame) -> None:
        kind, request_id, target, value = frame
        if kind == REPLY:
            self._settle(request_id).set(value)
        elif kind == ASK:
            self._deliver(Envelope(value, WireReply(self, request_id)), target)
        elif kind == TELL:
            self._deliver(Envelope(value), target)
        elif kind == FAILURE:
            if type(value) is not Failure:
                raise MalformedFrame("a failure without its fields")
            dead = value.error == "ActorDeadError"
            self._settle(request_id).fail(ActorDeadError(value.text) if dead else ActorFailure(value.actor, value.text))
        else:
            self._on_control(self, frame)

    def _settle(self, request_id: int) -> Reply:
        try:
            reply, size_bytes = self._pending.pop(request_id)
        except KeyError:
            raise MalformedFrame(f"an answer to request {request_id}, which is not open") from None
        self.outstanding_bytes -= size_bytes
        return reply

    def _deliver(self, envelope: Envelope, target: str) -> None:
        if not self.accepts_asks:
            envelope.reply(Refused("Unavailable", "not ready"))
            return
        ref = self._directory.find(target)
        if isinstance(ref, GeventRef):
            ref.deliver(envelope)
        else:
            logger.error("no actor %r here for %s", target, type(envelope.message).__name__)
            envelope.fail(ActorDeadError(f"no actor {target!r} here"))


class WireReply:
    """Where an actor's answer to a remote asker goes; the same interface as the local `Reply`."""

    __slots__ = ("_channel", "_done", "_request_id")

    def __init__(self, channel: Channel, request_id: int) -> None:
        self._channel = channel
        self._request_id = request_id
        self._done = False

    def set(self, value: Any = None) -> None:
        """Send `value`; a second answer is logged and ignored, one after the connection broke is dropped."""
        if self._first(value):
            try:
                self._channel.send(REPLY, self._request_id, "", value)
            except InvariantError as error:
                logger.error("an answer was not sent: %s", error)
                self._send_failure("ActorFailure", "transport", str(error))

    def fail(self, error: Exception) -> None:
        """Send an exception, to be raised at the asker's ask as ActorDeadError or ActorFailure."""
        if not self._first(error):
            return
        if isinstance(error, ActorFailure):
            self._send_failure("ActorFailure", error.actor, error.text)
        else:
            self._send_failure(type(error).__name__, "", str(error))

    def _first(self, value: Any) -> bool:
        if self._done:
            logger.error("second reply ignored: %s", type(value).__name__)
            return False
        self._done = True
        return True

    def _send_failure(self, error: str, actor: str, text: str) -> None:
        self._channel.send(FAILURE, self._request_id, "", Failure(error, actor, text[:4096]))


class RemoteRef:
    """The address of an actor behind a connection; it outlives reconnects."""

    __slots__ = ("_channel", "_exempt", "name")

    def __init__(self, channel: Callable[[], Channel | None], name: str, *, exempt: bool = False) -> None:
        self._channel = channel
        self._exempt = exempt
        self.name = name

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send and wait for the answer; with `block=False` return the `Reply`, whose `get` raises AskTimeout.

        Returns Refused Unavailable, Overloaded (both: not sent) or OutcomeUnknown for want of an answer.
        Raises: ActorFailure, ActorDeadError (the actor there, not the connection), InvariantError.
        """
        channel = self._channel()
        if channel is None:
            reply = Reply()
            reply.set(Refused("Unavailable", "no connection to storage"))
        else:
            reply = channel.ask(self.name, message, self._exempt or type(message) in ALWAYS_ADMITTED)
        if not block:
            return reply
        try:
            return reply.get(timeout=timeout)
        except AskTimeout as error:
            return Refused("OutcomeUnknown", str(error))

    def tell(self, message: Any) -> None:
        """Send without an answer; nobody learns of a loss after this returns. Raises: ActorDeadError without a connection."""
        channel = self._channel()
        if channel is None or channel.closed:
            raise ActorDeadError(f"no connection to {self.name}")
        channel.send(TELL, 0, self.name, message)
