"""replicator: tells each peer what has changed here, and remembers how far each has come. A shell round one `PeerShipping` for each.

Owns the cursors, the answers that wait for a peer's ack, and the rounds of comparison. One native thread reads log, index and segments for
all of them. It ships only what is durable. It asks no other actor; the journal tells it of new entries and hands it askers, and web asks
it how things stand. It never decides that anything is to be deleted.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from actors import replicator_messages as m
from actors.ack_holds import AckHolds
from actors.comparing import Comparing
from actors.durable_head import REPLICATOR, DurableHead
from actors.messages import Done, Refused
from actors.native_thread import NativeThread
from actors.peer import PeerClient
from actors.peer_shipping import PeerShipping, Readers
from actors.replicator_status import peer_status
from actors.runtime import Envelope, GeventActor, spawn_later
from fasterstore.replication.board import ReplicationBoard
from fasterstore.replication.cursor import Cursor
from fasterstore.replication.cursor_file import CursorFile
from fasterstore.replication.shipping import Shipping
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal import log_files

logger = logging.getLogger("fasterstore.replication")

LINGER_SECS = 0.05
"""How long few changes wait for company where nobody waits for an ack: a batch costs a round trip and its share of both nodes' time."""
COMPARE_SECS = 86400.0
FIRST_COMPARE_SECS = 3600.0
"""After a start: a node that is started anew each day is compared, too."""
COMPARE_LOOK_SECS = 60.0
ON_DEMAND = "an operator asked for it"


class PeerLink(NamedTuple):
    """A peer, and this node as that peer reaches it: what is sent there is taken as the peer's."""

    peer: PeerClient
    receiver: PeerClient


class ReplicationPlan(NamedTuple):
    """Settings. `waits_for_ack`: FS_REPLICATION_ACK is "one"; `degrade_secs` is FS_ACK_DEGRADE_SECS, 0 for never."""

    waits_for_ack: bool
    timeout_secs: float
    degrade_secs: float


