"""A node of a simulation: a store, a clock that may be wrong, a link to each peer, what it answers peers. It crashes and starts again."""

from fasterstore.replication.anti_entropy import PAGE_STATES, Comparison, Exchange, OwnDigests, Page, PeerDigests
from fasterstore.replication.change import BatchAnswer, BucketState, ObjectState, Tombstone
from fasterstore.replication.change_reading import decode_batch
from fasterstore.replication.digest import Place, Scope, bucket_leaf, digest_ranges, object_leaf
from fasterstore.replication.merge import highest_stamp
from fasterstore.replication.shipment import address_of
from tests.fasterstore.replication.simulated_link import Link
from tests.fasterstore.replication.simulated_store import Refused

TOMBSTONE_TTL_MS = 5 * 86_400_000
"""Much more than two clocks of a simulation are ever apart, as the thirty days of a real node are."""


class Node:
    """See the module. `life` tells one process from the next; `kept` is what a process leaves on the disk beside the store."""

    def __init__(self, world, name, store, link=Link):
        self.world, self.name, self.store = world, name, store
        self.node_id = store.node_id
        self.clock_offset_ms = 0
        self.up, self.life = False, 0
        self.peers, self.links, self.kept = [], {}, {}
        self._make_link = link
        self.round = None
        self.forgotten = {}  # the highest stamp of each address whose tombstone has expired here

    def now_ms(self):
        return self.world.now_ms + self.clock_offset_ms

    def start(self):
        self.up, self.life = True, self.life + 1
        if self.life > 1:
            self.store = self.store.restarted()
        self.links = {peer.name: self._make_link(self.world, self, peer, self.kept) for peer in self.peers}

    def crash(self):
        """What is in memory is gone: links, calls under way, pulls half done, a cursor that was not kept yet."""
        self.up, self.life, self.links, self.round = False, self.life + 1, {}, None

    def run(self, op):
        """A client's request in a batch of its own: the addresses that changed, None if it was refused."""
        try:
            changed = self.store.run(op, self.now_ms())
        except Refused:
            return None
        self._told_links()
        return changed

    def tidy(self):
        """Let go of what nothing uses."""
        if self.up:
            self.store.tidy(self.now_ms())
            self._told_links()

    def expire(self):
        """Let tombstones go that are old enough."""
        if self.up:
            before = self._buried()
            self.store.expire_tombstones(self.now_ms() - TOMBSTONE_TTL_MS, self.now_ms())
            for address in before.keys() - self._buried().keys():
                self.forgotten[address] = max(before[address], self.forgotten.get(address, 0))
            self._told_links()

    def _buried(self):
        """The stamps of all tombstones, those of buckets among them."""
        found = {}
        for address in self.store.addresses():
            state = self.store.state(address)
            if isinstance(state, Tombstone):
                found[address] = state.stamp
            elif isinstance(state, BucketState) and not state.registers.creates:
                found[address] = highest_stamp(state.registers)
        return found

    def _told_links(self):
        for link in self.links.values():
            link.head_moved()

    @property
    def level(self):
        """Nothing is on its way to any peer, nor owed to it."""
        machines = [link.machine for link in self.links.values()]
        return not any(
            machine.lag(self.world.now_ms / 1000).entries or machine.scan_reason or machine.owed or machine.flights for machine in machines
        )

    # ---- what peers ask

    def answer(self, source, question, reply):
        kind, *what = question
        if kind == "status":
            reply((self.node_id, self.store.log_uuid))
        elif kind == "batch":
            self._receive(source, decode_batch(what[0]), reply)
        elif kind == "blob":
            reply(self.store.body(*what))
        elif kind == "digest":
            reply(digest_ranges(what[0], self.leaves))
        elif kind == "page":
            reply((self.store.log_uuid, self.page(what[0])))

    def _receive(self, source, batch, reply):
        """Pull the bytes that are missing, then join all in one batch of the journal, then answer."""

        def joined(outcomes):
            reply(BatchAnswer(self.node_id, self.store.log_uuid, tuple(outcomes)))

        self._join(source, batch.log_uuid, batch.changes, joined)

    def _join(self, source, origin_log, changes, done):
        store = self.store
        wanted = {piece.number for change in changes if not store.beaten(change) for piece in store.missing(change, origin_log)}
        pulled, waiting = {}, set(wanted)

        def finish():
            head = self.store.head_lsn
            outcomes = self.store.apply(origin_log, changes, pulled, self.now_ms())
            told = [(change[:4], outcome.name or outcome.kind.name) for change, outcome in zip(changes, outcomes, strict=True)]
            self.world.note(self.name, "joins from", source, told)
            if self.store.head_lsn != head:
                self._told_links()
            done(outcomes)

        def came(number, body):
            if body is not None:
                pulled[number] = body
            waiting.discard(number)
            if not waiting:
                finish()

        if not wanted:
            finish()
            return
        sender = next(peer for peer in self.peers if peer.name == source)
        for number in wanted:
            took, lost = (lambda body, number=number: came(number, body)), (lambda number=number: came(number, None))
            self.world.call(self, sender, ("blob", origin_log, number), took, lost)

    # ---- anti-entropy

    def leaves(self, asked):
        for state in self._states(asked):
            if isinstance(state, ObjectState):
                yield object_leaf(state.bucket, state.key, state.stamp, state.origin, state.etag, state.size_bytes)
            elif isinstance(state, BucketState) and state.registers.creates:
                yield bucket_leaf(state.name, state.registers)

    def _states(self, asked):
        for address in self.store.addresses():
            place = Place(address.bucket, address.key or b"")
            over = Scope.BUCKETS if address.key is None else Scope.OBJECTS
            if over is asked.scope and place >= asked.first and (asked.end is None or place < asked.end):
                yield self.store.state(address)

    def page(self, asked):
        states = [_without_bytes(state) for state in self._states(asked)]
        return Page(tuple(states[:PAGE_STATES]), len(states) <= PAGE_STATES)

    def compare_with(self, peer, done=lambda walk: None):
        """Begin a round; an ask that is not answered is asked again."""
        self.round = walk = Comparison((self.now_ms() << 16) - 1)
        life = self.life

        def step():
            if self.life != life or self.round is not walk:
                return
            match walk.action:
                case None:
                    self.round = None
                    done(walk)
                case OwnDigests(ranges):
                    walk.own_digests(digest_ranges(ranges, self.leaves))
                    step()
                case PeerDigests(ranges):
                    self.world.call(self, peer, ("digest", ranges), lambda digests: (walk.peer_digests(digests), step()), step)
                case Exchange(asked):
                    self.world.call(self, peer, ("page", asked), lambda answer: (heal(asked, *answer), step()), step)

        def heal(asked, log_uuid, page):
            healing = walk.states(self.page(asked), page)
            if healing.push:
                self.links[peer.name].owe([address_of(state) for state in healing.push])
            if healing.join:
                self._join(peer.name, log_uuid, healing.join, lambda _outcomes: None)

        step()


def _without_bytes(state):
    if isinstance(state, ObjectState) and hasattr(state.content, "inline"):
        return state._replace(content=state.content._replace(inline=None))
    return state
