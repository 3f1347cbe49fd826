"""Encrypts what one process writes into a scratch file and reads back once, so that no plaintext is ever on the disk.

AES-256 in counter mode (NIST SP 800-38A) under a key that lives and dies with the object: nobody can read the file later, not even this
node. The key stream goes on from call to call and no byte of it is used for two bytes, so a file is written once, in order. Detects no
change of the bytes: for what is kept there is `aead.py`.
"""

from Crypto.Cipher import AES

KEY_BYTES = 32
Buffer = bytes | bytearray | memoryview


class ScratchCipher:
    """For one file. One thread at a time in each direction."""

    __slots__ = ("_reading", "_writing")

    def __init__(self, key: bytes) -> None:
        """`key`: 32 random bytes, of which no copy is kept."""
        self._writing = AES.new(key, AES.MODE_CTR, nonce=b"")
        self._reading = AES.new(key, AES.MODE_CTR, nonce=b"")

    def encrypt(self, data: Buffer) -> bytes:
        """The next bytes of the file, as long as `data`."""
        return self._writing.encrypt(data)

    def decrypt(self, data: Buffer) -> bytes:
        """What the next bytes of the file were, from its first on."""
        return self._reading.decrypt(data)
