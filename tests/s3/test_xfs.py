"""The x-fs scheme over HTTP: what is signed, what is refused, and that its first PUT makes the bucket."""

import hashlib
import hmac
import itertools
import time

import pytest

from tests.node import ACCESS_KEY, SECRET_KEY
from tests.raw_connection import request_bytes
from tests.refusal import assert_refused

_numbers = itertools.count()


@pytest.fixture
def send(node, connect):
    """send(method, target, body, changed headers) -> answer. Signs by the issue's own formula, not by our signer."""

    def exchange(method, target, body=b"", secret=SECRET_KEY, at=0, payload=None, signed_target=None, **changed):
        path, _, query = (signed_target or target).partition("?")
        timestamp = str(int(time.time()) + at)
        digest = payload or hashlib.sha256(body).hexdigest()
        text = f"{method}\n{path}\n{query}\n{timestamp}\n{digest}"
        headers = {
            "host": f"{node.host}:{node.port}",
            "x-fs-access-key": ACCESS_KEY,
            "x-fs-timestamp": timestamp,
            "x-fs-content-sha256": digest,
            "x-fs-signature": hmac.new(secret.encode(), text.encode("latin-1"), hashlib.sha256).hexdigest(),
        }
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        if body or method == "PUT":
            headers["content-length"] = str(len(body))
        connection = connect()
        connection.send(request_bytes(method, target, {name: value for name, value in headers.items() if value}, body))
        return connection.answer(to_head=method == "HEAD")

    return exchange


@pytest.fixture
def new_bucket():
    """A name that no bucket has."""
    return f"implicit-{next(_numbers)}"


def test_the_whole_way_of_an_object(send, bucket):
    target = f"/{bucket}/a%20key/%C3%BC"
    put = send("PUT", target, b"body")
    assert (put.status, put.headers["etag"]) == (200, f'"{hashlib.md5(b"body").hexdigest()}"')
    assert send("GET", target).content == b"body"
    assert send("GET", f"{target}?response-content-type=text%2Fplain").headers["content-type"] == "text/plain"
    assert send("HEAD", target).headers["content-length"] == "4"
    assert send("GET", target, range="bytes=1-2").content == b"od"
    assert send("DELETE", target).status == 204
    assert_refused(send("GET", target), 404, "NoSuchKey")


@pytest.mark.parametrize("size_bytes", [0, 4, 100_000, 400_000])
def test_the_first_put_creates_its_bucket(node, client, send, new_bucket, size_bytes):
    assert send("PUT", f"/{new_bucket}/key", b"x" * size_bytes).status == 200
    assert client.get(new_bucket, "key").content == b"x" * size_bytes
    assert new_bucket in client.list_buckets()
    assert node.usage(new_bucket) == (1, size_bytes)


def test_nothing_but_a_put_creates_a_bucket(client, send, new_bucket):
    for method in ("GET", "DELETE"):
        assert_refused(send(method, f"/{new_bucket}/key"), 404, "NoSuchBucket")
    assert_refused(client.request("PUT", new_bucket, "key", body=b"x"), 404, "NoSuchBucket")
    assert new_bucket not in client.list_buckets()


def test_a_refused_put_creates_no_bucket(client, send, new_bucket):
    assert_refused(send("PUT", f"/{new_bucket}/key", b"body", payload="0" * 64), 400, "XAmzContentSHA256Mismatch")
    assert_refused(send("PUT", f"/{new_bucket}/key", b"body", secret="another-secret"), 403, "SignatureDoesNotMatch")
    assert_refused(send("PUT", f"/{new_bucket}/key", b"body", if_match='"abc"'), 404, "NoSuchKey")
    assert new_bucket not in client.list_buckets()


def test_a_bucket_of_a_forbidden_name_is_not_created(client, send):
    assert_refused(send("PUT", "/Not_Allowed/key", b"body"), 400, "InvalidBucketName")


def test_an_unsigned_payload_is_taken(client, send, bucket):
    assert send("PUT", f"/{bucket}/key", b"body", payload="UNSIGNED-PAYLOAD").status == 200
    assert client.get(bucket, "key").content == b"body"


@pytest.mark.parametrize("at", [-16 * 60, 16 * 60])
def test_a_clock_that_is_more_than_15_minutes_off_is_refused(send, bucket, at):
    assert_refused(send("PUT", f"/{bucket}/key", b"body", at=at), 403, "RequestTimeTooSkewed")


@pytest.mark.parametrize("at", [-14 * 60, 14 * 60])
def test_a_clock_that_is_less_than_15_minutes_off_is_accepted(send, bucket, at):
    assert send("PUT", f"/{bucket}/key", b"body", at=at).status == 200


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"x_fs_access_key": "stranger"}, 403, "InvalidAccessKeyId"),
        ({"x_fs_signature": "0" * 64}, 403, "SignatureDoesNotMatch"),
        ({"x_fs_content_sha256": "UNSIGNED-PAYLOAD"}, 403, "SignatureDoesNotMatch"),
        ({"x_fs_content_sha256": "short"}, 400, "InvalidArgument"),
        ({"x_fs_timestamp": "tomorrow"}, 400, "InvalidArgument"),
        ({"x_fs_timestamp": ""}, 400, "MissingSecurityHeader"),
        ({"x_fs_signature": ""}, 400, "MissingSecurityHeader"),
        ({"x_fs_access_key": ""}, 400, "MissingSecurityHeader"),
        ({"x_fs_content_sha256": ""}, 400, "MissingSecurityHeader"),
    ],
)
def test_a_changed_or_missing_header_is_refused(node, send, bucket, changed, status, code):
    assert_refused(send("PUT", f"/{bucket}/key", b"body", **changed), status, code)
    assert node.usage(bucket) == (0, 0)


@pytest.mark.parametrize(
    ("sent", "signed", "part"),
    [
        ("/{}/a%20b", "/{}/a b", "the path"),
        ("/{}/key?a=1", "/{}/key", "the query"),
        ("/{}/key", "/{}/other", "secret key"),
    ],
)
def test_path_and_query_are_signed_as_on_the_wire(send, bucket, sent, signed, part):
    answer = send("PUT", sent.format(bucket), b"body", signed_target=signed.format(bucket))
    assert part in assert_refused(answer, 403, "SignatureDoesNotMatch")["Message"]
