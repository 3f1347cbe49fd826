"""A sealed stream: its bytes are pinned and agree with another composition, any part opens alone, nothing out of place opens."""

import os
import struct
from pathlib import Path

import pytest
from Crypto.Cipher import AES

from fasterstore import aead
from fasterstore.aead import CHUNK_BYTES, SEALED_CHUNK_BYTES, SealedStream, Sealer
from fasterstore.errors import DamagedRecord, InvariantError

GOLDEN = Path(__file__).parents[1] / "golden" / "sealed_stream_v1.hex"
KEY = bytes(range(32))
RECORD_ID = bytes(range(200, 216))
SIZES = [0, 1, 4096, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES, 300_000]


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def composed(plaintext: bytes) -> bytes:
    """The format once more, straight from the module's docstring with the documented interface of pycryptodome."""
    pieces = [plaintext[start : start + 65536] for start in range(0, len(plaintext), 65536)] or [b""]
    sealed = b""
    for number, piece in enumerate(pieces):
        nonce = struct.pack("<QI", number, 0 if number == len(pieces) - 1 else 1)
        cipher = AES.new(KEY, AES.MODE_GCM, nonce=nonce)
        cipher.update(RECORD_ID + struct.pack("<QQ", number, len(plaintext)))
        sealed += b"".join(cipher.encrypt_and_digest(piece))
    return sealed


@pytest.mark.parametrize("size", SIZES)
def test_the_format_is_what_the_docstring_says(size):
    plaintext = content(size)
    sealed = aead.seal_whole(KEY, RECORD_ID, plaintext)
    assert sealed == composed(plaintext)
    assert len(sealed) == aead.stored_bytes(size)
    assert aead.open_whole(KEY, RECORD_ID, size, sealed) == plaintext
    stream = SealedStream(KEY, RECORD_ID, size)
    assert stream.open_chunks(0, sealed) == plaintext
    into = memoryview(bytearray(len(sealed)))
    assert stream.seal_chunks(0, plaintext, into) == len(sealed)
    assert into == sealed


def test_the_bytes_are_the_golden_ones():
    plaintext = b"the quick brown fox"
    assert aead.seal_whole(KEY, RECORD_ID, plaintext).hex() == GOLDEN.read_text().strip()
    assert aead.open_whole(KEY, RECORD_ID, len(plaintext), bytes.fromhex(GOLDEN.read_text())) == plaintext


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1000, CHUNK_BYTES, 100_000, 10_000_000])
def test_a_stream_in_pieces_of_any_size_is_the_same(size, step):
    plaintext = content(size)
    sealer = Sealer(KEY, RECORD_ID, size)
    pieces = [bytes(sealer.update(plaintext[start : start + step])) for start in range(0, size, step)]
    pieces.append(bytes(sealer.finish()))
    assert b"".join(pieces) == composed(plaintext)


def test_a_sealer_takes_what_was_said_and_only_once():
    with pytest.raises(InvariantError):
        Sealer(KEY, RECORD_ID, 3).update(b"four")
    with pytest.raises(InvariantError):
        Sealer(KEY, RECORD_ID, 3).finish()
    sealer = Sealer(KEY, RECORD_ID, 0)
    assert len(sealer.finish()) == 16
    with pytest.raises(InvariantError):
        sealer.finish()


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 300_000])
def test_any_range_opens_from_its_own_chunks(size):
    plaintext = content(size)
    sealed = composed(plaintext)
    stream = SealedStream(KEY, RECORD_ID, size)
    edges = {0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, size - 1, size}
    for first in (edge for edge in edges if edge < size):
        for end in (edge for edge in edges if first < edge <= size):
            run = aead.chunk_run(size, first, end - first)
            assert run.chunks <= (end - first) // CHUNK_BYTES + 2
            assert run.stored_length <= run.chunks * SEALED_CHUNK_BYTES
            piece = sealed[run.stored_offset : run.stored_offset + run.stored_length]
            opened = stream.open_chunks(run.first_chunk, piece)
            assert opened[run.skip : run.skip + end - first] == plaintext[first:end]
            into = memoryview(bytearray(len(opened)))
            assert stream.open_chunks_into(run.first_chunk, bytearray(piece), into) == len(opened)
            assert into == opened


