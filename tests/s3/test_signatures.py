"""SigV4 in the Authorization header: what is refused, with which of S3's codes, and saying which part differed."""

import time

import pytest

from fasterstore.s3 import signer
from tests.raw_connection import request_bytes
from tests.refusal import assert_refused, assert_refused_head

MINUTE = 60


@pytest.fixture
def signed(node, bucket):
    """signed(method="PUT", ...) -> (headers as signed, path, query) of a request with the body b"body"."""

    def sign(method="PUT", path=None, query="", payload="UNSIGNED-PAYLOAD", credentials=None, at=0, **headers):
        path = path or f"/{bucket}/key"
        sent = {"host": f"{node.host}:{node.port}", **headers}
        now = int(time.time()) + at
        added, _ = signer.sign_v4_headers(method, path, query, sent, payload, credentials or node.credentials, now)
        return sent | added | ({"content-length": "4"} if method == "PUT" else {})

    return sign


@pytest.fixture
def send(connect):
    """send(method, target, headers) -> the answer."""

    def exchange(method, target, headers):
        connection = connect()
        connection.send(request_bytes(method, target, headers, b"body" if "content-length" in headers else b""))
        return connection.answer()

    return exchange


def test_the_untouched_request_is_accepted(bucket, signed, send):
    assert send("PUT", f"/{bucket}/key", signed()).status == 200


def test_a_wrong_secret_is_named_as_what_differs(node, bucket, signed, send):
    wrong = node.credentials._replace(secret_key="another-secret-key")
    found = assert_refused(send("PUT", f"/{bucket}/key", signed(credentials=wrong)), 403, "SignatureDoesNotMatch")
    assert "secret key" in found["Message"]
    assert found["AWSAccessKeyId"] == node.credentials.access_key
    assert found["StringToSign"].startswith("AWS4-HMAC-SHA256\n")
    assert found["CanonicalRequest"].startswith(f"PUT\n/{bucket}/key\n")
    assert node.credentials.secret_key not in str(found)
    assert node.usage(bucket) == (0, 0)


def test_another_method_is_named_as_what_differs(bucket, signed, send):
    found = assert_refused(send("DELETE", f"/{bucket}/key", signed("GET")), 403, "SignatureDoesNotMatch")
    assert "the method: GET was signed, DELETE was sent" in found["Message"]


def test_another_host_is_named_as_what_differs(node, bucket, signed, send):
    headers = signed(host=node.host) | {"host": f"{node.host}:{node.port}"}
    found = assert_refused(send("PUT", f"/{bucket}/key", headers), 403, "SignatureDoesNotMatch")
    assert "the Host header" in found["Message"]


def test_a_dropped_query_is_named_as_what_differs(bucket, signed, send):
    found = assert_refused(send("PUT", f"/{bucket}/key?x-id=PutObject", signed()), 403, "SignatureDoesNotMatch")
    assert "the query" in found["Message"]


def test_a_dropped_header_is_named_as_what_differs(bucket, signed, send):
    headers = signed(**{"x-amz-meta-a": "1"})
    del headers["x-amz-meta-a"]
    found = assert_refused(send("PUT", f"/{bucket}/key", headers), 403, "SignatureDoesNotMatch")
    assert "x-amz-meta-a" in found["Message"]


@pytest.mark.parametrize(
    "change",
    [
        lambda headers: headers | {"x-amz-meta-a": "2"},
        lambda headers: headers | {"x-amz-content-sha256": "0" * 64},
        lambda headers: headers | {"authorization": headers["authorization"][:-1] + ("0" if headers["authorization"][-1] != "0" else "1")},
        lambda headers: headers | {"content-type": "text/html"},
    ],
    ids=["metadata", "payload-hash", "signature", "content-type"],
)
def test_one_changed_character_is_refused(node, bucket, signed, send, change):
    headers = change(signed(**{"x-amz-meta-a": "1", "content-type": "text/plain"}))
    assert_refused(send("PUT", f"/{bucket}/key", headers), 403, "SignatureDoesNotMatch")
    assert node.usage(bucket) == (0, 0)


def test_another_key_than_the_signed_one_is_refused(bucket, signed, send):
    assert_refused(send("PUT", f"/{bucket}/other", signed()), 403, "SignatureDoesNotMatch")


def test_a_header_that_was_not_signed_is_refused(node, bucket, signed, send):
    found = assert_refused(send("PUT", f"/{bucket}/key", signed() | {"x-amz-meta-a": "1"}), 403, "AccessDenied")
    assert found["HeadersNotSigned"] == "x-amz-meta-a"
    assert node.usage(bucket) == (0, 0)


