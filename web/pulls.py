"""What this process pulls from peers now: each thing once, a few at a time, and to its end whoever still waits for it.

A sender whose connection broke asks again. The pull goes on meanwhile, so that a large object comes through over a line that never
holds for long; who asks for the same bytes again waits for it. Each peer has room of its own, so that one whose bytes trickle does not
keep those of another waiting. Owns the greenlets; memory is bounded by PULLS_MAX times two buffers for each peer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from actors.runtime import Semaphore, spawn

PULLS_MAX = 4
"""At once from one peer in one process, two buffers of 1 MiB and a frame each."""


class Pulled(NamedTuple):
    """How a pull ended: what its job returned, and whether it was this caller's own job or another's for the same thing."""

    outcome: Any
    is_own: bool


class Pulls:
    """See the module."""

    def __init__(self) -> None:
        self._room: dict[str, Any] = {}
        self._under_way: dict[Any, Any] = {}

    def __len__(self) -> int:
        """How many are under way or wait for room."""
        return len(self._under_way)

    def run(self, peer: str, what: Any, job: Callable[[], Any]) -> Pulled:
        """Have `job` run, which returns its outcome and raises nothing; or wait for the one that is at `what` already.

        `peer` is one of FS_REPLICATION_PEERS.
        """
        greenlet = self._under_way.get(what)
        if greenlet is not None:
            return Pulled(greenlet.get(), False)
        greenlet = self._under_way[what] = spawn(self._in_turn, peer, what, job)
        return Pulled(greenlet.get(), True)

    def _in_turn(self, peer: str, what: Any, job: Callable[[], Any]) -> Any:
        try:
            with self._room.setdefault(peer, Semaphore(PULLS_MAX)):
                return job()
        finally:
            del self._under_way[what]
