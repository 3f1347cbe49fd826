"""Records whose payload is encrypted: built, read, and made from others. The layout is `record`'s, the payload `fasterstore.aead`'s.

A sealed record has `key_epoch` > 0, the wrapped data key in its header, and `stored_bytes` = aead.stored_bytes(plaintext_bytes), which is
always more than `plaintext_bytes`: so the index row tells a sealed record from a plain one, and a plain record in a sealed one's place is
not taken. Flags stay 0. The chunk table covers the stored bytes: who has no key can still tell whether they are sound. A reader with the
key does not need it: each 64 KiB chunk has its own tag, which also binds it to record id, place and length.

Owns no file and no key.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from fasterstore import aead
from fasterstore.aead import SealedStream, Sealer
from fasterstore.errors import DamagedRecord, InvariantError
from fasterstore.keyring import DataKey, Keyring
from fasterstore.model import BlobLocation
from fasterstore.storage.record import (
    HEADER_BYTES,
    PLAIN_KEY,
    RECORD_ID_BYTES,
    Buffer,
    ChunkTableBuilder,
    RecordHeader,
    build_record,
    check_header,
    chunk_table,
    pack_header,
    table_digest,
    unpack_header,
    verify_record,
)


def is_sealed(location: BlobLocation) -> bool:
    """Whether the record that lies there is encrypted."""
    return location.stored_bytes != location.plaintext_bytes


def stored_bytes(keyring: Keyring, plaintext_bytes: int) -> int:
    """The stored length, in bytes, of a new record of so many bytes of plaintext."""
    return aead.stored_bytes(plaintext_bytes) if keyring.seals else plaintext_bytes


def build_sealed_record(payload: Buffer, record_id: bytes, data_key: DataKey) -> list[Buffer]:
    """A sealed record as [header, stored bytes, table], ready for pwritev."""
    sealed = aead.seal_whole(data_key.key, record_id, payload)
    table = chunk_table(sealed)
    return [pack_header(len(payload), len(sealed), record_id, table_digest(table), data_key.epoch, data_key.wrapped), sealed, table]


def build(payload: Buffer, record_id: bytes, keyring: Keyring) -> list[Buffer]:
    """A new record in the current form: sealed where the keyring seals, else plain."""
    if not keyring.seals:
        return build_record(payload, record_id)
    return build_sealed_record(payload, record_id, keyring.new_data_key(record_id, len(payload)))


def data_key_of(header: RecordHeader, keyring: Keyring) -> bytes:
    """The key that opens a record's stored bytes. Raises DamagedRecord."""
    return keyring.data_key(header.record_id, header.key_epoch, header.wrapped_key, header.plaintext_bytes)


def sealed_stream(header: RecordHeader, keyring: Keyring) -> SealedStream:
    """What opens any chunks of a sealed record whose header was checked. Raises DamagedRecord."""
    return SealedStream(data_key_of(header, keyring), header.record_id, header.plaintext_bytes)


def open_record(buffer: Buffer, location: BlobLocation, keyring: Keyring) -> memoryview:
    """The plaintext of a whole sealed record read into one buffer (the table may be missing), after every check.

    Raises DamagedRecord. Takes some 20 us up to 64 KiB of plaintext; more belongs in a native thread.
    """
    header = check_header(buffer, location)
    sealed = memoryview(buffer)[HEADER_BYTES : HEADER_BYTES + header.stored_bytes]
    return aead.open_whole(data_key_of(header, keyring), header.record_id, header.plaintext_bytes, sealed)


def plaintext_of(buffer: Buffer, location: BlobLocation, keyring: Keyring) -> memoryview:
    """The verified plaintext of a whole record, plain or sealed, read into one buffer. Raises DamagedRecord."""
    return open_record(buffer, location, keyring) if is_sealed(location) else verify_record(buffer, location)


