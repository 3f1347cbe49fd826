"""A scratch file that no one can read later: what is written comes back, and is not on the disk."""

import os

from fasterstore.scratch_cipher import KEY_BYTES, ScratchCipher


def test_what_was_written_in_pieces_comes_back_in_other_pieces():
    plaintext = os.urandom(200_000)
    cipher = ScratchCipher(os.urandom(KEY_BYTES))
    written = b"".join(cipher.encrypt(plaintext[start : start + 7001]) for start in range(0, len(plaintext), 7001))
    assert len(written) == len(plaintext)
    assert b"".join(cipher.decrypt(written[start : start + 4096]) for start in range(0, len(written), 4096)) == plaintext


def test_equal_bytes_are_unlike_on_the_disk():
    cipher = ScratchCipher(os.urandom(KEY_BYTES))
    assert len({cipher.encrypt(bytes(16)) for _ in range(1000)}) == 1000
