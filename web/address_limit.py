"""FS_MAX_CONNECTIONS_PER_ADDR: how many connections one address may have open with the whole node.

Judged by the socket's peer when a connection is accepted, before a byte of it is read; forwarding headers play no part. Behind a proxy
all clients have its address, so the networks of FS_TRUSTED_PROXIES are exempt. The counts are the composition root's, shared by all
workers (`tools/address_board.py`).
"""

from collections.abc import Sequence
from typing import Protocol

from web.client_address import Network, trust_of

Cells = tuple[int, ...]
_EXEMPT: Cells = ()


class AddressCounts(Protocol):
    """Open connections by address, over all workers."""

    def enter(self, address: str, /) -> Cells: ...

    def total(self, cells: Cells, /) -> int: ...

    def leave(self, cells: Cells, /) -> None: ...


class AddressLimit:
    """`most` connections for each address that is no trusted proxy's."""

    __slots__ = ("_counts", "_is_trusted", "_most")

    def __init__(self, counts: AddressCounts, most: int, proxies: Sequence[Network]) -> None:
        self._counts = counts
        self._most = most
        self._is_trusted = trust_of(proxies)

    def enter(self, address: str) -> Cells | None:
        """Count a connection; None if it is one too many. What it returns is due to `leave` when the connection ends."""
        if self._is_trusted(address):
            return _EXEMPT
        cells = self._counts.enter(address)
        if self._counts.total(cells) > self._most:
            self._counts.leave(cells)
            return None
        return cells

    def leave(self, cells: Cells) -> None:
        """The connection has ended."""
        if cells:
            self._counts.leave(cells)
