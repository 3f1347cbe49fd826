"""Where the bytes that an entry names come from. Part of `entries.py`, which owns the format."""

from enum import IntEnum


class BlobSource(IntEnum):
    """Where the bytes of an ObjectPut come from. Values are part of the format."""

    EMPTY = 0
    """No bytes, no blob."""
    NEW = 1
    """A blob number of its own at `location`."""
    CLAIMED = 2
    """The blob existed, its bytes were compared; `location` is None."""
    REPAIRED = 3
    """The blob existed and had failed verification; it now lies at `location`."""
    MANIFEST = 4
    """The bytes are those of an existing manifest."""
    SLICES = 5
    """The bytes are pieces of existing blobs."""
