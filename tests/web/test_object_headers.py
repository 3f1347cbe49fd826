"""Which headers an object keeps, which it gives back, and which are refused."""

import pytest

from fasterstore.model import BlobNumber, ObjectRow
from fasterstore.s3.errors import S3Error
from web.object_headers import STORAGE_CLASSES, Description, answer_headers, checksum_headers, describe


def row(system=None, user=None, tags=None):
    return ObjectRow(BlobNumber(1), 3, "abc", 1_700_000_000_999, system or {}, user or {}, {}, 0, b"", tags=tags or {})


def test_system_and_user_metadata_are_kept_as_sent():
    system, user, tags, has_acl, has_key = describe(
        {
            "content-type": "text/plain; charset=utf-8",
            "cache-control": "no-cache",
            "content-encoding": "gzip,aws-chunked",
            "expires": "whenever",
            "x-amz-meta-Name": "v",
            "x-amz-meta-empty": "",
            "x-amz-date": "not metadata",
            "user-agent": "neither",
        }
    )
    assert system == {
        "content-type": "text/plain; charset=utf-8",
        "cache-control": "no-cache",
        "content-encoding": "gzip",
        "expires": "whenever",
    }
    assert user == {"Name": "v", "empty": ""}
    assert (tags, has_acl, has_key) == ({}, False, False)


def test_aws_chunked_alone_is_no_content_encoding():
    assert describe({"content-encoding": "aws-chunked"}).system == {}


def test_user_metadata_may_have_2_kib_of_names_and_values():
    describe({"x-amz-meta-ab": "v" * 2046})
    with pytest.raises(S3Error) as refused:
        describe({"x-amz-meta-ab": "v" * 2047})
    assert refused.value.code == "MetadataTooLarge"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-amz-server-side-encryption", "AES256", "NotImplemented"),
        ("x-amz-if-match-size", "5", "NotImplemented"),
        ("x-amz-if-match-last-modified-time", "Thu, 01 Dec 2044 16:00:00 GMT", "NotImplemented"),
        ("x-amz-object-lock-mode", "GOVERNANCE", "InvalidRequest"),
        ("x-amz-object-lock-retain-until-date", "2044-12-01T16:00:00Z", "InvalidRequest"),
        ("x-amz-object-lock-legal-hold", "OFF", "InvalidRequest"),
        ("x-amz-storage-class", "standard", "InvalidStorageClass"),
        ("x-amz-storage-class", "", "InvalidStorageClass"),
        ("x-amz-tagging", "a=1&a=2", "InvalidArgument"),
        ("x-amz-tagging", "aws:a=1", "InvalidTag"),
        ("x-amz-website-redirect-location", "elsewhere", "InvalidRedirectLocation"),
        ("x-amz-website-redirect-location", "/" + "x" * 2048, "InvalidRedirectLocation"),
        ("x-amz-website-redirect-location", "/a\x00", "InvalidArgument"),
    ],
)
def test_what_cannot_be_honoured_is_refused(name, value, code):
    with pytest.raises(S3Error) as refused:
        describe({name: value})
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-tagging", ""),
        ("x-amz-website-redirect-location", ""),
        ("x-amz-request-payer", "requester"),
        ("x-amz-mfa", "serial code"),
        ("x-amz-unheard-of", "value"),
        ("x-unheard-of", "value"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-date", "20441201T160000Z"),
    ],
)
def test_what_asks_for_nothing_is_accepted(name, value):
    assert describe({name: value}) == Description({}, {}, {}, False)


@pytest.mark.parametrize("name", sorted(STORAGE_CLASSES - {"STANDARD"}))
def test_every_storage_class_is_kept(name):
    assert describe({"x-amz-storage-class": name}).system == {"x-amz-storage-class": name}


@pytest.mark.parametrize("value", ["/page", "http://a/b", "https://a/b", "/" + "x" * 2047])
def test_a_redirect_is_kept(value):
    assert describe({"x-amz-website-redirect-location": value}).system == {"x-amz-website-redirect-location": value}


def test_tags_are_parsed():
    assert describe({"x-amz-tagging": "a=1&b"}).tags == {"a": "1", "b": ""}


@pytest.mark.parametrize("name", ["x-amz-acl", "x-amz-grant-read"])
def test_a_wish_for_an_acl_is_noticed(name):
    assert describe({name: "anything"}).has_acl


@pytest.mark.parametrize("value", ["a\rb", "a\x00", "\x1f", "a\x7fb", "a\nb"])
@pytest.mark.parametrize("name", ["content-type", "x-amz-meta-a"])
def test_control_characters_are_refused(name, value):
    with pytest.raises(S3Error) as refused:
        describe({name: value})
    assert refused.value.code == "InvalidArgument"


def test_an_answer_describes_the_object():
    headers = dict(answer_headers(row({"cache-control": "no-cache"}, {"a": "Ã¤"}), {}))
    assert headers == {
        "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
        "ETag": '"abc"',
        "Accept-Ranges": "bytes",
        "Content-Type": "binary/octet-stream",
        "Cache-Control": "no-cache",
        "x-amz-meta-a": "Ã¤",
    }


def test_an_answer_tells_the_class_the_redirect_and_how_many_tags_there_are():
    kept = row({"x-amz-storage-class": "GLACIER", "x-amz-website-redirect-location": "/x"}, tags={"a": "1", "b": "2"})
    headers = dict(answer_headers(kept, {}))
    assert headers["x-amz-storage-class"] == "GLACIER"
    assert headers["x-amz-website-redirect-location"] == "/x"
    assert headers["x-amz-tagging-count"] == "2"


def test_checksums_are_told_with_their_type():
    assert checksum_headers({}) == []
    assert checksum_headers({"CRC32C": "4waSgw=="}) == [("x-amz-checksum-crc32c", "4waSgw=="), ("x-amz-checksum-type", "FULL_OBJECT")]
    assert checksum_headers({"SHA1": "x=-7"}) == [("x-amz-checksum-sha1", "x=-7"), ("x-amz-checksum-type", "COMPOSITE")]


def test_a_query_may_override_headers_but_not_split_the_answer():
    kept = row({"content-type": "text/plain"})
    headers = dict(answer_headers(kept, {"response-content-type": "a/b", "response-content-disposition": "attachment; filename=ä"}))
    assert headers["Content-Type"] == "a/b"
    assert headers["Content-Disposition"].encode("latin-1").decode("utf-8") == "attachment; filename=ä"
    assert kept.system == {"content-type": "text/plain"}
    with pytest.raises(S3Error):
        answer_headers(kept, {"response-expires": "a\r\nSet-Cookie: b"})


@pytest.mark.parametrize("name", ["x-amz-meta-a\r\nset-cookie: x", "x-amz-meta-a b", "x-amz-meta-a:b", "x-amz-meta-\u03a9"])
def test_a_metadata_name_that_could_not_be_returned_is_refused(name):
    with pytest.raises(S3Error) as refused:
        describe({name: "v"})
    assert refused.value.code == "InvalidArgument"
