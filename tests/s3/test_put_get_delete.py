"""PutObject, GetObject, HeadObject, DeleteObject: bytes, ETags, sizes around every limit of the write and read paths."""

import hashlib
import os
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.refusal import assert_refused, assert_refused_head

KIB, MIB = 1 << 10, 1 << 20
SIZES = [
    0,
    1,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    256 * KIB - 1,
    256 * KIB,
    256 * KIB + 1,
    MIB - 1,
    MIB,
    MIB + 1,
    2 * MIB + 1,
    10 * MIB,
    10 * MIB + 1,
    13 * MIB,
]
"""Message, collected, streamed; one chunk; one buffer; cacheable; several windows; above FS_SEGMENT_TARGET_SIZE_MB."""


@pytest.mark.parametrize("size_bytes", SIZES)
def test_an_object_comes_back_byte_for_byte_at_every_size(node, client, bucket, size_bytes):
    body = os.urandom(size_bytes)
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    stored = client.put(bucket, "object", body)
    assert stored.headers["etag"] == etag
    for _ in range(3):  # from the disk, from the cache, by either worker
        with node.client() as other:
            got = other.get(bucket, "object")
        assert got.content == body
        assert got.headers["content-length"] == str(size_bytes)
        assert got.headers["etag"] == etag
    head = client.head(bucket, "object")
    assert head.headers["content-length"] == str(size_bytes)
    assert head.headers["etag"] == etag
    assert not head.content
    assert node.usage(bucket) == (1, size_bytes)


def test_a_put_is_seen_by_the_next_read_of_every_worker(node, client, bucket):
    for number in range(20):
        client.put(bucket, "key", str(number).encode())
        with node.client() as other:
            assert other.get(bucket, "key").content == str(number).encode()


def test_a_second_put_replaces_the_object_whole(node, client, bucket):
    client.put(bucket, "key", b"first, with metadata", {"x-amz-meta-colour": "red", "cache-control": "no-store"})
    client.put(bucket, "key", b"second")
    got = client.get(bucket, "key")
    assert got.content == b"second"
    assert "x-amz-meta-colour" not in got.headers
    assert "cache-control" not in got.headers
    assert node.usage(bucket) == (1, len(b"second"))


def test_an_object_survives_the_others_that_share_its_bytes(client, bucket):
    body = os.urandom(100_000)
    client.put(bucket, "one", body)
    client.put(bucket, "two", body)
    client.delete(bucket, "one")
    client.put(bucket, "three", body)
    client.delete(bucket, "three")
    assert client.get(bucket, "two").content == body


def test_delete_answers_204_with_and_without_an_object(node, client, bucket):
    client.put(bucket, "key", b"body")
    for _ in range(2):
        answer = client.request("DELETE", bucket, "key")
        assert answer.status_code == 204
        assert not answer.content
        assert "content-length" not in answer.headers
    assert_refused(client.request("GET", bucket, "key"), 404, "NoSuchKey")
    assert node.usage(bucket) == (0, 0)


def test_a_missing_key_and_a_missing_bucket_are_told_apart(client, bucket):
    assert assert_refused(client.request("GET", bucket, "nope"), 404, "NoSuchKey")["Key"] == "nope"
    assert_refused_head(client.request("HEAD", bucket, "nope"), 404)
    for method in ("GET", "PUT", "DELETE"):
        assert assert_refused(client.request(method, "no-such-bucket", "key"), 404, "NoSuchBucket")["BucketName"] == "no-such-bucket"
    assert_refused_head(client.request("HEAD", "no-such-bucket", "key"), 404)


def test_last_modified_is_the_time_of_the_put(client, bucket):
    before = int(time.time())
    client.put(bucket, "key", b"body")
    after = time.time()
    modified = parsedate_to_datetime(client.get(bucket, "key").headers["last-modified"]).timestamp()
    assert before <= modified <= after


def test_every_answer_carries_a_request_id_of_its_own(client, bucket):
    answers = [
        client.put(bucket, "key", b"body"),
        client.get(bucket, "key"),
        client.head(bucket, "key"),
        client.request("GET", bucket, "nope"),
        client.request("GET"),
        client.delete(bucket, "key"),
    ]
    ids = [answer.headers["x-amz-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)


def test_a_large_object_gets_a_segment_of_its_own(node, client, bucket):
    before = set(node.data_dir.glob("segments/*.seg"))
    body = os.urandom(14 * MIB)
    client.put(bucket, "large", body)
    new = set(node.data_dir.glob("segments/*.seg")) - before
    assert [path.stat().st_size for path in new if path.stat().st_size > 14 * MIB]
    assert client.get(bucket, "large").content == body


def test_objects_of_all_sizes_survive_a_restart(start_node):
    node = start_node(FS_SEGMENT_TARGET_SIZE_MB="1")
    client = node.client()
    client.create_bucket("box")
    bodies = {f"{size}": os.urandom(size) for size in (0, 10, 70_000, 300_000, 1_500_000)}
    for key, body in bodies.items():
        client.put("box", key, body, {"x-amz-meta-size": key})
    client.put("box", "gone", b"x")
    client.delete("box", "gone")
    for stop in (node.stop, node.kill):
        stop()
        node.start()
        client = node.client()
        for key, body in bodies.items():
            got = client.get("box", key)
            assert got.content == body
            assert got.headers["x-amz-meta-size"] == key
        assert_refused(client.request("GET", "box", "gone"), 404, "NoSuchKey")
        assert node.usage("box") == (len(bodies), sum(map(len, bodies.values())))
