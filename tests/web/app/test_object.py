"""PutObject, GetObject, HeadObject, DeleteObject against the real engine."""

import hashlib
import os

import pytest

from actors.runtime import sleep

KEYS = ["k", "a/../b", "//", "a%2Fb", "line%0Abreak", "%F0%9F%98%80", "..", "a+b%20c", "k" * 1024]


class Unread:
    """A body that must not be read: what is refused early must not cost the client its upload."""

    def read(self, size=-1):
        raise AssertionError("the body was read")


@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_any_key_goes_in_and_comes_out(store, key, stock):
    body = key.encode()
    assert store.send("PUT", f"/box/{key}", body, stock=stock).status == 200
    answer = store.send("GET", f"/box/{key}", stock=stock)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 262144, 262145, 1048576, 3 * 1048576 + 5])
@pytest.mark.parametrize("stock", [False, True])
def test_bodies_of_every_way_of_storing_come_back(store, size, stock):
    body = os.urandom(size)
    payload = hashlib.sha256(body).hexdigest()
    put = store.send("PUT", "/box/k", body, payload=payload, stock=stock)
    assert put.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    answer = store.send("GET", "/box/k", stock=stock)
    assert answer.body == body
    assert answer.headers["content-length"] == str(size)
    head = store.send("HEAD", "/box/k", stock=stock)
    for name in ("x-amz-request-id",):
        del answer.headers[name], head.headers[name]
    assert (head.status, head.headers, head.body) == (200, answer.headers, b"")


def test_metadata_comes_back_as_it_was_sent(store):
    sent = {
        "content-type": "text/x-test; charset=utf-8",
        "cache-control": "max-age=5",
        "content-disposition": "attachment",
        "content-encoding": "gzip",
        "content-language": "de",
        "expires": "Thu, 01 Dec 2044 16:00:00 GMT",
        "x-amz-meta-color": "gr\u00fcn".encode().decode("latin-1"),
    }
    store.send("PUT", "/box/k", b"x", sent)
    answered = store.send("HEAD", "/box/k").headers
    assert {name: answered[name] for name in sent} == sent


@pytest.mark.parametrize("size", [1000, 300_000, 3 * 1048576])
def test_one_range_is_served(store, size):
    body = os.urandom(size)
    store.send("PUT", "/box/k", body)
    for header, first, end in (("bytes=0-0", 0, 1), ("bytes=-7", size - 7, size), ("bytes=500-", 500, size), ("bytes=9-99999999", 9, size)):
        answer = store.send("GET", "/box/k", headers={"range": header})
        assert (answer.status, answer.body) == (206, body[first:end])
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{size}"
        assert answer.headers["content-length"] == str(end - first)
    refused = store.send("GET", "/box/k", headers={"range": f"bytes={size}-"})
    assert (refused.status, refused.headers["content-range"]) == (416, f"bytes */{size}")
    assert store.send("GET", "/box/k", headers={"range": "bytes=0-1,5-6"}).status == 200
    assert store.send("GET", "/box/k", headers={"range": "bytes=0-1", "if-range": '"other"'}).status == 200


def test_reads_honour_conditions(store):
    etag = store.send("PUT", "/box/k", b"x").headers["etag"]
    modified = store.send("HEAD", "/box/k").headers["last-modified"]
    for headers, status in (
        ({"if-match": etag}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-none-match": etag}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-modified-since": modified}, 304),
        ({"if-unmodified-since": modified}, 200),
        ({"if-unmodified-since": "Thu, 01 Jan 2015 00:00:00 GMT"}, 412),
    ):
        for method in ("GET", "HEAD"):
            answer = store.send(method, "/box/k", headers=headers)
            assert answer.status == status, headers
            if status == 304:
                assert answer.body == b""
                assert answer.headers["etag"] == etag
                assert "content-length" not in answer.headers


def test_writes_honour_conditions(store):
    assert store.send("PUT", "/box/k", b"1", {"if-match": '"x"'}).status == 404
    etag = store.send("PUT", "/box/k", b"1", {"if-none-match": "*"}).headers["etag"]
    assert store.send("PUT", "/box/k", b"2", {"if-none-match": "*"}).status == 412
    assert store.send("PUT", "/box/k", b"2", {"if-match": '"other"'}).status == 412
    assert store.send("GET", "/box/k").body == b"1"
    assert store.send("PUT", "/box/k", b"2", {"if-match": etag}).status == 200
    assert store.send("GET", "/box/k").body == b"2"


def test_delete_removes_the_key_and_is_content_with_none(store):
    store.send("PUT", "/box/k", b"x")
    assert store.send("DELETE", "/box/k")[::2] == (204, b"")
    answer = store.send("GET", "/box/k")
    assert answer.status == 404
    assert b"<Code>NoSuchKey</Code>" in answer.body
    assert b"<Key>k</Key>" in answer.body
    assert store.send("DELETE", "/box/k").status == 204
    assert b"NoSuchBucket" in store.send("DELETE", "/nothing/k").body


