"""CopyObject and RenameObject against the real engine: what the new object has from its source and what from the request."""

import hashlib
import itertools
import json
import os
from urllib.parse import quote

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from fasterstore.metadata.index import IndexView
from web import object_copy

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
DESCRIBED = {
    "content-type": "text/plain",
    "cache-control": "no-cache",
    "x-amz-meta-a": "1",
    "x-amz-tagging": "t=1&u=2",
    "x-amz-storage-class": "GLACIER",
    "x-amz-website-redirect-location": "/elsewhere",
}
PAST = "Thu, 01 Jan 2015 00:00:00 GMT"
FUTURE = "Thu, 01 Jan 2099 00:00:00 GMT"


def code_of(answer) -> str:
    return answer.body.split(b"<Code>")[1].split(b"</Code>")[0].decode()


def copy(store, source, target="/box/copy", **headers):
    return store.send("PUT", target, headers={"x-amz-copy-source": source, **headers})


def rename(store, source, target="/box/new", **headers):
    return store.send("PUT", f"{target}?renameObject", headers={"x-amz-rename-source": source, **headers})


def head(store, target="/box/copy"):
    return store.send("HEAD", target).headers


def fields(answer) -> dict[str, str]:
    return {child.tag.removeprefix(NAMESPACE): child.text or "" for child in fromstring(answer.body)}


def tags(store, target="/box/copy") -> dict[str, str]:
    root = fromstring(store.send("GET", f"{target}?tagging").body)
    return {tag[0].text: tag[1].text or "" for tag in root[0]}


@pytest.fixture
def source(store):
    """The ETag of `/box/k`, whose headers are DESCRIBED."""
    return store.send("PUT", "/box/k", b"body", DESCRIBED).headers["etag"]


@pytest.mark.parametrize("size", [0, 10, 100_000, 2 * 1048576])
def test_a_copy_has_the_same_bytes_and_moves_none(store, size):
    body = os.urandom(size)
    store.send("PUT", "/box/k", body)
    written = store.worker.metrics.bytes_in
    answer = copy(store, "/box/k")
    assert answer.status == 200
    assert fields(answer)["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert fields(answer)["LastModified"].endswith("Z")
    assert store.send("GET", "/box/copy").body == body
    assert store.worker.metrics.bytes_in == written
    index = store.worker.index
    assert index.locate("box", b"copy").blob == index.locate("box", b"k").blob
    store.send("DELETE", "/box/k")
    assert store.send("GET", "/box/copy").body == body


def test_a_copy_of_parts_counts_one_more_reference_to_the_manifest(store):
    for offset, body in ((0, b"one"), (3, b"two")):
        store.send("PUT", "/box/k", body, {"x-amz-write-offset-bytes": str(offset)})
    assert copy(store, "box/k").status == 200
    index = store.worker.index
    row = index.locate("box", b"copy").object
    assert row.manifest == index.locate("box", b"k").object.manifest
    assert index.uploads.manifest(row.manifest).refs == 2
    store.send("PUT", "/box/k", b"three", {"x-amz-write-offset-bytes": "6"})
    assert store.send("GET", "/box/copy").body == b"onetwo"
    assert store.send("GET", "/box/k").body == b"onetwothree"


def test_metadata_and_tags_are_copied_class_and_redirect_are_not(store, source):
    assert copy(store, "box/k", **{"content-type": "ignored/here", "x-amz-meta-b": "2", "x-amz-tagging": "z=9"}).status == 200
    found = head(store)
    assert (found["content-type"], found["cache-control"], found["x-amz-meta-a"]) == ("text/plain", "no-cache", "1")
    assert not {"x-amz-meta-b", "x-amz-storage-class", "x-amz-website-redirect-location"} & set(found)
    assert tags(store) == {"t": "1", "u": "2"}
    assert found["etag"] == source


def test_metadata_may_be_replaced(store, source):
    copy(store, "box/k", **{"x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2", "content-type": "a/b"})
    found = head(store)
    assert (found["content-type"], found["x-amz-meta-b"]) == ("a/b", "2")
    assert not {"cache-control", "x-amz-meta-a"} & set(found)
    assert tags(store) == {"t": "1", "u": "2"}


@pytest.mark.parametrize(("header", "expected"), [("z=9", {"z": "9"}), ("", {}), (None, {})])
def test_tags_may_be_replaced(store, source, header, expected):
    headers = {"x-amz-tagging-directive": "REPLACE"} | ({} if header is None else {"x-amz-tagging": header})
    assert copy(store, "box/k", **headers).status == 200
    assert tags(store) == expected
    assert head(store)["x-amz-meta-a"] == "1"


def test_class_redirect_and_acl_come_with_the_request(store, source):
    asked = {"x-amz-storage-class": "STANDARD_IA", "x-amz-website-redirect-location": "/there", "x-amz-acl": "public-read"}
    assert copy(store, "box/k", **asked).status == 200
    found = head(store)
    assert (found["x-amz-storage-class"], found["x-amz-website-redirect-location"]) == ("STANDARD_IA", "/there")
    assert found["x-amz-meta-a"] == "1"
    assert store.worker.index.locate("box", b"copy").object.acl == "public-read"
    copy(store, "box/copy", "/box/second")
    assert store.worker.index.locate("box", b"second").object.acl == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-metadata-directive": "REPLACE"},
        {"x-amz-storage-class": "STANDARD"},
        {"x-amz-website-redirect-location": "/there"},
        {"x-amz-tagging-directive": "REPLACE"},
        {"x-amz-checksum-algorithm": "SHA256"},
    ],
)
def test_a_copy_onto_itself_must_change_something(store, source, headers):
    answer = copy(store, "box/k", "/box/k")
    assert (answer.status, code_of(answer)) == (400, "InvalidRequest")
    assert b"to itself without changing" in answer.body
    assert copy(store, "box/k", "/box/k", **headers).status == 200
    assert store.send("GET", "/box/k").body == b"body"


