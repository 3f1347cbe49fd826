"""Bucket names by S3's rules, and keys read from paths without losing a byte."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasterstore.s3.canonical import encode_path
from fasterstore.s3.errors import S3Error
from fasterstore.s3.names import bucket_of_host, parse_hosted_path, parse_path, validate_bucket, validate_key

STEADY = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
"""The same cases each time, however busy the machine is."""


@pytest.mark.parametrize("name", ["abc", "my-bucket", "a.b.c", "123", "a" * 63, "1.2.3", "metrics-2", "minio-data", "data-an"])
def test_good_bucket_names_pass(name: str) -> None:
    validate_bucket(name)


@pytest.mark.parametrize(
    "name",
    ["", "ab", "a" * 64, "Abc", "a_b", "-abc", "abc-", ".abc", "abc.", "a..b", "192.168.5.4", "xn--abc", "sthree-a", "x-s3alias"]
    + ["x--ol-s3", "x--x-s3", "x.mrap", "x--table-s3", "amzn-s3-demo-x", "metrics", "healthz", "readyz", "minio"]
    + ["_internal", "_admin", "abc\n", "äbc", "a/b", "a b", "１２３"],
)
def test_bad_and_reserved_bucket_names_are_refused(name: str) -> None:
    with pytest.raises(S3Error) as refused:
        validate_bucket(name)
    assert (refused.value.code, refused.value.status) == ("InvalidBucketName", 400)


@pytest.mark.parametrize(
    ("path", "bucket", "key"),
    [
        ("/", "", b""),
        ("/b", "b", b""),
        ("/b/", "b", b""),
        ("/b/k", "b", b"k"),
        ("/b/a%2Fb", "b", b"a/b"),
        ("/b/a+b%2B%20", "b", b"a+b+ "),
        ("/b/../x", "b", b"../x"),
        ("/b/.", "b", b"."),
        ("/b//x//", "b", b"/x//"),
        ("/b/%0A%00", "b", b"\n\x00"),
        ("/b/%F0%9F%98%80", "b", "😀".encode()),
        ("/b/" + "ä".encode().decode("latin-1"), "b", "ä".encode()),
        ("/B_ad/k", "B_ad", b"k"),
        ("/b/%252F", "b", b"%2F"),
    ],
)
def test_a_path_gives_bucket_and_key(path: str, bucket: str, key: bytes) -> None:
    assert parse_path(path) == (bucket, key)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/b/%zz", "InvalidURI"),
        ("/b/%4", "InvalidURI"),
        ("/b/%FF", "InvalidURI"),
        ("/%FF", "InvalidURI"),
        ("/b/%ED%A0%80", "InvalidURI"),
        ("b/k", "InvalidURI"),
        ("", "InvalidURI"),
        ("*", "InvalidURI"),
        ("//k", "InvalidBucketName"),
        ("/b/" + "k" * 1025, "KeyTooLongError"),
        ("/b/" + "%C3%A4" * 513, "KeyTooLongError"),
    ],
)
def test_a_path_that_names_no_key_is_refused(path: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        parse_path(path)
    assert refused.value.code == code


def test_a_key_may_have_1024_bytes() -> None:
    assert parse_path("/b/" + "k" * 1024) == ("b", b"k" * 1024)
    assert parse_path("/b/" + "%C3%A4" * 512) == ("b", "ä".encode() * 512)
    with pytest.raises(S3Error):
        validate_key(b"")


@STEADY
@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=200))
def test_every_key_survives_encoding_and_reading_back(text: str) -> None:
    key = text.encode()
    assert parse_path(encode_path("bucket", key)) == ("bucket", key)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/", b""),
        ("/k", b"k"),
        ("/k/", b"k/"),
        ("//k", b"/k"),
        ("/metrics", b"metrics"),
        ("/_admin/policy/x", b"_admin/policy/x"),
        ("/a%2Fb+c", b"a/b+c"),
    ],
)
def test_on_a_virtual_host_the_whole_path_is_the_key(path: str, key: bytes) -> None:
    assert parse_hosted_path(path) == key


@pytest.mark.parametrize(("path", "code"), [("/%zz", "InvalidURI"), ("*", "InvalidURI"), ("/" + "k" * 1025, "KeyTooLongError")])
def test_a_hosted_path_that_names_no_key_is_refused(path: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        parse_hosted_path(path)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("box.s3.example.org", "box"),
        ("box.s3.example.org:9000", "box"),
        ("BOX.S3.Example.Org", "box"),
        ("box.s3.example.org.", "box"),
        ("a.b.c.s3.example.org", "a.b.c"),
        ("s3.example.org", ""),
        ("s3.example.org:9000", ""),
        (".s3.example.org", ""),
        ("boxs3.example.org", ""),
        ("example.org", ""),
        ("127.0.0.1:9000", ""),
        ("[::1]:9000", ""),
        ("[::1]", ""),
        ("", ""),
        ("box.s3.example.org.evil", ""),
    ],
)
def test_a_host_names_the_bucket_before_the_domain(host: str, bucket: str) -> None:
    assert bucket_of_host(host, "s3.example.org") == bucket