def test_the_run_of_nothing_is_one_chunk_and_a_range_outside_is_a_defect():
    assert aead.chunk_run(0, 0, 0) == aead.ChunkRun(0, 1, 0, 16, 0)
    assert aead.chunk_run(CHUNK_BYTES, CHUNK_BYTES, 0) == aead.ChunkRun(0, 1, 0, SEALED_CHUNK_BYTES, CHUNK_BYTES)
    for first, length in ((0, 11), (11, 0), (-1, 1)):
        with pytest.raises(InvariantError):
            aead.chunk_run(10, first, length)


def test_chunks_sealed_out_of_order_are_the_same_stream():
    plaintext = content(300_000)
    stream = SealedStream(KEY, RECORD_ID, len(plaintext))
    into = memoryview(bytearray(aead.stored_bytes(len(plaintext))))
    for first in (2, 0):
        piece = plaintext[first * CHUNK_BYTES : (first + 2) * CHUNK_BYTES or None]
        stream.seal_chunks(first, memoryview(bytearray(piece)), into[first * SEALED_CHUNK_BYTES :])
    stream.seal_chunks(4, plaintext[4 * CHUNK_BYTES :], into[4 * SEALED_CHUNK_BYTES :])
    assert into == composed(plaintext)
    with pytest.raises(InvariantError):
        stream.seal_chunks(0, plaintext[:100], into)


def test_what_is_not_in_its_place_does_not_open():
    size = 4 * CHUNK_BYTES
    sealed = composed(content(size))
    chunks = [sealed[start : start + SEALED_CHUNK_BYTES] for start in range(0, len(sealed), SEALED_CHUNK_BYTES)]
    swapped, twice, shortened = chunks[1::-1] + chunks[2:], [chunks[0]] + chunks[:3], chunks[:3]
    stream = SealedStream(KEY, RECORD_ID, size)
    for wrong in (swapped, twice):
        with pytest.raises(DamagedRecord):
            stream.open_chunks(0, b"".join(wrong))
    with pytest.raises(DamagedRecord):
        stream.open_chunks(1, chunks[0])
    # Cut off at a chunk's end: neither a shorter length nor the same one takes it.
    with pytest.raises(DamagedRecord):
        aead.open_whole(KEY, RECORD_ID, size, b"".join(shortened))
    with pytest.raises(DamagedRecord):
        aead.open_whole(KEY, RECORD_ID, 3 * CHUNK_BYTES, b"".join(shortened))
    for other in (SealedStream(KEY, os.urandom(16), size), SealedStream(os.urandom(32), RECORD_ID, size)):
        with pytest.raises(DamagedRecord):
            other.open_chunks(0, chunks[0])


@pytest.mark.parametrize("size", [0, 1, 100, CHUNK_BYTES + 100])
def test_any_flipped_bit_and_any_missing_byte_is_damage(size):
    sealed = composed(content(size))
    for position in {0, size // 2, len(sealed) - 17 if size else 0, len(sealed) - 1}:
        bad = bytearray(sealed)
        bad[position] ^= 0x04
        with pytest.raises(DamagedRecord):
            aead.open_whole(KEY, RECORD_ID, size, bad)
    for length in {0, 1, 15, 16, len(sealed) - 16, len(sealed) - 1} - {len(sealed)}:
        with pytest.raises(DamagedRecord):
            aead.open_whole(KEY, RECORD_ID, size, sealed[:length])
    with pytest.raises(DamagedRecord):
        aead.open_whole(KEY, RECORD_ID, size, sealed + b"\0")
    with pytest.raises(DamagedRecord):
        aead.open_whole(KEY, RECORD_ID, size + 1, sealed)


def test_a_tag_without_its_bytes_is_damage_and_no_chunk_of_no_bytes():
    size = 2 * CHUNK_BYTES + 5
    sealed = bytes(aead.seal_whole(b"k" * 32, b"i" * 16, b"x" * size))
    stream = SealedStream(b"k" * 32, b"i" * 16, size)
    for chunk, cut in ((2, sealed[-16:]), (2, bytes(16)), (1, bytes(16)), (0, sealed[: SEALED_CHUNK_BYTES + 16])):
        with pytest.raises(DamagedRecord):
            stream.open_chunks(chunk, cut)
