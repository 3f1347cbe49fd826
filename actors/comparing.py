"""A comparison with one peer, on demand and each day: drives `replication.anti_entropy`, and heals what differs by the ordinary ways.

What wins here is owed to the peer, so its shipping sends it. What wins there is sent to this node's own endpoint in the peer's name, as
the peer would: it is joined, and its bytes are pulled, like any batch. One comparison at a time with each peer, with a native thread and
an index connection of its own, so that shipping does not wait for it; between steps it rests for as long as they take.
"""

import logging
from collections.abc import Callable
from typing import Any

from actors.native_thread import NativeThread
from actors.peer import PeerClient, PeerRefused, PeerUnreachable
from actors.peer_shipping import PeerShipping, Readers
from actors.runtime import sleep, spawn
from fasterstore.errors import StoreError
from fasterstore.replication.anti_entropy import PAGE_STATES, Comparison, Difference, Exchange, Healing, OwnDigests, Page, PeerDigests
from fasterstore.replication.change import BATCH_VERSION, Batch, Change, ObjectState, OutcomeKind, encode_batch
from fasterstore.replication.own_states import OwnStates
from fasterstore.replication.shipment import address_of

logger = logging.getLogger("fasterstore.replication")

LISTED_MAX = 1000
"""Differences that the status lists."""
PAUSE_SECS = 0.01
"""Between two steps: the node has other work."""
ROOM_SECS = 0.2
SETTLED_MS = 5000
"""What changed later than this may be on its way: it is no difference yet."""
_STAMP_SHIFT = 16


class Comparing:
    """See the module. `receiver` is this node as the peer reaches it."""

    def __init__(
        self,
        peer: PeerShipping,
        receiver: PeerClient,
        open_readers: Callable[[], Readers],
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._peer = peer
        self._receiver = receiver
        self._open_readers = open_readers
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._greenlet: Any = None
        self._comparison: Comparison | None = None
        self._number = 0
        self._total = 0
        self._heal = False
        self._healed = 0
        self._refused = 0
        self._error = ""
        self.ended_ms = 0
        """When the last one ended; 0 if there was none."""
        self._scans = 0

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._greenlet is not None

    @property
    def wanted(self) -> bool:
        """Whether the peer has been sent everything since the last one.

        That tells it neither of deletes whose tombstones have expired here, nor of changes of its own that came here late from before it
        was restored: only a comparison finds them.
        """
        return self._peer.in_step and self._peer.machine.scans != self._scans

    def start(self, *, heal: bool) -> None:
        """Begin one; nothing happens while one is under way."""
        if self._greenlet is None:
            self._number += 1
            self._scans = self._peer.machine.scans if heal else self._scans
            self._heal, self._healed, self._refused, self._error, self._total = heal, 0, 0, "", 0
            self._comparison = Comparison(max(0, self._now_ms() - SETTLED_MS) << _STAMP_SHIFT)
            self._greenlet = spawn(self._run, self._comparison)

    def stop(self) -> None:
        """End it; what was healed stays healed."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            self._error = "it was stopped"
            self.ended_ms = self._now_ms()
            greenlet.kill()

    def status(self) -> dict[str, Any] | None:
        """See `replicator_status.py`; None if there was none yet."""
        comparison = self._comparison
        if comparison is None:
            return None
        return {
            "number": self._number,
            "running": self.running,
            "items": comparison.progress.items,
            "total": max(self._total, comparison.progress.items),
            "counts": {str(kind): count for kind, count in comparison.counts.items()},
            "differences": [_shown(difference) for difference in comparison.differences[:LISTED_MAX]],
            "healed": self._heal and not self._error and not self.running and not self._refused,
            "sent": self._healed,
            "refused": self._refused,
            "error": self._error,
            "ended_ms": self.ended_ms,
        }

    def _run(self, comparison: Comparison) -> None:
        thread = NativeThread("compare")
        readers: Readers | None = None
        try:
            readers = thread.run(self._open_readers)
            self._total = thread.run(readers.own.objects)
            while comparison.action is not None:
                started = self._monotonic()
                self._step(comparison, readers.own, thread)
                sleep(max(PAUSE_SECS, self._monotonic() - started))
        except (PeerUnreachable, PeerRefused, StoreError, OSError) as error:
            self._error = str(error)
        except Exception as error:  # a defect: the next comparison must not be kept from beginning
            logger.exception("a comparison failed")
            self._error = f"{type(error).__name__}: {error}"
        finally:
            if readers is not None:
                thread.run(readers.outgoing.close)
            thread.close()
        self._greenlet = None
        self.ended_ms = self._now_ms()
        found = sum(comparison.counts.values())
        text = f": {self._error}" if self._error else ""
        logger.info("compared with %s: %d items, %d differences%s", self._peer.client.address, comparison.progress.items, found, text)

    def _step(self, comparison: Comparison, own: OwnStates, thread: NativeThread) -> None:
        action = comparison.action
        client = self._peer.client
        if isinstance(action, OwnDigests):
            comparison.own_digests(thread.run(own.digests, action.ranges))
        elif isinstance(action, PeerDigests):
            comparison.peer_digests(client.digest(action.ranges))
        elif isinstance(action, Exchange):
            ours = thread.run(own.page, action.range)
            theirs = client.snapshot_page(action.range, PAGE_STATES)
            healing = comparison.states(ours, theirs)
            if self._heal:
                self._apply(healing, theirs)

    def _apply(self, healing: Healing, theirs: Page) -> None:
        addresses = [address_of(change) for change in healing.push]
        while addresses:
            room = self._peer.machine.owed_room // 2  # the rest is for what is refused
            if room:
                self._peer.owe(addresses[:room])
                self._healed += len(addresses[:room])
                addresses = addresses[room:]
            else:
                sleep(ROOM_SECS)
        objects = tuple([change for change in healing.join if isinstance(change, ObjectState)])
        others = tuple([change for change in healing.join if not isinstance(change, ObjectState)])
        self._join(objects, theirs, self._receiver.send_objects)
        self._join(others, theirs, self._receiver.send_deletes)

    def _join(self, changes: tuple[Change, ...], theirs: Page, send: Callable[[bytes, int], Any]) -> None:
        if changes:
            # The page's own ids: under those that shipping knows, a peer restored meanwhile would have other bytes under the same numbers.
            batch = Batch(BATCH_VERSION, theirs.node_id, theirs.log_uuid, 0, 0, changes)
            answer = send(encode_batch(batch), len(changes))
            refused = sum(outcome.kind is OutcomeKind.REFUSED for outcome in answer.outcomes)
            self._refused += refused
            self._healed += len(changes) - refused


def _shown(difference: Difference) -> dict[str, Any]:
    return {
        "kind": str(difference.kind),
        "bucket": difference.bucket,
        "key": difference.key.decode("utf-8", "backslashreplace"),
        "stamp_here": difference.stamp_here,
        "stamp_there": difference.stamp_there,
    }
