"""Digests: published check values, and the same result however a body is cut."""

import base64
import hashlib

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from fasterstore import digests

CHECK = b"123456789"
BLOB_KEY = bytes(range(32))
ALL = tuple(digests.CHECKSUM_ALGORITHMS)


def test_crcs_give_the_check_values_of_the_crc_catalogue() -> None:
    assert digests.crc32(CHECK) == 0xCBF43926
    assert digests.crc32c(CHECK) == 0xE3069283
    assert digests.crc64nvme(CHECK) == 0xAE8B14860A799888


@pytest.mark.parametrize("function", [digests.crc32, digests.crc32c, digests.crc64nvme])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_crc_goes_on_from_the_one_before_and_takes_any_buffer(function, kind) -> None:
    assert function(kind(CHECK[4:]), function(kind(CHECK[:4]))) == function(CHECK)
    assert function(memoryview(b"x" + CHECK)[1:]) == function(CHECK)
    assert function(b"", 7) == 7


def test_checksums_are_base64_of_the_big_endian_value() -> None:
    assert digests.checksum_base64("CRC32", CHECK) == base64.b64encode(bytes.fromhex("cbf43926")).decode()
    assert digests.checksum_base64("CRC64NVME", CHECK) == base64.b64encode(bytes.fromhex("ae8b14860a799888")).decode()
    assert digests.checksum_base64("SHA1", CHECK) == base64.b64encode(hashlib.sha1(CHECK).digest()).decode()
    with pytest.raises(KeyError):
        digests.checksum_base64("MD5", CHECK)


def test_the_checksum_of_the_trailer_example_in_the_s3_reference_is_right() -> None:
    assert digests.checksum_base64("CRC32C", b"a" * 66560) == "sOO8/Q=="


def test_a_blob_id_depends_on_the_key_of_the_data_dir() -> None:
    assert digests.blob_id_of(CHECK, BLOB_KEY) == blake3(CHECK, key=BLOB_KEY).digest()
    assert digests.blob_id_of(CHECK, BLOB_KEY) != digests.blob_id_of(CHECK, bytes(32))


@given(st.lists(st.binary(max_size=64), max_size=8), st.booleans(), st.lists(st.sampled_from(ALL), unique=True))
def test_a_body_in_pieces_gives_the_digests_of_the_whole(pieces, sha256, names) -> None:
    running = digests.BodyDigests(BLOB_KEY, sha256, names)
    for piece in pieces:
        running.update(piece)
    body = b"".join(pieces)
    assert running.results() == digests.small_digests(body, BLOB_KEY, sha256, names)
    assert running.size_bytes == len(body)
    assert running.results().etag == hashlib.md5(body).hexdigest()
    assert running.results().sha256_hex == (hashlib.sha256(body).hexdigest() if sha256 else None)
    assert running.results().checksums == {name: digests.checksum_base64(name, body) for name in names}


def test_nothing_is_computed_that_was_not_asked_for_and_nothing_twice() -> None:
    assert len(digests.BodyDigests(BLOB_KEY).parts()) == 2
    assert len(digests.BodyDigests(BLOB_KEY, True, ("SHA256",)).parts()) == 3
