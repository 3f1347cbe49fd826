"""What every actor reports about itself: mailbox, current message, counts, times, last error.

Owns the list of this process's vitals, one entry a name, in start order. The runtime writes the slots directly (a call each way
would cost more than the work); everybody else reads `snapshot()`. An actor that stopped in order leaves the list, one that was
killed stays in it as `dead` until an actor of the same name starts. Must never hold a message, nor anything of its contents.
"""

import time
from collections.abc import Callable
from typing import Any

_vitals_by_name: dict[str, "Vitals"] = {}


class Vitals:
    """One actor's counters. Times called `_secs` are wall-clock durations: a handler that waits counts as busy."""

    __slots__ = (
        "busy_secs",
        "current",
        "current_since",
        "dead",
        "failed",
        "handled",
        "last_error",
        "last_error_at_ms",
        "mailbox",
        "name",
        "queued_secs_max",
        "queued_secs_sum",
        "restarts",
        "started_at_ms",
    )

    def __init__(self, name: str, mailbox: Callable[[], int]) -> None:
        self.name = name
        self.mailbox = mailbox
        self.current: type[Any] | None = None
        self.current_since = 0.0
        self.handled = 0
        self.failed = 0
        self.busy_secs = 0.0
        self.queued_secs_sum = 0.0
        self.queued_secs_max = 0.0
        self.last_error = ""
        self.last_error_at_ms = 0
        self.restarts = 0
        self.started_at_ms = 0
        self.dead = False

    def record_error(self, text: str, count: int = 1) -> None:
        """Remember `text` as the last error; `count` messages failed by it."""
        self.failed += count
        self.last_error = text
        self.last_error_at_ms = int(time.time() * 1000)

    def as_dict(self) -> dict[str, Any]:
        """These vitals as a plain dict of str, int, float, bool and None: fit for msgpack and JSON."""
        current = self.current
        return {
            "name": self.name,
            "state": "dead" if self.dead else "idle" if current is None else "busy",
            "mailbox": self.mailbox(),
            "current": None if current is None else current.__name__,
            "current_secs": 0.0 if current is None else time.perf_counter() - self.current_since,
            "handled": self.handled,
            "failed": self.failed,
            "busy_secs": self.busy_secs,
            "queued_secs_sum": self.queued_secs_sum,
            "queued_secs_max": self.queued_secs_max,
            "last_error": self.last_error,
            "last_error_at_ms": self.last_error_at_ms,
            "restarts": self.restarts,
            "started_at_ms": self.started_at_ms,
        }


def enlist(vitals: Vitals) -> None:
    """Add an actor that starts now; one of the same name that is still listed counts as its former life."""
    former = _vitals_by_name.pop(vitals.name, None)
    if former is not None:
        vitals.restarts = former.restarts + 1
    vitals.started_at_ms = int(time.time() * 1000)
    _vitals_by_name[vitals.name] = vitals


def retire(vitals: Vitals, *, orderly: bool) -> None:
    """Note an actor's end: an orderly one leaves the list, any other stays as `dead`."""
    vitals.current = None
    vitals.dead = True
    if orderly and _vitals_by_name.get(vitals.name) is vitals:
        del _vitals_by_name[vitals.name]


def snapshot() -> list[dict[str, Any]]:
    """The vitals of every actor of this process, in start order."""
    return [vitals.as_dict() for vitals in list(_vitals_by_name.values())]
