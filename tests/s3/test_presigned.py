"""Presigned URLs: good, expired, not yet valid, tampered with; and what may be added to one."""

import time

import pytest

from tests.refusal import assert_refused, assert_refused_head


def test_a_presigned_url_needs_no_other_authentication(client, bucket):
    body = b"x" * 100_000
    put = client.send_presigned("PUT", client.presign("PUT", bucket, "a key/ü"), body=body)
    assert put.status_code == 200, put.content
    url = client.presign("GET", bucket, "a key/ü")
    for _ in range(2):
        assert client.send_presigned("GET", url).content == body
    assert client.send_presigned("GET", url, {"range": "bytes=0-3"}).status_code == 206
    head = client.send_presigned("HEAD", client.presign("HEAD", bucket, "a key/ü"))
    assert head.headers["content-length"] == "100000"
    assert client.send_presigned("DELETE", client.presign("DELETE", bucket, "a key/ü")).status_code == 204
    assert_refused(client.request("GET", bucket, "a key/ü"), 404, "NoSuchKey")


def test_a_presigned_url_may_override_headers_of_its_answer(client, bucket):
    client.put(bucket, "key", b"body")
    url = client.presign("GET", bucket, "key", query=[("response-content-disposition", 'attachment; filename="ä b"')])
    disposition = client.send_presigned("GET", url).headers["content-disposition"]
    assert disposition.encode("latin-1").decode() == 'attachment; filename="ä b"'


def test_a_url_of_the_longest_life_is_accepted(node, bucket):
    with node.client(clock=lambda: time.time() - 604_700) as early:
        early.send_presigned("PUT", early.presign("PUT", bucket, "key", expires_secs=604_800), body=b"body")
        assert early.send_presigned("GET", early.presign("GET", bucket, "key", expires_secs=604_800)).content == b"body"


def test_an_expired_url_is_refused(node, bucket):
    with node.client(clock=lambda: time.time() - 100) as early:
        answer = early.send_presigned("PUT", early.presign("PUT", bucket, "key", expires_secs=60), body=b"body")
        found = assert_refused(answer, 403, "AccessDenied")
        assert found["Message"] == "Request has expired"
        assert found["X-Amz-Expires"] == "60"
        assert_refused_head(early.send_presigned("HEAD", early.presign("HEAD", bucket, "key", expires_secs=60)), 403)
    assert node.usage(bucket) == (0, 0)


def test_a_url_from_the_future_is_refused(node, bucket):
    with node.client(clock=lambda: time.time() + 3600) as early:
        assert_refused(early.send_presigned("GET", early.presign("GET", bucket, "key")), 403, "AccessDenied")


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "99999999999999"])
def test_an_impossible_life_is_refused(client, bucket, expires):
    url = client.presign("GET", bucket, "key", expires_secs=60).replace("X-Amz-Expires=60", f"X-Amz-Expires={expires}")
    assert_refused(client.send_presigned("GET", url), 403, "AccessDenied")


def test_a_life_that_is_no_number_is_refused(client, bucket):
    url = client.presign("GET", bucket, "key", expires_secs=60).replace("X-Amz-Expires=60", "X-Amz-Expires=soon")
    assert_refused(client.send_presigned("GET", url), 400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Expires=60", "X-Amz-Expires=61"),
        ("/secret-key?", "/other-key?"),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("X-Amz-SignedHeaders=host", "response-content-type=text%2Fhtml&X-Amz-SignedHeaders=host"),
        ("?X-Amz", "?versionId=null&X-Amz"),
    ],
)
def test_a_changed_url_is_refused(node, client, bucket, old, new):
    url = client.presign("GET", bucket, "secret-key", expires_secs=60)
    assert old in url
    assert_refused(client.send_presigned("GET", url.replace(old, new)), 403, "SignatureDoesNotMatch")


def test_a_url_for_one_method_opens_no_other(node, client, bucket):
    client.put(bucket, "key", b"body")
    url = client.presign("GET", bucket, "key")
    for method in ("PUT", "DELETE", "HEAD"):
        answer = client.send_presigned(method, url, body=b"x" if method == "PUT" else b"")
        assert answer.status_code == 403
    assert client.get(bucket, "key").content == b"body"


@pytest.mark.parametrize("missing", ["X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Algorithm"])
def test_a_url_without_one_of_its_parts_is_refused(client, bucket, missing):
    base, _, query = client.presign("GET", bucket, "key").partition("?")
    parts = [part for part in query.split("&") if not part.startswith(f"{missing}=")]
    answer = client.send_presigned("GET", f"{base}?{'&'.join(parts)}")
    assert_refused(answer, 400, "AuthorizationQueryParametersError")


def test_no_header_may_be_added_that_was_not_signed(node, client, bucket):
    url = client.presign("PUT", bucket, "key")
    found = assert_refused(client.send_presigned("PUT", url, {"x-amz-meta-a": "1"}, b"body"), 403, "AccessDenied")
    assert "x-amz-meta-a" in found["HeadersNotSigned"]
    assert node.usage(bucket) == (0, 0)


def test_a_signed_header_must_be_sent_as_it_was_signed(node, client, bucket):
    url = client.presign("PUT", bucket, "key", headers={"x-amz-meta-a": "1"})
    for sent in ({}, {"x-amz-meta-a": "2"}):
        assert_refused(client.send_presigned("PUT", url, sent, b"body"), 403, "SignatureDoesNotMatch")
    assert client.send_presigned("PUT", url, {"x-amz-meta-a": "1"}, b"body").status_code == 200
    assert client.get(bucket, "key").headers["x-amz-meta-a"] == "1"


@pytest.mark.parametrize("name", ["x-amz-meta-a\r\nset-cookie: x", "x-amz-meta-a b", "x-amz-meta-\u03a9"])
def test_a_metadata_name_that_no_header_may_have_stores_nothing(client, bucket, name):
    url = client.presign("PUT", bucket, "key", query=[(name, "v")])
    assert_refused(client.send_presigned("PUT", url, body=b"body"), 400, "InvalidArgument")
    assert_refused(client.request("GET", bucket, "key"), 404, "NoSuchKey")
