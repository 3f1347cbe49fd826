"""A piece of a file, or of a record, as part of a response body.

Owns: the two values by which a download hands over stored bytes without holding them: the kernel sends them from the file, or they are
read when there is room for them.
Must never: open, close or check a descriptor; whoever yields a region keeps it open until the next one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple


class FileRegion(NamedTuple):
    """Bytes of an open file, sent with sendfile(2)."""

    fd: int
    """Open for reading until the iterator that yielded it is advanced or closed."""
    offset: int
    """First byte, counted from the start of the file."""
    length: int
    """Bytes to send; a file that ends before is a broken response and resets the connection."""


class CheckedRegion(NamedTuple):
    """Bytes of a record that are verified in memory, but only when the socket has room: nothing is held while a reader is waited for."""

    read: Callable[[int, int], memoryview]
    """`read(first, end)` gives verified bytes from `first` on, one or more, at most to `end`; those that are not sent are asked for
    again. Raises as the iterator that yielded the region does."""
    first: int
    """Of the record's bytes."""
    end: int

    @property
    def length(self) -> int:
        """Bytes to send."""
        return self.end - self.first

    def pieces(self) -> Iterator[bytes]:
        """All of it, for whoever takes the bytes here."""
        position = self.first
        while position < self.end:
            piece = bytes(self.read(position, self.end))
            yield piece
            position += len(piece)


Region = FileRegion | CheckedRegion
Piece = bytes | bytearray | memoryview | Region


def shortened(region: Region, length: int) -> Region:
    """Its first `length` bytes."""
    if isinstance(region, FileRegion):
        return region._replace(length=length)
    return region._replace(end=region.first + length)
