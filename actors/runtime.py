"""Actors on greenlets: mailbox, reply, batch hook, forward. The one module that lets the runtime in.

All use of Pykka's and gevent's internals is here and in `native_thread`; other modules take their concurrency names from this one.

The deadlock rule: **ask goes down the layers, tell goes up** (web -> segment-writer -> metadata-journal; compactor, scrubber and
replicator -> segment-writer and journal). An actor that asks waits with its mailbox shut, so two actors that ask each other, or a
ring of them, wait for ever: segment-writer may ask metadata-journal for segment ids, therefore the journal must only ever *tell*
segment-writer. An actor that asks itself is the shortest ring, and refused. A handler that needs the answer of a lower
actor for its own asker does not ask either: it hands the envelope on (`Envelope.forward`), and the lower actor answers.

What the stock Pykka loop does and this one must not: stop every actor when a handler lets a `gevent.Timeout` or a kill through;
leave a greenlet that was killed while idle as a ref that never answers; keep or copy tracebacks into replies; answer before a
batch is committed. Here an exception in a handler is a defect: logged, given to the asker as `ActorFailure`, and the actor lives
on (whether its state is still good is for the process to decide). A stray `gevent.Timeout` counts as such an exception. A killed
actor is unregistered and everything that waits for it fails with `ActorDeadError`; no other actor notices.

Mailboxes are unbounded: admission is decided by whoever lets work in. A native thread must never touch an actor ref (gevent's
loop is not safe across threads): sending from one raises `InvariantError`.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

import gevent
import pykka
from gevent import GreenletExit, Timeout, get_hub, getcurrent, joinall, sleep, spawn, spawn_later
from gevent.event import Event
from gevent.monkey import get_original
from gevent.socket import wait_read, wait_write
from pykka import ActorDeadError
from pykka.messages import _ActorStop

from actors import vitals as vitals_list
from actors.messages import Refused
from actors.native_thread import NativeThread, offload
from actors.vitals import Vitals
from fasterstore.errors import InvariantError

__all__ = [
    "ActorDeadError",
    "ActorFailure",
    "AskTimeout",
    "Envelope",
    "Event",
    "GeventActor",
    "GeventRef",
    "GreenletExit",
    "Inbox",
    "NativeThread",
    "Ref",
    "Reply",
    "ReplyTo",
    "Timeout",
    "ask",
    "close_now",
    "get_hub",
    "getcurrent",
    "joinall",
    "native_thread_id",
    "offload",
    "sleep",
    "spawn",
    "spawn_later",
    "tell",
    "wait_read",
    "wait_write",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)
_perf_counter = time.perf_counter
native_thread_id: Callable[[], int] = get_original("_thread", "get_ident")
"""The id of the running native thread, whatever gevent has patched."""

close_now: Callable[[int], None] = get_original("os", "close")
"""Close a descriptor that no watcher uses any more. gevent's patched `os.close` puts it off for sockets and folders, called in a
loop callback until something else wakes the loop: the peer would not learn of it."""

BATCHES_BEFORE_YIELD = 256
"""An actor whose mailbox never runs empty (it tells itself its next step) lets others run after so many batches."""


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


class Ref(Protocol):
    """An actor's address, local or remote. Use the functions `ask` and `tell`."""

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any: ...

    def tell(self, message: Any) -> None: ...


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

    def __init__(
        self, message: Any, reply_to: ReplyTo | None = None, deadline: float | None = None, trace: str | None = None
    ) -> None:
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

    def forward(self, target: "Ref", message: Any) -> None:
        """Hand the asker on to an actor of this process, which answers `message` in this one's place.

        If `target` is dead the asker gets ActorDeadError at once. Raises: InvariantError for a remote target.
        """
        if not isinstance(target, GeventRef):
            raise InvariantError(f"{type(message).__name__} can only be forwarded within the process")
        if self._close("forward"):
            target.deliver(Envelope(message, self.reply_to, self.deadline, self.trace))

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


