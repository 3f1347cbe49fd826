"""Which addresses of peers a node may start with, judged before anything is opened or sent.

Owns the rules of `FS_REPLICATION_PEERS` against `FS_ADVERTISE_ADDR`. Both are in the one form of `setting_values.origin_url`, so that
equal means the same node. Resolves no name: a name that points to this machine is only known by being `localhost`.
"""

from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

__all__ = ["is_loopback", "refuse_peers"]


def is_loopback(origin: str) -> bool:
    """Only processes of one machine reach this origin: 127.0.0.0/8, ::1, localhost and names below it, 0.0.0.0 and ::."""
    host = (urlsplit(origin).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def refuse_peers(advertise_addr: str, peers: tuple[str, ...], *, encrypted: bool) -> str | None:
    """Why a node must not start with these peers.

    Args:
        advertise_addr: the origin under which the peers reach this node, and know it.
        peers: theirs.
        encrypted: what this node stores is encrypted, so it may not cross a network in clear either.

    Returns:
        One line that names the variable and what is allowed; None if the node may start.
    """
    if advertise_addr in peers:
        return f"FS_REPLICATION_PEERS={','.join(peers)!r}: FS_ADVERTISE_ADDR={advertise_addr!r} is this node itself; list only the others"
    elsewhere = [peer for peer in peers if not is_loopback(peer)]
    if elsewhere and is_loopback(advertise_addr):
        return f"FS_ADVERTISE_ADDR={advertise_addr!r}: the peer {elsewhere[0]} cannot reach this machine under it; set the URL that it can"
    if not encrypted:
        return None
    clear = [peer for peer in peers if not peer.startswith("https://")]
    if clear:
        return f"FS_REPLICATION_PEERS={clear[0]!r}: with FS_ENCRYPTION_KEY_BASE64 objects go to a peer over https:// only"
    if not advertise_addr.startswith("https://"):
        return f"FS_ADVERTISE_ADDR={advertise_addr!r}: with FS_ENCRYPTION_KEY_BASE64 peers fetch objects from here over https:// only"
    return None
