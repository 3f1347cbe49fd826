"""Bodies sealed under customers' keys: bytes that are pinned, lengths that go both ways, and nothing opens that is not one."""

import os
from pathlib import Path

import pytest

from fasterstore import aead, sealed_body
from fasterstore.customer_key import CustomerKey
from fasterstore.errors import DamagedRecord, InvariantError
from fasterstore.sealed_body import HEADER_BYTES, new_header, open_stream, plaintext_bytes_of, sealed_bytes

GOLDEN = Path(__file__).parents[1] / "golden" / "sealed_body_v1.hex"
KEY = CustomerKey(bytes(range(32)))
SALT = bytes(range(100, 124))
CHUNK = aead.CHUNK_BYTES
SIZES = [1, 2, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 12 << 20, (5 << 30) + 3]


def sealed(plaintext, salt=SALT, key=KEY):
    header = new_header(salt)
    into = bytearray(sealed_bytes(len(plaintext)) - HEADER_BYTES)
    open_stream(header, key, len(plaintext)).seal_chunks(0, plaintext, memoryview(into))
    return header + into


def opened(body, key=KEY):
    return bytes(open_stream(body[:HEADER_BYTES], key, plaintext_bytes_of(len(body))).open_chunks(0, body[HEADER_BYTES:]))


def test_the_bytes_are_the_golden_ones():
    plaintext = b"what a customer keeps"
    golden = bytes.fromhex(GOLDEN.read_text())
    assert sealed(plaintext) == golden
    assert opened(golden) == plaintext
    assert golden[:HEADER_BYTES] == b"FSCK\1\0\0\0" + SALT
    # The same stream, from what the docstring says of key and record id.
    assert golden[HEADER_BYTES:] == bytes(aead.seal_whole(KEY.body_key(SALT), SALT[:16], plaintext))


@pytest.mark.parametrize("size", SIZES)
def test_lengths_go_both_ways(size):
    assert plaintext_bytes_of(sealed_bytes(size)) == size
    assert sealed_bytes(size) == HEADER_BYTES + aead.stored_bytes(size)


def test_no_bytes_are_stored_as_no_bytes():
    assert sealed_bytes(0) == 0


def test_a_length_that_no_body_has_is_refused():
    possible = {sealed_bytes(size) for size in range(1, 2 * CHUNK)}
    for length in (*range(HEADER_BYTES + 40), *range(sealed_bytes(CHUNK) - 20, sealed_bytes(CHUNK) + 40)):
        if length in possible:
            assert sealed_bytes(plaintext_bytes_of(length)) == length
        else:
            with pytest.raises(DamagedRecord):
                plaintext_bytes_of(length)


@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 300_000])
def test_a_body_opens_with_its_key_and_with_no_other(size):
    plaintext = os.urandom(size)
    body = sealed(plaintext)
    assert size < 16 or plaintext not in body  # a byte or two may well be among the sealed ones
    assert opened(body) == plaintext
    with pytest.raises(DamagedRecord):
        opened(body, CustomerKey(b"k" * 32))


def test_the_same_bytes_are_never_sealed_alike():
    plaintext = os.urandom(1000)
    assert sealed(plaintext, os.urandom(24))[HEADER_BYTES:] != sealed(plaintext, os.urandom(24))[HEADER_BYTES:]


def test_every_byte_of_a_body_counts():
    body = sealed(b"precious")
    for at in range(len(body)):
        changed = bytearray(body)
        changed[at] ^= 0x10
        with pytest.raises(DamagedRecord):
            opened(bytes(changed))


def test_a_header_of_another_version_or_length_is_refused():
    header = new_header(SALT)
    newer = sealed_body.HEADER.pack(sealed_body.MAGIC, 2, 0, SALT)
    for wrong in (b"", header[:-1], header + b"\0", newer, b"FSRC" + header[4:]):
        with pytest.raises(DamagedRecord):
            open_stream(wrong, KEY, 10)
    with pytest.raises(InvariantError):
        new_header(SALT[:-1])
