"""Which headers an object keeps, which it gives back, and which are refused."""

import pytest

from fasterstore.model import BlobNumber, ObjectRow
from fasterstore.s3.errors import S3Error
from web.object_headers import answer_headers, metadata_of


def row(system=None, user=None):
    return ObjectRow(BlobNumber(1), 3, "abc", 1_700_000_000_999, system or {}, user or {}, {}, 0, b"")


def test_system_and_user_metadata_are_kept_as_sent():
    system, user = metadata_of(
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


def test_aws_chunked_alone_is_no_content_encoding():
    assert metadata_of({"content-encoding": "aws-chunked"}) == ({}, {})


def test_user_metadata_may_have_2_kib_of_names_and_values():
    metadata_of({"x-amz-meta-ab": "v" * 2046})
    with pytest.raises(S3Error) as refused:
        metadata_of({"x-amz-meta-ab": "v" * 2047})
    assert refused.value.code == "MetadataTooLarge"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-copy-source", "/a/b"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-write-offset-bytes", "5"),
    ],
)
def test_what_aws_would_act_on_and_is_not_built_is_refused(name, value):
    with pytest.raises(S3Error) as refused:
        metadata_of({name: value})
    assert refused.value.code == "NotImplemented"


@pytest.mark.parametrize(("name", "value"), [("x-amz-acl", "private"), ("x-amz-storage-class", "STANDARD"), ("x-amz-tagging", "")])
def test_what_asks_for_nothing_is_accepted(name, value):
    assert metadata_of({name: value}) == ({}, {})


@pytest.mark.parametrize("value", ["a\rb", "a\x00", "\x1f", "a\x7fb", "a\nb"])
@pytest.mark.parametrize("name", ["content-type", "x-amz-meta-a"])
def test_control_characters_are_refused(name, value):
    with pytest.raises(S3Error) as refused:
        metadata_of({name: value})
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
        metadata_of({name: "v"})
    assert refused.value.code == "InvalidArgument"
