"""Checksums of parts and of the objects they make up, against the real engine."""

import base64
import os

import pytest

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from tests.web.app.multipart_client import PART_BYTES, Upload, code, element, elements

FIRST, LAST = os.urandom(PART_BYTES), b"the end"


@pytest.mark.parametrize(
    ("algorithm", "asked", "kind"),
    [
        ("CRC32", "", "COMPOSITE"),
        ("CRC32C", "COMPOSITE", "COMPOSITE"),
        ("SHA1", "", "COMPOSITE"),
        ("SHA256", "", "COMPOSITE"),
        ("CRC64NVME", "", "FULL_OBJECT"),
        ("CRC32", "FULL_OBJECT", "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT", "FULL_OBJECT"),
    ],
)
def test_checksums_of_parts_make_up_that_of_the_object(store, algorithm, asked, kind):
    header = CHECKSUM_ALGORITHMS[algorithm].header
    headers = {"x-amz-checksum-algorithm": algorithm} | ({"x-amz-checksum-type": asked} if asked else {})
    upload = Upload(store, headers=headers)
    assert (upload.created.headers["x-amz-checksum-algorithm"], upload.created.headers["x-amz-checksum-type"]) == (algorithm, kind)
    sums = [checksum_base64(algorithm, body) for body in (FIRST, LAST)]
    assert code(upload.put(1, FIRST, {header: sums[1]})) == (400, "BadDigest")
    assert elements(upload.listed(), "PartNumber") == []
    for number, body in enumerate((FIRST, LAST), 1):
        assert upload.put(number, body, {header: sums[number - 1]}).headers[header] == sums[number - 1]
    assert elements(upload.listed(), f"Checksum{algorithm}") == sums
    whole = checksum_base64(algorithm, FIRST + LAST)
    if kind == "COMPOSITE":
        whole = checksum_base64(algorithm, b"".join(base64.b64decode(value) for value in sums)) + "-2"
    assert code(upload.complete(headers={header: "bad"})) == (400, "BadDigest")
    assert code(upload.complete(headers={header: sums[0]})) == (400, "BadDigest")
    done = upload.complete(headers={header: whole, "x-amz-checksum-type": kind})
    assert (done.status, element(done, f"Checksum{algorithm}"), element(done, "ChecksumType")) == (200, whole, kind)
    assert upload.complete().body == done.body
    plain = store.send("HEAD", "/box/k").headers
    assert header not in plain
    told = store.send("HEAD", "/box/k", headers={"x-amz-checksum-mode": "ENABLED"}).headers
    assert (told[header], told["x-amz-checksum-type"]) == (whole, kind)


def test_an_upload_with_an_algorithm_takes_no_part_with_another(store):
    upload = Upload(store, headers={"x-amz-checksum-algorithm": "SHA256"})
    other = upload.put(1, LAST, {"x-amz-checksum-crc32": checksum_base64("CRC32", LAST)})
    assert code(other) == (400, "InvalidRequest")
    assert "expected checksum Type: sha256, actual checksum Type: crc32" in element(other, "Message")
    assert "actual checksum Type: null" in element(upload.put(1, LAST), "Message")
    assert elements(upload.listed(), "PartNumber") == []


def test_a_full_object_checksum_needs_none_from_the_client(store):
    """AWS computes a part's itself where the client is not asked for it in the end."""
    upload = Upload(store, headers={"x-amz-checksum-algorithm": "CRC64NVME"})
    assert upload.put(1, FIRST).headers["x-amz-checksum-crc64nvme"] == checksum_base64("CRC64NVME", FIRST)
    upload.put(2, LAST)
    done = upload.complete([(1, upload.etags[1]), (2, upload.etags[2])])
    assert element(done, "ChecksumCRC64NVME") == checksum_base64("CRC64NVME", FIRST + LAST)


def test_a_list_may_leave_out_the_checksums_of_parts(store):
    upload = Upload(store, headers={"x-amz-checksum-algorithm": "CRC32"})
    upload.put(1, LAST, {"x-amz-checksum-crc32": checksum_base64("CRC32", LAST)})
    without = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{upload.etags[1]}</ETag></Part></CompleteMultipartUpload>"
    assert element(upload.complete(body=without.encode()), "ChecksumCRC32").endswith("-1")


@pytest.mark.parametrize("algorithm", ["SHA256", "CRC64NVME"])
def test_a_read_of_one_part_tells_that_parts_checksum_with_the_objects_type(store, algorithm):
    header = CHECKSUM_ALGORITHMS[algorithm].header
    upload = Upload(store, headers={"x-amz-checksum-algorithm": algorithm})
    kind = upload.created.headers["x-amz-checksum-type"]
    for number, body in enumerate((FIRST, LAST), 1):
        upload.put(number, body, {header: checksum_base64(algorithm, body)})
    upload.complete()
    for number, body in enumerate((FIRST, LAST), 1):
        for method in ("GET", "HEAD"):
            told = store.send(method, f"/box/k?partNumber={number}", headers={"x-amz-checksum-mode": "ENABLED"}).headers
            assert (told[header], told["x-amz-checksum-type"]) == (checksum_base64(algorithm, body), kind)
    assert header not in store.send("HEAD", "/box/k?partNumber=1").headers


def test_an_upload_without_an_algorithm_verifies_what_parts_bring_and_keeps_no_checksum_of_the_object(store):
    """As newer SDKs do it: every part has a CRC32, and nobody said so at the beginning."""
    upload = Upload(store)
    right = checksum_base64("CRC32", LAST)
    assert code(upload.put(1, LAST, {"x-amz-checksum-crc32": checksum_base64("CRC32", b"other")})) == (400, "BadDigest")
    assert upload.put(1, LAST, {"x-amz-checksum-crc32": right}).headers["x-amz-checksum-crc32"] == right
    assert code(upload.complete(body=upload.document().replace(right.encode(), b"AAAAAA=="))) == (400, "InvalidPart")
    done = upload.complete()
    assert (done.status, element(done, "ChecksumCRC32")) == (200, None)
    assert "x-amz-checksum-crc32" not in store.send("HEAD", "/box/k", headers={"x-amz-checksum-mode": "ENABLED"}).headers


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "MD4"},
        {"x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"},
    ],
)
def test_a_checksum_that_cannot_be_made_is_refused_at_the_beginning(store, headers):
    assert code(Upload(store, headers=headers).created) == (400, "InvalidRequest")
