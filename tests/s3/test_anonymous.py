"""Requests that nobody signed, over HTTP: let in exactly where a policy or a public canned ACL says so."""

import json

import pytest

from tests.raw_connection import request_bytes
from tests.refusal import assert_refused, assert_refused_head

FORWARDED = {"x-forwarded-for": "192.0.2.7"}


@pytest.fixture
def stranger(node):
    """A client that signs nothing."""
    with node.client("none") as made:
        yield made


def allow(client, bucket, *actions, resource="/*", **changes):
    statement = {"Effect": "Allow", "Principal": "*", "Action": actions, "Resource": f"arn:aws:s3:::{bucket}{resource}", **changes}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert client.request("PUT", bucket, query=[("policy", "")], body=document).status_code == 204


def test_strangers_are_refused_as_aws_refuses_them(client, bucket, stranger):
    client.put(bucket, "key", b"body")
    for key in ("key", "missing"):
        assert assert_refused(stranger.request("GET", bucket, key), 403, "AccessDenied")["Message"] == "Access Denied"
        assert_refused_head(stranger.request("HEAD", bucket, key), 403)
        assert_refused(stranger.request("PUT", bucket, key, body=b"x"), 403, "AccessDenied")
        assert_refused(stranger.request("DELETE", bucket, key), 403, "AccessDenied")
    assert_refused(stranger.request("GET", bucket), 403, "AccessDenied")
    assert_refused(stranger.request("GET", bucket, query=[("policy", "")]), 403, "AccessDenied")
    assert_refused(stranger.request("PUT", f"{bucket}-new"), 403, "AccessDenied")
    assert_refused(stranger.request("GET", f"{bucket}-none", "key"), 404, "NoSuchBucket")
    assert_refused(stranger.send("GET", "/"), 403, "AccessDenied")
    assert client.get(bucket, "key").content == b"body"


def test_a_large_object_is_read_and_written_by_strangers(client, bucket, stranger):
    body = bytes(range(256)) * 12_000
    assert_refused(stranger.request("PUT", bucket, "large", body=body), 403, "AccessDenied")
    allow(client, bucket, "s3:GetObject", "s3:PutObject")
    assert stranger.request("PUT", bucket, "large", body=body).status_code == 200
    assert stranger.get(bucket, "large").content == body
    assert stranger.get(bucket, "large", {"range": "bytes=1000000-1000099"}).content == body[1_000_000:1_000_100]


def test_a_refused_upload_is_refused_before_its_body(node, bucket, connect):
    connection = connect()
    headers = {"host": "localhost", "content-length": str(8 << 20), "expect": "100-continue"}
    connection.send(request_bytes("PUT", f"/{bucket}/large", headers))
    assert_refused(connection.answer(), 403, "AccessDenied")
    assert node.usage(bucket) == (0, 0)


def test_who_claims_a_signature_and_fails_is_no_stranger(node, client, bucket, connect):
    client.put(bucket, "key", b"body")
    allow(client, bucket, "s3:GetObject")
    for headers, query in (
        ({"authorization": "AWS4-HMAC-SHA256 Credential=x"}, ""),
        ({"authorization": ""}, ""),
        ({"x-fs-access-key": node.credentials.access_key}, ""),
        ({}, "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0"),
        ({}, "?AWSAccessKeyId=a&Signature=b&Expires=1"),
    ):
        connection = connect()
        connection.send(request_bytes("GET", f"/{bucket}/key{query}", {"host": "localhost", **headers}))
        assert connection.answer().status in (400, 403), (headers, query)


def test_strangers_come_from_anywhere_also_with_the_built_in_secret(start_node):
    node = start_node(FS_ACCESS_KEY="faster", FS_SECRET_KEY="faster-secret-key")
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    with node.client("none") as stranger:
        assert_refused(stranger.request("GET", "box", "key", headers=FORWARDED), 403, "AccessDenied")
        allow(client, "box", "s3:GetObject")
        assert stranger.request("GET", "box", "key", headers=FORWARDED).content == b"body"
        # Said by a client that no setting trusts: it is still seen as this machine.
        allow(client, "box", "s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": "192.0.2.7"}})
        assert_refused(stranger.request("GET", "box", "key", headers=FORWARDED), 403, "AccessDenied")
        allow(client, "box", "s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})
        assert stranger.request("GET", "box", "key").content == b"body"
