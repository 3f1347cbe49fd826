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
    "header",
    [
        {"x-amz-server-side-encryption": "AES256"},
        {"x-amz-acl": "public-read"},
        {"x-amz-storage-class": "GLACIER"},
        {"x-amz-tagging": "a=b"},
        {"x-amz-object-lock-mode": "GOVERNANCE"},
        {"x-amz-object-lock-legal-hold": "ON"},
        {"x-amz-website-redirect-location": "/elsewhere"},
        {"x-amz-grant-read": "id=1"},
        {"x-amz-write-offset-bytes": "0"},
        {"x-amz-copy-source": "/box/key"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_a_header_that_cannot_be_honoured_is_refused_never_ignored(node, client, bucket, header):
    assert_refused(client.request("PUT", bucket, "key", headers=header, body=b"body"), 501, "NotImplemented")
    assert_refused(client.request("GET", bucket, "key"), 404, "NoSuchKey")
    assert node.usage(bucket) == (0, 0)


def test_another_expected_owner_is_refused(client, bucket):
    client.put(bucket, "key", b"body", {"x-amz-expected-bucket-owner": "000000000000"})
    for method in ("GET", "PUT", "DELETE"):
        answer = client.request(method, bucket, "key", headers={"x-amz-expected-bucket-owner": "111111111111"})
        assert_refused(answer, 403, "AccessDenied")
    assert client.get(bucket, "key").content == b"body"