class GeventRef(pykka.ActorRef[Any]):
    """The address of an actor of this process."""

    actor_inbox: Inbox  # type: ignore[assignment]

    def is_alive(self) -> bool:
        """Whether the actor takes messages."""
        return not self.actor_inbox.closed

    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = None, trace: str | None = None
    ) -> Any:
        """Send and wait for the answer; with `block=False` return the `Reply` instead.

        Raises: AskTimeout after `timeout` seconds (None: never), ActorFailure, ActorDeadError, InvariantError (asks itself).
        """
        inbox = self.actor_inbox
        if block and inbox.consumer is getcurrent():
            raise InvariantError(f"{self} asks itself and would wait for ever")
        reply = Reply()
        inbox.put(Envelope(message, reply, None if timeout is None else _perf_counter() + timeout, trace))
        return reply.get(timeout=timeout) if block else reply

    def tell(self, message: Any) -> None:
        """Send without an answer. Raises: ActorDeadError."""
        if self.actor_inbox.closed:
            raise ActorDeadError(f"{self} is not running")
        self.actor_inbox.put(Envelope(message))

    def deliver(self, envelope: Envelope) -> None:
        """Queue an envelope made by others (transport, forward); a dead actor fails its reply at once."""
        self.actor_inbox.put(envelope)

    def kill(self) -> None:
        """End the actor's greenlet wherever it stands and wait for that. For the second SIGTERM and for tests."""
        actor = self._actor_weakref()
        greenlet = self.actor_inbox.consumer
        if greenlet is not None:
            greenlet.kill()
        if actor is not None:
            # For a greenlet that never ran the exit link fires only a turn later.
            actor._end()


