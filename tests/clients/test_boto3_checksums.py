"""boto3's checksums: the three that it computes, the two that it takes ready-made, each kept, returned and compared."""

import base64
import hashlib
import os
import zlib

import anycrc
import pytest

from tests.clients.refused import refused


def base64_of(number, length):
    return base64.b64encode(number.to_bytes(length, "big")).decode()


CHECKSUM = {
    "CRC32": lambda body: base64_of(zlib.crc32(body), 4),
    "CRC32C": lambda body: base64_of(anycrc.Model("CRC32C").calc(body), 4),
    "CRC64NVME": lambda body: base64_of(anycrc.Model("CRC64-NVME").calc(body), 8),
    "SHA1": lambda body: base64.b64encode(hashlib.sha1(body).digest()).decode(),
    "SHA256": lambda body: base64.b64encode(hashlib.sha256(body).digest()).decode(),
}


def test_the_checksums_of_this_file_are_the_published_ones():
    check = {name: compute(b"123456789") for name, compute in CHECKSUM.items()}
    assert check["CRC32"] == base64_of(0xCBF43926, 4)
    assert check["CRC32C"] == base64_of(0xE3069283, 4)
    assert check["CRC64NVME"] == base64_of(0xAE8B14860A799888, 8)


def assert_kept(s3, bucket, key, algorithm, checksum, body):
    head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (checksum, "FULL_OBJECT")
    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert (got["Body"].read(), got[f"Checksum{algorithm}"]) == (body, checksum)
    attributes = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["Checksum"])
    assert attributes["Checksum"] == {f"Checksum{algorithm}": checksum, "ChecksumType": "FULL_OBJECT"}
    assert s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["ChecksumAlgorithm"] == [algorithm]
    assert "ContentEncoding" not in head


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
@pytest.mark.parametrize("size_bytes", [0, 10, 400_000])
def test_a_checksum_that_boto3_computes(s3, bucket, algorithm, size_bytes):
    body = os.urandom(size_bytes)
    put = s3.put_object(Bucket=bucket, Key="checked", Body=body, ChecksumAlgorithm=algorithm)
    assert put[f"Checksum{algorithm}"] == CHECKSUM[algorithm](body)
    assert_kept(s3, bucket, "checked", algorithm, CHECKSUM[algorithm](body), body)


@pytest.mark.parametrize("algorithm", CHECKSUM)
def test_a_checksum_that_is_given_ready_made(s3, bucket, algorithm):
    body = os.urandom(70_000)
    checksum = {f"Checksum{algorithm}": CHECKSUM[algorithm](body)}
    assert s3.put_object(Bucket=bucket, Key="checked", Body=body, **checksum)[f"Checksum{algorithm}"] == CHECKSUM[algorithm](body)
    assert_kept(s3, bucket, "checked", algorithm, CHECKSUM[algorithm](body), body)
    with refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="checked", Body=body + b"more", **checksum)
    with refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="wrong", Body=body + b"more", **checksum)
    assert_kept(s3, bucket, "checked", algorithm, CHECKSUM[algorithm](body), body)
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["checked"]


def test_a_stream_carries_its_checksum_as_a_trailer(s3, bucket, tmp_path):
    body = os.urandom(300_000)
    (tmp_path / "in").write_bytes(body)
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        with open(tmp_path / "in", "rb") as file:
            s3.put_object(Bucket=bucket, Key=algorithm, Body=file, ChecksumAlgorithm=algorithm, ContentEncoding="gzip")
        head = s3.head_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        assert (head[f"Checksum{algorithm}"], head["ContentEncoding"]) == (CHECKSUM[algorithm](body), "gzip")


@pytest.mark.parametrize("algorithm", CHECKSUM)
def test_every_part_is_checked_and_the_whole_is_composed(s3, bucket, algorithm):
    kind = "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE"
    parts = [os.urandom(5 << 20), os.urandom(1000)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="key", ChecksumAlgorithm=algorithm)
    assert upload["ChecksumAlgorithm"] == algorithm
    where = {"Bucket": bucket, "Key": "key", "UploadId": upload["UploadId"]}
    with refused("BadDigest", 400):
        s3.upload_part(**where, PartNumber=1, Body=b"x", **{f"Checksum{algorithm}": CHECKSUM[algorithm](b"y")})
    done = []
    for number, body in enumerate(parts, 1):
        checksum = {f"Checksum{algorithm}": CHECKSUM[algorithm](body)}
        answer = s3.upload_part(**where, PartNumber=number, Body=body, **checksum)
        assert answer[f"Checksum{algorithm}"] == CHECKSUM[algorithm](body)
        done.append({"PartNumber": number, "ETag": answer["ETag"], **checksum})
    listed = s3.list_parts(**where)
    assert [part[f"Checksum{algorithm}"] for part in listed["Parts"]] == [CHECKSUM[algorithm](body) for body in parts]
    wrong = [{**done[0], f"Checksum{algorithm}": CHECKSUM[algorithm](b"other")}, done[1]]
    with refused("InvalidPart", 400):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": wrong})
    if kind == "COMPOSITE":
        of_all = CHECKSUM[algorithm](b"".join(base64.b64decode(part[f"Checksum{algorithm}"]) for part in done)) + "-2"
    else:
        of_all = CHECKSUM[algorithm](b"".join(parts))
    answer = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})
    assert (answer[f"Checksum{algorithm}"], answer["ChecksumType"]) == (of_all, kind)
    head = s3.head_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (of_all, kind)
    assert s3.get_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")["Body"].read() == b"".join(parts)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C"])
def test_a_checksum_of_the_full_object_is_combined_from_the_parts(s3, bucket, algorithm):
    parts = [os.urandom(5 << 20), os.urandom(1000)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="key", ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    where = {"Bucket": bucket, "Key": "key", "UploadId": upload["UploadId"]}
    done = []
    for number, body in enumerate(parts, 1):
        checksum = {f"Checksum{algorithm}": CHECKSUM[algorithm](body)}
        done.append({"PartNumber": number, "ETag": s3.upload_part(**where, PartNumber=number, Body=body, **checksum)["ETag"], **checksum})
    whole = CHECKSUM[algorithm](b"".join(parts))
    with refused("BadDigest", 400):
        s3.complete_multipart_upload(
            **where, MultipartUpload={"Parts": done}, ChecksumType="FULL_OBJECT", **{f"Checksum{algorithm}": CHECKSUM[algorithm](b"other")}
        )
    answer = s3.complete_multipart_upload(
        **where, MultipartUpload={"Parts": done}, ChecksumType="FULL_OBJECT", **{f"Checksum{algorithm}": whole}
    )
    assert (answer[f"Checksum{algorithm}"], answer["ChecksumType"]) == (whole, "FULL_OBJECT")
    got = s3.get_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got[f"Checksum{algorithm}"]) == (b"".join(parts), whole)
