"""A stored record as a verified source of bytes: its header and chunk table, and chunks that are checked as they are read.

Owns the buffers of reading. Nothing here knows a request or an actor: `window` runs in native threads. Never hands out unchecked bytes.
"""

import os
from typing import NamedTuple

from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation
from fasterstore.storage.disk import BAD_MEDIUM
from fasterstore.storage.open_segments import OpenSegment
from fasterstore.storage.record import CHUNK_BYTES, HEADER_BYTES, check_header, table_bytes, verify_chunk, verify_table

WARM_BYTES = 2 * CHUNK_BYTES
"""What is verified in the loop at once, if it is in memory."""
WINDOW_BYTES = 4 * CHUNK_BYTES
"""How far verification runs ahead of sending."""

_scratch: list[bytearray] = []
"""Buffers of one window, one for each native thread that ever read at once: fresh ones cost more in page faults than the read itself."""
WARM_BUFFERS_MAX = 16
"""Downloads that send from memory at once in one process; the others, such as those whose clients have stalled, use sendfile."""


class WarmBuffers:
    """At most WARM_BUFFERS_MAX buffers of WARM_BYTES, made when first needed."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self._made = 0

    def take(self) -> bytearray | None:
        """One that nobody uses, None if all are in use."""
        if self._free:
            return self._free.pop()
        if self._made == WARM_BUFFERS_MAX:
            return None
        self._made += 1
        return bytearray(WARM_BYTES)

    def give_back(self, buffer: bytearray) -> None:
        self._free.append(buffer)


warm_buffers = WarmBuffers()


class Source(NamedTuple):
    """A verified place to read chunks from: everything a native thread needs, and nothing of the request."""

    segment: OpenSegment
    location: BlobLocation
    table: bytes
    """The verified chunk table; b"" when digests are not checked."""

    def window(self, first: int, end: int, keep: bool) -> list[bytes]:
        """Read the chunks that hold the bytes `first` .. `end`, check them, and return them if `keep`. Raises DamagedRecord, OSError."""
        kept = []
        start = first // CHUNK_BYTES * CHUNK_BYTES
        stop = min(-(-end // CHUNK_BYTES) * CHUNK_BYTES, self.location.stored_bytes)
        try:
            buffer = _scratch.pop()
        except IndexError:
            buffer = bytearray(WINDOW_BYTES)
        # One read for all chunks: each call that leaves the interpreter lock has to win it back.
        data = memoryview(buffer)[: stop - start]
        read_into(self.segment.fd, data, self.location.offset + HEADER_BYTES + start)
        for position in range(0, stop - start, CHUNK_BYTES):
            chunk = data[position : position + CHUNK_BYTES]
            if self.table:
                verify_chunk(self.table, (start + position) // CHUNK_BYTES, chunk)
            if keep:
                kept.append(bytes(chunk))
        _scratch.append(buffer)
        return kept

    def read_warm(self, first: int, end: int, buffer: bytearray) -> memoryview | None:
        """The bytes `first` .. `end`, checked, in `buffer`, without waiting for the disk; None if not all of them are in memory.

        For the loop: at most WARM_BYTES, about 0.1 ms, which is less than two hand-overs to a thread cost on busy cores.
        Raises DamagedRecord.
        """
        start = first // CHUNK_BYTES * CHUNK_BYTES
        stop = min(-(-end // CHUNK_BYTES) * CHUNK_BYTES, self.location.stored_bytes)
        data = memoryview(buffer)[: stop - start]
        if not read_if_warm(self.segment.fd, data, self.location.offset + HEADER_BYTES + start):
            return None
        for position in range(0, stop - start, CHUNK_BYTES):
            verify_chunk(self.table, (start + position) // CHUNK_BYTES, data[position : position + CHUNK_BYTES])
        return data[first - start : end - start]


def read_if_warm(fd: int, view: memoryview, offset: int) -> bool:
    """Fill `view` if that needs no disk: one cold read in the loop would hold up every other request."""
    try:
        return os.preadv(fd, (view,), offset, os.RWF_NOWAIT) == len(view)
    except OSError:
        # Not in memory, or this file system cannot say; a real error shows up again in the thread.
        return False


def open_source(segment: OpenSegment, location: BlobLocation, verify: bool) -> Source:
    header = check_header(read(segment.fd, HEADER_BYTES, location.offset), location)
    table = b""
    if verify:
        table = bytes(read(segment.fd, table_bytes(location.stored_bytes), location.offset + HEADER_BYTES + location.stored_bytes))
        verify_table(header, table)
    return Source(segment, location, table)


def open_warm(segment: OpenSegment, location: BlobLocation, first: int, end: int) -> Source | None:
    """The source with its bytes `first` .. `end` checked, None if something would have to be read from the disk. Raises DamagedRecord."""
    buffer = warm_buffers.take()
    if buffer is None:
        return None
    try:
        header, table = bytearray(HEADER_BYTES), bytearray(table_bytes(location.stored_bytes))
        after_payload = location.offset + HEADER_BYTES + location.stored_bytes
        if not (
            read_if_warm(segment.fd, memoryview(header), location.offset) and read_if_warm(segment.fd, memoryview(table), after_payload)
        ):
            return None
        source = Source(segment, location, bytes(table))
        verify_table(check_header(header, location), source.table)
        return None if source.read_warm(first, end, buffer) is None else source
    finally:
        warm_buffers.give_back(buffer)


def open_first(segment: OpenSegment, location: BlobLocation, mode: str, first: int, end: int) -> tuple[Source, list[bytes]]:
    source = open_source(segment, location, mode != "false")
    return source, source.window(first, end, mode == "strict") if source.table else []


def read(fd: int, length: int, offset: int) -> bytearray:
    """All of those bytes. Raises as `read_into` does."""
    data = bytearray(length)
    read_into(fd, memoryview(data), offset)
    return data


def read_into(fd: int, view: memoryview, offset: int) -> None:
    """Fill `view` from the file. Raises DamagedRecord if the file ends before, or the medium has lost the bytes; OSError."""
    done = 0
    try:
        while done < len(view):
            count = os.preadv(fd, (view[done:],), offset + done)
            if not count:
                raise DamagedRecord("the segment file ends inside the record")
            done += count
    except OSError as error:
        if error.errno in BAD_MEDIUM:
            raise DamagedRecord(f"the disk cannot read the record: {error.strerror}") from error
        raise