class ExtentSeal:
    """Encrypts the body of one extent, piece by piece. One thread at a time; each byte once."""

    def __init__(self, keyring: Keyring, record_id: bytes, plaintext_bytes: int) -> None:
        """`record_id`: that of the grant."""
        self.key = keyring.new_data_key(record_id, plaintext_bytes)
        self._stream = SealedStream(self.key.key, record_id, plaintext_bytes)

    def seal(self, plaintext: Buffer, position: int, into: memoryview) -> tuple[memoryview, int]:
        """The stored bytes of what begins at `position` of the plaintext, in `into`, and their own position.

        Args: `plaintext`, whole chunks of 64 KiB, or up to the end; `into`, at least `aead.stored_bytes` of its length.
        """
        chunk = position // aead.CHUNK_BYTES
        length = self._stream.seal_chunks(chunk, plaintext, into)
        return into[:length], chunk * aead.SEALED_CHUNK_BYTES


# ---- conversion ----


def is_current(header: RecordHeader, keyring: Keyring) -> bool:
    """Whether a record has the form that a new one would get: plain, or sealed under the current epoch key."""
    return header.key_epoch == keyring.epoch


def reencode(record: Buffer, keyring: Keyring, random_bytes: Callable[[int], bytes] = os.urandom) -> bytes | None:
    """A whole record in the current form, with a record id and a data key of its own; None if it has that form already.

    For small records, in a native thread: both lie in memory. Raises DamagedRecord: what cannot be verified is not passed on.
    """
    header = unpack_header(record)
    if is_current(header, keyring):
        return None
    if (header.key_epoch == 0) != (header.stored_bytes == header.plaintext_bytes):
        raise DamagedRecord("the record header contradicts itself")
    place = BlobLocation(0, 0, header.plaintext_bytes, header.stored_bytes, header.record_id)  # type: ignore[arg-type]
    return b"".join(build(plaintext_of(record, place, keyring), random_bytes(RECORD_ID_BYTES), keyring))


class Ending(NamedTuple):
    """What completes a re-encoded record: `stored`, the last stored bytes (perhaps none), then `table`; `header`, written last."""

    stored: bytes
    table: bytes
    header: bytes


class Reencoder:
    """A large record made anew in the current form while its plaintext streams by. One thread at a time.

    The new record has `record_id`, and `stored_bytes` stored bytes. Feed the verified plaintext (of `SealedStream.open_chunks`, or of
    verified chunks of a plain record) in order and write what `update` returns one after the other behind the header's place.
    """

    def __init__(self, plaintext_bytes: int, keyring: Keyring, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.record_id = random_bytes(RECORD_ID_BYTES)
        self.stored_bytes = stored_bytes(keyring, plaintext_bytes)
        self._plaintext_bytes = plaintext_bytes
        self._taken = 0
        self._table = ChunkTableBuilder()
        self._data_key = keyring.new_data_key(self.record_id, plaintext_bytes) if keyring.seals else None
        self._sealer = Sealer(self._data_key.key, self.record_id, plaintext_bytes) if self._data_key is not None else None

    def update(self, plaintext: Buffer) -> Buffer:
        """The next stored bytes (perhaps none)."""
        self._taken += len(plaintext)
        stored: Buffer = plaintext if self._sealer is None else self._sealer.update(plaintext)
        self._table.update(stored)
        return stored

    def finish(self) -> Ending:
        """What is left to be written. Raises InvariantError if not all of the plaintext came."""
        if self._taken != self._plaintext_bytes:
            raise InvariantError("less plaintext than was said")
        last = b"" if self._sealer is None else bytes(self._sealer.finish())
        self._table.update(last)
        table = self._table.finish()
        epoch, wrapped = (0, PLAIN_KEY) if self._data_key is None else (self._data_key.epoch, self._data_key.wrapped)
        header = pack_header(self._plaintext_bytes, self.stored_bytes, self.record_id, table_digest(table), epoch, wrapped)
        return Ending(last, table, header)
