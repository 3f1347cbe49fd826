"""The HTTP server of one worker: a listening socket, its connections, the sweep of their deadlines, and the drain.

Owns: accepting, the set of open connections and how they end. Must never: bind or listen (the supervisor did, once, for
all workers); know what the application answers. Start it inside the process that serves, after monkey.patch_all().
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.server import StreamServer

from web.address_limit import AddressLimit
from web.body_memory import BodyMemory
from web.connection import Connection, ServerShared, WsgiApplication
from web.http_counters import HttpCounters
from web.http_limits import HttpLimits
from web.refusal import HttpRefusal, render_refusal
from web.response_head import response_prefix
from web.slow_clients import half_received_heads_bytes, stopped_in_a_rush, too_slow
from web.tls_acceptor import TlsAcceptor
from web.wire import BODY, IDLE, NEVER, WRITE, DeadlinePassed, PeerGone, Wire

__all__ = ["HttpCounters", "HttpLimits", "HttpServer"]

log = logging.getLogger(__name__)

_DRAIN_POLL_SECS = 0.02
_ABORT_WAIT_SECS = 0.5
_YIELD_SECS = 0.001
"""Long enough for a worker that sleeps to wake up and accept."""
_MEMORY_BACK_SECS = 1.0
"""By then what slow clients held has been freed."""
_TURNED_AWAY_MAX = 64
"""So many refused connections at a time are read to their end, or a request under way would turn the refusal into a reset."""


def random_request_id() -> str:
    """Sixteen upper-case hex digits, the shape of S3's request ids."""
    return os.urandom(8).hex().upper()


class _FairServer(StreamServer):
    """Accepts one connection at a time, and pauses while another worker has fewer: that one takes the next."""

    max_accept = 1  # workers share the listener: one that takes a handful leaves the others idle
    http: HttpServer

    def do_handle(self, *args: Any) -> None:
        super().do_handle(*args)
        # The one just accepted is not counted yet.
        if self.http.another_has_fewer(self.http.counters.connections_open + 1):
            self.stop_accepting()
            self._timer = self.loop.timer(_YIELD_SECS)
            self._timer.start(self._start_accepting_if_started)


