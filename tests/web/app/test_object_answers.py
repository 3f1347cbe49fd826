"""What GET and HEAD say of an object beyond its bytes: parts, overrides, checksums, tags, classes, versions."""

import os
from urllib.parse import quote

import pytest

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from tests.web.app.multipart_client import PART_BYTES, Upload


def both(store, target, headers=None, **options):
    """GET and HEAD of the same; they must agree in everything but the body."""
    get = store.send("GET", target, headers=headers, **options)
    head = store.send("HEAD", target, headers=headers, **options)
    assert (head.status, head.body) == (get.status, b"")
    if get.status < 300:
        assert {**head.headers, "x-amz-request-id": ""} == {**get.headers, "x-amz-request-id": ""}
    return get


def append(store, key, *bodies):
    """An object made of parts, one for each body."""
    offset = 0
    for body in bodies:
        answer = store.send("PUT", f"/box/{key}", body, {"x-amz-write-offset-bytes": str(offset)})
        assert answer.status == 200, answer
        offset += len(body)
    return b"".join(bodies)


def code_of(answer) -> str:
    return answer.body.split(b"<Code>")[1].split(b"</Code>")[0].decode()


def test_an_object_in_one_piece_is_its_own_first_part(store):
    store.send("PUT", "/box/k", b"0123456789")
    answer = both(store, "/box/k?partNumber=1")
    assert (answer.status, answer.body) == (206, b"0123456789")
    assert answer.headers["content-range"] == "bytes 0-9/10"
    assert answer.headers["content-length"] == "10"
    assert "x-amz-mp-parts-count" not in answer.headers
    store.send("PUT", "/box/empty", b"")
    answer = both(store, "/box/empty?partNumber=1")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_each_part_of_an_object_is_served_by_its_number(store):
    bodies = [os.urandom(10), os.urandom(70_000), b"x"]
    whole = append(store, "k", *bodies)
    first = 0
    for number, body in enumerate(bodies, 1):
        answer = both(store, f"/box/k?partNumber={number}")
        assert (answer.status, answer.body) == (206, body)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(body) - 1}/{len(whole)}"
        assert answer.headers["x-amz-mp-parts-count"] == "3"
        first += len(body)
    assert both(store, "/box/k").body == whole
    assert "x-amz-mp-parts-count" not in both(store, "/box/k").headers


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("partNumber=2", {}, 400, "InvalidPart"),
        ("partNumber=0", {}, 400, "InvalidArgument"),
        ("partNumber=10001", {}, 400, "InvalidArgument"),
        ("partNumber=one", {}, 400, "InvalidArgument"),
        ("partNumber=", {}, 400, "InvalidArgument"),
        ("partNumber=1", {"range": "bytes=0-1"}, 400, "InvalidRequest"),
        ("versionId=1", {}, 400, "InvalidArgument"),
        ("versionId=" + "a" * 32, {}, 404, "NoSuchVersion"),
        ("", {"x-amz-server-side-encryption-customer-algorithm": "AES256"}, 400, "InvalidRequest"),
    ],
)
def test_what_cannot_be_served_is_refused(store, query, headers, status, code):
    store.send("PUT", "/box/k", b"0123456789")
    assert store.send("HEAD", f"/box/k?{query}", headers=headers).status == status
    answer = store.send("GET", f"/box/k?{query}", headers=headers)
    assert (answer.status, code_of(answer)) == (status, code)


def test_the_current_object_is_the_version_null(store):
    store.send("PUT", "/box/k", b"body")
    assert both(store, "/box/k?versionId=null").body == b"body"
    assert code_of(store.send("DELETE", "/box/k?versionId=" + "a" * 32)) == "NoSuchVersion"
    assert store.send("DELETE", "/box/k?versionId=null").status == 204
    assert code_of(store.send("GET", "/box/k?versionId=null")) == "NoSuchKey"


def test_a_range_of_an_object_made_of_parts_crosses_them(store):
    whole = append(store, "k", b"0123456789" * 10, os.urandom(300_000), b"abcdefghij")
    size = len(whole)
    for header, first, end in (("bytes=95-104", 95, 105), ("bytes=-15", size - 15, size), ("bytes=5-", 5, size), ("bytes=0-0", 0, 1)):
        answer = both(store, "/box/k", {"range": header})
        assert (answer.status, answer.body) == (206, whole[first:end])
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{size}"
    assert store.send("GET", "/box/k", headers={"range": f"bytes={size}-"}).status == 416


def test_conditions_hold_for_parts_too(store):
    append(store, "k", b"one", b"two")
    etag = both(store, "/box/k").headers["etag"]
    assert store.send("GET", "/box/k?partNumber=1", headers={"if-none-match": etag}).status == 304
    assert store.send("GET", "/box/k?partNumber=9", headers={"if-match": '"other"'}).status == 412