class GeventActor(pykka.Actor):
    """An actor in a greenlet. Override `on_receive`, or `on_batch` and `max_batch`; and `on_start`, `on_stop`, `on_failure`.

    `name` is the class's, or given as keyword at `start`. `on_start` raising, like a kill, ends the actor; `on_stop` runs at an
    orderly stop only, `on_failure` after a kill (it must not wait for anything long).
    """

    name: str = ""
    max_batch: ClassVar[int] = 1

    def __init__(self, *args: Any, name: str = "", **kwargs: Any) -> None:
        self.name = name or self.name or type(self).__name__
        super().__init__(*args, **kwargs)
        inbox = Inbox(self.name)
        self.actor_inbox = inbox  # type: ignore[assignment]
        self._actor_ref = GeventRef(self)
        self._inbox = inbox
        self._kept: dict[int, Envelope] = {}
        self._orderly = False
        self.vitals = Vitals(self.name, inbox.__len__)

    def on_batch(self, envelopes: list[Envelope]) -> None:
        """Answer (`reply`, `fail`), `forward` or `keep` each of 1 to `max_batch` envelopes, oldest first.

        Whatever is left unanswered when this returns or raises fails with ActorFailure, so that no asker waits for ever.
        """
        for envelope in envelopes:
            try:
                reply = self.on_receive(envelope.message)
            except (Exception, Timeout) as error:
                self._defect(error, [envelope])
            else:
                if not envelope.answered:
                    envelope.reply(reply)

    def keep(self, envelope: Envelope) -> None:
        """Answer this envelope after `on_batch` has returned (from a greenlet of the actor's own); it fails if the actor dies."""
        if not envelope.answered and envelope.keeper is None:
            envelope.keeper = self._kept
            self._kept[id(envelope)] = envelope

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """The greenlet was killed (or SystemExit passed through): drop what must not outlive it."""

    @staticmethod
    def _create_actor_inbox() -> Any:
        # The real one needs the actor's name and is made in __init__.
        return None

    @staticmethod
    def _create_future() -> Any:
        return Reply()

    def _start_actor_loop(self) -> None:
        greenlet = gevent.Greenlet(self._actor_loop)
        self._inbox.consumer = greenlet
        # The link also fires for a greenlet that is killed before its first statement, where no `finally` would run.
        greenlet.rawlink(self._ended)
        vitals_list.enlist(self.vitals)
        greenlet.start()

    def _actor_loop(self) -> None:
        try:
            self._actor_loop_setup()
            if not self.actor_stopped.is_set():
                self._actor_loop_running()
        except BaseException as error:
            # Only what ends a greenlet gets here: a kill, SystemExit, KeyboardInterrupt. Others must not notice.
            self._end()
            self.vitals.record_error(repr(error), 0)
            logger.error("%s ended by %r", self.name, error)
            try:
                self.on_failure(type(error), error, None)
            except Exception:
                logger.exception("on_failure of %s", self.name)
            raise
        self._end()

    def _actor_loop_setup(self) -> None:
        try:
            self.on_start()
        except Exception as error:
            self._defect(error, [])
            self.actor_stopped.set()

    def _actor_loop_running(self) -> None:
        inbox, vitals, limit = self._inbox, self.vitals, self.max_batch
        since_yield = 0
        while True:
            since_yield += 1
            try:
                if since_yield >= BATCHES_BEFORE_YIELD:
                    since_yield = 0
                    sleep(0)
                envelopes = inbox.take(limit)
            except Timeout as error:
                self._defect(error, [])
                continue
            if type(envelopes[0].message) is _ActorStop:
                self._orderly = True
                try:
                    self._stop()
                finally:  # killed in `on_stop`, it has stopped all the same: whoever asked for that must not wait for ever
                    self._end()
                    envelopes[0].reply()
                return
            started = _perf_counter()
            vitals.current = type(envelopes[0].message)
            vitals.current_since = started
            # The first is the oldest of its batch.
            vitals.queued_secs_max = max(vitals.queued_secs_max, started - envelopes[0].sent_at)
            for envelope in envelopes:
                vitals.queued_secs_sum += started - envelope.sent_at
            self._handle(envelopes)
            vitals.current = None
            vitals.handled += len(envelopes)
            vitals.busy_secs += _perf_counter() - started

    def _handle(self, envelopes: list[Envelope]) -> None:
        try:
            self.on_batch(envelopes)
        except (Exception, Timeout) as error:
            self._defect(error, envelopes)
        except BaseException:
            for envelope in envelopes:
                if not envelope.answered:
                    envelope.fail(ActorDeadError(f"{self.name} was killed while handling {type(envelope.message).__name__}"))
            raise
        else:
            for envelope in envelopes:
                if not envelope.answered and envelope.keeper is None:
                    self._forgotten(envelope)

    def _forgotten(self, envelope: Envelope) -> None:
        if envelope.reply_to is None:
            envelope.answered = True
        else:
            self._defect(InvariantError(f"{type(envelope.message).__name__} was left without an answer"), [envelope])

    def _defect(self, error: BaseException, envelopes: list[Envelope]) -> None:
        """Log a defect and give it to the askers that have no answer yet, kept ones excepted."""
        text = f"{type(error).__name__}: {error}"
        logger.error("defect in %s: %s", self.name, text, exc_info=error)
        failed = [envelope for envelope in envelopes if not envelope.answered and envelope.keeper is None]
        self.vitals.record_error(text, len(failed))
        for envelope in failed:
            envelope.fail(ActorFailure(self.name, text))

    def _ended(self, _greenlet: Any) -> None:
        self._end()

    def _end(self) -> None:
        """Unregister and fail all that waits; runs in the hub too, so it must not block. Idempotent."""
        if self._inbox.closed:
            return
        pykka.ActorRegistry.unregister(self._actor_ref)
        self.actor_stopped.set()
        self._inbox.close()
        for envelope in list(self._kept.values()):
            envelope.fail(ActorDeadError(f"{self.name} ended before it answered"))
        vitals_list.retire(self.vitals, orderly=self._orderly)


def ask(ref: Ref, message: Any, timeout_secs: float | None) -> Any:
    """Send to a local or remote actor and wait for its answer, at most `timeout_secs` (None: for ever).

    Expiry is the value `Refused("OutcomeUnknown")`, as is a broken connection; the request is never sent again.
    Raises: ActorFailure, ActorDeadError.
    """
    try:
        return ref.ask(message, timeout=timeout_secs)
    except AskTimeout as error:
        return Refused("OutcomeUnknown", str(error))


def tell(ref: Ref, message: Any) -> bool:
    """Send to a local or remote actor without an answer; False if it is known that nobody will read it."""
    try:
        ref.tell(message)
    except ActorDeadError:
        return False
    return True