def test_a_bucket_that_is_not_there_is_made_only_by_an_xfs_put(store):
    assert store.send("PUT", "/fresh/k", b"x").status == 404
    assert store.send("GET", "/fresh/k", sign="xfs").status == 404
    assert store.send("PUT", "/fresh/k", b"x", sign="xfs").status == 200
    assert store.send("GET", "/fresh/k").body == b"x"
    assert b"InvalidBucketName" in store.send("PUT", "/No_Bucket/k", b"x", sign="xfs").body
    assert b"InvalidBucketName" in store.send("PUT", "/metrics/k", b"x", sign="xfs").body


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        ("/nothing/k", {}, 404, "NoSuchBucket"),
        ("/No_Bucket/k", {}, 400, "InvalidBucketName"),
        ("/box/" + "k" * 1025, {}, 400, "KeyTooLongError"),
        ("/box/k", {"content-length": "(none)"}, 411, "MissingContentLength"),
        ("/box/k", {"content-length": "134217729"}, 400, "EntityTooLarge"),
        ("/box/k", {"content-md5": "no digest"}, 400, "InvalidDigest"),
        ("/box/k", {"x-amz-server-side-encryption": "AES256"}, 501, "NotImplemented"),
        ("/box/k", {"x-amz-object-lock-mode": "COMPLIANCE"}, 400, "InvalidRequest"),
        ("/box/k", {"x-amz-acl": "public"}, 400, "InvalidArgument"),
        ("/box/k", {"x-amz-storage-class": "COLD"}, 400, "InvalidStorageClass"),
        ("/box/k", {"x-amz-tagging": "a=1&a=2"}, 400, "InvalidArgument"),
        ("/box/k", {"x-amz-website-redirect-location": "elsewhere"}, 400, "InvalidRedirectLocation"),
        ("/box/k", {"x-amz-write-offset-bytes": "3"}, 400, "InvalidWriteOffset"),
        ("/box/k", {"x-amz-write-offset-bytes": "-1"}, 400, "InvalidArgument"),
        ("/box/new", {"x-amz-write-offset-bytes": "3"}, 404, "NoSuchKey"),
        ("/box/k", {"x-amz-meta-a": "v" * 2048}, 400, "MetadataTooLarge"),
        ("/box/k", {"x-amz-expected-bucket-owner": "111111111111"}, 403, "AccessDenied"),
        ("/box/k", {"if-match": '"other"'}, 412, "PreconditionFailed"),
        ("/box/k", {"if-none-match": "*"}, 412, "PreconditionFailed"),
        ("/box/k?versionId=1", {}, 400, "InvalidArgument"),
        ("/box/k?versionId=", {}, 400, "InvalidArgument"),
        (f"/box/k?versionId={'v' * 32}", {}, 404, "NoSuchVersion"),
        ("/box/%FF", {}, 400, "InvalidURI"),
    ],
)
def test_what_can_be_refused_early_is_refused_before_the_body_is_read(store, target, headers, status, code):
    store.send("PUT", "/box/k", b"was here")
    answer = store.send("PUT", target, headers={"content-length": "5", **headers}, source=Unread())
    assert (answer.status, f"<Code>{code}</Code>".encode() in answer.body) == (status, True), answer
    assert store.send("GET", "/box/k").body == b"was here"


def test_writes_are_refused_early_while_read_only_and_all_while_disconnected(store):
    store.send("PUT", "/box/k", b"kept")
    store.worker.read_only = "a failed fsync"
    for method, target in (("PUT", "/box/k"), ("DELETE", "/box/k"), ("PUT", "/other"), ("DELETE", "/box")):
        assert store.send(method, target, headers={"content-length": "0"}, source=Unread() if method == "PUT" else None).status == 503
    assert store.send("GET", "/box/k").body == b"kept"
    store.worker.read_only = ""
    index, store.worker.index = store.worker.index, None
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = store.send(method, "/box/k")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    store.worker.index = index