class HttpServer:
    """Serves a WSGI application on an already listening stream socket (IPv4 or IPv6).

    Args: listener, bound and listening; application, WSGI; limits; new_request_id, ids for answers that the connection
    layer gives itself; tls, None to speak HTTP in the clear. Attributes: counters; max_connections, 0 for no limit, may be changed at
    any time.
    """

    def __init__(
        self,
        listener: socket.socket,
        application: WsgiApplication,
        limits: HttpLimits | None = None,
        *,
        new_request_id: Callable[[], str] = random_request_id,
        max_connections: int = 0,
        tls: TlsAcceptor | None = None,
    ) -> None:
        self.limits = limits or HttpLimits()
        self.counters = HttpCounters()
        self.max_connections = max_connections
        self.address_limit: AddressLimit | None = None
        """How many connections one address may have; set before start()."""
        self._turned_away = 0
        self._memory_due = NEVER
        self.give_back_memory: Callable[[], None] = lambda: None
        """Called some time after slow clients were ended for the memory that they held; set before start()."""
        self.address: tuple[Any, ...] = listener.getsockname()
        self._tls = tls
        environ = _environ_template(self.address, "http" if tls is None else "https")
        self.memory = BodyMemory(self.limits.rush_memory_bytes, self.limits.progress_timeout_secs, self.counters)
        self._shared = ServerShared(application, self.limits, self.counters, environ, new_request_id, self.memory)
        self._wires: set[Wire] = set()
        self._stream = _FairServer(listener, self._handle)
        self._stream.http = self
        self.another_has_fewer: Callable[[int], bool] = lambda connections: False
        """Given the number of open connections, tells whether another worker on the same listener has fewer; set before start()."""
        self._sweeper: gevent.Greenlet | None = None

    @property
    def draining(self) -> bool:
        """True from the first drain or stop."""
        return self._shared.draining

    def start(self) -> None:
        """Begin to accept; returns at once."""
        self._sweeper = gevent.spawn(self._sweep)
        self._stream.start()

    def drain(self, timeout_secs: float) -> int:
        """Stop accepting, end idle connections, let running requests finish with Connection: close.

        Args: timeout_secs, after which what still runs is reset. Returns: how many connections were reset.
        """
        self._shared.draining = True
        self._stream.stop_accepting()
        self._stream.close()
        for wire in list(self._wires):
            if wire.phase == IDLE:
                wire.wake()
        self._wait_until_closed(timeout_secs)
        left = list(self._wires)
        for wire in left:
            wire.abort()
        if left:
            self._wait_until_closed(_ABORT_WAIT_SECS)
        if self._sweeper is not None:
            self._sweeper.kill()
            self._sweeper = None
        return len(left)

    def stop(self) -> None:
        """Stop at once: every open connection is reset."""
        self.drain(0.0)

    def _wait_until_closed(self, timeout_secs: float) -> None:
        until = monotonic() + timeout_secs
        while self._wires and monotonic() < until:
            gevent.sleep(_DRAIN_POLL_SECS)

    def _handle(self, client: socket.socket, address: tuple[Any, ...]) -> None:
        counters = self.counters
        counters.connections_accepted += 1
        wire = (Wire if self._tls is None else self._tls.wire)(client, _peer_of(address), self.limits, counters)
        if 0 < self.max_connections <= counters.connections_open:
            counters.connections_over_limit += 1
            self._turn_away(wire, "too many connections")
            return
        cells: tuple[int, ...] | None = ()
        if self.address_limit is not None:
            cells = self.address_limit.enter(wire.peer[0])
            if cells is None:
                counters.connections_over_address_limit += 1
                self._turn_away(wire, "too many connections from this address")
                return
        counters.connections_open += 1
        self._wires.add(wire)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if counters.connections_open > self.limits.many_connections:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, self.limits.unsent_max_bytes)
            if self._tls is None or self._tls.secure(wire, self._shared.new_request_id()):
                Connection(wire, self._shared).run()
        except OSError:
            counters.disconnects += 1
        finally:
            wire.close()
            self._wires.discard(wire)
            counters.connections_open -= 1
            if self.address_limit is not None and cells:
                self.address_limit.leave(cells)
            self.another_has_fewer(counters.connections_open)

    def _turn_away(self, wire: Wire, message: str) -> None:
        """503 and close; under TLS, where nothing can be said yet, just that. Few are read to their end: a flood must not cost more
        greenlets than its connections are worth."""
        if self._tls is not None:
            wire.close()
            return
        refusal = HttpRefusal(503, "SlowDown", message)
        self._turned_away += 1
        self._wires.add(wire)
        try:
            wire.send(render_refusal(refusal, self._shared.new_request_id(), response_prefix()))
            if self._turned_away <= _TURNED_AWAY_MAX:
                wire.linger_and_close()
        except (PeerGone, DeadlinePassed):
            self.counters.disconnects += 1
        finally:
            wire.close()
            self._wires.discard(wire)
            self._turned_away -= 1

    def _sweep(self) -> None:
        """End the waits whose deadline has passed, and those that hold too much; one pass over all connections, no timer per request."""
        while True:
            self._wait_for_sweep()
            now = monotonic()
            for wire in self._wires:
                if wire.phase == WRITE and wire.deadline != NEVER:
                    wire.watch_reader(now)
                if wire.deadline < now:
                    wire.expire()
            self._end_slow(too_slow(self._wires, self.limits, now), now)
            if self._memory_due < now:
                self._memory_due = NEVER
                self.give_back_memory()

    def _wait_for_sweep(self) -> None:
        """Until the next sweep is due; in a rush what is half received is looked at in between."""
        due = monotonic() + self.limits.sweep_interval_secs
        limits = self.limits
        while (now := monotonic()) < due:
            excess_bytes = half_received_heads_bytes(self._wires) + self.memory.excess_bytes
            if excess_bytes > 0:
                self._end_slow(stopped_in_a_rush(self._wires, excess_bytes, limits, now), now)
            rush = excess_bytes > -limits.rush_memory_bytes // 2
            gevent.sleep(min(limits.rush_sweep_secs, due - now) if rush else due - now)

    def _end_slow(self, slow: list[Wire], now: float) -> None:
        for wire in slow:
            if wire.phase == BODY and wire.has_unread():
                continue  # it is this process that is late
            self.counters.slow_ended += 1
            self._memory_due = now + _MEMORY_BACK_SECS
            wire.expire()


def _peer_of(address: tuple[Any, ...]) -> tuple[str, int]:
    """The peer's ip and port; an IPv4 peer of an IPv6 socket by its IPv4 name, so that loopback is known as loopback."""
    return (address[0].removeprefix("::ffff:") if "." in address[0] else address[0]), address[1]


def _environ_template(address: tuple[Any, ...], url_scheme: str) -> dict[str, Any]:
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "FasterStore",
        "SERVER_NAME": address[0],
        "SERVER_PORT": str(address[1]),
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url_scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
