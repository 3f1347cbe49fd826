"""One peer's shipping: does what the state machine (`fasterstore.replication.shipping`) wants done, and tells it how it went.

Owns the greenlets that wait for the peer, the one timer, and the cursor's file. The machine is only called from this process's loop and
never waits, so nothing else needs to be in order. Reading is done in the native thread that all peers share. Must never block the loop.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from actors.durable_head import DurableHead
from actors.native_thread import NativeThread
from actors.peer import PeerClient, PeerRefused, PeerUnreachable
from actors.runtime import offload, spawn, spawn_later
from fasterstore.errors import StoreError
from fasterstore.replication.board import PeerCell, PeerState, ReplicationBoard
from fasterstore.replication.change import BatchAnswer, OutcomeKind
from fasterstore.replication.change import refused as refused_as
from fasterstore.replication.cursor import Address
from fasterstore.replication.cursor_file import CursorFile
from fasterstore.replication.outgoing import Outgoing
from fasterstore.replication.own_states import OwnStates
from fasterstore.replication.shipment import Ready, Shipment
from fasterstore.replication.shipping import Shipping
from fasterstore.replication.state_reading import StateReader
from fasterstore.replication.work import Action, Meet, Read, Save, Work
from fasterstore.storage.wal_tail import LogGone

logger = logging.getLogger("fasterstore.replication")

SAVE_SECS = 1.0
REFUSED_WHOLE = "BatchRefused"
"""Why a change is owed that the peer could not even read."""
SET_BACK = (
    "the peer knows blobs of this node's log that this node does not: its data dir was set back to an earlier state. Nothing is sent; "
    "restore it with `fasterstore restore`, or start it with an empty data dir, so that it has a new log"
)
LOG_SECS = 60.0
"""Trouble with a peer is logged no more often."""


class Readers(NamedTuple):
    """What the native thread reads through."""

    states: StateReader
    outgoing: Outgoing
    own: OwnStates


class PeerShipping:
    """See the module. `acked()` is called whenever the peer has more than before, or its state is another."""

    def __init__(
        self,
        client: PeerClient,
        machine: Shipping,
        head: DurableHead,
        readers: Readers,
        thread: NativeThread,
        file: CursorFile,
        board: ReplicationBoard,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        acked: Callable[[], None],
    ) -> None:
        self.client = client
        self.machine = machine
        self._head = head
        self._outgoing = readers.outgoing
        self._own = readers.own
        self._thread = thread
        self._file = file
        self._board = board
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._acked = acked
        self.degraded = False
        """Writes are answered without this peer; set by whoever decides that."""
        self.last_error = ""
        self.scan_total = 0
        """How much there was to send when the last resync began."""
        self._greenlets: set[Any] = set()
        self._timer: Any = None
        self._timer_at = 0.0
        self._saver: Any = None
        self._saved_at = monotonic() - SAVE_SECS
        self._unsaved = False
        self._logged_at = monotonic() - LOG_SECS
        self._stopping = False

    # ---- life ----

    def start(self) -> None:
        """Begin."""
        self._do(self.machine.start(self._monotonic()))

    def stop(self) -> None:
        """End what is under way and keep the cursor; what was not acknowledged is sent again by the next start."""
        self._stopping = True
        for greenlet in (*self._greenlets, self._timer, self._saver):
            if greenlet is not None:
                greenlet.kill(block=True)
        self.client.close()
        self._save()

    def kill(self) -> None:
        """End at once, keeping nothing."""
        self._stopping = True
        for greenlet in (*self._greenlets, self._timer, self._saver):
            if greenlet is not None:
                greenlet.kill(block=False)

    @property
    def in_step(self) -> bool:
        """Whether the peer answers and is not being sent everything."""
        return self.machine.state is PeerState.SHIPPING

    # ---- what happens ----

    def head_moved(self, moved_at: float) -> None:
        """More of the log is durable, since that time of the monotonic clock."""
        head = self._head
        self._do(self.machine.head_moved(head.lsn, head.stamp, head.log_bytes, moved_at))

    def resync(self, reason: str) -> None:
        """Send everything anew."""
        logger.info("%s is sent everything: %s", self.client.address, reason)
        self._do(self.machine.resync(reason, self._monotonic()))

    def owe(self, addresses: Sequence[Address]) -> None:
        """Send these, too."""
        self._do(self.machine.owe(addresses, self._monotonic()))

    def show(self) -> None:
        """Put on the board how it stands."""
        machine = self.machine
        self._head.acked_lsns[self.client.address] = machine.acked_lsn
        lag = machine.lag(self._monotonic())
        since_ms = self._now_ms() - round(lag.secs * 1000) if lag.entries or machine.scan_reason else 0
        self._board.write(
            self.client.address,
            PeerCell(machine.state, machine.acked_stamp, lag.entries, lag.bytes, since_ms, self.degraded, machine.peer_node),
        )

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Meet):
                self._spawn(self._meet)
            elif isinstance(action, Read):
                self._spawn(self._ship, action.work)
            elif isinstance(action, Save):
                self._save_soon()
        self._arm()
        self.show()
        self._acked()

    def _spawn(self, function: Callable[..., None], *args: Any) -> None:
        if self._stopping:
            return
        greenlet = spawn(function, *args)
        self._greenlets.add(greenlet)
        greenlet.rawlink(self._greenlets.discard)

    def _arm(self) -> None:
        """One timer, set anew only for an earlier time: one that comes too early does no harm."""
        due = self.machine.wake_at
        if due is None or self._stopping or (self._timer is not None and self._timer_at <= due):
            return
        if self._timer is not None:
            self._timer.kill(block=False)
        self._timer_at = due
        self._timer = spawn_later(max(0.0, due - self._monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self.machine.tick(self._monotonic()))

    # ---- the peer ----

    def _meet(self) -> None:
        try:
            horizon_ms = self._thread.run(self._outgoing.horizon_ms)
            if self.machine.scan_reason or not self.machine.peer_log:
                self.scan_total = self._thread.run(self._own.objects)
            status = self.client.status()
            if status.known_blob > self._thread.run(self._outgoing.last_blob):
                # The numbers would be given again, to other bytes, and the peer would believe to have those already.
                raise PeerRefused(SET_BACK)
        except Exception as error:  # defects too: the next try must not wait for this one
            refusing = isinstance(error, PeerRefused)
            if not isinstance(error, PeerUnreachable | PeerRefused | StoreError | OSError):
                logger.exception("asking %s failed", self.client.address)
            self._trouble(str(error))
            self._do(self.machine.not_met(str(error), self._monotonic(), refusing=refusing))
            return
        began = self.machine.scans
        now = self._monotonic()
        horizon_at = now - (self._now_ms() - horizon_ms) / 1000 if horizon_ms else -math.inf
        actions = self.machine.met(status.node_id, status.log_uuid, horizon_at, now)
        if self.machine.scans > began:
            logger.warning("%s is sent everything: %s", self.client.address, self.machine.scan_reason)
        self._do(actions)

    def _ship(self, work: Work) -> None:
        """Read that work and send what it holds. Every way out tells the machine."""
        try:
            shipment = self._thread.run(self._outgoing.read, work, self.machine.peer_node)
        except LogGone as error:
            logger.warning("%s is sent everything: %s", self.client.address, error.detail)
            self._do(self.machine.log_gone(work.number, self._monotonic()))
            return
        except Exception as error:  # a damaged row, a medium that fails, a defect: this work stays, and is tried again
            if not isinstance(error, StoreError | OSError):
                logger.exception("reading for %s failed", self.client.address)
            self._fail(work, f"what is to be sent cannot be read: {error}")
            return
        self._do(
            self.machine.was_read(
                work.number, shipment.reached, shipment.size_bytes, shipment.changes, self._monotonic(), heavy=shipment.heavy
            )
        )
        if shipment.batches:
            self._send_all(work, shipment)

    def _send_all(self, work: Work, shipment: Shipment) -> None:
        refused: list[Address] = []
        why = ""
        answer: BatchAnswer | None = None
        try:
            for ready in shipment.batches:
                answer = self._send(ready)
                for address, outcome in zip(ready.addresses, answer.outcomes, strict=True):
                    if outcome.kind is OutcomeKind.REFUSED:
                        refused.append(address)
                        why = why or outcome.name
        except (PeerUnreachable, PeerRefused) as error:
            self._fail(work, str(error), refusing=isinstance(error, PeerRefused))
            return
        except Exception as error:  # a defect: the work must not be waited for until the next start
            logger.exception("sending to %s failed", self.client.address)
            self._fail(work, f"{type(error).__name__}: {error}")
            return
        if answer is None:
            return
        if refused:
            self._trouble(f"{self.client.address} refused {len(refused)} of {shipment.changes} changes: {why}")
        self._do(self.machine.acked(work.number, refused, why, answer.node_id, answer.log_uuid, self._monotonic()))

    def _send(self, ready: Ready) -> BatchAnswer:
        """Send a batch. One that a peer refuses whole, and is well otherwise, is sent in halves: one change must not stop the others."""
        send = self.client.send_deletes if ready.deletes else self.client.send_objects
        try:
            return send(ready.body, len(ready.addresses))
        except PeerRefused as error:
            status = self.client.status()
            if len(ready.addresses) == 1:
                self._trouble(str(error))
                return BatchAnswer(status.node_id, status.log_uuid, (refused_as(REFUSED_WHOLE),))
        one, other = [self._send(half) for half in ready.halves()]
        return other._replace(outcomes=one.outcomes + other.outcomes)

    def _fail(self, work: Work, reason: str, *, refusing: bool = False) -> None:
        self._trouble(reason)
        self._do(self.machine.failed(work.number, reason, self._monotonic(), refusing=refusing))

    def _trouble(self, text: str) -> None:
        self.last_error = text
        now = self._monotonic()
        if now - self._logged_at >= LOG_SECS:
            self._logged_at = now
            logger.warning("replication: %s", text)

    # ---- the cursor ----

    def _save_soon(self) -> None:
        """At most once in SAVE_SECS, and never two at once."""
        self._unsaved = True
        if self._saver is None and not self._stopping:
            self._saver = spawn_later(max(0.0, self._saved_at + SAVE_SECS - self._monotonic()), self._save_now)

    def _save_now(self) -> None:
        try:
            self._save()
        finally:
            self._saver = None
            self._saved_at = self._monotonic()
        if self._unsaved:
            self._save_soon()

    def _save(self) -> None:
        self._unsaved = False
        cursor = self.machine.cursor(self._now_ms(), self._monotonic())
        if cursor is None:
            return
        try:
            offload(self._file.write, cursor)
        except OSError as error:  # it only says where to go on from
            logger.warning("the cursor of %s is not kept: %s", self.client.address, error)
