"""The direct calls give what GCM's published vectors and pycryptodome's documented interface give, for any length and buffer."""

import os

import pytest

from actors.runtime import offload, spawn
from fasterstore import aes_gcm
from fasterstore.aes_gcm import DirectAesGcm, PublicAesGcm
from fasterstore.errors import InvariantError

SIZES = [0, 1, 15, 16, 17, 31, 32, 33, 100, 4096, 65535, 65536, 65537, 1 << 20]
KEY = bytes(range(32))
ASSOCIATED = bytes(range(100, 132))


def sealed(cipher, nonce: bytes, plaintext) -> bytes:
    into = memoryview(bytearray(len(plaintext) + 16))
    cipher.seal(nonce, ASSOCIATED, plaintext, into)
    return bytes(into)


def test_the_direct_calls_are_in_use_here():
    assert aes_gcm.AesGcm is DirectAesGcm
    assert aes_gcm.seal_once is aes_gcm.direct_seal_once
    assert aes_gcm.open_once is aes_gcm.direct_open_once


@pytest.mark.parametrize("size", SIZES)
def test_both_ways_give_the_same_bytes(size):
    plaintext, nonce = os.urandom(size), os.urandom(12)
    expected = sealed(PublicAesGcm(KEY), nonce, plaintext)
    direct = DirectAesGcm(KEY)
    for form in (plaintext, bytearray(plaintext), memoryview(plaintext), memoryview(bytearray(b"x" + plaintext))[1:]):
        assert sealed(direct, nonce, form) == expected
    for cipher in (direct, PublicAesGcm(KEY)):
        for form in (expected, bytearray(expected), memoryview(expected)):
            into = memoryview(bytearray(size))
            assert cipher.open(nonce, ASSOCIATED, form, into)
            assert into == plaintext


@pytest.mark.parametrize("size", SIZES)
def test_a_key_for_one_message_gives_what_the_zero_nonce_gives(size):
    plaintext = os.urandom(size)
    expected = sealed(PublicAesGcm(KEY), bytes(12), plaintext)
    for form in (plaintext, bytearray(plaintext), memoryview(plaintext)):
        assert aes_gcm.direct_seal_once(KEY, ASSOCIATED, form) == expected
    assert aes_gcm.public_seal_once(KEY, ASSOCIATED, plaintext) == expected
    for open_once in (aes_gcm.direct_open_once, aes_gcm.public_open_once):
        assert open_once(KEY, ASSOCIATED, expected) == plaintext
        assert open_once(KEY, ASSOCIATED, memoryview(bytearray(expected))) == plaintext


def test_a_published_vector_is_met():
    # IEEE 802.1AE-2006 (MACsec) 2.3.2, GCM-AES-256, 60-byte packet encryption: its associated data are 28 bytes, so only the public
    # interface can take it; the other is compared with that one above. NIST gcmEncryptExtIV256 has none of 32 bytes either.
    key = bytes.fromhex("e3c08a8f06c6e3ad95a70557b23f75483ce33021a9c72b7025666204c69c0b72")
    nonce = bytes.fromhex("12153524c0895e81b2c28465")
    associated = bytes.fromhex("d609b1f056637a0d46df998d88e52e00b2c2846512153524c0895e81")
    plaintext = bytes.fromhex("08000f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a0002")
    into = memoryview(bytearray(len(plaintext) + 16))
    PublicAesGcm(key).seal(nonce, associated, plaintext, into)
    assert into.hex() == (
        "e2006eb42f5277022d9b19925bc419d7a592666c925fe2ef718eb4e308efeaa7c5273b394118860a5be2a97f56ab78365ca597cdbb3edb8d1a1151ea0af7b436"
    )


@pytest.mark.parametrize("size", [0, 1, 33, 4096, 65536])
@pytest.mark.parametrize("kind", [DirectAesGcm, PublicAesGcm])
def test_any_flipped_bit_is_refused_and_nothing_is_decrypted(size, kind):
    nonce = os.urandom(12)
    good = sealed(kind(KEY), nonce, os.urandom(size))
    for position in {0, size // 2, size, size + 15}:
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        into = memoryview(bytearray(size))
        assert not kind(KEY).open(nonce, ASSOCIATED, bad, into)
        assert into == bytes(size)
    into = memoryview(bytearray(size))
    assert not kind(KEY).open(bytes(12), ASSOCIATED, good, into)
    assert not kind(KEY).open(nonce, bytes(32), good, into)
    assert not kind(bytes(32)).open(nonce, ASSOCIATED, good, into)
    assert into == bytes(size)


@pytest.mark.parametrize("open_once", [aes_gcm.direct_open_once, aes_gcm.public_open_once])
def test_a_key_for_one_message_refuses_any_other(open_once):
    good = bytes(aes_gcm.seal_once(KEY, ASSOCIATED, b"a message of some length"))
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x10
        assert open_once(KEY, ASSOCIATED, bad) is None
    assert open_once(KEY, bytes(32), good) is None
    assert open_once(bytes(32), ASSOCIATED, good) is None
    for length in (0, 5, 15, 16, len(good) - 1):
        assert open_once(KEY, ASSOCIATED, good[:length]) is None


def test_wrong_lengths_are_defects_and_reach_no_c_function():
    with pytest.raises(InvariantError):
        DirectAesGcm(KEY[:16])
    with pytest.raises(InvariantError):
        aes_gcm.direct_seal_once(KEY[:31], ASSOCIATED, b"")
    with pytest.raises(InvariantError):
        aes_gcm.direct_open_once(KEY, ASSOCIATED[:31], bytes(16))
    cipher, room = DirectAesGcm(KEY), memoryview(bytearray(100))
    with pytest.raises(InvariantError):
        cipher.seal(bytes(11), ASSOCIATED, b"", room)
    with pytest.raises(InvariantError):
        cipher.seal(bytes(12), ASSOCIATED[:31], b"", room)
    with pytest.raises(InvariantError):
        cipher.seal(bytes(12), ASSOCIATED, bytes(85), room)
    with pytest.raises(InvariantError):
        cipher.open(bytes(12), ASSOCIATED, bytes(117), room)


def test_threads_that_work_at_once_do_not_share_memory():
    def work(number):
        key = bytes([number]) * 32
        for size in range(0, 6000, 37):
            plaintext = bytes([number ^ 0xFF]) * size
            sealed_once = aes_gcm.direct_seal_once(key, ASSOCIATED, plaintext)
            assert aes_gcm.direct_open_once(key, ASSOCIATED, sealed_once) == plaintext
            assert aes_gcm.public_open_once(key, ASSOCIATED, sealed_once) == plaintext
        return number

    jobs = [spawn(offload, work, number) for number in range(12)]
    assert [job.get() for job in jobs] == list(range(12))
