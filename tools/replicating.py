"""Putting the replicator together from settings and the storage process's other parts. Only a node with peers has one."""

import time
from functools import partial
from typing import Any

from actors.directory import Directory
from actors.durable_head import DurableHead
from actors.peer_shipping import Readers
from actors.replicator import PeerLink, ReplicationPlan, Replicator
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.replication.board import ReplicationBoard
from fasterstore.replication.outgoing import Outgoing
from fasterstore.replication.own_states import OwnStates
from fasterstore.replication.state_reading import StateReader
from fasterstore.settings import Settings
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.wal_tail import WalTail
from tools.wall_clock import now_ms
from web.peer_client import PeerClient
from web.peers import make_client

CONNECTIONS = 16
"""To each peer: as many batches as may be on their way."""
OPEN_SEGMENTS_MAX = 16


def start_replicator(
    settings: Settings,
    disk: Disk,
    datadir: DataDir,
    directory: Directory,
    keyring: Keyring,
    durable: DurableHead,
    board: ReplicationBoard,
) -> Any:
    """Start the replicator under its name in `directory` and return its ref. Raises OSError for an unreadable FS_CA_CERT."""
    clients = [make_client(settings, peer, CONNECTIONS, datadir.log_uuid) for peer in settings.replication_peers]
    ref: Any = Replicator.start(
        [PeerLink(client, _receiver(settings, client.address)) for client in clients],
        datadir,
        disk,
        durable,
        board,
        partial(open_readers, disk, datadir, keyring),
        ReplicationPlan(settings.replication_ack == "one", settings.request_timeout_secs, settings.ack_degrade_secs),
        now_ms=now_ms,
        monotonic=time.monotonic,
    )
    directory.register(Replicator.name, ref)
    return ref


def open_readers(disk: Disk, datadir: DataDir, keyring: Keyring) -> Readers:
    """What reads log, index and segments for peers: one connection, one thread."""
    view = IndexView(datadir.index_path)
    segments = OpenSegments(disk, datadir.segments_dir, OPEN_SEGMENTS_MAX)
    states = StateReader(view, disk, segments, keyring)
    outgoing = Outgoing(datadir.node_id, datadir.log_uuid, view, states, WalTail(disk, datadir.journal_dir))
    return Readers(states, outgoing, OwnStates(view, StateReader(view, disk, segments, keyring, with_bytes=False)))


def _receiver(settings: Settings, peer: str) -> PeerClient:
    """This node as that peer reaches it."""
    return PeerClient(
        settings.advertise_addr, peer, settings.internal_token, timeout_secs=settings.request_timeout_secs, ca_path=settings.ca_cert_path
    )
