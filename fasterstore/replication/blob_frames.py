"""How the bytes of a blob travel between nodes: in frames, each followed by its hash, so that no byte is used before it was verified.

    frame: up to FRAME_BYTES of the blob (all but the last are full), then the 32-byte BLAKE3 of exactly these bytes

A transfer that was cut short goes on with the frame it broke in. The hash is not keyed: the nodes' keys for blob ids differ.
"""

from blake3 import blake3

FRAME_BYTES = 1024 * 1024
HASH_BYTES = 32
UNKNOWN_BLOB_ID = bytes(HASH_BYTES)
"""In place of the id of a blob of which the caller knows only the number."""


def framed_bytes(length: int) -> int:
    """How many bytes `length` bytes of a blob become."""
    return length + -(-length // FRAME_BYTES) * HASH_BYTES


def frame_hash(*pieces: bytes | bytearray | memoryview) -> bytes:
    """The hash that follows a frame of these pieces."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()
