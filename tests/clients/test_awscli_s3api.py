"""`aws s3api` as it is installed: the calls of each group, with the answers that it prints as JSON."""

import hashlib
import json
import os

import pytest
import requests

pytestmark = pytest.mark.slow

PART = 5 << 20


@pytest.fixture
def api(aws, bucket):
    """api(call, *arguments) -> what `aws s3api call --bucket ...` prints, parsed; None if it prints nothing."""

    def run(call, *arguments):
        told = aws("s3api", call, "--bucket", bucket, *arguments)
        return json.loads(told) if told.strip() else None

    return run


def document(tmp_path, name, content):
    """The argument for a JSON parameter that is read from a file."""
    (tmp_path / name).write_text(json.dumps(content))
    return f"file://{name}"


def test_objects(aws, api, bucket, tmp_path):
    body = os.urandom(1_000_000)
    (tmp_path / "in").write_bytes(body)
    put = api("put-object", "--key", "a key", "--body", "in", "--metadata", "colour=red")
    head = api("head-object", "--key", "a key")
    assert (head["ContentLength"], head["ETag"], head["Metadata"]) == (1_000_000, put["ETag"], {"colour": "red"})
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    api("get-object", "--key", "a key", "out")
    assert (tmp_path / "out").read_bytes() == body
    api("get-object", "--key", "a key", "--range", "bytes=100-199", "part")
    assert (tmp_path / "part").read_bytes() == body[100:200]
    copied = api("copy-object", "--key", "copy", "--copy-source", f"{bucket}/a key", "--metadata-directive", "REPLACE")
    assert copied["CopyObjectResult"]["ETag"] == put["ETag"]
    assert api("head-object", "--key", "copy").get("Metadata", {}) == {}
    attributes = api("get-object-attributes", "--key", "copy", "--object-attributes", "ETag", "ObjectSize")
    assert (attributes["ETag"], attributes["ObjectSize"]) == (put["ETag"].strip('"'), 1_000_000)
    assert [found["Key"] for found in api("list-objects-v2", "--max-items", "10")["Contents"]] == ["a key", "copy"]
    assert [found["Key"] for found in api("list-objects", "--page-size", "1")["Contents"]] == ["a key", "copy"]
    api("delete-object", "--key", "a key")
    aws("s3api", "wait", "object-not-exists", "--bucket", bucket, "--key", "a key")
    assert "NoSuchKey" in aws.fails("s3api", "get-object", "--bucket", bucket, "--key", "a key", "out")
    assert "304" in aws.fails("s3api", "head-object", "--bucket", bucket, "--key", "copy", "--if-none-match", put["ETag"])
    deleted = api("delete-objects", "--delete", "Objects=[{Key=copy},{Key=nothing}],Quiet=false")
    assert sorted(found["Key"] for found in deleted["Deleted"]) == ["copy", "nothing"]


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums(api, tmp_path, algorithm):
    (tmp_path / "in").write_bytes(b"123456789")
    put = api("put-object", "--key", "key", "--body", "in", "--checksum-algorithm", algorithm)
    got = api("get-object", "--key", "key", "--checksum-mode", "ENABLED", "out")
    assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    assert (tmp_path / "out").read_bytes() == b"123456789"
    assert got.get("ContentEncoding") is None
    if algorithm == "CRC32":
        assert put["ChecksumCRC32"] == "y/Q5Jg=="


