"""Checksums put together from parts, against those of the whole."""

import hashlib
import os
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasterstore.digests import checksum_base64, crc32, crc32c, crc64nvme
from fasterstore.s3.checksums import COMPOSITE, FULL_OBJECT
from fasterstore.s3.composite import checksum_choice, combine, compose
from fasterstore.s3.errors import S3Error

CRCS = {"CRC32": crc32, "CRC32C": crc32c, "CRC64NVME": crc64nvme}


@pytest.mark.parametrize("algorithm", CRCS)
@given(pieces=st.lists(st.binary(max_size=300), max_size=12))
@settings(deadline=None)
def test_a_full_object_crc_is_that_of_the_bytes_themselves(algorithm, pieces):
    parts = [(checksum_base64(algorithm, piece), len(piece)) for piece in pieces]
    assert compose(algorithm, FULL_OBJECT, parts) == checksum_base64(algorithm, b"".join(pieces))


@pytest.mark.parametrize("algorithm", CRCS)
@pytest.mark.parametrize("second_bytes", [0, 1, 255, 256, 65537, (5 << 20) + 3])
def test_two_crcs_combine_at_any_length(algorithm, second_bytes):
    crc = CRCS[algorithm]
    first, second = os.urandom(1000), os.urandom(second_bytes)
    assert combine(algorithm, crc(first), crc(second), second_bytes) == crc(first + second)
    assert combine(algorithm, 0, crc(second), second_bytes) == crc(second)


@pytest.mark.parametrize("algorithm", CRCS)
def test_combining_is_the_same_in_any_grouping_up_to_the_largest_object(algorithm):
    """Lengths that nobody can hash in a test: what must hold of them is that grouping does not matter."""
    crcs = [int.from_bytes(os.urandom(4)) for _ in range(3)]
    sizes = [5 << 30, (5 << 30) - 1, (1 << 42) + 12345]
    left = combine(algorithm, combine(algorithm, crcs[0], crcs[1], sizes[1]), crcs[2], sizes[2])
    right = combine(algorithm, crcs[0], combine(algorithm, crcs[1], crcs[2], sizes[2]), sizes[1] + sizes[2])
    assert left == right


def test_a_composite_checksum_is_the_one_that_aws_gives():
    """The values are those that ceph/s3-tests expects of AWS for parts of 5 MiB of A, B and C."""
    parts = [(checksum_base64("SHA256", letter * (5 << 20)), 5 << 20) for letter in (b"A", b"B", b"C")]
    assert parts[0][0] == "275VF5loJr1YYawit0XSHREhkFXYkkPKGuoK0x9VKxI="
    assert compose("SHA256", COMPOSITE, parts) == "uWBwpe1dxI4Vw8Gf0X9ynOdw/SS6VBzfWm9giiv1sf4=-3"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_a_composite_checksum_is_over_the_binary_checksums(algorithm):
    digests = [os.urandom({"SHA1": 20, "SHA256": 32}.get(algorithm, 4)) for _ in range(4)]
    parts = [(b64encode(digest).decode(), 1) for digest in digests]
    assert compose(algorithm, COMPOSITE, parts) == checksum_base64(algorithm, b"".join(digests)) + "-4"
    if algorithm == "SHA1":
        assert compose(algorithm, COMPOSITE, parts).startswith(b64encode(hashlib.sha1(b"".join(digests)).digest()).decode())


@pytest.mark.parametrize(
    ("algorithm", "asked", "chosen"),
    [
        ("", "", ("", "")),
        ("CRC32", "", ("CRC32", COMPOSITE)),
        ("crc32c", "", ("CRC32C", COMPOSITE)),
        ("SHA1", "", ("SHA1", COMPOSITE)),
        ("SHA256", "composite", ("SHA256", COMPOSITE)),
        ("CRC64NVME", "", ("CRC64NVME", FULL_OBJECT)),
        ("CRC64NVME", "FULL_OBJECT", ("CRC64NVME", FULL_OBJECT)),
        ("CRC32", "FULL_OBJECT", ("CRC32", FULL_OBJECT)),
    ],
)
def test_the_type_has_a_default_for_each_algorithm(algorithm, asked, chosen):
    headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": asked}
    assert checksum_choice({name: value for name, value in headers.items() if value}) == chosen


@pytest.mark.parametrize(
    ("algorithm", "asked"),
    [
        ("MD4", ""),
        ("", "COMPOSITE"),
        ("CRC64NVME", "COMPOSITE"),
        ("SHA1", "FULL_OBJECT"),
        ("SHA256", "FULL_OBJECT"),
        ("CRC32", "BOTH"),
    ],
)
def test_what_does_not_go_together_is_refused(algorithm, asked):
    headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": asked}
    with pytest.raises(S3Error) as refusal:
        checksum_choice({name: value for name, value in headers.items() if value})
    assert refusal.value.code == "InvalidRequest"