@pytest.mark.parametrize("size", [10, 100_000, 2 * 1048576])
def test_a_body_that_is_not_what_the_client_says_is_not_stored(store, size):
    store.send("PUT", "/box/k", b"before")
    body = os.urandom(size)
    for headers, payload, code in (
        ({}, hashlib.sha256(b"other").hexdigest(), b"XAmzContentSHA256Mismatch"),
        ({"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "UNSIGNED-PAYLOAD", b"BadDigest"),
        ({"x-amz-checksum-crc32c": "AAAAAA=="}, "UNSIGNED-PAYLOAD", b"BadDigest"),
        ({"content-length": str(size + 1)}, "UNSIGNED-PAYLOAD", b"IncompleteBody"),
    ):
        answer = store.send("PUT", "/box/k", body, headers, payload=payload)
        assert answer.status == 400
        assert code in answer.body
    assert store.send("GET", "/box/k").body == b"before"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_body_that_was_signed_must_be_sent_also_where_it_means_nothing(store, method):
    store.send("PUT", "/box/k", b"x")
    signed = hashlib.sha256(b"{}").hexdigest()
    assert store.send(method, "/box/k", payload=signed).status == 400
    assert store.send(method, "/box/k", b"[]", payload=signed).status == 400
    assert store.send("HEAD", "/box/k").status == 200
    assert store.send(method, "/box/k", b"{}", payload=signed).status in (200, 204)


class OutdatedIndex:
    """A view whose first answers name the place a record was moved away from."""

    def __init__(self, index, outdated, times):
        self._index, self._outdated, self._times = index, outdated, times

    def locate(self, bucket, key):
        found = self._index.locate(bucket, key)
        if not self._times:
            return found
        self._times -= 1
        return self._outdated(found)

    def close(self):
        self._index.close()


def gone(found):
    return found._replace(blob=found.blob._replace(location=found.blob.location._replace(segment_id=999)))


def renamed(found):
    return found._replace(file_uuid=b"another file uid")


def overwritten(found):
    return found._replace(blob=found.blob._replace(location=found.blob.location._replace(record_id=b"another record i")))


@pytest.mark.parametrize("outdated", [gone, renamed, overwritten])
@pytest.mark.parametrize("size", [1000, 2 * 1048576])
def test_a_record_that_was_moved_is_looked_up_again_before_it_counts_as_damage(store, outdated, size):
    body = os.urandom(size)
    store.send("PUT", "/box/k", body)
    index = store.worker.index
    store.worker.index = OutdatedIndex(index, outdated, 2)
    assert store.send("GET", "/box/k").body == body
    sleep(0.01)
    store.worker.cache.clear()
    store.worker.index = OutdatedIndex(index, outdated, 3)
    assert store.send("GET", "/box/k").status == 500


def test_what_is_found_at_the_second_look_is_judged_anew(store):
    def public_a_moment_ago(found):
        return gone(found)._replace(object=found.object._replace(acl="public-read"))

    body = os.urandom(2 * 1048576)
    store.send("PUT", "/box/k", body, headers={"x-amz-acl": "public-read"})
    index = store.worker.index
    store.worker.index = OutdatedIndex(index, public_a_moment_ago, 1)
    assert store.send("GET", "/box/k", sign="").body == body
    store.worker.index = index
    assert store.send("PUT", "/box/k?acl", headers={"x-amz-acl": "private"}).status == 200
    sleep(0.01)
    store.worker.cache.clear()
    store.worker.index = OutdatedIndex(index, public_a_moment_ago, 1)
    assert store.send("GET", "/box/k", sign="").status == 403


def test_an_error_to_head_has_no_body(store):
    answer = store.send("HEAD", "/box/missing")
    assert (answer.status, answer.body) == (404, b"")


def test_headers_that_a_presigned_url_carries_count_as_sent(store):
    from fasterstore.s3.signer import presign_v4

    now = store.now_ms() // 1000
    query = presign_v4("PUT", "/box/k", "x-amz-meta-a=b", {"host": "localhost"}, store.credentials, now, 60)
    assert store.send("PUT", f"/box/k?{query}", b"x", sign="").status == 200
    assert store.send("HEAD", "/box/k").headers["x-amz-meta-a"] == "b"
    query = presign_v4("PUT", "/box/k", "x-amz-tagging=a%3Db", {"host": "localhost"}, store.credentials, now, 60)
    assert store.send("PUT", f"/box/k?{query}", b"y", sign="").status == 200
    assert store.send("HEAD", "/box/k").headers["x-amz-tagging-count"] == "1"


def test_a_damaged_record_is_refused_reported_and_repaired_by_the_next_put(store):
    for size in (1000, 100_000, 2 * 1048576):
        body = os.urandom(size)
        store.send("PUT", "/box/k", body)
        blob = store.worker.index.locate("box", b"k").blob
        path = f"{store.datadir.segments_dir}/{blob.location.segment_id:016x}.seg"
        with open(path, "r+b") as file:
            file.seek(blob.location.offset + 128 + size // 4)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 255]))
        answer = store.send("GET", "/box/k")
        assert answer.status == 500
        assert b"<Code>InternalError</Code>" in answer.body
        assert store.send("PUT", "/box/k", body).status == 200
        assert store.send("GET", "/box/k").body == body