@pytest.mark.clients
def test_multipart(aws, api, bucket, tmp_path):
    bodies = [os.urandom(PART), b"the end"]
    where = ["--key", "key", "--upload-id", api("create-multipart-upload", "--key", "key", "--content-type", "text/x-parts")["UploadId"]]
    (tmp_path / "1").write_bytes(bodies[0])
    (tmp_path / "source").write_bytes(b"before the end, after")
    api("put-object", "--key", "source", "--body", "source")
    first = api("upload-part", *where, "--part-number", "1", "--body", "1")
    second = api("upload-part-copy", *where, "--part-number", "2", "--copy-source", f"{bucket}/source", "--copy-source-range", "bytes=7-13")
    assert api("list-multipart-uploads", "--prefix", "ke")["Uploads"][0]["Key"] == "key"
    listed = api("list-parts", *where)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, PART), (2, 7)]
    parts = [{"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 2, "ETag": second["CopyPartResult"]["ETag"]}]
    done = api("complete-multipart-upload", *where, "--multipart-upload", document(tmp_path, "parts.json", {"Parts": parts}))
    assert done["ETag"].endswith('-2"')
    api("get-object", "--key", "key", "out")
    assert (tmp_path / "out").read_bytes() == b"".join(bodies)
    other = api("create-multipart-upload", "--key", "other")["UploadId"]
    api("abort-multipart-upload", "--key", "other", "--upload-id", other)
    assert "NoSuchUpload" in aws.fails("s3api", "list-parts", "--bucket", bucket, "--key", "other", "--upload-id", other)


@pytest.mark.clients
def test_settings_of_a_bucket(aws, api, bucket, tmp_path, s3, node):
    assert api("get-bucket-location")["LocationConstraint"] is None
    assert bucket in [found["Name"] for found in json.loads(aws("s3api", "list-buckets"))["Buckets"]]
    api("head-bucket")
    api("put-bucket-tagging", "--tagging", "TagSet=[{Key=team,Value=storage}]")
    assert api("get-bucket-tagging")["TagSet"] == [{"Key": "team", "Value": "storage"}]
    api("delete-bucket-tagging")
    rules = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 5}]}
    api("put-bucket-cors", "--cors-configuration", document(tmp_path, "cors.json", rules))
    assert api("get-bucket-cors") == rules
    api("delete-bucket-cors")
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}],
    }
    api("put-bucket-policy", "--policy", document(tmp_path, "policy.json", policy))
    assert json.loads(api("get-bucket-policy")["Policy"]) == policy
    assert api("get-bucket-policy-status")["PolicyStatus"]["IsPublic"] is True
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    assert requests.get(f"{node.endpoint}/{bucket}/key", timeout=30).content == b"body"
    api("put-public-access-block", "--public-access-block-configuration", "RestrictPublicBuckets=true")
    assert api("get-public-access-block")["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"] is True
    assert requests.get(f"{node.endpoint}/{bucket}/key", timeout=30).status_code == 403
    api("delete-public-access-block")
    owned = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    api("put-bucket-ownership-controls", "--ownership-controls", document(tmp_path, "owned.json", owned))
    assert api("get-bucket-ownership-controls")["OwnershipControls"] == owned
    api("delete-bucket-ownership-controls")
    api("delete-bucket-policy")
    assert "NoSuchBucketPolicy" in aws.fails("s3api", "get-bucket-policy", "--bucket", bucket)
    assert "NotImplemented" in aws.fails(
        "s3api", "put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled"
    )
    assert api("get-bucket-versioning") is None


@pytest.mark.clients
def test_tags_and_acls_of_an_object(api, tmp_path, s3, bucket):
    (tmp_path / "in").write_bytes(b"body")
    api("put-object", "--key", "key", "--body", "in", "--tagging", "a=1&b=2")
    assert len(api("get-object-tagging", "--key", "key")["TagSet"]) == 2
    api("put-object-tagging", "--key", "key", "--tagging", "TagSet=[{Key=c,Value=3}]")
    assert api("get-object-tagging", "--key", "key")["TagSet"] == [{"Key": "c", "Value": "3"}]
    api("delete-object-tagging", "--key", "key")
    assert api("get-object-tagging", "--key", "key")["TagSet"] == []
    api("put-object-acl", "--key", "key", "--acl", "public-read")
    assert len(api("get-object-acl", "--key", "key")["Grants"]) == 2
    api("put-bucket-acl", "--acl", "private")
    assert len(api("get-bucket-acl")["Grants"]) == 1
