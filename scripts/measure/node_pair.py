"""Two of our nodes on loopback, each the other's peer, for measurements."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from scripts.measure.servers import Node
from tools.client import Client

TIMEOUT_SECS = 60.0


class Pair(NamedTuple):
    """Two nodes, each the other's peer, not started."""

    sender: Node
    receiver: Node


def make_pair(folder: Path, settings: Mapping[str, str]) -> Pair:
    """Nodes with folders of their own below `folder`, and the same keys."""
    places = [folder / "sender", folder / "receiver"]
    for place in places:
        place.mkdir()
    token = secrets.token_hex(16)
    nodes = [Node(place, settings) for place in places]
    for mine, peer in (nodes, reversed(nodes)):
        mine.access_key, mine.secret_key = nodes[0].access_key, nodes[0].secret_key
        mine.add_settings({"FS_INTERNAL_TOKEN": token, "FS_ADVERTISE_ADDR": mine.endpoint, "FS_REPLICATION_PEERS": peer.endpoint})
    return Pair(*nodes)


def client_of(node: Node) -> Client:
    """A client with the node's keys."""
    return Client(node.endpoint, node.access_key, node.secret_key, timeout_secs=TIMEOUT_SECS)
