"""What the client says of its bytes is verified before they are named: payload hash, Content-MD5, five checksums as headers."""

import hashlib
import zlib
from base64 import b64encode

import pytest

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from tests.refusal import assert_refused

SIZES = {"empty": 0, "message": 9, "collected": 100_000, "streamed": 400_000, "two-buffers": 2_500_000}
ALGORITHMS = sorted(CHECKSUM_ALGORITHMS)
KNOWN = {"CRC32": "y/Q5Jg==", "CRC32C": "4waSgw==", "CRC64NVME": "rosUhgp5mIg=", "SHA1": None, "SHA256": None}
"""Check values of the CRC catalogue for b"123456789", so that the test does not trust the code it tests."""


def _body(size_bytes):
    return (b"123456789" * (size_bytes // 9 + 1))[:size_bytes]


def _md5(body):
    return b64encode(hashlib.md5(body).digest()).decode()


def test_the_checksums_of_these_tests_are_the_published_ones():
    known = KNOWN | {
        "CRC32": b64encode(zlib.crc32(b"123456789").to_bytes(4, "big")).decode(),
        "SHA1": b64encode(hashlib.sha1(b"123456789").digest()).decode(),
        "SHA256": b64encode(hashlib.sha256(b"123456789").digest()).decode(),
    }
    assert {name: checksum_base64(name, b"123456789") for name in ALGORITHMS} == known


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_checksum_header_is_verified(node, client, bucket, name, size):
    body = _body(SIZES[size])
    header = CHECKSUM_ALGORITHMS[name].header
    wrong = client.request("PUT", bucket, "key", headers={header: checksum_base64(name, body + b"x")}, body=body)
    assert name in assert_refused(wrong, 400, "BadDigest")["Message"]
    assert node.usage(bucket) == (0, 0)
    assert_refused(client.request("GET", bucket, "key"), 404, "NoSuchKey")
    right = {header: checksum_base64(name, body), "x-amz-sdk-checksum-algorithm": name}
    client.put(bucket, "key", body, right)
    assert client.get(bucket, "key").content == body


@pytest.mark.parametrize("size", SIZES)
def test_content_md5_is_verified(node, client, bucket, size):
    body = _body(SIZES[size])
    assert_refused(client.request("PUT", bucket, "key", headers={"content-md5": _md5(body + b"x")}, body=body), 400, "BadDigest")
    assert node.usage(bucket) == (0, 0)
    client.put(bucket, "key", body, {"content-md5": _md5(body)})
    assert client.get(bucket, "key").content == body


@pytest.mark.parametrize("scheme", ["sigv4", "x-fs"])
@pytest.mark.parametrize("size", SIZES)
def test_the_signed_payload_hash_is_verified(node, bucket, size, scheme):
    body = _body(SIZES[size])
    with node.client(scheme) as client:
        other = hashlib.sha256(body + b"x").hexdigest()
        found = assert_refused(client.request("PUT", bucket, "key", body=body, payload_hash=other), 400, "XAmzContentSHA256Mismatch")
        assert found["ClientComputedContentSHA256"] == other
        assert found["S3ComputedContentSHA256"] == hashlib.sha256(body).hexdigest()
        assert node.usage(bucket) == (0, 0)
        client.put(bucket, "key", body)
        client.put(bucket, "unsigned", body, payload_hash="UNSIGNED-PAYLOAD")
        assert client.get(bucket, "key").content == client.get(bucket, "unsigned").content == body


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-md5": "not base64"}, "InvalidDigest"),
        ({"content-md5": "AAAA"}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "AAAA"}, "BadDigest"),
        ({"x-amz-checksum-crc32": "not base64"}, "BadDigest"),
        ({"x-amz-checksum-crc128": "AAAA"}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": "AAAAAA=="}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
    ],
)
def test_a_digest_that_cannot_be_one_is_refused(node, client, bucket, headers, code):
    assert_refused(client.request("PUT", bucket, "key", headers=headers, body=b"body"), 400, code)
    assert node.usage(bucket) == (0, 0)


def test_the_payload_of_a_request_without_use_for_one_is_verified_too(client, bucket):
    client.put(bucket, "key", b"body")
    for method in ("GET", "DELETE"):
        other = hashlib.sha256(b"something").hexdigest()
        assert_refused(client.request(method, bucket, "key", payload_hash=other), 400, "XAmzContentSHA256Mismatch")
    assert client.get(bucket, "key").content == b"body"
