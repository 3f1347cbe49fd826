"""What a client says about a body's digests, in headers or trailer, and whether the body bears it out.

Knows header names and S3's refusals; computes nothing (`fasterstore.digests` does). Source: S3 user guide, "Checking object
integrity in Amazon S3"; API page PutObject.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hmac import compare_digest
from typing import NamedTuple

from fasterstore.digests import CHECKSUM_ALGORITHMS, Digests
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_text import element

CHECKSUM_HEADERS: dict[str, str] = {algorithm.header: algorithm.name for algorithm in CHECKSUM_ALGORITHMS.values()}
"""Header name -> algorithm name."""

_NOT_VALUES = frozenset(("x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"))
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_MD5_BYTES = 16


COMPOSITE, FULL_OBJECT = "COMPOSITE", "FULL_OBJECT"


def checksum_type(checksums: Mapping[str, str]) -> str:
    """COMPOSITE if these checksums (as ObjectRow keeps them) are made of parts' checksums, else FULL_OBJECT."""
    return COMPOSITE if any("-" in value for value in checksums.values()) else FULL_OBJECT


def render_checksums(checksums: Mapping[str, str]) -> str:
    """The elements that tell checksums and their type in an answer's XML; "" if there are none."""
    if not checksums:
        return ""
    parts = [element(f"Checksum{name}", value) for name, value in checksums.items()]
    return "".join((*parts, element("ChecksumType", checksum_type(checksums))))


class ChecksumRequest(NamedTuple):
    """What must hold of a body.

    `names` are the algorithms to compute (at most one); `expected` maps their names to the base64 that a header gave;
    `trailer_names` are the lower-case header names that a trailer must bring; `md5_hex` is Content-MD5 as hex, or None.
    """

    names: tuple[str, ...] = ()
    expected: dict[str, str] = {}
    trailer_names: tuple[str, ...] = ()
    md5_hex: str | None = None


_NOTHING = ChecksumRequest()


def _check_value(header: str, value: str) -> None:
    algorithm = CHECKSUM_ALGORITHMS[CHECKSUM_HEADERS[header]]
    try:
        good = len(b64decode(value, validate=True)) == algorithm.digest_bytes
    except (Base64Error, ValueError):
        good = False
    if not good:
        raise S3Error("BadDigest", f"Value for {header} header is invalid.")


def _content_md5(value: str) -> str:
    try:
        digest = b64decode(value, validate=True)
    except (Base64Error, ValueError):
        digest = b""
    if len(digest) != _MD5_BYTES:
        raise S3Error("InvalidDigest")
    return digest.hex()


def checksum_request(headers: Mapping[str, str]) -> ChecksumRequest:
    """Read Content-MD5, x-amz-checksum-*, x-amz-trailer and x-amz-sdk-checksum-algorithm from `headers` (lower-case names).

    Raises S3Error: InvalidDigest for a Content-MD5 that is none; BadDigest for a value that is no such checksum; InvalidRequest for an
    unknown algorithm, more than one checksum, a trailer that is no checksum, or an algorithm named without its value.
    """
    expected = {CHECKSUM_HEADERS[header]: headers[header] for header in CHECKSUM_HEADERS if header in headers}
    for name, value in expected.items():
        _check_value(CHECKSUM_ALGORITHMS[name].header, value)
    trailers = _trailer_names(headers.get("x-amz-trailer"))
    names = (*expected, *(CHECKSUM_HEADERS[trailer] for trailer in trailers))
    if len(names) > 1:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    _check_named(headers, names)
    content_md5 = headers.get("content-md5")
    if not names and content_md5 is None:
        return _NOTHING
    return ChecksumRequest(names, expected, trailers, None if content_md5 is None else _content_md5(content_md5))


def _trailer_names(value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    names = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    if any(name not in CHECKSUM_HEADERS for name in names):
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    return names


def _check_named(headers: Mapping[str, str], names: tuple[str, ...]) -> None:
    """x-amz-sdk-checksum-algorithm must name the one checksum that is sent; an x-amz-checksum- header of no known kind is refused."""
    for header in headers:
        if header.startswith("x-amz-checksum-") and header not in CHECKSUM_HEADERS and header not in _NOT_VALUES:
            raise S3Error("InvalidRequest", f"The algorithm of the {header} header is not supported.")
    named = headers.get("x-amz-sdk-checksum-algorithm")
    if named is None:
        return
    if named.strip().upper() not in CHECKSUM_ALGORITHMS or (names and names[0] != named.strip().upper()):
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    if not names:
        raise S3Error(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
        )


def verify_digests(request: ChecksumRequest, payload: str, trailers: Mapping[str, str], digests: Digests) -> None:
    """Refuse a body whose digests are not those the client gave.

    `payload` is `AuthResult.payload` (compared if it is a hash; then `digests.sha256_hex` must have been computed); `trailers` are
    the verified trailers by lower-case name. Raises S3Error: XAmzContentSHA256Mismatch; BadDigest, also for a trailer value that is no
    checksum.
    """
    if digests.sha256_hex is not None and not compare_digest(digests.sha256_hex, payload) and _SHA256_HEX.fullmatch(payload):
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            ClientComputedContentSHA256=payload,
            S3ComputedContentSHA256=digests.sha256_hex,
        )
    if request.md5_hex is not None and request.md5_hex != digests.etag:
        raise S3Error("BadDigest", ExpectedDigest=request.md5_hex, CalculatedDigest=digests.etag)
    for name, value in request.expected.items():
        _compare(name, value, digests)
    for header in request.trailer_names:
        value = trailers[header]
        _check_value(header, value)
        _compare(CHECKSUM_HEADERS[header], value, digests)


def _compare(name: str, value: str, digests: Digests) -> None:
    # b64decode, not text: base64 has spare bits, and two texts of one digest are both right.
    if b64decode(value) != b64decode(digests.checksums[name]):
        raise S3Error("BadDigest", f"The {name} you specified did not match the calculated checksum.")
