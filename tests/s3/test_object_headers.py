"""Headers of an object: what a PUT brings comes back unchanged, what cannot be honoured is refused and stores nothing."""

import pytest

from tests.refusal import assert_refused

KEPT = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "max-age=60, private",
    "Content-Disposition": 'attachment; filename="a b.txt"',
    "Content-Encoding": "x-own",  # not gzip: the client would unpack it
    "Content-Language": "de-DE",
    "Expires": "Wed, 21 Oct 2037 07:28:00 GMT",
    "x-amz-meta-colour": "red",
    "x-amz-meta-empty": "",
    "x-amz-meta-with-dashes": "a, b;  c",
}


@pytest.mark.parametrize("size_bytes", [0, 10, 100_000, 400_000], ids=["empty", "message", "collected", "streamed"])
def test_headers_and_metadata_are_kept_and_returned(client, bucket, size_bytes):
    client.put(bucket, "key", bytes(size_bytes), KEPT)
    for answer in (client.request("GET", bucket, "key"), client.head(bucket, "key")):
        assert answer.status_code == 200
        for name, value in KEPT.items():
            assert answer.headers[name] == value, name
        assert answer.headers["accept-ranges"] == "bytes"


def test_metadata_in_utf8_comes_back_byte_for_byte(client, bucket):
    sent = "Grüße 世界".encode().decode("latin-1")
    client.put(bucket, "key", b"", {"x-amz-meta-text": sent})
    assert client.get(bucket, "key").headers["x-amz-meta-text"] == sent


def test_an_object_without_a_type_has_s3s_default(client, bucket):
    client.put(bucket, "key", b"body")
    assert client.get(bucket, "key").headers["content-type"] == "binary/octet-stream"


def test_a_signed_get_may_replace_headers_of_its_answer(client, bucket):
    client.put(bucket, "key", b"body", KEPT)
    query = [("response-content-type", "image/png"), ("response-cache-control", "no-store"), ("response-content-disposition", "inline")]
    answer = client.request("GET", bucket, "key", query)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["content-language"] == "de-DE"
    assert client.head(bucket, "key").headers["content-type"] == KEPT["Content-Type"]


def test_a_range_carries_the_headers_too(client, bucket):
    client.put(bucket, "key", b"0123456789", KEPT)
    answer = client.get(bucket, "key", {"range": "bytes=2-3"})
    assert answer.headers["x-amz-meta-colour"] == "red"
    assert answer.headers["content-type"] == KEPT["Content-Type"]


def test_too_much_metadata_is_refused(node, client, bucket):
    headers = {"x-amz-meta-a": "x" * 2047}
    client.put(bucket, "just-fits", b"", headers)
    assert_refused(client.request("PUT", bucket, "too-much", headers={**headers, "x-amz-meta-b": "y"}), 400, "MetadataTooLarge")
    assert node.usage(bucket) == (1, 0)


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ({"x-amz-server-side-encryption": "AES256"}, 501, "NotImplemented"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, 400, "InvalidArgument"),
        ({"x-amz-object-lock-mode": "GOVERNANCE"}, 400, "InvalidRequest"),
        ({"x-amz-object-lock-legal-hold": "ON"}, 400, "InvalidRequest"),
        ({"x-amz-storage-class": "COLD"}, 400, "InvalidStorageClass"),
        ({"x-amz-website-redirect-location": "elsewhere"}, 400, "InvalidRedirectLocation"),
        ({"x-amz-tagging": "a=1&a=2"}, 400, "InvalidArgument"),
        ({"x-amz-acl": "public"}, 400, "InvalidArgument"),
        ({"x-amz-if-match-size": "1"}, 501, "NotImplemented"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_header_that_cannot_be_honoured_is_refused_never_ignored(node, client, bucket, header, status, code):
    assert_refused(client.request("PUT", bucket, "key", headers=header, body=b"body"), status, code)
    assert_refused(client.request("GET", bucket, "key"), 404, "NoSuchKey")
    assert node.usage(bucket) == (0, 0)


def test_headers_and_queries_that_mean_nothing_are_ignored(client, bucket):
    headers = {"x-amz-request-payer": "requester", "x-amz-unheard-of": "x", "x-own": "y", "x-amz-tagging": ""}
    answer = client.request("PUT", bucket, "key", [("x-id", "PutObject"), ("unheard", "of")], headers, b"body")
    assert answer.status_code == 200
    assert client.request("GET", bucket, "key", [("x-id", "GetObject")], {"x-amz-unheard-of": "x"}).content == b"body"


@pytest.mark.parametrize("size_bytes", [10, 400_000], ids=["message", "streamed"])
def test_class_and_redirect_are_kept_and_returned(client, bucket, size_bytes):
    sent = {"x-amz-storage-class": "DEEP_ARCHIVE", "x-amz-website-redirect-location": "https://example.org/"}
    client.put(bucket, "key", bytes(size_bytes), sent)
    for answer in (client.get(bucket, "key"), client.head(bucket, "key")):
        assert {name: answer.headers[name] for name in sent} == sent
    assert len(client.get(bucket, "key").content) == size_bytes


def test_another_expected_owner_is_refused(client, bucket):
    client.put(bucket, "key", b"body", {"x-amz-expected-bucket-owner": "000000000000"})
    for method in ("GET", "PUT", "DELETE"):
        answer = client.request(method, bucket, "key", headers={"x-amz-expected-bucket-owner": "111111111111"})
        assert_refused(answer, 403, "AccessDenied")
    assert client.get(bucket, "key").content == b"body"
