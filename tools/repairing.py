"""Putting the repairer together from settings and the storage process's other actors. Only a node with peers has one."""

from typing import Any

from actors.directory import Directory
from actors.repairer import RepairCounts, Repairer
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.settings import Settings
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from web.peers import make_client

CONNECTIONS = 1
"""To each peer: repairs come one after the other."""


def start_repairer(
    settings: Settings, disk: Disk, datadir: DataDir, directory: Directory, keyring: Keyring, counts: RepairCounts
) -> Any:
    """Start the repairer under its name in `directory` and return its ref; None without peers."""
    if not settings.replication_peers:
        return None
    peers = [make_client(settings, address, CONNECTIONS) for address in settings.replication_peers]
    ref: Any = Repairer.start(
        directory,
        IndexView(datadir.index_path),
        disk,
        datadir.segments_dir,
        keyring,
        datadir.log_uuid,
        peers,
        counts,
        timeout_secs=settings.request_timeout_secs,
    )
    directory.register(Repairer.name, ref)
    return ref