@pytest.mark.parametrize("key", ["a b", "a+b", "a%b", "grün", "a?versionId=1", "//", "../x", "\U0001f600"])
def test_every_key_can_be_copied(store, key):
    path = quote(key, safe="")
    store.send("PUT", f"/box/{path}", key.encode())
    assert copy(store, f"box/{path}").status == 200
    assert store.send("GET", "/box/copy").body == key.encode()
    assert copy(store, f"box/{path}?versionId=null").status == 200


@pytest.mark.parametrize(
    ("source_header", "status", "code"),
    [
        ("box/missing", 404, "NoSuchKey"),
        ("nowhere/k", 404, "NoSuchBucket"),
        ("box", 400, "InvalidArgument"),
        ("box/%FF", 400, "InvalidArgument"),
        ("box/k?versionId=1", 400, "InvalidArgument"),
        ("box/k?versionId=" + "a" * 32, 404, "NoSuchVersion"),
    ],
)
def test_a_source_that_is_not_there_is_refused(store, source, source_header, status, code):
    answer = copy(store, source_header)
    assert (answer.status, code_of(answer)) == (status, code)
    assert store.send("HEAD", "/box/copy").status == 404


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x-amz-metadata-directive": "MERGE"}, 400, "InvalidArgument"),
        ({"x-amz-tagging-directive": "MERGE"}, 400, "InvalidArgument"),
        ({"x-amz-checksum-algorithm": "MD4"}, 400, "InvalidRequest"),
        ({"x-amz-storage-class": "COLD"}, 400, "InvalidStorageClass"),
        ({"x-amz-acl": "public"}, 400, "InvalidArgument"),
        ({"x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "v" * 2048}, 400, "MetadataTooLarge"),
        ({"x-amz-server-side-encryption": "AES256"}, 501, "NotImplemented"),
        ({"x-amz-copy-source-server-side-encryption-customer-algorithm": "AES256"}, 400, "InvalidRequest"),
        ({"x-amz-copy-source-server-side-encryption-unheard-of": "AES256"}, 501, "NotImplemented"),
        ({"x-amz-source-expected-bucket-owner": "111111111111"}, 403, "AccessDenied"),
        ({"x-amz-copy-source-if-match": '"other"'}, 412, "PreconditionFailed"),
        ({"x-amz-copy-source-if-none-match": "<etag>"}, 412, "PreconditionFailed"),
        ({"x-amz-copy-source-if-unmodified-since": PAST}, 412, "PreconditionFailed"),
        ({"x-amz-copy-source-if-modified-since": FUTURE}, 412, "PreconditionFailed"),
        ({"if-match": '"other"'}, 404, "NoSuchKey"),
    ],
)
def test_what_cannot_be_done_is_refused_and_copies_nothing(store, source, headers, status, code):
    answer = copy(store, "box/k", **{name: source if value == "<etag>" else value for name, value in headers.items()})
    assert (answer.status, code_of(answer)) == (status, code)
    assert store.send("HEAD", "/box/copy").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-copy-source-if-match": "<etag>"},
        {"x-amz-copy-source-if-none-match": '"other"'},
        {"x-amz-copy-source-if-unmodified-since": FUTURE},
        {"x-amz-copy-source-if-modified-since": PAST},
        {"x-amz-copy-source-if-match": "<etag>", "x-amz-copy-source-if-unmodified-since": PAST},
        {"if-none-match": "*"},
    ],
)
def test_conditions_that_hold_let_it_pass(store, source, headers):
    answer = copy(store, "box/k", **{name: source if value == "<etag>" else value for name, value in headers.items()})
    assert answer.status == 200


