"""The replicator's side of one peer in a simulation: it drives the real state machine of `shipping.py` and does what that returns."""

import math

from fasterstore.replication.change import OutcomeKind, encode_answer
from fasterstore.replication.change_reading import decode_answer
from fasterstore.replication.shipping import Meet, Read, Save, Shipping
from fasterstore.storage.wal_tail import LogGone

SAVE_EVERY_MS = 1_000


class Link:
    """One peer of one node, for one life of the node's process. `kept` holds cursors across lives, as the cursor files do."""

    acks_before_answers = False
    """The planted bug: what was read counts as acknowledged when it is sent."""

    def __init__(self, world, node, peer, kept):
        self.world, self.node, self.peer, self.kept = world, node, peer, kept
        store = node.store
        cursor = kept.get(peer.name)
        self.machine = Shipping(
            store.node_id, store.log_uuid, store.head_lsn, store.head_stamp, cursor, self._now(),
            behind_secs=max(0, node.now_ms() - cursor.level_ms) / 1000 if cursor else 0.0,
        )  # fmt: skip
        self.peer_log = cursor.peer_log if cursor else b""
        self._save_due = self._scanning = False
        self._wake_at = None
        self.batches = 0
        self._do(self.machine.start(self._now()))

    def _now(self):
        return self.world.now_ms / 1000

    def head_moved(self):
        store = self.node.store
        self._do(self.machine.head_moved(store.head_lsn, store.head_stamp, store.head_lsn * 100, self._now()))

    def owe(self, addresses):
        self._do(self.machine.owe(addresses, self._now()))

    def _do(self, actions):
        scanned, self._scanning = self._scanning and not self.machine.scan_reason, bool(self.machine.scan_reason)
        if scanned:  # what was deleted here longer ago than tombstones last, or came late from the peer's earlier life, no scan tells
            self.node.compare_with(self.peer)
        for action in actions:
            if isinstance(action, Meet):
                self.world.call(self.node, self.peer, ("status",), self._met, self._not_met)
            elif isinstance(action, Read):
                self._read(action.work)
            elif isinstance(action, Save):
                self._save()
        self._arrange_wake()

    def _arrange_wake(self):
        wake_at = self.machine.wake_at
        if wake_at is None or wake_at == self._wake_at:
            return
        self._wake_at = wake_at
        life = self.node.life

        def wake():
            if self.node.life == life and self._wake_at == wake_at and self.machine.wake_at is not None:
                self._wake_at = None
                self._do(self.machine.tick(self._now()))

        self.world.after(max(1, int(wake_at * 1000 - self.world.now_ms) + 1), wake)

    def _met(self, answer):
        node_id, log_uuid = answer
        self.peer_log = log_uuid
        horizon_ms = self.node.store.horizon_ms
        horizon_at = self._now() - (self.node.now_ms() - horizon_ms) / 1000 if horizon_ms else -math.inf
        self._do(self.machine.met(node_id, log_uuid, horizon_at, self._now()))

    def _not_met(self):
        self._do(self.machine.not_met("silence", self._now()))

    def _save(self):
        """At most once a second: a crash in between finds the cursor that was kept before."""
        if self._save_due:
            return
        self._save_due = True
        life = self.node.life

        def save():
            if self.node.life == life:
                self._save_due = False
                self.kept[self.peer.name] = self.machine.cursor(self.node.now_ms(), self._now())

        self.world.after(SAVE_EVERY_MS, save)

    # ---- work

    def _read(self, work):
        try:
            shipment = self.node.store.ship(work, self.machine.peer_node)
        except LogGone:
            self._do(self.machine.log_gone(work.number, self._now()))
            return
        actions = self.machine.was_read(
            work.number, shipment.reached, shipment.size_bytes, shipment.changes, self._now(), heavy=shipment.heavy
        )
        if shipment.batches:
            self._send(work.number, shipment.batches)
        self._do(actions)

    def _send(self, number, batches):
        """All batches of one piece of work at once; it is done when all are answered."""
        refused, waiting = {}, set(batches)

        def answered(batch, answer):
            told = decode_answer(encode_answer(answer), len(batch.addresses))
            for address, (kind, name) in zip(batch.addresses, told.outcomes, strict=True):
                if kind is OutcomeKind.REFUSED:
                    refused[address] = name
            waiting.discard(batch)
            if not waiting:
                why = next(iter(refused.values()), "")
                self._do(self.machine.acked(number, list(refused), why, told.node_id, told.log_uuid, self._now()))

        def silent():
            self._do(self.machine.failed(number, "silence", self._now()))

        for batch in batches:
            self.batches += 1
            self.world.note(self.node.name, "->", self.peer.name, len(batch.addresses))
            self.world.call(self.node, self.peer, ("batch", batch.body), lambda answer, batch=batch: answered(batch, answer), silent)
        if self.acks_before_answers:
            self.world.after(
                0, lambda: self._do(self.machine.acked(number, [], "", self.machine.peer_node, self.peer.store.log_uuid, self._now()))
            )
