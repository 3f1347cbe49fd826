"""boto3 as it is installed, with its default checksums, retries off so that a failure is not hidden."""

import hashlib
import io
import os

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

SIZES = [0, 1, 100_000, 400_000, 7_000_000]


@pytest.fixture(scope="module")
def s3(node):
    """A client with boto3's defaults."""
    return boto3.client(
        "s3",
        endpoint_url=node.endpoint,
        region_name="us-east-1",
        aws_access_key_id=node.credentials.access_key,
        aws_secret_access_key=node.credentials.secret_key,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@pytest.fixture(scope="module")
def bucket(s3):
    """A bucket made by boto3."""
    s3.create_bucket(Bucket="boto3-box")
    return "boto3-box"


@pytest.mark.parametrize("size_bytes", SIZES)
def test_put_get_head_range_and_delete(s3, bucket, size_bytes):
    body = os.urandom(size_bytes)
    key = f"size/{size_bytes} \u00fc"
    put = s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/plain", Metadata={"colour": "red"}, CacheControl="no-cache")
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == body
    assert (got["ContentType"], got["Metadata"], got["CacheControl"]) == ("text/plain", {"colour": "red"}, "no-cache")
    head = s3.head_object(Bucket=bucket, Key=key)
    assert (head["ContentLength"], head["ETag"]) == (size_bytes, put["ETag"])
    if size_bytes:
        ranged = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={size_bytes // 2}-")
        assert ranged["Body"].read() == body[size_bytes // 2 :]
        assert ranged["ContentRange"] == f"bytes {size_bytes // 2}-{size_bytes - 1}/{size_bytes}"
    assert s3.delete_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
@pytest.mark.parametrize("size_bytes", [10, 400_000])
def test_every_checksum_that_boto3_computes_by_itself(s3, bucket, algorithm, size_bytes):
    body = os.urandom(size_bytes)
    s3.put_object(Bucket=bucket, Key="checked", Body=body, ChecksumAlgorithm=algorithm)
    assert s3.get_object(Bucket=bucket, Key="checked", ChecksumMode="ENABLED")["Body"].read() == body


@pytest.mark.parametrize("size_bytes", [0, 1000, 1_000_000])
def test_file_objects_are_uploaded_and_downloaded(s3, bucket, size_bytes):
    body = os.urandom(size_bytes)
    s3.upload_fileobj(io.BytesIO(body), bucket, "from a file", ExtraArgs={"Metadata": {"a": "b"}})
    target = io.BytesIO()
    s3.download_fileobj(bucket, "from a file", target)
    assert target.getvalue() == body


def test_an_unseekable_stream_is_uploaded(s3, bucket, tmp_path):
    path = tmp_path / "in"
    path.write_bytes(b"z" * 300_000)
    with open(path, "rb") as file:
        s3.put_object(Bucket=bucket, Key="stream", Body=file)
    assert s3.get_object(Bucket=bucket, Key="stream")["Body"].read() == b"z" * 300_000


def test_a_wrong_checksum_is_a_client_error(s3, bucket):
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="wrong", Body=b"body", ChecksumSHA256="n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=")
    assert caught.value.response["Error"]["Code"] == "BadDigest"
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="wrong")


def test_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="once", Body=b"first", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="once", Body=b"second", IfNoneMatch="*")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    s3.put_object(Bucket=bucket, Key="once", Body=b"second", IfMatch=etag)
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="once", IfMatch=etag)
    assert caught.value.response["Error"]["Code"] == "PreconditionFailed"
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="once", IfNoneMatch=s3.head_object(Bucket=bucket, Key="once")["ETag"])
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304
    s3.delete_object(Bucket=bucket, Key="once")


def test_presigned_urls(node, bucket):
    # For us-east-1 boto3 presigns with Signature Version 2 unless it is told otherwise.
    s3 = boto3.client(
        "s3",
        endpoint_url=node.endpoint,
        region_name="us-east-1",
        aws_access_key_id=node.credentials.access_key,
        aws_secret_access_key=node.credentials.secret_key,
        config=Config(signature_version="s3v4"),
    )
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "signed", "ContentType": "text/css"}, ExpiresIn=60)
    assert requests.put(put, data=b"body", headers={"content-type": "text/css"}, timeout=10).status_code == 200
    get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "signed", "ResponseContentType": "text/html"})
    answer = requests.get(get, timeout=10)
    assert (answer.content, answer.headers["content-type"]) == (b"body", "text/html")
    assert requests.get(get[:-1] + ("0" if get[-1] != "0" else "1"), timeout=10).status_code == 403


def test_buckets(s3, bucket):
    assert bucket in [found["Name"] for found in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="keeps it", Body=b"")
    with pytest.raises(ClientError) as caught:
        s3.delete_bucket(Bucket=bucket)
    assert caught.value.response["Error"]["Code"] == "BucketNotEmpty"
    with pytest.raises(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=bucket)
    s3.create_bucket(Bucket="boto3-second", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.delete_bucket(Bucket="boto3-second")
    with pytest.raises(ClientError) as caught:
        s3.head_bucket(Bucket="boto3-second")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
