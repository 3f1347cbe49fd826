"""Messages to the replicator. Part of `messages.py`, whose conventions hold. LSNs are the journal's; a peer is named by its URL."""

from typing import Any, NamedTuple


class DurableMoved(NamedTuple):
    """Tell, metadata-journal -> replicator: more is on stable storage; `DurableHead` says how much. Never more than one of them waits."""


class HoldForAck(NamedTuple):
    """Forwarded by metadata-journal (the reply goes to web): `answer` stands once the peers have the entries up to `lsn` as well.

    Reply: `answer`, or Refused (ReplicationTimeout) at the deadline: the outcome at the peer is unknown, the local change stays. Never
    crosses a socket.
    """

    lsn: int
    answer: Any


class ReplicationStatus(NamedTuple):
    """Ask, web -> replicator. Reply: a plain dict, see `actors/replicator_status.py`."""


class Resync(NamedTuple):
    """Ask, web -> replicator: send that peer everything again, from the beginning. Reply: Done or Refused (NoSuchPeer)."""

    peer: str


class StopDiff(NamedTuple):
    """Ask, web -> replicator: end the comparison with that peer that is under way. Reply: Done or Refused (NoSuchPeer)."""

    peer: str


class Diff(NamedTuple):
    """Ask, web -> replicator: compare that peer with this node, in the background. Reply: Done or Refused (NoSuchPeer, Unavailable).

    `heal`: send what differs. Progress and result are in the status.
    """

    peer: str
    heal: bool = True


REPLICATOR_WIRE_TYPES: tuple[type[Any], ...] = (ReplicationStatus, Resync, Diff, StopDiff)