OVERRIDES = {
    "response-content-type": "text/x-own",
    "response-content-language": "de",
    "response-expires": "Thu, 01 Dec 2044 16:00:00 GMT",
    "response-cache-control": "no-store",
    "response-content-disposition": 'attachment; filename="a b"',
    "response-content-encoding": "x-own",
}


def test_a_signed_request_may_replace_headers_of_the_answer(store):
    store.send("PUT", "/box/k", b"body", {"content-type": "a/b", "cache-control": "private"})
    query = "&".join(f"{name}={quote(value)}" for name, value in OVERRIDES.items())
    answer = both(store, f"/box/k?{query}")
    assert {f"response-{name}": value for name, value in answer.headers.items() if f"response-{name}" in OVERRIDES} == OVERRIDES
    assert both(store, "/box/k").headers["content-type"] == "a/b"


def test_an_anonymous_request_may_not(store):
    assert store.send("PUT", "/box/k", b"body", {"x-amz-acl": "public-read"}).status == 200
    assert store.send("GET", "/box/k", sign="").body == b"body"
    for name in OVERRIDES:
        answer = store.send("GET", f"/box/k?{name}=x", sign="")
        assert (answer.status, code_of(answer)) == (400, "InvalidRequest")


@pytest.mark.parametrize("size", [0, 9, 70_000, 400_000])
@pytest.mark.parametrize("name", CHECKSUM_ALGORITHMS)
def test_a_stored_checksum_is_told_when_asked_for(store, name, size):
    body, header = os.urandom(size), CHECKSUM_ALGORITHMS[name].header
    value = checksum_base64(name, body)
    put = store.send("PUT", "/box/k", body, {header: value})
    assert (put.headers[header], put.headers["x-amz-checksum-type"]) == (value, "FULL_OBJECT")
    assert header not in both(store, "/box/k").headers
    asked = {"x-amz-checksum-mode": "ENABLED"}
    answer = both(store, "/box/k", asked)
    assert (answer.headers[header], answer.headers["x-amz-checksum-type"]) == (value, "FULL_OBJECT")
    if size:
        assert header not in both(store, "/box/k", {**asked, "range": "bytes=0-0"}).headers
        assert both(store, "/box/k?partNumber=1", asked).headers[header] == value


@pytest.mark.parametrize(("name", "kind"), [("SHA256", "COMPOSITE"), ("CRC32", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT")])
def test_a_part_tells_its_own_checksum_and_its_objects_type(store, name, kind):
    asked, header = {"x-amz-checksum-mode": "ENABLED"}, CHECKSUM_ALGORITHMS[name].header
    upload = Upload(store, headers={"x-amz-checksum-algorithm": name, "x-amz-checksum-type": kind})
    bodies = [os.urandom(PART_BYTES), b"the end"]
    for number, body in enumerate(bodies, 1):
        assert upload.put(number, body, {header: checksum_base64(name, body)}).status == 200
    assert upload.complete().status == 200
    whole = both(store, "/box/k", asked)
    assert whole.body == b"".join(bodies)
    assert whole.headers["x-amz-checksum-type"] == kind
    assert whole.headers[header].endswith("-2") == (kind == "COMPOSITE")
    for number, body in enumerate(bodies, 1):
        answer = both(store, f"/box/k?partNumber={number}", asked)
        assert (answer.body, answer.headers["x-amz-mp-parts-count"]) == (body, "2")
        assert (answer.headers[header], answer.headers["x-amz-checksum-type"]) == (checksum_base64(name, body), kind)
        assert header not in both(store, f"/box/k?partNumber={number}").headers


def test_an_object_without_checksums_tells_none(store):
    put = store.send("PUT", "/box/k", b"body")
    answer = both(store, "/box/k", {"x-amz-checksum-mode": "ENABLED"})
    assert not [name for name in (*put.headers, *answer.headers) if name.startswith("x-amz-checksum")]


def test_class_redirect_and_count_of_tags_are_told(store):
    sent = {"x-amz-storage-class": "GLACIER", "x-amz-website-redirect-location": "/other", "x-amz-tagging": "a=1&b=2"}
    store.send("PUT", "/box/k", b"body", sent)
    answer = both(store, "/box/k")
    assert answer.body == b"body"
    assert answer.headers["x-amz-storage-class"] == "GLACIER"
    assert answer.headers["x-amz-website-redirect-location"] == "/other"
    assert answer.headers["x-amz-tagging-count"] == "2"
    store.send("PUT", "/box/k", b"body", {"x-amz-storage-class": "STANDARD"})
    answer = both(store, "/box/k")
    assert not {"x-amz-storage-class", "x-amz-website-redirect-location", "x-amz-tagging-count"} & set(answer.headers)


def test_headers_and_queries_that_mean_nothing_are_ignored(store):
    assert store.send("PUT", "/box/k?x-id=PutObject&unheard=of", b"body", {"x-amz-unheard-of": "x", "x-own": "y"}).status == 200
    assert both(store, "/box/k?x-id=GetObject&unheard", {"x-amz-unheard-of": "x"}).body == b"body"
