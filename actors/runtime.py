"""Actors on greenlets: address, loop, batch hook, death. The one module that lets the runtime in.

All use of Pykka's and gevent's internals is here and in the two parts of it that need nothing of the loop: `mailbox` (envelope, inbox,
reply) and `native_thread`. Other modules take their concurrency names from this one.

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
"""

import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import gevent
import pykka
from gevent import GreenletExit, Timeout, get_hub, getcurrent, joinall, sleep, spawn, spawn_later
from gevent.event import Event
from gevent.lock import Semaphore
from gevent.monkey import get_original
from gevent.socket import wait_read, wait_write
from pykka import ActorDeadError
from pykka.messages import _ActorStop

from actors import vitals as vitals_list
from actors.mailbox import ActorFailure, AskTimeout, Envelope, Inbox, Reply, ReplyTo, native_thread_id
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
    "Semaphore",
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

logger = logging.getLogger(__name__)
_perf_counter = time.perf_counter

close_now: Callable[[int], None] = get_original("os", "close")
"""Close a descriptor that no watcher uses any more. gevent's patched `os.close` puts it off for sockets and folders, called in a
loop callback until something else wakes the loop: the peer would not learn of it."""

BATCHES_BEFORE_YIELD = 256
"""An actor whose mailbox never runs empty (it tells itself its next step) lets others run after so many batches."""


class Ref(Protocol):
    """An actor's address, local or remote. Use the functions `ask` and `tell`."""

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any: ...

    def tell(self, message: Any) -> None: ...


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
            # A kill is what somebody decided, at an orderly stop for instance.
            logger.log(logging.INFO if isinstance(error, GreenletExit) else logging.ERROR, "%s ended by %r", self.name, error)
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
