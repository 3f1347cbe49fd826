"""Who speaks, how, and to which host: what is so behind a trusted proxy, and what a virtual host means.

Made only where FS_TRUSTED_PROXIES or FS_DOMAIN is set; without them a request costs nothing here. Changes the environ before it is
routed: the host that the client addressed takes the proxy's place, and what was found out is left as `fs.origin`. A peer that no
network of FS_TRUSTED_PROXIES holds is believed nothing. Must never decide what a request may do: whether a client is local is judged
by the socket and by the mere presence of forwarding headers (`web/authenticate.py`), trusted or not.
Source: the X-Forwarded- headers as nginx, HAProxy, Caddy and Traefik send them; S3 user guide, "Virtual hosting".
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple

from fasterstore.s3.names import bucket_of_host

Network = IPv4Network | IPv6Network

UNKNOWN_ADDRESS = ""
"""The client's address where a trusted proxy named one that cannot be read: it belongs to no network."""

_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


class Origin(NamedTuple):
    """Where a request comes from and whereto: the client's address, whether it spoke TLS, the bucket its host names ("" for none)."""

    client_ip: str
    is_secure: bool
    bucket: str


def trust_of(proxies: Sequence[Network]) -> Callable[[str], bool]:
    """Whether the text of an address lies in one of these networks; text that is no address lies in none."""

    # The same few proxies speak all the time.
    @lru_cache(maxsize=1024)
    def is_trusted(text: str) -> bool:
        address = _address_of(text)
        return address is not None and any(address in network for network in proxies)

    return is_trusted


class Addressing:
    """Applies FS_TRUSTED_PROXIES and FS_DOMAIN to each request."""

    __slots__ = ("_domain", "_is_trusted")

    def __init__(self, domain: str | None, proxies: Sequence[Network]) -> None:
        """`domain` is lower case, None for path style only; `proxies` the networks whose word counts."""
        self._domain = domain
        self._is_trusted = trust_of(proxies)

    def apply(self, environ: dict[str, Any]) -> bool:
        """Note down the origin of a WSGI request as `fs.origin`; True if it is for a virtual host, whose every path is a key."""
        peer = environ.get("fs.peer")
        peer_ip: str = environ.get("REMOTE_ADDR", "") if peer is None else peer[0]
        client_ip, is_secure = peer_ip, environ.get("wsgi.url_scheme") == "https"
        if self._is_trusted(peer_ip):
            client_ip = self._client_ip(peer_ip, environ.get("HTTP_X_FORWARDED_FOR", ""))
            protocols = environ.get("HTTP_X_FORWARDED_PROTO")
            if protocols is not None:
                # Of several the last is what the proxy next to us says of its own client: the one that may be believed.
                is_secure = protocols.rpartition(",")[2].strip().lower() == "https"
            _take_forwarded_host(environ)
        bucket = bucket_of_host(environ.get("HTTP_HOST", ""), self._domain) if self._domain else ""
        environ["fs.origin"] = Origin(client_ip, is_secure, bucket)
        return bool(bucket)

    def _client_ip(self, peer_ip: str, forwarded_for: str) -> str:
        """The right-most address that is not a trusted proxy's: what stands before it anybody may have written."""
        address = peer_ip
        for part in reversed(forwarded_for.split(",")):
            text = part.strip()
            if not text:
                continue
            with_port = _WITH_PORT.fullmatch(text)
            if with_port is not None:
                text = with_port[1] or with_port[2]
            found = _address_of(text)
            if found is None:
                return UNKNOWN_ADDRESS
            address = str(found)
            if not self._is_trusted(address):
                return address
        return address


def _take_forwarded_host(environ: dict[str, Any]) -> None:
    """The host that the client addressed. Proxies that append keep it first; a client that invents one only misleads itself: the
    signature covers it."""
    host = environ.get("HTTP_X_FORWARDED_HOST", "").partition(",")[0].strip()
    if _HOST.fullmatch(host) is None:
        return
    environ["HTTP_HOST"] = host
    headers = environ.get("fs.headers")
    if headers is not None:
        headers["host"] = host


def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address, an IPv4 one in IPv6's clothes as the IPv4 one it is; None for what is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
