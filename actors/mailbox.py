"""The mailbox: what lies in it, where its answers go, and how a greenlet waits for either. Under `runtime`, which gives out these names.

Owns waiting: a `Reply` has one waiting greenlet, an `Inbox` one that takes. Knows no actor: whoever an envelope is handed on to only has
to `deliver` it. Mailboxes are unbounded: admission is decided by whoever lets work in. A native thread must never send: gevent's
loop is not safe across threads, so sending from one raises `InvariantError`.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import pykka
from gevent import get_hub, getcurrent
from gevent.monkey import get_original
from pykka import ActorDeadError
from pykka.messages import _ActorStop

from fasterstore.errors import InvariantError

logger = logging.getLogger(__name__)
_perf_counter = time.perf_counter
native_thread_id: Callable[[], int] = get_original("_thread", "get_ident")
"""The id of the running native thread, whatever gevent has patched."""


class AskTimeout(pykka.Timeout):
    """No answer within the time given: the request may still be carried out."""


class ActorFailure(Exception):
    """A handler raised: a defect. `actor` is the actor's name, `text` the exception as text; no traceback travels."""

    def __init__(self, actor: str, text: str) -> None:
        super().__init__(f"{actor}: {text}")
        self.actor = actor
        self.text = text


class ReplyTo(Protocol):
    """Where an answer goes: a greenlet of this process (`Reply`) or a socket. Only the first answer counts."""

    def set(self, value: Any = None) -> None: ...

    def fail(self, error: Exception) -> None: ...


class Reply:
    """A future for one waiting greenlet, with Pykka's interface.

    An exception is kept as a value and raised with a fresh traceback each time, so that a reply that is read often, or fails often,
    costs no more. Wake-ups run as loop callbacks that look for the waiter when they run: one that comes too late finds none.
    """

    __slots__ = ("_done", "_error", "_get_hook", "_value", "_waiter")

    def __init__(self) -> None:
        self._done = False
        self._error: BaseException | None = None
        self._value: Any = None
        self._waiter: Any = None
        self._get_hook: Callable[[float | None], Any] | None = None

    def done(self) -> bool:
        """Whether an answer is there."""
        return self._done

    def set(self, value: Any = None) -> None:
        """Answer with `value`; a second answer is logged and ignored."""
        if self._done:
            logger.error("second reply ignored: %s", type(value).__name__)
            return
        self._done = True
        self._value = value
        if self._waiter is not None:
            get_hub().loop.run_callback(self._wake)

    def fail(self, error: BaseException) -> None:
        """Answer with an exception, which is raised at the asker's `get`."""
        if self._done:
            logger.error("second reply ignored: %r", error)
            return
        self._error = error
        self.set(None)

    def get(self, *, timeout: float | None = None) -> Any:
        """Wait for the answer, at most `timeout` seconds (None: for ever).

        Raises: AskTimeout; or the exception this reply failed with (ActorFailure, ActorDeadError).
        """
        if not self._done:
            if self._get_hook is not None:
                self.set(self._get_hook(timeout))
            else:
                self._wait(timeout)
        if self._error is not None:
            raise self._error.with_traceback(None)
        return self._value

    def _wait(self, timeout: float | None) -> None:
        if self._waiter is not None:
            raise InvariantError("two greenlets wait for one reply")
        hub = get_hub()
        if timeout is None:
            while not self._done:
                self._waiter = getcurrent()
                try:
                    hub.switch()
                finally:
                    self._waiter = None
            return
        timer = hub.loop.timer(max(timeout, 0.0))
        try:
            timer.start(self._wake)
            while not self._done and timer.active:
                self._waiter = getcurrent()
                hub.switch()
        finally:
            self._waiter = None
            timer.stop()
            timer.close()
        if not self._done:
            raise AskTimeout(f"no answer within {timeout} s")

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.switch()

    # What Pykka itself calls on a future (`ActorRef.stop`).

    def set_exception(self, exc_info: Any) -> None:
        """Pykka's way to say `fail`; the traceback is dropped."""
        self.fail(exc_info[1])

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """Compute the answer by `func(timeout)` at the first `get`."""
        self._get_hook = func


