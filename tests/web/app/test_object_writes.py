"""PUT and DELETE beyond the bytes: appends, conditions of a delete, what an unsigned header may not do."""

import hashlib
import os

import pytest

from fasterstore.digests import checksum_base64


def code_of(answer) -> str:
    return answer.body.split(b"<Code>")[1].split(b"</Code>")[0].decode()


def append(store, offset, body, **headers):
    return store.send("PUT", "/box/k", body, {"x-amz-write-offset-bytes": str(offset), **headers})


def test_an_append_adds_to_the_end_and_keeps_what_the_object_is(store):
    first = append(store, 0, b"first", **{"content-type": "text/plain", "x-amz-meta-a": "1", "x-amz-tagging": "t=1"})
    assert (first.status, first.headers["x-amz-object-size"]) == (200, "5")
    assert first.headers["etag"] == f'"{hashlib.md5(b"first").hexdigest()}"'
    big = os.urandom(400_000)
    second = append(store, 5, big, **{"content-type": "ignored/for-an-append"})
    assert second.headers["x-amz-object-size"] == str(5 + len(big))
    answer = store.send("GET", "/box/k")
    assert answer.body == b"first" + big
    assert answer.headers["etag"] == second.headers["etag"] != first.headers["etag"]
    assert answer.headers["content-type"] == "text/plain"
    assert (answer.headers["x-amz-meta-a"], answer.headers["x-amz-tagging-count"]) == ("1", "1")


def test_an_append_at_another_place_changes_nothing(store):
    store.send("PUT", "/box/k", b"12345")
    for offset in (0, 4, 6):
        answer = append(store, offset, b"x")
        assert (answer.status, code_of(answer)) == (400, "InvalidWriteOffset")
    assert store.send("GET", "/box/k").body == b"12345"


def test_an_append_may_depend_on_the_etag(store):
    etag = store.send("PUT", "/box/k", b"12345").headers["etag"]
    assert append(store, 5, b"x", **{"if-match": '"other"'}).status == 412
    assert append(store, 5, b"x", **{"if-match": etag}).status == 200
    assert append(store, 6, b"x", **{"if-match": etag}).status == 412
    assert store.send("GET", "/box/k").body == b"12345x"


def test_a_wrong_digest_of_what_is_appended_appends_nothing(store):
    store.send("PUT", "/box/k", b"12345")
    assert code_of(append(store, 5, b"x", **{"x-amz-checksum-crc32": "AAAAAA=="})) == "BadDigest"
    assert store.send("GET", "/box/k").body == b"12345"


def test_appended_bytes_are_no_longer_those_of_the_checksum(store):
    store.send("PUT", "/box/k", b"123456789", {"x-amz-checksum-crc32": "y/Q5Jg=="})
    put = append(store, 9, b"x", **{"x-amz-checksum-crc32": checksum_base64("CRC32", b"x")})
    assert put.status == 200
    answer = store.send("GET", "/box/k", headers={"x-amz-checksum-mode": "ENABLED"})
    assert "x-amz-checksum-crc32" not in {**put.headers, **answer.headers}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"x-amz-if-match-size": "4"}, {"x-amz-if-match-size": "5"}),
        ({"x-amz-if-match-last-modified-time": "<now>"}, {"x-amz-if-match-last-modified-time": "Thu, 01 Jan 2015 00:00:00 GMT"}),
        ({"if-match": "*"}, {"if-match": '"other"'}),
        ({"if-match": "<etag>"}, {"if-match": "other"}),
        ({"if-match": "<etag>", "x-amz-if-match-size": "4"}, {"if-match": "<etag>", "x-amz-if-match-size": "5"}),
    ],
)
def test_a_delete_may_depend_on_what_is_there(store, right, wrong):
    etag = store.send("PUT", "/box/k", b"body").headers["etag"]
    modified = store.send("HEAD", "/box/k").headers["last-modified"]

    def filled(headers):
        return {name: {"<etag>": etag, "<now>": modified}.get(value, value) for name, value in headers.items()}

    answer = store.send("DELETE", "/box/k", headers=filled(wrong))
    assert (answer.status, code_of(answer)) == (412, "PreconditionFailed")
    assert store.send("HEAD", "/box/k").status == 200
    assert store.send("DELETE", "/box/k", headers=filled(right)).status == 204
    assert store.send("HEAD", "/box/k").status == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-if-match-size", "5"),
        ("x-amz-if-match-last-modified-time", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("if-match", "*"),
        ("if-match", '"other"'),
    ],
)
def test_what_is_not_there_is_deleted_under_any_condition(store, name, value):
    # As Ceph does; AWS says so of directory buckets (API page DeleteObject), and answers If-Match in others by 404.
    assert store.send("DELETE", "/box/k", headers={name: value}).status == 204


@pytest.mark.parametrize("name", ["x-amz-if-match-size", "x-amz-if-match-last-modified-time"])
def test_a_condition_that_cannot_be_read_deletes_nothing(store, name):
    store.send("PUT", "/box/k", b"body")
    answer = store.send("DELETE", "/box/k", headers={name: "unreadable"})
    assert (answer.status, code_of(answer)) == (400, "InvalidArgument")
    assert store.send("HEAD", "/box/k").status == 200


@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        ("PUT", "/box/new", {"x-amz-tagging": "a=1"}, b"x"),
        ("PUT", "/box/new", {"x-amz-acl": "public-read"}, b"x"),
        ("PUT", "/box/new", {"x-amz-copy-source": "/box/k"}, b""),
        ("PUT", "/box/new?renameObject", {"x-amz-rename-source": "/box/k"}, b""),
        ("PUT", "/box/k?tagging", {}, b"<Tagging><TagSet/></Tagging>"),
        ("DELETE", "/box/k?tagging", {}, b""),
    ],
)
def test_a_scheme_that_leaves_headers_unsigned_has_no_such_powers(store, method, target, headers, body):
    store.send("PUT", "/box/k", b"body", {"x-amz-tagging": "kept=1"})
    answer = store.send(method, target, body, headers, sign="xfs")
    assert (answer.status, code_of(answer)) == (403, "AccessDenied")
    assert store.send("HEAD", "/box/new").status == 404
    assert store.send("HEAD", "/box/k").headers["x-amz-tagging-count"] == "1"


def test_a_scheme_that_leaves_headers_unsigned_may_send_an_empty_tagging_header(store):
    assert store.send("PUT", "/box/k", b"body", {"x-amz-tagging": ""}, sign="xfs").status == 200


def test_the_framing_of_a_transfer_is_no_part_of_the_object(store):
    store.send("PUT", "/box/k", b"body", {"content-encoding": "aws-chunked, gzip"})
    assert store.send("HEAD", "/box/k").headers["content-encoding"] == "gzip"
    store.send("PUT", "/box/k", b"body", {"content-encoding": "aws-chunked"})
    assert "content-encoding" not in store.send("HEAD", "/box/k").headers
    store.send("PUT", "/box/k", b"body", {"content-encoding": ""})
    assert "content-encoding" not in store.send("HEAD", "/box/k").headers
