"""Encrypted records as a source of bytes: read, verified and decrypted chunk by chunk. Nothing here knows a request or an actor.

The chunk table is not needed: each 64 KiB chunk carries a tag of its own (`fasterstore.aead`), so a range reads only its chunks, and
FS_VERIFY_READS has no say: what fails its tag is never decrypted. `window` and `read_record` run in native threads.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from fasterstore.aead import CHUNK_BYTES, SealedStream, chunk_run
from fasterstore.keyring import Keyring
from fasterstore.model import BlobLocation
from fasterstore.storage.open_segments import OpenSegment
from fasterstore.storage.record import HEADER_BYTES, check_header
from fasterstore.storage.sealed_record import open_record, sealed_stream
from web.record_source import read, read_if_warm

WINDOW_BYTES = 8 * CHUNK_BYTES
"""How far decryption runs ahead of sending."""


class SealedSource(NamedTuple):
    """What a native thread needs to read chunks of one record whose header was checked."""

    segment: OpenSegment
    location: BlobLocation
    stream: SealedStream

    def window(self, first: int, end: int) -> memoryview:
        """The plaintext `first` .. `end`. Raises DamagedRecord, OSError."""
        run = chunk_run(self.location.plaintext_bytes, first, end - first)
        sealed = read(self.segment.fd, run.stored_length, self.location.offset + HEADER_BYTES + run.stored_offset)
        return self.stream.open_chunks(run.first_chunk, sealed)[run.skip : run.skip + end - first]


def window_end(first: int) -> int:
    """Windows end at multiples of their size, so that no chunk is read twice."""
    return (first // WINDOW_BYTES + 1) * WINDOW_BYTES


def open_sealed(
    segment: OpenSegment, location: BlobLocation, keyring: Keyring, first: int, end: int
) -> tuple[SealedSource, memoryview]:
    """The source, and its plaintext `first` .. `end`. In a native thread. Raises DamagedRecord, OSError."""
    header = check_header(read(segment.fd, HEADER_BYTES, location.offset), location)
    source = SealedSource(segment, location, sealed_stream(header, keyring))
    return source, source.window(first, end)


def read_record(segment: OpenSegment, location: BlobLocation, keyring: Keyring) -> memoryview:
    """The plaintext of a whole record. In a native thread. Raises DamagedRecord, OSError."""
    return open_record(read(segment.fd, HEADER_BYTES + location.stored_bytes, location.offset), location, keyring)


def read_warm_record(segment: OpenSegment, location: BlobLocation, keyring: Keyring) -> memoryview | None:
    """The same for the loop, of a record of one chunk (some 25 us); None if it is longer or not in memory. Raises DamagedRecord."""
    if location.plaintext_bytes > CHUNK_BYTES:
        return None
    buffer = bytearray(HEADER_BYTES + location.stored_bytes)
    return open_record(buffer, location, keyring) if read_if_warm(segment.fd, memoryview(buffer), location.offset) else None


def sealed_blob_id(segment: OpenSegment, location: BlobLocation, keyring: Keyring, new_hasher: Callable[[], Any]) -> bytes:
    """The keyed hash of the plaintext. In a native thread. Raises DamagedRecord, OSError."""
    hasher = new_hasher()
    source, piece = open_sealed(segment, location, keyring, 0, min(WINDOW_BYTES, location.plaintext_bytes))
    hasher.update(piece)
    for first in range(WINDOW_BYTES, location.plaintext_bytes, WINDOW_BYTES):
        hasher.update(source.window(first, min(window_end(first), location.plaintext_bytes)))
    digest: bytes = hasher.digest()
    return digest
