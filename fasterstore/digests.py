"""Every digest the store computes: CRCs, the keyed BLAKE3 blob id, the MD5 ETag, SHA-256 and S3's five checksums.

Owns no state beyond the CRC tables. It never decides which digests are wanted nor compares them with what a client sent
(`fasterstore.s3.checksums` does); it never computes one that was not asked for. Buffers are anything with the buffer protocol.
"""

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Iterable
from typing import Any, NamedTuple

import anycrc
from blake3 import blake3

Buffer = bytes | bytearray | memoryview

BLOB_ID_BYTES = 32
BLOB_KEY_BYTES = 32

_crc32c_calc = anycrc.Model("CRC32-ISCSI").calc
_crc64nvme_calc = anycrc.Model("CRC64-NVME").calc
_md5 = hashlib.md5
_sha256 = hashlib.sha256


def crc32(data: Buffer, previous: int = 0) -> int:
    """CRC-32 (ISO-HDLC, as in zlib) of `data`, carrying on from `previous`."""
    return zlib.crc32(data, previous)


def crc32c(data: Buffer, previous: int = 0) -> int:
    """CRC-32C (Castagnoli, RFC 3720) of `data`, carrying on from `previous`: 0 .. 2^32-1."""
    result: int = _crc32c_calc(data, previous)
    return result


def crc64nvme(data: Buffer, previous: int = 0) -> int:
    """CRC-64/NVME (NVM Command Set 1.0d, 5.2.1.3.4) of `data`, carrying on from `previous`: 0 .. 2^64-1."""
    result: int = _crc64nvme_calc(data, previous)
    return result


class _RunningCrc:
    """A CRC with the interface of a hashlib object, so that one loop feeds all."""

    __slots__ = ("_function", "_length_bytes", "_value")

    def __init__(self, function: Any, length_bytes: int) -> None:
        self._function = function
        self._length_bytes = length_bytes
        self._value = 0

    def update(self, data: Buffer) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length_bytes, "big")


class ChecksumAlgorithm(NamedTuple):
    """One of S3's checksum algorithms: its name in `x-amz-sdk-checksum-algorithm`, its header, its length in bytes."""

    name: str
    header: str
    digest_bytes: int


CHECKSUM_ALGORITHMS: dict[str, ChecksumAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        ChecksumAlgorithm("CRC32", "x-amz-checksum-crc32", 4),
        ChecksumAlgorithm("CRC32C", "x-amz-checksum-crc32c", 4),
        ChecksumAlgorithm("CRC64NVME", "x-amz-checksum-crc64nvme", 8),
        ChecksumAlgorithm("SHA1", "x-amz-checksum-sha1", 20),
        ChecksumAlgorithm("SHA256", "x-amz-checksum-sha256", 32),
    )
}
"""By name. Source: Amazon S3 user guide, "Checking object integrity"."""


def new_checksum(name: str) -> Any:
    """The checksum called `name` (a key of CHECKSUM_ALGORITHMS; KeyError otherwise) of nothing yet, with `update` and `digest`."""
    if name == "CRC32":
        return _RunningCrc(zlib.crc32, 4)
    if name == "CRC32C":
        return _RunningCrc(_crc32c_calc, 4)
    if name == "CRC64NVME":
        return _RunningCrc(_crc64nvme_calc, 8)
    if name == "SHA1":
        return hashlib.sha1(usedforsecurity=False)
    if name == "SHA256":
        return _sha256()
    raise KeyError(name)


def checksum_text(running: Any) -> str:
    """What a checksum made by `new_checksum` stands at, big-endian, in base64."""
    return b64encode(running.digest()).decode("ascii")


def checksum_base64(name: str, body: Buffer) -> str:
    """The checksum called `name` (a key of CHECKSUM_ALGORITHMS; KeyError otherwise) of `body`, big-endian, in base64."""
    running = new_checksum(name)
    running.update(body)
    return checksum_text(running)


def blob_id_of(body: Buffer, blob_key: bytes) -> bytes:
    """The 32-byte blob id: BLAKE3 of `body` keyed with the data dir's 32-byte `blob_key`."""
    result: bytes = blake3(body, key=blob_key).digest()
    return result


class Digests(NamedTuple):
    """What was computed over one body.

    `etag` is the lower-case hex MD5, `blob_id` 32 bytes, `sha256_hex` lower-case hex or None if it was not asked for,
    `checksums` maps algorithm names to base64.
    """

    etag: str
    blob_id: bytes
    sha256_hex: str | None
    checksums: dict[str, str]


def small_digests(body: Buffer, blob_key: bytes, sha256: bool = False, checksum_names: Iterable[str] = ()) -> Digests:
    """All digests of a body that is in memory as a whole.

    `sha256`: also compute the SHA-256 (a signed payload). `checksum_names`: keys of CHECKSUM_ALGORITHMS; KeyError otherwise.
    """
    return Digests(
        _md5(body, usedforsecurity=False).hexdigest(),
        blake3(body, key=blob_key).digest(),
        _sha256(body).hexdigest() if sha256 else None,
        {name: checksum_base64(name, body) for name in checksum_names} if checksum_names else {},
    )


class BodyDigests:
    """Digests of a body that arrives in pieces: feed every buffer once, in order, then read `results()`.

    Takes the same choices as `small_digests`. Not safe for two threads at once. On big buffers MD5, SHA and BLAKE3
    leave the interpreter lock; the two anycrc CRCs hold it (3 and 11 GB/s: feed them at most 1 MiB at a time).
    """

    __slots__ = ("_blake3", "_checksums", "_md5", "_sha256", "_updates", "size_bytes")

    def __init__(self, blob_key: bytes, sha256: bool = False, checksum_names: Iterable[str] = ()) -> None:
        self._md5 = _md5(usedforsecurity=False)
        self._blake3 = blake3(key=blob_key)
        self._checksums = {name: new_checksum(name) for name in checksum_names}
        self._sha256: Any = None
        if sha256:
            # A SHA256 checksum and a signed payload are the same digest: computed once.
            self._sha256 = self._checksums.get("SHA256") or _sha256()
        updates = {id(part): part.update for part in (self._md5, self._blake3, *self._checksums.values())}
        if self._sha256 is not None:
            updates[id(self._sha256)] = self._sha256.update
        self._updates = tuple(updates.values())
        self.size_bytes = 0

    def update(self, buffer: Buffer) -> None:
        """Feed the next `buffer` to every digest that was asked for."""
        self.size_bytes += len(buffer)
        for update in self._updates:
            update(buffer)

    def parts(self) -> tuple[Any, ...]:
        """The update functions, one for each digest: a caller may feed one buffer to each in a thread of its own."""
        return self._updates

    def results(self) -> Digests:
        """The digests of all that was fed so far; feeding may go on."""
        return Digests(
            self._md5.hexdigest(),
            self._blake3.digest(),
            None if self._sha256 is None else self._sha256.hexdigest(),
            {name: checksum_text(running) for name, running in self._checksums.items()},
        )
