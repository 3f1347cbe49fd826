"""What has to be true after healing, reckoned from what was acknowledged and nothing else.

Of each key the later pair wins, so the outcome is known: the highest change that was acknowledged and not lost with a restored node; or a
higher one whose outcome the client never learned. Of a bucket's registers, joining what was acknowledged must add nothing.
"""

from fasterstore.replication import merge
from fasterstore.replication.change import ObjectState, Tombstone
from fasterstore.replication.merge import Registers


class Effect:
    """What one acknowledged (`certain`) or unanswered request made of one address; `lsn` is where the node logged it."""

    def __init__(self, node, lsn, state, body, certain):
        self.node, self.lsn, self.state, self.body, self.certain = node, lsn, state, body, certain


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
            self.effects.setdefault(address, []).append(Effect(node.name, node.store.head_lsn, state, body, certain))

    def forget_after(self, name, lsn):
        """The node was restored to that LSN: what it had acknowledged later need not have reached a peer."""
        for effects in self.effects.values():
            for effect in effects:
                if effect.node == name and effect.lsn > lsn:
                    effect.certain = False

    def faults(self, nodes):
        """What is wrong, as text; none if all nodes agree and nothing acknowledged is lost."""
        found = []
        views = [_view(node.store) for node in nodes]
        for node, view in zip(nodes[1:], views[1:], strict=True):
            for address in sorted(views[0].keys() | view.keys(), key=str):
                if views[0].get(address) != view.get(address):
                    found.append(f"{nodes[0].name} and {node.name} differ at {address}: {views[0].get(address)} and {view.get(address)}")
        for address, effects in sorted(self.effects.items(), key=str):
            check = self._key_faults if address.key is not None else self._bucket_faults
            found += check(address, effects, nodes[0].store)
        return found

    def _key_faults(self, address, effects, store):
        certain = [effect for effect in effects if effect.certain]
        floor = max(map(_pair, certain), default=(0, b""))
        allowed = {_shown(effect.state, effect.body) for effect in effects if _pair(effect) == floor or (not effect.certain and _pair(effect) > floor)}
        state = store.state(address)
        now = _shown(state, store.read(*address) if isinstance(state, ObjectState) else None)
        if now in allowed or (now is None and not certain):
            return []
        return [f"{address} is {now}; acknowledged was {sorted(map(str, allowed))}"]

    def _bucket_faults(self, address, effects, store):
        state = store.state(address)
        registers = Registers() if state is None else state.registers
        lost = [effect.state for effect in effects if effect.certain and merge.join_registers(registers, effect.state.registers) != registers]
        found = [f"{address} is {registers}; it lacks {effect}" for effect in lost]
        if store.exists(address.bucket) != bool(registers.creates):
            found.append(f"{address} exists: {store.exists(address.bucket)}, with {registers}")
        return found


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
