"""The replicator's side of one peer in a simulation: it drives the real state machine of `shipping.py` and does what that returns."""

from fasterstore.replication.change import (
    BATCH_MAX_CHANGES,
    BATCH_VERSION,
    Batch,
    ObjectState,
    OutcomeKind,
    Tombstone,
    encode_answer,
    encode_batch,
)
from fasterstore.replication.change_reading import decode_answer
from fasterstore.replication.cursor import Address, Position
from fasterstore.replication.shipping import LogRange, Meet, Read, Save, ScanPage, Shipping
from tests.fasterstore.replication.simulated_store import LogGone

SAVE_EVERY_MS = 1_000


class Link:
    """One peer of one node, for one life of the node's process. `kept` holds cursors across lives, as the cursor files do."""

    acks_before_answers = False
    """The planted bug: what was read counts as acknowledged when it is sent."""

    def __init__(self, world, node, peer, kept):
        self.world, self.node, self.peer, self.kept = world, node, peer, kept
        store = node.store
        self.machine = Shipping(store.node_id, store.log_uuid, store.head_lsn, store.head_stamp, kept.get(peer.name), self._now())
        self._save_due = False
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
        self._do(self.machine.met(node_id, log_uuid, self.node.store.horizon_stamp, self._now()))

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
                self.kept[self.peer.name] = self.machine.cursor(self.node.now_ms())

        self.world.after(SAVE_EVERY_MS, save)

    # ---- work

    def _read(self, work):
        store = self.node.store
        echo = True
        if isinstance(work, LogRange):
            try:
                addresses, reached = store.changed(work.first_lsn, work.last_lsn, BATCH_MAX_CHANGES)
            except LogGone:
                self._do(self.machine.log_gone(work.number, self._now()))
                return
            first_lsn, upto_lsn, echo = work.first_lsn, reached, store.relays_to_origin
        elif isinstance(work, ScanPage):
            found = [address for address in store.addresses() if _position(address) > work.after]
            found = [address for address in found if work.upto is None or _position(address) <= work.upto]
            addresses, first_lsn, upto_lsn = found[: self.node.page_limit], 0, 0
            reached = _position(addresses[-1]) if len(found) > len(addresses) else None
        else:
            addresses, first_lsn, upto_lsn = list(work.addresses), 0, 0
            reached = len(addresses)
        changes = [change for address in addresses if (change := store.state(address)) is not None]
        if not echo:
            peer_node = self.peer.node_id
            changes = [change for change in changes if not (isinstance(change, ObjectState | Tombstone) and change.origin == peer_node)]
        body = encode_batch(Batch(BATCH_VERSION, store.node_id, store.log_uuid, first_lsn, upto_lsn, tuple(changes)))
        if changes:
            self.batches += 1
            self._send(work.number, changes, body)
        self._do(self.machine.was_read(work.number, reached, len(body), len(changes), self._now()))

    def _send(self, number, changes, body):
        def answered(answer):
            told = decode_answer(encode_answer(answer), len(changes))
            refused = [_address(change) for change, outcome in zip(changes, told.outcomes, strict=True) if outcome.kind is OutcomeKind.REFUSED]
            why = next((outcome.name for outcome in told.outcomes if outcome.kind is OutcomeKind.REFUSED), "")
            self._do(self.machine.acked(number, refused, why, told.node_id, told.log_uuid, self._now()))

        def silent():
            self._do(self.machine.failed(number, "silence", self._now()))

        self.world.note(self.node.name, "->", self.peer.name, len(changes))
        self.world.call(self.node, self.peer, ("batch", body), answered, silent)
        if self.acks_before_answers:
            answered_at_once = self.machine.acked
            self.world.after(0, lambda: self._do(answered_at_once(number, [], "", self.peer.node_id, self.peer.store.log_uuid, self._now())))


def _position(address):
    return Position(address.bucket, address.key or b"")


def _address(change):
    return Address(change.bucket, change.key) if isinstance(change, ObjectState | Tombstone) else Address(change.name, None)
