"""Small PUTs at a fixed rate, whatever the server does with them, each sent exactly once: what a store must keep up with.

One thread, one selector. A request that is due while every connection waits for its answer is sent late and its time counts from when
it was due, so a server that stalls is charged for the stall. Any answer that is not a success ends the loop with an exception.
"""

import selectors
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import NamedTuple

from fasterstore.s3 import signer
from scripts.measure.closed_loop import Connection, Request

TIMEOUT_SECS = 60.0
IDLE_SECS = 0.0005


class PacedRun(NamedTuple):
    """`latencies_secs` ascending, from when each was due to its answer; `secs` from the first due time to the last answer."""

    secs: float
    latencies_secs: list[float]
    late: int
    """Requests that had to wait for a connection."""


def run(
    port: int,
    credentials: signer.Credentials,
    requests: Iterable[Request],
    rate_per_sec: float,
    *,
    connections: int = 64,
    answered: Callable[[int, float], None] = lambda number, at: None,
) -> PacedRun:
    """Send the requests, one each 1/`rate_per_sec` seconds, to a server on loopback. `answered(number, perf_counter)` at each answer.

    Raises:
        RequestFailed: an answer was not a success.
        TimeoutError: no answer for TIMEOUT_SECS.
        OSError: a connection broke.
    """
    host, waiting = f"127.0.0.1:{port}", iter(requests)
    selector, latencies, late = selectors.DefaultSelector(), [], 0
    free = [Connection(port) for _ in range(connections)]
    opened = list(free)
    in_flight: dict[Connection, tuple[int, float]] = {}
    following, sent = next(waiting, None), 0
    started = heard_at = perf_counter()
    try:
        for connection in opened:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        while following is not None or in_flight:
            now = perf_counter()
            while following is not None and (due := started + sent / rate_per_sec) <= now and free:
                late += now - due > 2 / rate_per_sec
                connection = free.pop()
                in_flight[connection] = (sent, due)
                connection.send(following, host, credentials)
                following, sent = next(waiting, None), sent + 1
                heard_at = max(heard_at, due)
            if in_flight and now - heard_at > TIMEOUT_SECS:
                raise TimeoutError(f"no answer for {TIMEOUT_SECS:.0f} s")
            for key, _ in selector.select(IDLE_SECS):
                if not key.data.receive():
                    continue
                number, due = in_flight.pop(key.data)
                heard_at = perf_counter()
                latencies.append(heard_at - due)
                answered(number, heard_at)
                free.append(key.data)
        return PacedRun(perf_counter() - started, sorted(latencies), late)
    finally:
        selector.close()
        for connection in opened:
            connection.socket.close()