def test_the_target_may_be_protected(store, source):
    etag = store.send("PUT", "/box/copy", b"old").headers["etag"]
    assert code_of(copy(store, "box/k", **{"if-none-match": "*"})) == "PreconditionFailed"
    assert code_of(copy(store, "box/k", **{"if-match": source})) == "PreconditionFailed"
    assert store.send("GET", "/box/copy").body == b"old"
    assert copy(store, "box/k", **{"if-match": etag}).status == 200
    assert store.send("GET", "/box/copy").body == b"body"


def test_a_bucket_that_is_not_there_is_refused(store, source):
    assert code_of(copy(store, "box/k", "/nowhere/k")) == "NoSuchBucket"


@pytest.mark.parametrize("size", [0, 10, 100_000, 2 * 1048576])
@pytest.mark.parametrize("name", CHECKSUM_ALGORITHMS)
def test_a_checksum_of_another_kind_is_computed_from_the_bytes(store, name, size):
    body = os.urandom(size)
    had = "SHA1" if name != "SHA1" else "CRC32"
    store.send("PUT", "/box/k", body, {CHECKSUM_ALGORITHMS[had].header: checksum_base64(had, body)})
    kept = copy(store, "box/k")
    assert fields(kept)[f"Checksum{had}"] == checksum_base64(had, body)
    answer = copy(store, "box/k", **{"x-amz-checksum-algorithm": name.lower()})
    assert fields(answer)[f"Checksum{name}"] == checksum_base64(name, body)
    assert fields(answer)["ChecksumType"] == "FULL_OBJECT"
    found = store.send("HEAD", "/box/copy", headers={"x-amz-checksum-mode": "ENABLED"}).headers
    assert found[CHECKSUM_ALGORITHMS[name].header] == checksum_base64(name, body)
    assert CHECKSUM_ALGORITHMS[had].header not in found


def test_a_checksum_over_parts_is_that_of_the_whole(store):
    pieces = [os.urandom(10), os.urandom(300_000), os.urandom(70_000)]
    offset = 0
    for piece in pieces:
        store.send("PUT", "/box/k", piece, {"x-amz-write-offset-bytes": str(offset)})
        offset += len(piece)
    answer = copy(store, "box/k", **{"x-amz-checksum-algorithm": "CRC32C"})
    assert fields(answer)["ChecksumCRC32C"] == checksum_base64("CRC32C", b"".join(pieces))


class ChangingIndex:
    """A view under which the source changes after each of the first looks at it."""

    def __init__(self, index: IndexView, change, times) -> None:
        self._index, self._change, self._left = index, change, times

    def locate(self, bucket, key):
        found = self._index.locate(bucket, key)
        if key == b"k" and self._left:
            self._left -= 1
            self._change()
        return found

    def __getattr__(self, name):
        return getattr(self._index, name)


@pytest.mark.parametrize(("changes", "status"), [(1, 200), (2, 200), (99, 409)])
def test_a_source_that_changes_meanwhile_is_looked_at_again(store, source, changes, status):
    index, numbers = store.worker.index, itertools.count()

    def change():
        store.worker.index = index
        store.send("PUT", "/box/k", b"body %d" % next(numbers))
        store.worker.index = changing

    store.worker.index = changing = ChangingIndex(index, change, changes)
    answer = copy(store, "box/k")
    store.worker.index = index
    assert answer.status == status
    if status == 200:
        assert store.send("GET", "/box/copy").body == store.send("GET", "/box/k").body != b"body"
    else:
        assert code_of(answer) == "OperationAborted"


def test_a_source_over_5_gib_is_refused(store, source, monkeypatch):
    monkeypatch.setattr(object_copy, "SOURCE_MAX_BYTES", 3)
    answer = copy(store, "box/k")
    assert (answer.status, code_of(answer)) == (400, "InvalidRequest")
    assert b"maximum allowable size for a copy source: 3" in answer.body


