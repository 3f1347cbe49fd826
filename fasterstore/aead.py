"""A byte stream sealed in chunks, so that any part of it can be read and verified without the rest.

    sealed = for each 64 KiB of plaintext: ciphertext (as long as the plaintext), tag (16 bytes)

Each chunk is one AES-256-GCM message. All chunks but the last hold 64 KiB; a plaintext of no bytes is one chunk of no bytes. Format:

    key           32 random bytes, for this record only
    nonce         chunk number (u64), then 0 (u32) for the last chunk and 1 for any other
    associated    record id (16 bytes), chunk number (u64), length of the whole plaintext in bytes (u64)

Numbers are little-endian and chunks count from 0. So a chunk opens only at its own place in its own record: chunks that were swapped,
dropped, cut off at the end or taken from another record fail. This is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar: "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015).

**A (key, nonce) pair never repeats**: a key belongs to one record and one run over its plaintext, chunk numbers rise within it, and
64 KiB are far from GCM's limit for a message. Whoever stores the same bytes again takes another key; a record that is moved is moved
with its sealed bytes unchanged. A `Sealer` cannot be rewound.

Owns the format. It makes no key and keeps none beyond an object's life; it never hands out a byte whose tag was not checked.
"""

import struct
from typing import NamedTuple

from fasterstore.aes_gcm import KEY_BYTES, TAG_BYTES, AesGcm, open_once, seal_once
from fasterstore.errors import DamagedRecord, InvariantError

Buffer = bytes | bytearray | memoryview

CHUNK_BYTES = 64 * 1024
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
DATA_KEY_BYTES = KEY_BYTES

_pack_nonce = struct.Struct("<QI").pack
_pack_place = struct.Struct("<QQ").pack


def chunk_count(plaintext_bytes: int) -> int:
    """How many chunks that many bytes of plaintext have: at least 1."""
    return (plaintext_bytes + CHUNK_BYTES - 1) // CHUNK_BYTES or 1


def stored_bytes(plaintext_bytes: int) -> int:
    """The length, in bytes, of that many bytes of plaintext once they are sealed."""
    return plaintext_bytes + TAG_BYTES * chunk_count(plaintext_bytes)


class ChunkRun(NamedTuple):
    """The chunks that hold a range of plaintext: `chunks` of them from number `first_chunk` on.

    They lie in `stored_length` bytes from `stored_offset` of the sealed stream. Opened, they begin `skip` bytes before the range.
    """

    first_chunk: int
    chunks: int
    stored_offset: int
    stored_length: int
    skip: int


