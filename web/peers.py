"""The peers of this node as one web process calls them: a client each, made when first needed, and kept for its connections."""

from fasterstore.settings import Settings
from web.peer_client import PeerClient

PULL_POOL = 16
"""Connections to one peer that are kept: as many as may pull at once, and as much again."""


class Peers:
    """See the module. Peers are named by their entry of FS_REPLICATION_PEERS."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[str, PeerClient] = {}
        self.silent_until_ms = 0
        """Until then no peer is asked on behalf of a reader: none answered a moment ago."""

    def client(self, address: str) -> PeerClient:
        """The client of that peer, which must be one of FS_REPLICATION_PEERS. Raises: KeyError; OSError for an unreadable FS_CA_CERT."""
        client = self._clients.get(address)
        if client is None:
            if address not in self._settings.replication_peers:
                raise KeyError(address)
            client = self._clients[address] = make_client(self._settings, address, PULL_POOL)
        return client

    def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def make_client(settings: Settings, address: str, pool_size: int = 8, log_uuid: bytes = b"") -> PeerClient:
    """A client of that peer by this node's settings. Raises: OSError for an unreadable FS_CA_CERT."""
    return PeerClient(
        address,
        settings.advertise_addr,
        settings.internal_token,
        timeout_secs=settings.request_timeout_secs,
        ca_path=settings.ca_cert_path,
        pool_size=pool_size,
        log_uuid=log_uuid,
    )
