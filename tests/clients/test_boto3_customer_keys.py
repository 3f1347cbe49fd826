"""boto3 and `aws s3` with a customer's key (SSE-C), as their manuals say: no header is made by hand."""

import io
import os

import pytest
import requests

from tests.clients.refused import refused
from tests.customer_keys import A, B, bring

SSE_A = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": A}
SSE_B = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": B}
FROM_A = {f"CopySource{name}": value for name, value in SSE_A.items()}


@pytest.mark.parametrize("size", [0, 10, 300_000, 12 << 20])
def test_an_object_comes_back_with_its_key_alone(s3, bucket, size):
    body = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, **SSE_A)
    got = s3.get_object(Bucket=bucket, Key="k", **SSE_A)
    assert (got["Body"].read(), got["ContentLength"], got["ETag"]) == (body, size, put["ETag"])
    assert (put["SSECustomerAlgorithm"], got["SSECustomerKeyMD5"]) == ("AES256", put["SSECustomerKeyMD5"])
    assert "ServerSideEncryption" not in got
    with refused("InvalidRequest", 400):
        s3.get_object(Bucket=bucket, Key="k")
    with refused("AccessDenied", 403):
        s3.get_object(Bucket=bucket, Key="k", **SSE_B)
    with refused("400"):
        s3.head_object(Bucket=bucket, Key="k")
    assert s3.head_object(Bucket=bucket, Key="k", **SSE_A)["ContentLength"] == size
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == size


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_a_transfer_of_any_size(s3, bucket, size):
    """Over 8 MiB in parts, with the checksums that boto3 asks for by itself."""
    body = os.urandom(size)
    s3.upload_fileobj(io.BytesIO(body), bucket, "k", ExtraArgs=SSE_A)
    taken = io.BytesIO()
    s3.download_fileobj(bucket, "k", taken, ExtraArgs=SSE_A)
    assert taken.getvalue() == body


@pytest.mark.parametrize(("stored", "target"), [({}, SSE_A), (SSE_A, {}), (SSE_A, SSE_A), (SSE_A, SSE_B)])
@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_a_managed_copy_between_keys(s3, bucket, size, stored, target):
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="from", Body=body, **stored)
    source = {f"CopySource{name}": value for name, value in stored.items()}
    head = s3.head_object(Bucket=bucket, Key="from", **stored)
    assert head["ContentLength"] == size
    s3.copy({"Bucket": bucket, "Key": "from"}, bucket, "to", ExtraArgs={**source, **target})
    assert s3.get_object(Bucket=bucket, Key="to", **target)["Body"].read() == body


def test_attributes_need_the_key(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"body", **SSE_A)
    wanted = {"Bucket": bucket, "Key": "k", "ObjectAttributes": ["ETag", "ObjectSize", "Checksum"]}
    # Of this action botocore encodes nothing by itself.
    encoded = dict(zip(("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5"), bring(A).values(), strict=True))
    assert s3.get_object_attributes(**wanted, **encoded)["ObjectSize"] == 4
    with refused("InvalidRequest", 400):
        s3.get_object_attributes(**wanted)


def test_a_presigned_url_takes_the_key_in_headers(s3v4, bucket):
    method, body = "put_object", os.urandom(100_000)
    for verb, send in (("PUT", {"data": body}), ("GET", {})):
        url = s3v4.generate_presigned_url(method, Params={"Bucket": bucket, "Key": "k", **SSE_A})
        assert requests.request(verb, url, timeout=30).status_code == 403
        answer = requests.request(verb, url, headers=bring(A), timeout=30, **send)
        assert answer.status_code == 200, answer.text
        method = "get_object"
    assert answer.content == body


@pytest.mark.slow
def test_aws_s3_copies_there_across_and_back(aws, bucket, tmp_path):
    (tmp_path / "a.key").write_bytes(A)
    (tmp_path / "b.key").write_bytes(B)
    for size in (1000, 20 << 20):
        body = os.urandom(size)
        (tmp_path / "in").write_bytes(body)
        aws("s3", "cp", "in", f"s3://{bucket}/k", "--sse-c", "AES256", "--sse-c-key", "fileb://a.key")
        across = ("--sse-c-copy-source", "AES256", "--sse-c-copy-source-key", "fileb://a.key")
        aws("s3", "cp", f"s3://{bucket}/k", f"s3://{bucket}/l", *across, "--sse-c", "AES256", "--sse-c-key", "fileb://b.key")
        aws("s3", "cp", f"s3://{bucket}/l", "out", "--sse-c", "AES256", "--sse-c-key", "fileb://b.key")
        assert (tmp_path / "out").read_bytes() == body
        assert "400" in aws("s3", "cp", f"s3://{bucket}/k", "out", code=1)
