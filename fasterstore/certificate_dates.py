"""When a certificate begins and ceases to be valid, read from its DER bytes.

Owns nothing but that walk: the standard library gives these two dates only for certificates that it has verified as a client. Checks no
signature and trusts nothing.
Source: RFC 5280, section 4.1 (TBSCertificate, Validity); X.690 for the lengths.
"""

from datetime import UTC, datetime
from typing import NamedTuple

_SEQUENCE, _VERSION = 0x30, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_LENGTH_BYTES_MAX = 4


class Validity(NamedTuple):
    """Both ends in Unix seconds, inclusive."""

    not_before: int
    not_after: int


def validity(der: bytes) -> Validity:
    """The validity of an X.509 certificate. Raises ValueError if these bytes are none."""
    _, certificate, _ = _element(der, _SEQUENCE)
    _, fields, _ = _element(certificate, _SEQUENCE)
    if fields[:1] == bytes((_VERSION,)):
        fields = _element(fields)[2]
    for _ in ("serial number", "signature algorithm", "issuer"):
        fields = _element(fields)[2]
    _, dates, _ = _element(fields, _SEQUENCE)
    tag, begin, rest = _element(dates)
    not_before = _unix_secs(tag, begin)
    tag, end, _ = _element(rest)
    return Validity(not_before, _unix_secs(tag, end))


def _element(data: bytes, wanted: int | None = None) -> tuple[int, bytes, bytes]:
    """The first element: its tag, its content, and what comes after it."""
    if len(data) < 2 or (wanted is not None and data[0] != wanted):
        raise ValueError("not a certificate")
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= _LENGTH_BYTES_MAX:
            raise ValueError("not a certificate")
        start += count
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("the certificate is cut off")
    return data[0], data[start : start + length], data[start + length :]


def _unix_secs(tag: int, content: bytes) -> int:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280, 4.1.2.5.1: years from 50 on are those of the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a date of a certificate")
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())
