"""CopyObject and RenameObject over HTTP, by clients of different workers, and over a restart."""

import os

import pytest
from defusedxml.ElementTree import fromstring

from tests.refusal import assert_refused

SIZES = {"empty": 0, "message": 10, "collected": 100_000, "streamed": 2_500_000}


def copy(client, source, bucket, key, **headers):
    return client.request("PUT", bucket, key, headers={"x-amz-copy-source": source, **headers})


def rename(client, source, bucket, key, **headers):
    return client.request("PUT", bucket, key, [("renameObject", "")], {"x-amz-rename-source": source, **headers})


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_is_there_for_every_worker_and_outlives_its_source(node, client, bucket, size):
    body = os.urandom(SIZES[size])
    etag = client.put(bucket, "source", body, {"x-amz-meta-a": "1", "content-type": "text/plain"}).headers["etag"]
    answer = copy(client, f"{bucket}/source", bucket, "copy")
    assert answer.status_code == 200
    found = {child.tag.rpartition("}")[2]: child.text for child in fromstring(answer.content)}
    assert found["ETag"] == etag
    client.delete(bucket, "source")
    for _ in range(4):
        with node.client() as other:
            read = other.get(bucket, "copy")
            assert read.content == body
            assert (read.headers["x-amz-meta-a"], read.headers["content-type"], read.headers["etag"]) == ("1", "text/plain", etag)
    assert node.usage(bucket) == (1, len(body))


def test_a_copy_to_another_bucket_with_new_metadata(client, bucket):
    client.create_bucket(f"{bucket}-b")
    client.put(bucket, "a b+c/ü", b"body", {"x-amz-meta-a": "1"})
    headers = {"x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2"}
    assert copy(client, f"/{bucket}/a%20b%2Bc/%C3%BC", f"{bucket}-b", "copy", **headers).status_code == 200
    read = client.get(f"{bucket}-b", "copy")
    assert (read.content, read.headers["x-amz-meta-b"]) == (b"body", "2")
    assert "x-amz-meta-a" not in read.headers


def test_a_copy_that_is_refused_changes_nothing(node, client, bucket):
    etag = client.put(bucket, "source", b"body").headers["etag"]
    client.put(bucket, "target", b"old")
    assert_refused(copy(client, f"{bucket}/source", bucket, "source"), 400, "InvalidRequest")
    assert_refused(copy(client, f"{bucket}/missing", bucket, "target"), 404, "NoSuchKey")
    assert_refused(copy(client, "no-such-bucket/key", bucket, "target"), 404, "NoSuchBucket")
    refused = copy(client, f"{bucket}/source", bucket, "target", **{"x-amz-copy-source-if-none-match": etag})
    assert_refused(refused, 412, "PreconditionFailed")
    assert_refused(copy(client, f"{bucket}/source", bucket, "target", **{"if-none-match": "*"}), 412, "PreconditionFailed")
    with node.client("x-fs") as unsigned:
        assert_refused(copy(unsigned, f"{bucket}/source", bucket, "target"), 403, "AccessDenied")
    assert client.get(bucket, "target").content == b"old"


def test_a_signed_body_of_a_copy_is_verified(client, bucket):
    client.put(bucket, "source", b"body")
    answer = client.request("PUT", bucket, "copy", headers={"x-amz-copy-source": f"{bucket}/source"}, payload_hash="0" * 64)
    assert_refused(answer, 400, "XAmzContentSHA256Mismatch")
    assert_refused(client.request("GET", bucket, "copy"), 404, "NoSuchKey")


def test_a_rename_is_one_step(node, client, bucket):
    body = os.urandom(300_000)
    etag = client.put(bucket, "old", body, {"x-amz-tagging": "a=1"}).headers["etag"]
    client.put(bucket, "there", b"x")
    assert_refused(rename(client, f"{bucket}/old", bucket, "there", **{"if-none-match": "*"}), 412, "PreconditionFailed")
    assert rename(client, f"{bucket}/old", bucket, "new", **{"x-amz-rename-source-if-match": etag}).status_code == 200
    assert_refused(client.request("GET", bucket, "old"), 404, "NoSuchKey")
    read = client.get(bucket, "new")
    assert (read.content, read.headers["etag"], read.headers["x-amz-tagging-count"]) == (body, etag, "1")
    assert_refused(rename(client, "other-bucket/new", bucket, "newer"), 404, "NoSuchKey")
    assert_refused(rename(client, f"{bucket}/old", bucket, "newer"), 404, "NoSuchKey")
    assert node.usage(bucket) == (2, len(body) + 1)


@pytest.mark.slow
def test_copies_appends_renames_and_tags_are_there_after_a_restart(start_node):
    running = start_node()
    client = running.client()
    client.create_bucket("box")
    body = os.urandom(400_000)
    client.put("box", "source", body, {"x-amz-tagging": "a=1", "x-amz-storage-class": "GLACIER"})
    assert client.request("PUT", "box", "source", headers={"x-amz-write-offset-bytes": str(len(body))}, body=b"end").status_code == 200
    assert copy(client, "box/source", "box", "copy").status_code == 200
    assert rename(client, "box/source", "box", "renamed").status_code == 200
    before = [dict(client.head("box", key).headers) for key in ("copy", "renamed")]
    running.kill()
    running.start()
    client = running.client()
    for key, headers in zip(("copy", "renamed"), before, strict=True):
        read = client.get("box", key)
        assert read.content == body + b"end"
        for name in ("etag", "last-modified", "x-amz-tagging-count", "x-amz-storage-class", "content-length"):
            assert {key.lower(): value for key, value in headers.items()}.get(name) == read.headers.get(name), name
    assert_refused(client.request("GET", "box", "source"), 404, "NoSuchKey")
    assert running.usage("box") == (2, 2 * (len(body) + 3))