class Envelope:
    """A message on its way: where the answer goes, when it was sent, until when anybody waits, and a trace id for logs.

    `sent_at` and `deadline` (None: no limit) are `time.perf_counter()` seconds.
    """

    __slots__ = ("answered", "deadline", "keeper", "message", "reply_to", "sent_at", "trace")

    def __init__(self, message: Any, reply_to: ReplyTo | None = None, deadline: float | None = None, trace: str | None = None) -> None:
        self.message = message
        self.reply_to = reply_to
        self.sent_at = _perf_counter()
        self.deadline = deadline
        self.trace = trace
        self.answered = False
        self.keeper: dict[int, Envelope] | None = None

    def reply(self, value: Any = None) -> None:
        """Answer the asker; nothing happens for a tell. A second answer is logged and ignored."""
        if self._close("reply") and self.reply_to is not None:
            self.reply_to.set(value)

    def fail(self, error: Exception) -> None:
        """Answer the asker with an exception that is raised at its ask."""
        if self._close("fail") and self.reply_to is not None:
            self.reply_to.fail(error)

    def forward(self, target: Any, message: Any) -> None:
        """Hand the asker on to an actor of this process, which answers `message` in this one's place.

        If `target` is dead the asker gets ActorDeadError at once. Raises: InvariantError for a remote target.
        """
        deliver = getattr(target, "deliver", None)  # only an actor of this process has it
        if deliver is None:
            raise InvariantError(f"{type(message).__name__} can only be forwarded within the process")
        if self._close("forward"):
            deliver(Envelope(message, self.reply_to, self.deadline, self.trace))

    def _close(self, what: str) -> bool:
        if self.answered:
            logger.error("%s after the answer to %s ignored", what, type(self.message).__name__)
            return False
        self.answered = True
        if self.keeper is not None:
            del self.keeper[id(self)]
            self.keeper = None
        return True


class Inbox:
    """A mailbox: a deque and at most one greenlet that waits for it. A closed one fails what is put into it."""

    __slots__ = ("_hub", "_items", "_name", "_thread_id", "_waiter", "_wake_scheduled", "closed", "consumer")

    def __init__(self, name: str) -> None:
        self._items: deque[Envelope] = deque()
        self._name = name
        self._hub = get_hub()
        self._thread_id = native_thread_id()
        self._waiter: Any = None
        self._wake_scheduled = False
        self.closed = False
        self.consumer: Any = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, envelope: Envelope) -> None:
        """Queue an envelope; if the actor is dead, fail its reply with ActorDeadError.

        Raises: InvariantError in a native thread.
        """
        if native_thread_id() != self._thread_id:
            raise InvariantError(f"a native thread sends to {self._name}")
        if self.closed:
            self._fail(envelope)
            return
        self._items.append(envelope)
        if self._waiter is not None and not self._wake_scheduled:
            self._wake_scheduled = True
            self._hub.loop.run_callback(self._wake)

    def take(self, limit: int) -> list[Envelope]:
        """Wait for mail, then up to `limit` envelopes, oldest first. A stop request comes alone."""
        items = self._items
        while not items:
            self._waiter = getcurrent()
            try:
                self._hub.switch()
            finally:
                self._waiter = None
        first = items.popleft()
        batch = [first]
        if limit > 1 and type(first.message) is not _ActorStop:
            while items and len(batch) < limit and type(items[0].message) is not _ActorStop:
                batch.append(items.popleft())
        return batch

    def get(self) -> Envelope:
        """Pykka's interface: the next envelope."""
        return self.take(1)[0]

    def empty(self) -> bool:
        """Pykka's interface: whether no mail waits."""
        return not self._items

    def close(self) -> None:
        """Fail all that waits and all that comes later. A stop request counts as done."""
        self.closed = True
        while self._items:
            envelope = self._items.popleft()
            if type(envelope.message) is _ActorStop:
                envelope.reply()
            else:
                self._fail(envelope)

    def _fail(self, envelope: Envelope) -> None:
        envelope.fail(ActorDeadError(f"{self._name} is not running"))

    def _wake(self) -> None:
        self._wake_scheduled = False
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.switch()
