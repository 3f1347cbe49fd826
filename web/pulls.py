"""What this process pulls from peers now: each thing once, a few at a time, and to its end whoever still waits for it.

A sender whose connection broke asks again. The pull goes on meanwhile, so that a large object comes through over a line that never
holds for long; who asks for the same bytes again waits for it. Owns the greenlets; memory is bounded by PULLS_MAX times two buffers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from actors.runtime import Semaphore, spawn

PULLS_MAX = 4
"""At once in one process, two buffers of 1 MiB and a frame each."""


class Pulled(NamedTuple):
    """How a pull ended: what its job returned, and whether it was this caller's own job or another's for the same thing."""

    outcome: Any
    is_own: bool


class Pulls:
    """See the module."""

    def __init__(self) -> None:
        self._room = Semaphore(PULLS_MAX)
        self._under_way: dict[Any, Any] = {}

    def __len__(self) -> int:
        """How many are under way or wait for room."""
        return len(self._under_way)

    def run(self, what: Any, job: Callable[[], Any]) -> Pulled:
        """Have `job` run, which returns its outcome and raises nothing; or wait for the one that is at `what` already."""
        greenlet = self._under_way.get(what)
        if greenlet is not None:
            return Pulled(greenlet.get(), False)
        greenlet = self._under_way[what] = spawn(self._in_turn, what, job)
        return Pulled(greenlet.get(), True)

    def _in_turn(self, what: Any, job: Callable[[], Any]) -> Any:
        try:
            with self._room:
                return job()
        finally:
            del self._under_way[what]
