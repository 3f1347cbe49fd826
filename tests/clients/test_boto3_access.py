"""boto3 on tags, CORS, policies, ACLs, ownership and the public access block; what they grant, seen by somebody without a key."""

import json

import pytest
import requests

from tests.clients.refused import refused

CORS = {
    "CORSRules": [
        {
            "ID": "web",
            "AllowedOrigins": ["https://*.example.com"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["x-amz-*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 600,
        }
    ]
}


def public_read(bucket):
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/public/*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture
def anonymous(node, bucket):
    """anonymous(method, key, **options of requests) -> the answer to an unsigned request."""

    def send(method, key="", **options):
        return requests.request(method, f"{node.endpoint}/{bucket}/{key}", timeout=30, **options)

    return send


def test_tags_of_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"body", Tagging="")
    assert s3.get_object_tagging(Bucket=bucket, Key="key")["TagSet"] == []
    tags = [{"Key": "name", "Value": "a b"}, {"Key": "empty", "Value": ""}, {"Key": "\u00fc:/=+-@_.", "Value": "\u00e4"}]
    before = s3.head_object(Bucket=bucket, Key="key")["LastModified"]
    s3.put_object_tagging(Bucket=bucket, Key="key", Tagging={"TagSet": tags})
    found = s3.get_object_tagging(Bucket=bucket, Key="key")["TagSet"]
    assert sorted(found, key=lambda tag: tag["Key"]) == sorted(tags, key=lambda tag: tag["Key"])
    assert s3.head_object(Bucket=bucket, Key="key")["LastModified"] == before
    for wrong in (
        [{"Key": f"k{number}", "Value": ""} for number in range(11)],
        [{"Key": "twice", "Value": "1"}, {"Key": "twice", "Value": "2"}],
        [{"Key": "k" * 129, "Value": ""}],
        [{"Key": "k", "Value": "v" * 257}],
    ):
        with pytest.raises(s3.exceptions.ClientError) as caught:
            s3.put_object_tagging(Bucket=bucket, Key="key", Tagging={"TagSet": wrong})
        assert caught.value.response["Error"]["Code"] in ("InvalidTag", "BadRequest")
    s3.delete_object_tagging(Bucket=bucket, Key="key")
    assert s3.get_object_tagging(Bucket=bucket, Key="key")["TagSet"] == []
    with refused("NoSuchKey", 404):
        s3.get_object_tagging(Bucket=bucket, Key="nothing")


def test_tags_of_a_bucket(s3, bucket):
    tags = [{"Key": "team", "Value": "storage"}, {"Key": "stage", "Value": "test"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    found = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert sorted(found, key=lambda tag: tag["Key"]) == sorted(tags, key=lambda tag: tag["Key"])
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)


def test_cors(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="key", Body=b"body", ACL="public-read")
    asks = {"Origin": "https://www.example.com", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-amz-date"}
    assert anonymous("OPTIONS", "key", headers=asks).status_code == 403
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == CORS["CORSRules"]
    answer = anonymous("OPTIONS", "key", headers=asks)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://www.example.com"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"].lower() == "x-amz-date"
    assert answer.headers["access-control-max-age"] == "600"
    answer = anonymous("GET", "key", headers={"Origin": "https://www.example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://www.example.com"
    assert answer.headers["access-control-expose-headers"] == "ETag"
    assert anonymous("OPTIONS", "key", headers={**asks, "Origin": "https://example.org"}).status_code == 403
    assert "access-control-allow-origin" not in anonymous("GET", "key", headers={"Origin": "https://example.org"}).headers
    s3.delete_bucket_cors(Bucket=bucket)
    with refused("NoSuchCORSConfiguration", 404):
        s3.get_bucket_cors(Bucket=bucket)


def test_a_policy_grants_exactly_what_it_says(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="public/key", Body=b"for all")
    s3.put_object(Bucket=bucket, Key="private", Body=b"for me")
    assert anonymous("GET", "public/key").status_code == 403
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(public_read(bucket)))
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == public_read(bucket)
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    assert anonymous("GET", "public/key").content == b"for all"
    assert anonymous("GET", "private").status_code == 403
    assert anonymous("PUT", "public/new", data=b"x").status_code == 403
    assert anonymous("GET").status_code == 403
    s3.delete_bucket_policy(Bucket=bucket)
    assert anonymous("GET", "public/key").status_code == 403
    with refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy(Bucket=bucket)
    with refused("MalformedPolicy", 400):
        s3.put_bucket_policy(Bucket=bucket, Policy="{")


def test_the_public_access_block_shuts_a_public_policy_out(s3, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="public/key", Body=b"for all")
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(public_read(bucket)))
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == block
    assert anonymous("GET", "public/key").status_code == 403
    assert s3.get_object(Bucket=bucket, Key="public/key")["Body"].read() == b"for all"
    with refused("AccessDenied", 403):
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(public_read(bucket)))
    s3.delete_public_access_block(Bucket=bucket)
    assert anonymous("GET", "public/key").content == b"for all"


def test_canned_acls(s3, bucket, anonymous):
    owner = s3.list_buckets()["Owner"]["ID"]
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    acl = s3.get_object_acl(Bucket=bucket, Key="key")
    assert acl["Owner"]["ID"] == owner
    assert [(grant["Grantee"]["ID"], grant["Permission"]) for grant in acl["Grants"]] == [(owner, "FULL_CONTROL")]
    assert anonymous("GET", "key").status_code == 403
    s3.put_object_acl(Bucket=bucket, Key="key", ACL="public-read")
    grants = {(grant["Grantee"].get("URI", "me"), grant["Permission"]) for grant in s3.get_object_acl(Bucket=bucket, Key="key")["Grants"]}
    assert grants == {("me", "FULL_CONTROL"), ("http://acs.amazonaws.com/groups/global/AllUsers", "READ")}
    assert anonymous("GET", "key").content == b"body"
    s3.put_object_acl(Bucket=bucket, Key="key", ACL="private")
    assert anonymous("GET", "key").status_code == 403
    assert anonymous("GET").status_code == 403
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert b"<Key>key</Key>" in anonymous("GET").content
    assert len(s3.get_bucket_acl(Bucket=bucket)["Grants"]) == 2
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    assert anonymous("GET").status_code == 403


def test_ownership_controls(s3, bucket):
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=rules)
    assert s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"] == rules
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    with refused("AccessControlListNotSupported", 400):
        s3.put_object_acl(Bucket=bucket, Key="key", ACL="public-read")
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    with refused("OwnershipControlsNotFoundError", 404):
        s3.get_bucket_ownership_controls(Bucket=bucket)