@pytest.mark.parametrize("named", ["/box/k", "box/k", "/k", "k", "%6B"])
def test_a_rename_takes_all_with_it(store, source, named):
    before = store.send("HEAD", "/box/k").headers
    assert rename(store, named).status == 200
    assert store.send("HEAD", "/box/k").status == 404
    after = store.send("HEAD", "/box/new").headers
    assert {**after, "x-amz-request-id": ""} == {**before, "x-amz-request-id": ""}
    assert tags(store, "/box/new") == {"t": "1", "u": "2"}
    assert store.send("GET", "/box/new").body == b"body"


@pytest.mark.parametrize(
    ("source_header", "status", "code"),
    [
        ("box/missing", 404, "NoSuchKey"),
        ("nowhere/k", 404, "NoSuchKey"),
        ("box/k?versionId=null", 404, "NoSuchKey"),
        ("/", 400, "InvalidArgument"),
        ("(none)", 400, "InvalidRequest"),
    ],
)
def test_a_rename_of_anything_else_is_refused(store, source, source_header, status, code):
    answer = rename(store, source_header)
    assert (answer.status, code_of(answer)) == (status, code)
    assert store.send("HEAD", "/box/k").status == 200


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"x-amz-rename-source-if-match": "<source>"}, False),
        ({"x-amz-rename-source-if-match": "<target>"}, True),
        ({"x-amz-rename-source-if-none-match": "*"}, True),
        ({"x-amz-rename-source-if-unmodified-since": FUTURE}, False),
        ({"x-amz-rename-source-if-unmodified-since": PAST}, True),
        ({"x-amz-rename-source-if-modified-since": PAST}, False),
        ({"x-amz-rename-source-if-modified-since": FUTURE}, True),
        ({"if-match": "<target>"}, False),
        ({"if-match": "<source>"}, True),
        ({"if-none-match": "*"}, True),
        ({"if-unmodified-since": FUTURE}, False),
        ({"if-unmodified-since": PAST}, True),
        ({"if-modified-since": PAST}, False),
        ({"if-modified-since": FUTURE}, True),
    ],
)
def test_a_rename_may_depend_on_both_names(store, source, headers, refused):
    target = store.send("PUT", "/box/new", b"old").headers["etag"]
    answer = rename(store, "box/k", **{name: {"<source>": source, "<target>": target}.get(text, text) for name, text in headers.items()})
    if refused:
        assert (answer.status, code_of(answer)) == (412, "PreconditionFailed")
        assert store.send("GET", "/box/k").body == b"body"
        assert store.send("GET", "/box/new").body == b"old"
    else:
        assert answer.status == 200
        assert store.send("GET", "/box/new").body == b"body"


@pytest.mark.parametrize(("changes", "status"), [(1, 200), (99, 409)])
def test_a_date_is_judged_on_the_object_that_is_renamed(store, source, changes, status):
    index, numbers = store.worker.index, itertools.count()

    def change():
        store.worker.index = index
        store.send("PUT", "/box/k", b"body %d" % next(numbers))
        store.worker.index = changing

    store.worker.index = changing = ChangingIndex(index, change, changes)
    answer = rename(store, "box/k", **{"x-amz-rename-source-if-unmodified-since": FUTURE})
    store.worker.index = index
    assert answer.status == status
    assert store.send("HEAD", "/box/new").status == (200 if status == 200 else 404)


class ChangedAfterTheFirstLook:
    """The index as a worker reads it; something happens after a key was looked up for the first time."""

    def __init__(self, index, key, happens):
        self._index, self._key, self._happens = index, key, happens

    def locate(self, bucket, key):
        found = self._index.locate(bucket, key)
        if key == self._key:
            happens, self._happens = self._happens, lambda: None
            happens()
        return found

    def __getattr__(self, name):
        return getattr(self._index, name)


def test_what_is_copied_is_what_was_judged(store):
    allow = {"Effect": "Allow", "Principal": "*", "Resource": "arn:aws:s3:::box/*"}
    shown = {"StringEquals": {"s3:ExistingObjectTag/shown": "yes"}}
    statements = [{**allow, "Action": "s3:PutObject"}, {**allow, "Action": "s3:GetObject", "Condition": shown}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
    assert store.send("PUT", "/box?policy", policy).status == 204
    store.send("PUT", "/box/source", b"for everybody", {"x-amz-tagging": "shown=yes"})
    index = store.worker.index
    secret = lambda: store.send("PUT", "/box/source", b"secret", {"x-amz-tagging": "shown=no"})  # noqa: E731
    store.worker.index = ChangedAfterTheFirstLook(index, b"source", secret)
    copied = store.send("PUT", "/box/target", headers={"x-amz-copy-source": "/box/source"}, sign="none")
    store.worker.index = index
    assert store.send("GET", "/box/source").body == b"secret"
    assert store.send("GET", "/box/target").body != b"secret", copied