def chunk_run(plaintext_bytes: int, first: int, length: int) -> ChunkRun:
    """The chunks that hold the bytes `first` .. `first + length`, which lie inside a plaintext of `plaintext_bytes`."""
    if first < 0 or length < 0 or first + length > plaintext_bytes:
        raise InvariantError("a range outside the plaintext")
    first_chunk = min(first // CHUNK_BYTES, chunk_count(plaintext_bytes) - 1)
    end_chunk = max(-(-(first + length) // CHUNK_BYTES), first_chunk + 1)
    stored_offset = first_chunk * SEALED_CHUNK_BYTES
    stored_end = min(end_chunk * SEALED_CHUNK_BYTES, stored_bytes(plaintext_bytes))
    return ChunkRun(first_chunk, end_chunk - first_chunk, stored_offset, stored_end - stored_offset, first - first_chunk * CHUNK_BYTES)


def seal_whole(data_key: bytes, record_id: bytes, plaintext: Buffer) -> memoryview:
    """All of `plaintext` sealed. One chunk takes some 10 us and keeps the interpreter lock; more belong in a native thread.

    Args: `data_key`, 32 random bytes that have sealed nothing yet; `record_id`, 16 bytes.
    """
    size = len(plaintext)
    if size <= CHUNK_BYTES:
        return memoryview(seal_once(data_key, record_id + _pack_place(0, size), plaintext))
    sealed = memoryview(bytearray(stored_bytes(size)))
    SealedStream(data_key, record_id, size).seal_chunks(0, plaintext, sealed)
    return sealed


def open_whole(data_key: bytes, record_id: bytes, plaintext_bytes: int, sealed: Buffer) -> memoryview:
    """The plaintext of a whole sealed stream; cost as `seal_whole`. Raises DamagedRecord."""
    if len(sealed) != stored_bytes(plaintext_bytes):
        raise DamagedRecord("the sealed bytes are not as long as they should be")
    if plaintext_bytes > CHUNK_BYTES:
        return SealedStream(data_key, record_id, plaintext_bytes).open_chunks(0, sealed)
    plaintext = open_once(data_key, record_id + _pack_place(0, plaintext_bytes), sealed)
    if plaintext is None:
        raise DamagedRecord("the sealed bytes fail their tag")
    return memoryview(plaintext)


class SealedStream:
    """The key and the place in the store of one sealed stream. Its methods leave the interpreter lock and may run side by side."""

    __slots__ = ("_cipher", "_last_chunk", "_record_id", "plaintext_bytes")

    def __init__(self, data_key: bytes, record_id: bytes, plaintext_bytes: int) -> None:
        """`data_key`: 32 bytes; `record_id`: 16 bytes; `plaintext_bytes`: the length of the whole plaintext."""
        if len(record_id) != 16:
            raise InvariantError("a record id is 16 bytes long")
        self._cipher = AesGcm(data_key)
        self._record_id = bytes(record_id)
        self._last_chunk = chunk_count(plaintext_bytes) - 1
        self.plaintext_bytes = plaintext_bytes

    def seal_chunks(self, first_chunk: int, plaintext: Buffer, into: memoryview) -> int:
        """Seal the chunks from `first_chunk` on whose plaintext this is, and return how many bytes of `into` they take.

        Args: `plaintext`, whole chunks (the last one of the stream may be shorter); `into`, writable, at least as long as they become.
        Each chunk may be sealed once.
        """
        view = memoryview(plaintext)
        position = 0
        for chunk, start, size in self._chunks(first_chunk, len(view)):
            end = position + size + TAG_BYTES
            self._cipher.seal(self._nonce(chunk), self._associated(chunk), view[start : start + size], into[position:end])
            position = end
        return position

    def open_chunks(self, first_chunk: int, sealed: Buffer) -> memoryview:
        """The plaintext of whole sealed chunks from `first_chunk` on. Raises DamagedRecord."""
        into = memoryview(bytearray(max(len(sealed) - TAG_BYTES * -(-len(sealed) // SEALED_CHUNK_BYTES), 0)))
        return into[: self.open_chunks_into(first_chunk, sealed, into)]

    def open_chunks_into(self, first_chunk: int, sealed: Buffer, into: memoryview) -> int:
        """As `open_chunks`, into a writable buffer that has room for the plaintext; returns its length in bytes.

        Raises DamagedRecord; what `into` then holds must not be used.
        """
        view = memoryview(sealed)
        count = -(-len(view) // SEALED_CHUNK_BYTES)
        if not count or len(view) < count * TAG_BYTES:
            raise DamagedRecord("the sealed bytes end inside a chunk")
        plaintext_bytes = len(view) - count * TAG_BYTES
        try:
            chunks = self._chunks(first_chunk, plaintext_bytes)
        except InvariantError:
            raise DamagedRecord("the sealed bytes end inside a chunk") from None
        if len(chunks) != count:
            # A tag without its bytes would pass for a chunk of no bytes, unverified.
            raise DamagedRecord("the sealed bytes end inside a chunk")
        for index, (chunk, start, size) in enumerate(chunks):
            position = index * SEALED_CHUNK_BYTES
            piece = view[position : position + size + TAG_BYTES]
            if not self._cipher.open(self._nonce(chunk), self._associated(chunk), piece, into[start : start + size]):
                raise DamagedRecord(f"sealed chunk {chunk} fails its tag")
        return plaintext_bytes

    def _chunks(self, first_chunk: int, length: int) -> list[tuple[int, int, int]]:
        """(number, offset in these bytes, length) of each chunk of `length` bytes of plaintext that begin with chunk `first_chunk`."""
        start = first_chunk * CHUNK_BYTES
        end = start + length
        if end > self.plaintext_bytes or (end % CHUNK_BYTES and end != self.plaintext_bytes) or first_chunk > self._last_chunk:
            raise InvariantError("not whole chunks of this stream")
        if not length:
            return [(0, 0, 0)] if not self.plaintext_bytes else []
        count = -(-length // CHUNK_BYTES)
        return [(first_chunk + i, i * CHUNK_BYTES, min(CHUNK_BYTES, length - i * CHUNK_BYTES)) for i in range(count)]

    def _nonce(self, chunk: int) -> bytes:
        return _pack_nonce(chunk, 0 if chunk == self._last_chunk else 1)

    def _associated(self, chunk: int) -> bytes:
        return self._record_id + _pack_place(chunk, self.plaintext_bytes)


class Sealer:
    """Seals a stream that comes in pieces of any size: each `update` returns what became whole. One thread at a time."""

    __slots__ = ("_finished", "_next_chunk", "_rest", "_stream", "_taken")

    def __init__(self, data_key: bytes, record_id: bytes, plaintext_bytes: int) -> None:
        """Arguments as `SealedStream`; the key has sealed nothing yet."""
        self._stream = SealedStream(data_key, record_id, plaintext_bytes)
        self._rest = bytearray()
        self._next_chunk = 0
        self._taken = 0
        self._finished = False

    def update(self, data: Buffer) -> memoryview:
        """Take the next bytes of the plaintext; return the sealed chunks they completed (perhaps none).

        Raises InvariantError if they are more than was said.
        """
        self._taken += len(data)
        if self._finished or self._taken > self._stream.plaintext_bytes:
            raise InvariantError("more plaintext than was said")
        self._rest += data
        whole = len(self._rest) if self._taken == self._stream.plaintext_bytes else len(self._rest) // CHUNK_BYTES * CHUNK_BYTES
        if not whole:
            return memoryview(b"")
        sealed = self._seal(memoryview(self._rest)[:whole])
        self._rest = self._rest[whole:]
        return sealed

    def finish(self) -> memoryview:
        """What is left once all plaintext was taken: of no plaintext the one empty chunk, otherwise nothing.

        Raises InvariantError if less came than was said.
        """
        if self._finished or self._taken != self._stream.plaintext_bytes:
            raise InvariantError("less plaintext than was said, or finished twice")
        self._finished = True
        return memoryview(b"") if self._taken else self._seal(memoryview(b""))

    def _seal(self, plaintext: memoryview) -> memoryview:
        count = chunk_count(len(plaintext))
        into = memoryview(bytearray(len(plaintext) + count * TAG_BYTES))
        self._stream.seal_chunks(self._next_chunk, plaintext, into)
        self._next_chunk += count
        return into
