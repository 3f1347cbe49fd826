"""A piece of a file as part of a response body.

Owns: the one value by which a download hands stored bytes to the connection without reading them into Python.
Must never: open, close or check a descriptor; whoever yields a region keeps it open until the next one is asked for.
"""

from __future__ import annotations

from typing import NamedTuple


class FileRegion(NamedTuple):
    """Bytes of an open file, sent with sendfile(2)."""

    fd: int
    """Open for reading until the iterator that yielded it is advanced or closed."""
    offset: int
    """First byte, counted from the start of the file."""
    length: int
    """Bytes to send; a file that ends before is a broken response and resets the connection."""


Piece = bytes | bytearray | memoryview | FileRegion
