"""Old clients that sign by version 2, over HTTP: what boto3 itself sends, presigned URLs, forms, and the refusal where it is off."""

import boto3
import pytest
import requests
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.node import RunningNode
from tests.refusal import assert_refused

DOMAIN = "s3.test"


@pytest.fixture(scope="module")
def old_node(tmp_path_factory):
    """A node that lets old clients in, with virtual hosts."""
    settings = {"FS_ALLOW_SIGV2": "true", "FS_DOMAIN": DOMAIN}
    with RunningNode(tmp_path_factory.mktemp("sigv2") / "data", settings) as running:
        running.client().create_bucket("old-box")
        yield running


def boto(node, signature_version="s3", secret_key=None):
    """A boto3 client that signs by version 2 ("s3"; "s3-query" presigns by it)."""
    return boto3.client(
        "s3",
        endpoint_url=node.endpoint,
        aws_access_key_id=node.credentials.access_key,
        aws_secret_access_key=secret_key or node.credentials.secret_key,
        region_name="us-east-1",
        config=Config(signature_version=signature_version, s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )


def test_boto3_works_with_version_2(old_node):
    s3 = boto(old_node)
    body = b"x" * 400_000
    s3.put_object(Bucket="old-box", Key="a b/ü+%", Body=body, ContentType="text/plain", Metadata={"who": "me"})
    found = s3.get_object(Bucket="old-box", Key="a b/ü+%", ResponseContentType="text/html; charset=utf-8", Range="bytes=0-9")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"x" * 10, "text/html; charset=utf-8", {"who": "me"})
    assert s3.head_object(Bucket="old-box", Key="a b/ü+%")["ContentLength"] == len(body)
    assert s3.get_bucket_location(Bucket="old-box")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["old-box"]
    s3.delete_object(Bucket="old-box", Key="a b/ü+%")
    with pytest.raises(ClientError) as refused:
        boto(old_node, secret_key="not-the-secret").list_buckets()
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_presigned_urls_of_version_2_work_and_bring_their_headers(old_node):
    s3 = boto(old_node, "s3-query")
    parameters = {"Bucket": "old-box", "Key": "signed/ü", "ContentType": "image/png", "Metadata": {"who": "me"}}
    url = s3.generate_presigned_url("put_object", parameters, 600)
    assert "AWSAccessKeyId=" in url
    assert requests.put(url, data=b"png", headers={"content-type": "image/png"}, timeout=30).status_code == 200
    get = s3.generate_presigned_url("get_object", {"Bucket": "old-box", "Key": "signed/ü"}, 600)
    found = requests.get(get, timeout=30)
    assert (found.content, found.headers["content-type"], found.headers["x-amz-meta-who"]) == (b"png", "image/png", "me")
    assert_refused(requests.get(get.replace("Signature=", "Signature=x"), timeout=30), 403, "SignatureDoesNotMatch")
    assert_refused(requests.get(get + "&acl", timeout=30), 403, "SignatureDoesNotMatch")
    late = s3.generate_presigned_url("get_object", {"Bucket": "old-box", "Key": "signed/ü"}, -10)
    assert assert_refused(requests.get(late, timeout=30), 403, "AccessDenied")["Message"] == "Request has expired"


def test_the_content_type_of_a_presigned_url_is_kept_when_none_is_sent(old_node):
    url = boto(old_node, "s3-query").generate_presigned_url(
        "put_object", {"Bucket": "old-box", "Key": "typed", "ContentType": "image/png"}, 600
    )
    assert requests.put(url, data=b"png", timeout=30).status_code == 200
    with old_node.client() as client:
        assert client.head("old-box", "typed").headers["content-type"] == "image/png"


def test_a_form_of_version_2_works(old_node):
    form = boto(old_node).generate_presigned_post("old-box", "form/${filename}", {"acl": "private"}, [{"acl": "private"}], 600)
    assert "AWSAccessKeyId" in form["fields"]
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("a.txt", b"by form")}, timeout=30)
    assert answer.status_code == 204, answer.content
    with old_node.client() as client:
        assert client.get("old-box", "form/a.txt").content == b"by form"


def test_where_it_is_not_allowed_it_is_refused_by_name(node, bucket):
    with pytest.raises(ClientError) as refused:
        boto(node).list_buckets()
    assert refused.value.response["Error"]["Code"] == "InvalidRequest"
    assert "AWS4-HMAC-SHA256" in refused.value.response["Error"]["Message"]
    url = boto(node, "s3-query").generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, 600)
    assert_refused(requests.get(url, timeout=30), 400, "InvalidRequest")
    form = boto(node).generate_presigned_post(bucket, "k", ExpiresIn=600)
    answer = requests.post(form["url"], data=form["fields"], files={"file": b"x"}, timeout=30)
    assert_refused(answer, 400, "InvalidRequest")


def test_the_admin_routes_take_no_version_2(old_node):
    sent = {}

    def keep(request, **_):
        sent.update(request.headers)

    s3 = boto(old_node)
    s3.meta.events.register("before-send.s3.ListBuckets", keep)
    s3.list_buckets()
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in sent.items()}
    assert requests.get(f"{old_node.endpoint}/", headers=headers, timeout=30).status_code == 200
    assert_refused(requests.get(f"{old_node.endpoint}/_admin/actors", headers=headers, timeout=30), 400, "InvalidRequest")
