"""Checksums that came with an object, by header or trailer, are kept and told when they are asked for."""

import pytest

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from fasterstore.s3.canonical import STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER
from tests.refusal import assert_refused

ALGORITHMS = sorted(CHECKSUM_ALGORITHMS)
ASKED = {"x-amz-checksum-mode": "ENABLED"}
SIZES = {"empty": 0, "message": 9, "collected": 100_000, "streamed": 400_000}


def told(answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("x-amz-checksum")}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_checksum_in_a_header_is_kept(client, bucket, name, size):
    body = b"x" * SIZES[size]
    header = CHECKSUM_ALGORITHMS[name].header
    expected = {header: checksum_base64(name, body), "x-amz-checksum-type": "FULL_OBJECT"}
    assert told(client.put(bucket, "key", body, {header: expected[header]})) == expected
    assert told(client.get(bucket, "key")) == told(client.head(bucket, "key")) == {}
    assert told(client.get(bucket, "key", ASKED)) == told(client.head(bucket, "key", ASKED)) == expected
    if body:
        assert told(client.get(bucket, "key", {**ASKED, "range": "bytes=0-0"})) == {}


@pytest.mark.parametrize("payload", [STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER], ids=["signed", "unsigned"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_checksum_in_a_trailer_is_kept_and_the_framing_is_not(client, bucket, name, payload):
    pieces = [b"a" * 65536, b"b" * 1000]
    header, value = CHECKSUM_ALGORITHMS[name].header, checksum_base64(name, b"".join(pieces))
    sent = {"x-amz-sdk-checksum-algorithm": name}
    answer = client.put_chunked(bucket, "key", pieces, payload=payload, trailers={header: value}, headers=sent)
    assert answer.status_code == 200, answer.content
    assert told(answer)[header] == value
    read = client.get(bucket, "key", ASKED)
    assert (read.content, told(read)[header]) == (b"".join(pieces), value)
    assert "content-encoding" not in read.headers


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_wrong_one_keeps_nothing(node, client, bucket, name):
    header, wrong = CHECKSUM_ALGORITHMS[name].header, checksum_base64(name, b"other")
    assert_refused(client.request("PUT", bucket, "key", headers={header: wrong}, body=b"body"), 400, "BadDigest")
    answer = client.put_chunked(bucket, "key", [b"body"], payload=STREAMING_UNSIGNED_TRAILER, trailers={header: wrong})
    assert_refused(answer, 400, "BadDigest")
    assert_refused(client.request("GET", bucket, "key"), 404, "NoSuchKey")
    assert node.usage(bucket) == (0, 0)


def test_a_copy_keeps_it_or_has_one_of_another_kind(client, bucket):
    value = checksum_base64("SHA256", b"body")
    client.put(bucket, "key", b"body", {"x-amz-checksum-sha256": value})
    source = {"x-amz-copy-source": f"{bucket}/key"}
    assert client.request("PUT", bucket, "same", headers=source).status_code == 200
    assert told(client.head(bucket, "same", ASKED))["x-amz-checksum-sha256"] == value
    assert client.request("PUT", bucket, "other", headers={**source, "x-amz-checksum-algorithm": "CRC64NVME"}).status_code == 200
    assert told(client.head(bucket, "other", ASKED)) == {
        "x-amz-checksum-crc64nvme": checksum_base64("CRC64NVME", b"body"),
        "x-amz-checksum-type": "FULL_OBJECT",
    }
