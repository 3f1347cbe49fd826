"""Everything in one process (FS_WORKERS=0): storage actors and HTTP in one hub. For tests and tiny machines."""

import socket

from fasterstore.keyring import Keyring
from fasterstore.replication.board import ReplicationBoard
from fasterstore.settings import Settings
from fasterstore.storage.datadir import DataDir
from tools.address_board import AddressBoard, SlotBoard
from tools.storage_process import StorageProcess
from tools.supervisor import Child
from tools.web_process import WebProcess
from web.worker import LinkState


def run(
    settings: Settings,
    datadir: DataDir,
    keyring: Keyring,
    child: Child,
    listener: socket.socket,
    addresses: AddressBoard | None,
    peers: ReplicationBoard | None = None,
) -> None:
    """The single process from its imports to its orderly stop; it still has storage's socket, for tools that attach to it."""
    storage = StorageProcess(settings, datadir, keyring, child, peers)
    web = WebProcess(
        settings,
        datadir,
        keyring,
        listener,
        number=0,
        directory=storage.directory,
        link_state=lambda: LinkState(web.worker.index is not None, "starting"),
    )
    web.worker.replication = peers
    storage.web_samples = web.worker.metrics.samples
    storage.reload = web.reload
    if addresses is not None:
        web.limit_addresses(SlotBoard(addresses, child.slot))
    web.server.start()
    storage.start()
    web.open_index()
    storage.wait(before_stop=web.drain)
