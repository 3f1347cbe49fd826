"""What a client says of its body's digests: read strictly, and compared with the body."""

import base64
import hashlib

import pytest

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64, small_digests
from fasterstore.s3.checksums import CHECKSUM_HEADERS, checksum_request, checksum_type, render_checksums, verify_digests
from fasterstore.s3.errors import S3Error

BODY = b"hello"
KEY = bytes(32)
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()


def code(call, *arguments) -> str:
    with pytest.raises(S3Error) as refused:
        call(*arguments)
    return refused.value.code


def verify(headers: dict, body: bytes, payload: str = "UNSIGNED-PAYLOAD", trailers=None) -> None:
    request = checksum_request(headers)
    verify_digests(request, payload, trailers or {}, small_digests(body, KEY, len(payload) == 64, request.names))


def test_nothing_said_is_nothing_to_do() -> None:
    assert checksum_request({"host": "a", "x-amz-checksum-mode": "ENABLED"}).names == ()


@pytest.mark.parametrize("header", CHECKSUM_HEADERS)
def test_each_checksum_is_verified_from_header_and_from_trailer(header: str) -> None:
    name = CHECKSUM_HEADERS[header]
    value = checksum_base64(name, BODY)
    for headers, trailers in (
        ({header: value}, {}),
        ({header: value, "x-amz-sdk-checksum-algorithm": name}, {}),
        ({"x-amz-trailer": header, "x-amz-sdk-checksum-algorithm": name.lower()}, {header: value}),
    ):
        verify(headers, BODY, trailers=trailers)
        assert code(verify, headers, b"jello", "UNSIGNED-PAYLOAD", trailers) == "BadDigest"


def test_a_content_md5_is_verified() -> None:
    verify({"content-md5": MD5}, BODY)
    assert code(verify, {"content-md5": MD5}, b"jello") == "BadDigest"
    for wrong in ("", "abc", "!!!!", MD5 + "=", base64.b64encode(b"short").decode(), "ä"):
        assert code(checksum_request, {"content-md5": wrong}) == "InvalidDigest"


def test_a_signed_payload_hash_is_verified() -> None:
    right = hashlib.sha256(BODY).hexdigest()
    verify({}, BODY, right)
    assert code(verify, {}, b"jello", right) == "XAmzContentSHA256Mismatch"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-md4": "AAAA"},
        {"x-amz-checksum-crc32": checksum_base64("CRC32", BODY), "x-amz-checksum-sha1": checksum_base64("SHA1", BODY)},
        {"x-amz-checksum-crc32": checksum_base64("CRC32", BODY), "x-amz-trailer": "x-amz-checksum-sha1"},
        {"x-amz-trailer": "x-amz-meta-a"},
        {"x-amz-trailer": "x-amz-checksum-sha1,x-amz-checksum-crc32"},
        {"x-amz-sdk-checksum-algorithm": "CRC32"},
        {"x-amz-sdk-checksum-algorithm": "MD5"},
        {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": checksum_base64("CRC32", BODY)},
    ],
)
def test_what_cannot_be_verified_is_refused(headers: dict) -> None:
    assert code(checksum_request, headers) == "InvalidRequest"


@pytest.mark.parametrize("value", ["abc", checksum_base64("CRC64NVME", BODY), "", "ä"])
def test_a_value_that_is_no_such_checksum_is_a_wrong_one(value: str) -> None:
    assert code(checksum_request, {"x-amz-checksum-crc32": value}) == "BadDigest"
    trailer = {"x-amz-trailer": "x-amz-checksum-crc32"}
    assert code(verify, trailer, BODY, "UNSIGNED-PAYLOAD", {"x-amz-checksum-crc32": value}) == "BadDigest"


def test_the_headers_are_those_of_the_five_algorithms() -> None:
    assert len(CHECKSUM_HEADERS) == len(CHECKSUM_ALGORITHMS) == 5


def test_a_checksum_of_parts_checksums_is_told_as_composite() -> None:
    assert checksum_type({"CRC32": "y/Q5Jg=="}) == "FULL_OBJECT"
    assert checksum_type({"CRC32": "y/Q5Jg==-3"}) == "COMPOSITE"
    assert render_checksums({"SHA1": "abc=-2"}) == "<ChecksumSHA1>abc=-2</ChecksumSHA1><ChecksumType>COMPOSITE</ChecksumType>"
    assert render_checksums({}) == ""