class Replicator(GeventActor):
    """See the module. `open_readers` makes what reads, in the native thread."""

    name = REPLICATOR
    max_batch = 512

    def __init__(
        self,
        links: Sequence[PeerLink],
        datadir: DataDir,
        disk: Disk,
        head: DurableHead,
        board: ReplicationBoard,
        open_readers: Callable[[], Readers],
        plan: ReplicationPlan,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__()
        self._links = links
        self._datadir = datadir
        self._disk = disk
        self._head = head
        self._board = board
        self._open_readers = open_readers
        self._plan = plan
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._thread = NativeThread(REPLICATOR)
        self._readers: Readers | None = None
        self._peers: dict[str, PeerShipping] = {}
        self._comparing: dict[str, Comparing] = {}
        self._holds = AckHolds((), timeout_secs=0, degrade_secs=0, monotonic=monotonic)
        self._compare_timer: Any = None
        self._linger: Any = None
        self._moved_at = 0.0
        self._started_ms = now_ms()

    # ---- life ----

    def on_start(self) -> None:
        """Take up every peer where its cursor stands."""
        readers = self._readers = self._thread.run(self._open_readers)
        for link in self._links:
            address = link.peer.address
            file = CursorFile(self._disk, self._datadir.path, address)
            machine = self._machine(self._thread.run(file.read))
            peer = PeerShipping(
                link.peer, machine, self._head, readers, self._thread, file, self._board,
                now_ms=self._now_ms, monotonic=self._monotonic, acked=self._look,
            )  # fmt: skip
            self._peers[address] = peer
            self._comparing[address] = Comparing(
                peer, link.receiver, self._open_readers, now_ms=self._now_ms, monotonic=self._monotonic
            )
        self._holds = AckHolds(
            list(self._peers.values()),
            timeout_secs=self._plan.timeout_secs,
            degrade_secs=self._plan.degrade_secs if self._plan.waits_for_ack else 0,
            monotonic=self._monotonic,
        )
        for peer in self._peers.values():
            peer.start()
        self._compare_timer = spawn_later(COMPARE_LOOK_SECS, self._compare_if_due)

    def on_stop(self) -> None:
        """Orderly stop: keep the cursors, answer who waits."""
        for timer in (self._compare_timer, self._linger):
            if timer is not None:
                timer.kill(block=False)
        self._holds.stop()
        for comparing in self._comparing.values():
            comparing.stop()
        for peer in self._peers.values():
            peer.stop()
        for link in self._links:
            link.receiver.close()
        if self._readers is not None:
            self._thread.run(self._readers.outgoing.close)
        self._thread.close()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Killed: nothing more is sent; the cursors stay where they were kept."""
        for timer in (self._compare_timer, self._linger):
            if timer is not None:
                timer.kill(block=False)
        for comparing in self._comparing.values():
            comparing.stop()
        for peer in self._peers.values():
            peer.kill()

    def _machine(self, cursor: Cursor | None) -> Shipping:
        behind = cursor is None or cursor.lsn < self._head.lsn
        since_ms = cursor.level_ms if cursor is not None and cursor.level_ms else self._started_ms
        return Shipping(
            self._datadir.node_id,
            self._datadir.log_uuid,
            self._head.lsn,
            self._head.stamp,
            cursor,
            self._monotonic(),
            backlog_bytes=self._thread.run(self._backlog_bytes, 0 if cursor is None else cursor.lsn) if behind else 0,
            behind_secs=max(0, self._now_ms() - since_ms) / 1000 if behind else 0.0,
        )

    def _backlog_bytes(self, lsn: int) -> int:
        """About how long the log behind that LSN is: the files that begin above it, and the one that holds it."""
        files = log_files(self._disk, self._datadir.journal_dir)
        ends = [following.first_lsn for following in files[1:]] + [self._head.lsn + 1]
        return sum(file.size_bytes for file, end in zip(files, ends, strict=True) if end > lsn + 1)

    # ---- messages ----

    def on_batch(self, envelopes: list[Envelope]) -> None:
        """Hold answers, look at what has become durable, tell how things stand."""
        for envelope in envelopes:
            message = envelope.message
            if type(message) is m.HoldForAck:
                if self._holds.take(envelope):
                    self.keep(envelope)
            elif type(message) is m.DurableMoved:
                self._moved()
            elif type(message) is m.ReplicationStatus:
                envelope.reply(self._status())
            elif type(message) in (m.Resync, m.Diff, m.StopDiff):
                envelope.reply(self._order(message))
            else:
                envelope.reply(Refused("StorageFailure", f"replicator does not know {type(message).__name__}"))

    def _moved(self) -> None:
        """Look at once if somebody waits for an ack; else a little later, and only once however much comes meanwhile."""
        self._moved_at = self._monotonic()
        if self._plan.waits_for_ack:
            self._look_at_head()
        else:
            self._linger = spawn_later(LINGER_SECS, self._look_at_head)

    def _look_at_head(self) -> None:
        self._head.seen()
        for peer in self._peers.values():
            peer.head_moved(self._moved_at)

    def _order(self, message: m.Resync | m.Diff | m.StopDiff) -> Done | Refused:
        peer = self._peers.get(message.peer)
        if peer is None:
            return Refused("NoSuchPeer", message.peer)
        if isinstance(message, m.Resync):
            peer.resync(ON_DEMAND)
        elif isinstance(message, m.Diff):
            if not peer.machine.peer_node:
                return Refused("Unavailable", f"{message.peer} has not answered yet")
            self._comparing[message.peer].start(heal=message.heal)
        else:
            self._comparing[message.peer].stop()
        return Done()

    def _status(self) -> dict[str, Any]:
        now = self._moved_at = self._monotonic()
        self._look_at_head()  # what came in the last moment counts too
        return {
            "node_id": self._datadir.node_id.hex(),
            "log_uuid": self._datadir.log_uuid.hex(),
            "ack": "one" if self._plan.waits_for_ack else "async",
            "waiting": len(self._holds),
            "timeouts": self._holds.timeouts,
            "peers": [peer_status(peer, self._comparing[address], self._head.lsn, now) for address, peer in self._peers.items()],
        }

    def _look(self) -> None:
        self._holds.look()

    def _compare_if_due(self) -> None:
        """Each day, with every peer that is in step, and soon after one was sent everything."""
        self._compare_timer = spawn_later(COMPARE_LOOK_SECS, self._compare_if_due)
        for address, comparing in self._comparing.items():
            since_ms, secs = (comparing.ended_ms, COMPARE_SECS) if comparing.ended_ms else (self._started_ms, FIRST_COMPARE_SECS)
            due = self._peers[address].in_step and self._now_ms() - since_ms >= secs * 1000
            if not comparing.running and (due or comparing.wanted):
                comparing.start(heal=True)
