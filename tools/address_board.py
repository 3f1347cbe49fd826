"""How many connections each address has open, over all workers, in memory that they share: for FS_MAX_CONNECTIONS_PER_ADDR.

The workers accept from one inherited socket, so one address's connections lie with all of them. Each worker adds to cells of its own
and reads those of the others: no lock, and no message. An address has one cell in each of ROWS rows, chosen by a keyed hash; its count
is the smallest of the rows' sums over all workers (a count-min sketch, Cormode and Muthukrishnan 2005). So a count is never too low,
and too high only for an address that shares its cell in every row, which nobody can bring about without the key.

A connection is added before the sum is read: of two that come to two workers at the same moment both may be refused, but never are both
let in past the limit. What a dead worker had open goes with its cells: `clear`. An IPv6 client has a whole /64 to choose addresses from,
so that is what counts as one.
"""

import hashlib
import mmap
import os
import socket

ROWS = 4
COLUMNS = 8192
_CELL_BYTES = 4
_SLOT_CELLS = ROWS * COLUMNS
_IPV6_PREFIX_BYTES = 8

Cells = tuple[int, ...]


class AddressBoard:
    """Made before the fork. Slots count from 0; 128 KiB each, of which only the touched pages take memory."""

    def __init__(self, slots: int) -> None:
        self._key = os.urandom(16)
        self._counts = memoryview(mmap.mmap(-1, _CELL_BYTES * _SLOT_CELLS * slots)).cast("I")

    def enter(self, slot: int, address: str) -> Cells:
        """Count a connection of `address` to the worker in `slot`; what it returns is for `total` and `leave`."""
        digest = hashlib.blake2b(_network_of(address), key=self._key, digest_size=ROWS * 2).digest()
        first = slot * _SLOT_CELLS
        cells = tuple(
            first + row * COLUMNS + int.from_bytes(digest[2 * row : 2 * row + 2], "little") % COLUMNS for row in range(ROWS)
        )
        for cell in cells:
            self._counts[cell] += 1
        return cells

    def leave(self, cells: Cells) -> None:
        """That connection has ended."""
        for cell in cells:
            self._counts[cell] -= 1

    def total(self, cells: Cells) -> int:
        """How many connections the address of those cells has open with all workers; never too few."""
        return min(sum(self._counts[cell % _SLOT_CELLS :: _SLOT_CELLS]) for cell in cells)

    def clear(self, slot: int) -> None:
        """The worker in `slot` is gone, or has just begun: it has no connections."""
        first = slot * _SLOT_CELLS
        self._counts[first : first + _SLOT_CELLS] = memoryview(bytes(_CELL_BYTES * _SLOT_CELLS)).cast("I")


class SlotBoard:
    """An AddressBoard as the worker in one slot uses it."""

    def __init__(self, board: AddressBoard, slot: int) -> None:
        board.clear(slot)
        self._board = board
        self._slot = slot
        self.total = board.total
        self.leave = board.leave

    def enter(self, address: str) -> Cells:
        """Count a connection of `address` to this worker."""
        return self._board.enter(self._slot, address)


def _network_of(address: str) -> bytes:
    """The bytes by which an address is counted: all of IPv4's, the first 64 bits of IPv6's; the text of what is neither."""
    try:
        if ":" in address:
            return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:_IPV6_PREFIX_BYTES]
        return socket.inet_pton(socket.AF_INET, address)
    except OSError:
        return address.encode()