def test_an_unknown_access_key_is_named(node, bucket, signed, send):
    stranger = node.credentials._replace(access_key="stranger")
    found = assert_refused(send("PUT", f"/{bucket}/key", signed(credentials=stranger)), 403, "InvalidAccessKeyId")
    assert found["AWSAccessKeyId"] == "stranger"


@pytest.mark.parametrize("at", [-16 * MINUTE, 16 * MINUTE])
def test_a_clock_that_is_more_than_15_minutes_off_is_refused(node, bucket, signed, send, at):
    found = assert_refused(send("PUT", f"/{bucket}/key", signed(at=at)), 403, "RequestTimeTooSkewed")
    assert found["MaxAllowedSkewMilliseconds"] == "900000"
    assert found["RequestTime"] and found["ServerTime"]
    assert node.usage(bucket) == (0, 0)


@pytest.mark.parametrize("at", [-14 * MINUTE, 14 * MINUTE])
def test_a_clock_that_is_less_than_15_minutes_off_is_accepted(bucket, signed, send, at):
    assert send("PUT", f"/{bucket}/key", signed(at=at)).status == 200


def test_a_retry_carries_the_same_signature_and_is_accepted(bucket, signed, send):
    headers = signed()
    assert [send("PUT", f"/{bucket}/key", headers).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        ("AWS4-HMAC-SHA256", 400, "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0", 400, "AuthorizationHeaderMalformed"),
        ("AWS key:signature", 400, "InvalidRequest"),
        ("Basic Zm9vOmJhcg==", 400, "InvalidArgument"),
        ("Bearer token", 400, "InvalidArgument"),
    ],
)
def test_another_kind_of_authorization_is_refused(node, bucket, signed, send, authorization, status, code):
    assert_refused(send("PUT", f"/{bucket}/key", signed() | {"authorization": authorization}), status, code)
    assert node.usage(bucket) == (0, 0)


def test_a_session_token_is_refused(node, bucket, signed, send):
    assert_refused(send("PUT", f"/{bucket}/key", signed(**{"x-amz-security-token": "token"})), 400, "InvalidToken")


def test_the_payload_hash_header_is_required(node, bucket, signed, send):
    headers = signed()
    del headers["x-amz-content-sha256"]
    answer = send("PUT", f"/{bucket}/key", headers)
    assert answer.status in (400, 403)
    assert node.usage(bucket) == (0, 0)


@pytest.mark.parametrize("other", ["presigned", "x-fs"])
def test_two_schemes_in_one_request_are_refused(node, bucket, signed, send, other):
    path, now = f"/{bucket}/key", int(time.time())
    host = {"host": f"{node.host}:{node.port}"}
    if other == "x-fs":
        headers, target = signed() | signer.sign_xfs("PUT", path, "", "UNSIGNED-PAYLOAD", node.credentials, now), path
    else:
        query = signer.presign_v4("PUT", path, "", host, node.credentials, now, 60)
        headers, target = signed(query=query), f"{path}?{query}"
    answer = send("PUT", target, headers)
    assert_refused(answer, 400, "InvalidRequest" if other == "x-fs" else "InvalidArgument")
    assert node.usage(bucket) == (0, 0)


def test_presigned_and_xfs_together_are_refused(node, bucket, send):
    path, now = f"/{bucket}/key", int(time.time())
    host = {"host": f"{node.host}:{node.port}"}
    query = signer.presign_v4("PUT", path, "", host, node.credentials, now, 60)
    headers = host | signer.sign_xfs("PUT", path, query, "UNSIGNED-PAYLOAD", node.credentials, now) | {"content-length": "4"}
    assert_refused(send("PUT", f"{path}?{query}", headers), 400, "InvalidRequest")
    assert node.usage(bucket) == (0, 0)


def test_any_region_is_accepted_while_none_is_set(node, bucket):
    with node.client(region="eu-central-1") as client:
        assert client.request("PUT", bucket, "key", body=b"body").status_code == 200


def test_a_set_region_refuses_every_other_and_is_named(start_node):
    node = start_node(FS_REGION="eu-central-1")
    with node.client() as client:
        client.create_bucket("box")
        assert client.head("box").headers["x-amz-bucket-region"] == "eu-central-1"
    with node.client(region="us-east-1") as client:
        found = assert_refused(client.request("PUT", "box", "key", body=b"x"), 400, "AuthorizationHeaderMalformed")
        assert found["Region"] == "eu-central-1"
        assert "expecting 'eu-central-1'" in found["Message"]
        assert_refused_head(client.request("HEAD", "box"), 400)
        presigned = client.send_presigned("GET", client.presign("GET", "box", "key"))
        assert_refused(presigned, 400, "AuthorizationQueryParametersError")
    assert node.usage("box") == (0, 0)
