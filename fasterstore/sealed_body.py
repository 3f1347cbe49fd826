"""The stored form of a body that is sealed under a customer's key. Version 1. To everything below it, these are the blob's bytes.

| offset | size | type  | field                                                             |
|--------|------|-------|-------------------------------------------------------------------|
| 0      | 4    | bytes | magic "FSCK"                                                      |
| 4      | 2    | u16   | version, now 1                                                    |
| 6      | 2    | u16   | 0                                                                 |
| 8      | 24   | bytes | salt, random                                                      |
| 32     |      | bytes | the plaintext as a stream of sealed chunks (`aead.py`), to the end |

Numbers are little-endian. The stream's key is made of the customer's key and the salt (`customer_key.py`), its record id is the first 16
bytes of the salt. **A (key, nonce) pair never repeats**: every body that is stored, also the same one again, a part sent twice, or a copy
under the same key, takes a new salt of 192 random bits, and within one stream chunk numbers rise. That also makes each sealed body
unlike any other, so dedup finds nothing.

A plaintext of no bytes is stored as no bytes: there is no blob then. The length of the one tells that of the other.
"""

import struct

from fasterstore import aead
from fasterstore.aes_gcm import TAG_BYTES
from fasterstore.customer_key import BODY_SALT_BYTES, CHECK_NAME, CustomerKey
from fasterstore.errors import DamagedRecord, InvariantError
from fasterstore.model import ObjectRow

MAGIC = b"FSCK"
VERSION = 1
HEADER = struct.Struct("<4sHH24s")
HEADER_BYTES = 32
assert HEADER.size == HEADER_BYTES
_RECORD_ID_BYTES = 16


def sealed_bytes(plaintext_bytes: int) -> int:
    """The length in bytes of what is stored of that many bytes of plaintext."""
    return HEADER_BYTES + aead.stored_bytes(plaintext_bytes) if plaintext_bytes else 0


def plaintext_bytes_of(sealed_length: int) -> int:
    """The length of the plaintext of a stored body of `sealed_length` bytes. Raises DamagedRecord if none has that length."""
    stream = sealed_length - HEADER_BYTES
    plaintext_bytes = stream - TAG_BYTES * -(-stream // aead.SEALED_CHUNK_BYTES)
    if plaintext_bytes <= 0 or sealed_bytes(plaintext_bytes) != sealed_length:
        raise DamagedRecord(f"{sealed_length} bytes are no body sealed under a customer's key")
    return plaintext_bytes


def blob_bytes_of(row: ObjectRow) -> int:
    """How long the blob of an object without parts must be: longer than what clients see if it is sealed."""
    return sealed_bytes(row.size_bytes) if CHECK_NAME in row.system else row.size_bytes


def new_header(salt: bytes) -> bytes:
    """The header of a body that takes this salt: 24 random bytes that nothing was sealed with. Raises InvariantError for another length."""
    if len(salt) != BODY_SALT_BYTES:
        raise InvariantError("a salt is 24 bytes long")
    return HEADER.pack(MAGIC, VERSION, 0, salt)


def open_stream(header: bytes | memoryview, key: CustomerKey, plaintext_bytes: int) -> aead.SealedStream:
    """The stream behind that header (32 bytes). That `key` is the right one is known when a chunk opens.

    Raises DamagedRecord for a header that is none, or of a version that this build does not know.
    """
    if len(header) != HEADER_BYTES:
        raise DamagedRecord("a body sealed under a customer's key ends inside its header")
    magic, version, zero, salt = HEADER.unpack(header)
    if magic != MAGIC or version != VERSION or zero:
        raise DamagedRecord("the header of a body sealed under a customer's key is none")
    return aead.SealedStream(key.body_key(salt), salt[:_RECORD_ID_BYTES], plaintext_bytes)
