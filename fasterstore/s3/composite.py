"""Checksums of objects that are made of parts, computed from the parts' checksums; the bytes are not read again.

COMPOSITE is the checksum of the parts' checksums, one after the other, with "-N" behind it; FULL_OBJECT is that of the bytes themselves,
and only a CRC can be put together from those of its parts. A CRC is a polynomial's remainder over GF(2): appending n bytes multiplies the
remainder by x^(8n), which is linear, so a table for each power of two bytes does it (the idea of zlib's crc32_combine).
Source: S3 user guide, "Checking object integrity in Amazon S3"; the CRCs' parameters are those of `fasterstore.digests`.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from functools import cache

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from fasterstore.s3.checksums import COMPOSITE, FULL_OBJECT
from fasterstore.s3.errors import S3Error

_POLYNOMIALS = {"CRC32": 0xEDB88320, "CRC32C": 0x82F63B78, "CRC64NVME": 0x9A6C9329AC4BC9B5}
"""Without the highest term, lowest bit first, as all three CRCs are computed."""
_DEFAULT_TYPES = {"CRC32": COMPOSITE, "CRC32C": COMPOSITE, "CRC64NVME": FULL_OBJECT, "SHA1": COMPOSITE, "SHA256": COMPOSITE}

Table = tuple[tuple[int, ...], ...]
"""A linear map of CRCs: the sum (exclusive or) of `table[i][byte i of the CRC]`, byte 0 being the lowest."""


def checksum_choice(headers: Mapping[str, str]) -> tuple[str, str]:
    """(algorithm, type) that a CreateMultipartUpload asks for, ("", "") for none.

    `headers` by lower-case name. Raises S3Error InvalidRequest for what is no algorithm or type, a type without an algorithm, or the two
    that do not go together. Source: S3 API page CreateMultipartUpload, x-amz-checksum-algorithm and x-amz-checksum-type.
    """
    algorithm = headers.get("x-amz-checksum-algorithm", "").strip().upper()
    checksum_type = headers.get("x-amz-checksum-type", "").strip().upper()
    if not algorithm:
        if checksum_type:
            raise S3Error("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
        return "", ""
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
            f"[{', '.join(sorted(CHECKSUM_ALGORITHMS))}]",
        )
    if not checksum_type:
        return algorithm, _DEFAULT_TYPES[algorithm]
    if checksum_type not in (COMPOSITE, FULL_OBJECT):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if (checksum_type == FULL_OBJECT and algorithm not in _POLYNOMIALS) or (checksum_type == COMPOSITE and algorithm == "CRC64NVME"):
        raise S3Error(
            "InvalidRequest", f"The {checksum_type} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        )
    return algorithm, checksum_type


def compose(algorithm: str, checksum_type: str, parts: Sequence[tuple[str, int]]) -> str:
    """The checksum of an object as ObjectRow keeps it, from (base64, size in bytes) of each of its parts in order."""
    if checksum_type == COMPOSITE:
        together = b"".join([b64decode(checksum) for checksum, _ in parts])
        return f"{checksum_base64(algorithm, together)}-{len(parts)}"
    crc = 0
    for checksum, size_bytes in parts:
        crc = combine(algorithm, crc, int.from_bytes(b64decode(checksum), "big"), size_bytes)
    return b64encode(crc.to_bytes(CHECKSUM_ALGORITHMS[algorithm].digest_bytes, "big")).decode("ascii")


def combine(algorithm: str, first: int, second: int, second_bytes: int) -> int:
    """The CRC of A followed by B, from that of A, that of B, and B's length in bytes. KeyError for an algorithm that is no CRC."""
    digest_bytes = CHECKSUM_ALGORITHMS[algorithm].digest_bytes
    exponent = 0
    while second_bytes:
        if second_bytes & 1:
            first = _apply(_appending(algorithm, exponent), first, digest_bytes)
        second_bytes >>= 1
        exponent += 1
    return first ^ second


def _apply(table: Table, crc: int, digest_bytes: int) -> int:
    result = 0
    for row, byte in zip(table, crc.to_bytes(digest_bytes, "little"), strict=True):
        result ^= row[byte]
    return result


@cache
def _appending(algorithm: str, exponent: int) -> Table:
    """The map that appends 2^`exponent` bytes of zeros to what a CRC was computed of. At most one for each bit of a part's size."""
    digest_bytes = CHECKSUM_ALGORITHMS[algorithm].digest_bytes
    bits = [1 << bit for bit in range(8 * digest_bytes)]
    if exponent == 0:
        images = [_append_zero_byte(bit, _POLYNOMIALS[algorithm]) for bit in bits]
    else:
        half = _appending(algorithm, exponent - 1)
        images = [_apply(half, _apply(half, bit, digest_bytes), digest_bytes) for bit in bits]
    return tuple([_of_byte(images[8 * place : 8 * place + 8]) for place in range(digest_bytes)])


def _append_zero_byte(crc: int, polynomial: int) -> int:
    for _ in range(8):
        crc = (crc >> 1) ^ polynomial if crc & 1 else crc >> 1
    return crc


def _of_byte(images: Sequence[int]) -> tuple[int, ...]:
    """The images of all values of one byte, from those of its eight bits."""
    values = [0]
    for image in images:
        values += [value ^ image for value in values]
    return tuple(values)
