"""One seed: two or three nodes under writes and faults, then healing, then the judgement. `store(node_id, log_uuid, rng)` makes a store."""

from tests.fasterstore.replication import simulated_load
from tests.fasterstore.replication.simulated_link import Link
from tests.fasterstore.replication.simulated_node import TOMBSTONE_TTL_MS, Node
from tests.fasterstore.replication.simulated_truth import Truth
from tests.fasterstore.replication.simulated_world import Endless, World

HOUR_MS = 3_600_000
CHAOS_MS = 40_000
SETTLE_MS = 30_000
"""Within so much time after healing all nodes hold the same: the promise is 30 seconds."""
QUIET_MS = 25_000
"""For so much longer nothing may change and nothing be sent."""

FAULTS = {
    "cut": 6, "cut_one_way": 4, "mend": 8, "crash": 6, "step_clock": 4, "pin": 3, "restore": 1, "retire_log": 3, "compare": 2, "expire": 2,
}  # fmt: skip


class Simulation:
    """See the module. `run` returns the faults found, none for a good run."""

    def __init__(self, seed, *, store, link=Link, requests=60, faults=FAULTS):
        self.world = World(seed)
        self.rng = self.world.rng
        self.requests = requests
        self.heals_at_ms = self.world.now_ms + CHAOS_MS
        self.fault_weights = faults
        count = self.rng.choice((2, 2, 3))
        self.nodes = []
        for number in range(count):
            ids = bytes([65 + number]) * 16, self.rng.randbytes(16)
            self.nodes.append(Node(self.world, "ABC"[number], store(*ids, self.rng), link))
        in_a_row = self.rng.random() < 0.3  # of three nodes two know only the one between them, which relays
        for node in self.nodes:
            node.peers = [peer for peer in self.nodes if peer is not node and not (in_a_row and {peer.name, node.name} == {"A", "C"})]
            node.clock_offset_ms = self.rng.choice((0, 0, 30, -200, 2_000, HOUR_MS, -HOUR_MS))
        self.truth = Truth()
        self.pins = {}
        self.restored = set()
        self.serial = 0
        self.untrue_acks = []

    def run(self):
        try:
            return self._run()
        except Endless:
            return ["changes go on without end"]

    def _run(self):
        for node in self.nodes:
            node.start()
        if self.rng.random() < 0.05:
            self.world.after(self.rng.randrange(CHAOS_MS), self._long_pause)
        self._next_step()
        while self.world.now_ms < self.heals_at_ms:
            self.world.run_until(self.heals_at_ms)
        self._heal()
        end = self.world.now_ms + SETTLE_MS
        while self.world.now_ms < end and not self._settled():
            self.world.run_until(self.world.now_ms + 1_000)
        self.settled_ms = self.world.now_ms - end + SETTLE_MS
        return self._judge()

    # ---- the run

    def _next_step(self):
        if self.world.now_ms < self.heals_at_ms:
            self.world.after(self.rng.randrange(2 * CHAOS_MS // self.requests), self._step)

    def _step(self):
        if self.world.now_ms >= self.heals_at_ms:
            return
        draw = self.rng.random()
        if draw < 0.25:
            (kind,) = self.rng.choices(list(self.fault_weights), list(self.fault_weights.values()))
            getattr(self, f"_{kind}")()
        elif draw < 0.3:
            self.rng.choice(self.nodes).tidy()
        else:
            for _ in range(self.rng.choice((1, 1, 1, 4))):
                self._request()
        if self.rng.random() < 0.2:
            self.untrue_acks += self.truth.untrue_acks(self.nodes)
        self._next_step()

    def _request(self):
        node = self.rng.choice(self.nodes)
        self.serial += 1
        op = simulated_load.draw(self.rng, [each.node_id for each in self.nodes], self.serial)
        if not node.up:
            return
        changed = node.run(op)
        if changed:
            # The outcome is unknown to the client where the process dies between the log and the answer.
            dies = self.rng.random() < 0.02
            self.truth.record(node, changed, certain=not dies)
            self.world.note(node.name, *op[:4], op.body[:8], [state[:5] for address in changed if (state := node.store.state(address))])
            if dies:
                self._crash(node)

    # ---- faults

    def _cut(self):
        one, other = self.rng.sample(self.nodes, 2)
        self.world.cut |= {(one.name, other.name), (other.name, one.name)}
        self.world.note("cut", one.name, other.name)

    def _cut_one_way(self):
        one, other = self.rng.sample(self.nodes, 2)
        self.world.cut.add((one.name, other.name))
        self.world.note("cut one way", one.name, other.name)

    def _mend(self):
        self.world.cut.clear()
        self.world.note("mended")

    def _crash(self, node=None):
        node = node or self.rng.choice(self.nodes)
        if not node.up:
            return
        node.crash()
        self.world.note("crash", node.name)
        life = node.life
        self.world.after(self.rng.choice((10, 1_000, 8_000)), lambda: node.life == life and not node.up and node.start())

    def _step_clock(self):
        node = self.rng.choice(self.nodes)
        node.clock_offset_ms = self.rng.choice((0, 500, -3_000, -600_000, HOUR_MS, -HOUR_MS))
        self.world.note("clock", node.name, node.clock_offset_ms)

    def _pin(self):
        node = self.rng.choice(self.nodes)
        self.pins[node.name] = node.store.pin()
        self.world.note("pin", node.name, node.store.head_lsn)

    def _restore(self):
        node = self.rng.choice(self.nodes)
        if node.name not in self.pins or self.restored:
            return
        pinned = self.pins.pop(node.name)
        self.restored.add(node.name)
        self.truth.forget_after(node, pinned.head_lsn)
        node.crash()
        node.store = pinned.restored(self.rng.randbytes(16), node.now_ms())
        node.kept.clear()
        self.world.note("restore", node.name, pinned.head_lsn)
        node.start()

    def _retire_log(self):
        node = self.rng.choice(self.nodes)
        if node.store.head_lsn > 1:
            node.store.retire_log(self.rng.randrange(max(1, node.store.head_lsn - 10), node.store.head_lsn + 1))
            self.world.note("retired", node.name, node.store.log_start)

    def _compare(self):
        node = self.rng.choice(self.nodes)
        if node.up:
            node.compare_with(self.rng.choice(node.peers))

    def _long_pause(self):
        """Days pass, perhaps with nodes apart or down: tombstones expire."""
        self.world.note("a long pause")
        self.heals_at_ms += 2 * TOMBSTONE_TTL_MS
        self.world.jump(2 * TOMBSTONE_TTL_MS)
        for node in self.nodes:
            if self.rng.random() < 0.7:
                node.expire()

    def _expire(self):
        self.rng.choice(self.nodes).expire()

    # ---- the end

    def _heal(self):
        self.world.note("heal")
        self.world.cut.clear()
        self.world.drops = 0
        for node in self.nodes:
            if not node.up:
                node.start()

    def _settled(self):
        return all(node.level for node in self.nodes) and not self.truth.faults(self.nodes)

    def _judge(self):
        faults = self.untrue_acks + self.truth.untrue_acks(self.nodes) + self.truth.faults(self.nodes)
        if faults:
            return faults
        heads, sent = self._heads(), self._sent()
        self.world.run_until(self.world.now_ms + QUIET_MS)
        if self._heads() != heads:
            faults.append(f"changes go on after all is the same: {heads}, then {self._heads()}")
        late = self._sent() - sent
        if late > 20 * len(self.nodes):
            faults.append(f"{late} batches were sent after all was the same")
        walks = []
        for node in self.nodes:
            for peer in node.peers:
                node.compare_with(peer, walks.append)
                self.world.run_until(self.world.now_ms + 10_000)
        found = [difference for walk in walks for difference in walk.differences]
        if found or len(walks) != sum(len(node.peers) for node in self.nodes):
            faults.append(f"a comparison of equal nodes found {found} in {len(walks)} rounds")
        return faults or self.truth.faults(self.nodes)

    def _heads(self):
        return [node.store.head_lsn for node in self.nodes]

    def _sent(self):
        return sum(link.batches for node in self.nodes for link in node.links.values())

    def story(self, word="", last=80):
        """The last steps whose text has `word` in it, faults among them, to read what led to a failure."""
        steps = [step for step in self.world.trace if word in str(step) or len(step) < 5]
        return "\n".join(" ".join(map(str, step))[:400] for step in steps[-last:])

    def close(self):
        for node in self.nodes:
            node.store.close()
