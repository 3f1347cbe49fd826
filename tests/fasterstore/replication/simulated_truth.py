"""What has to be true after healing, reckoned from what was acknowledged and nothing else.

Of each key the later pair wins, so the outcome is known: the highest change that was acknowledged and not lost with a restored node; or a
higher one whose outcome the client never learned. Of a bucket's registers, joining what was acknowledged must add nothing.
"""

from fasterstore.replication import merge
from fasterstore.replication.change import ObjectState, Tombstone
from fasterstore.replication.merge import Registers


class Effect:
    """What one acknowledged (`certain`) or unanswered request made of one address; `lsn` of the log `log_uuid` is where it is logged."""

    def __init__(self, node, store, state, body, certain):
        self.node, self.lsn, self.log_uuid = node, store.head_lsn, store.log_uuid
        self.state, self.body, self.certain = state, body, certain


class Truth:
    """Every change that clients made. `effects` has those of one address in the order in which they were made."""

    def __init__(self):
        self.effects = {}

    def record(self, node, addresses, certain=True):
        for address in addresses:
            state = node.store.state(address)
            if state is None:
                state = Tombstone(*address, node.store.head_stamp, node.node_id, 0)
            body = node.store.read(*address) if isinstance(state, ObjectState) else None
            self.effects.setdefault(address, []).append(Effect(node.name, node.store, state, body, certain))

    def forget_after(self, node, lsn):
        """The node is restored to that LSN: what it acknowledged later is lost, unless it knew of a peer that has it, too (ACK=one)."""
        links = [link for link in node.links.values() if link.peer_log == link.peer.store.log_uuid]
        for effects in self.effects.values():
            for effect in effects:
                if effect.node == node.name and effect.lsn > lsn and not any(link.machine.has(effect.lsn) for link in links):
                    effect.certain = False

    def untrue_acks(self, nodes):
        """What a node takes to be on stable storage at a peer and is not, as text."""
        found = []
        for node in nodes:
            for link in node.links.values() if node.up else ():
                peer = link.peer.store
                if link.peer_log != peer.log_uuid:
                    continue  # restored meanwhile, and not met since
                for address, effects in self.effects.items():
                    for effect in effects:
                        of_this_log = (effect.node, effect.log_uuid) == (node.name, node.store.log_uuid)
                        if not of_this_log or _forgotten(address, effect, (node, link.peer)):
                            continue
                        own = effect.state.stamp if address.key is not None else 1 << 63
                        acked = link.machine.has(effect.lsn) or own <= link.machine.acked_stamp
                        if acked and not peer.beaten(effect.state):
                            found.append(f"{node.name} takes {link.peer.name} to have {effect.state[:5]}")
        return found

    def faults(self, nodes):
        """What is wrong, as text; none if all nodes agree and nothing acknowledged is lost."""
        found = []
        views = [_view(node.store) for node in nodes]
        for node, view in zip(nodes[1:], views[1:], strict=True):
            for address in sorted(views[0].keys() | view.keys(), key=str):
                if views[0].get(address) != view.get(address):
                    found.append(f"{nodes[0].name} and {node.name} differ at {address}: {views[0].get(address)} and {view.get(address)}")
        for address, effects in sorted(self.effects.items(), key=str):
            if address.key is not None:
                found += self._key_faults(address, effects, nodes)
            else:
                found += self._bucket_faults(address, effects, nodes)
        return found

    def _key_faults(self, address, effects, nodes):
        certain = [effect for effect in effects if effect.certain]
        floor = max(map(_pair, certain), default=(0, b""))
        allowed = [effect for effect in effects if _pair(effect) == floor or (not effect.certain and _pair(effect) > floor)]
        if any(isinstance(effect.state, Tombstone) and _forgotten(address, effect, nodes) for effect in allowed):
            allowed = effects  # its tombstone has expired: a node that was away for so long may have brought the key back
        store = nodes[0].store
        state = store.state(address)
        now = _shown(state, store.read(*address) if isinstance(state, ObjectState) else None)
        shown = {_shown(effect.state, effect.body) for effect in allowed}
        if now in shown or (now is None and not certain):
            return []
        return [f"{address} is {now}; acknowledged was {sorted(map(str, shown))}"]

    def _bucket_faults(self, address, effects, nodes):
        store = nodes[0].store
        state = store.state(address)
        registers = Registers() if state is None else state.registers
        certain = [effect.state for effect in effects if effect.certain and not _forgotten(address, effect, nodes)]
        lost = [effect for effect in certain if merge.join_registers(registers, effect.registers) != registers]
        found = [f"{address} is {registers}; it lacks {effect}" for effect in lost]
        if store.exists(address.bucket) != bool(registers.creates):
            found.append(f"{address} exists: {store.exists(address.bucket)}, with {registers}")
        return found


def _forgotten(address, effect, nodes):
    """Whether a node has let a tombstone go that was as late."""
    state = effect.state
    stamp = state.stamp if isinstance(state, ObjectState | Tombstone) else merge.highest_stamp(state.registers)
    return any(stamp <= node.forgotten.get(address, 0) for node in nodes)


def _pair(effect):
    return (effect.state.stamp, effect.state.origin) if effect.state is not None else (0, b"")


def _shown(state, body):
    """All of a state that nodes have to agree about; a key that is gone is None."""
    if state is None or isinstance(state, Tombstone):
        return None
    fields = state._replace(content=body)
    return fields._replace(**{name: tuple(sorted(getattr(fields, name).items())) for name in ("system", "user", "checksums", "tags")})


def _view(store):
    """All that nodes have to agree about, tombstones left out: each node forgets its own when its log says so."""
    view = {}
    for address in store.addresses():
        state = store.state(address)
        if isinstance(state, ObjectState):
            view[address] = _shown(state, store.read(*address))
        elif not isinstance(state, Tombstone):
            view[address] = state if state.registers.creates else None
    return {address: shown for address, shown in view.items() if shown is not None}
