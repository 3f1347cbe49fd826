"""The typed request: wire text in, decoded values out, from our own environ and from any other server's."""

from io import BytesIO

import pytest

from fasterstore.s3.errors import S3Error
from web.context import Request, headers_from_cgi, parse_query


def own_environ(target, headers=None, method="GET", peer="192.0.2.7"):
    return {
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "PATH_INFO": "/must/not/be/used",
        "fs.headers": headers or {},
        "fs.peer": (peer, 4711),
        "wsgi.input": BytesIO(),
    }


def request_of(target, headers=None):
    request = Request(own_environ(target, headers), "ID", 0.0)
    request.split_resource()
    return request


@pytest.mark.parametrize(
    ("target", "bucket", "key"),
    [
        ("/", "", None),
        ("/box", "box", None),
        ("/box/", "box", None),
        ("/box/a", "box", b"a"),
        ("/box/a/../b//c", "box", b"a/../b//c"),
        ("/box/%2Fa%2f", "box", b"/a/"),
        ("/box/line%0Abreak", "box", b"line\nbreak"),
        ("/box/a+b%2B", "box", b"a+b+"),
        ("/box/%F0%9F%98%80", "box", "\N{GRINNING FACE}".encode()),
        ("/b%6Fx/k?x=1", "box", b"k"),
        ("http://example.org/box/k?x=1", "box", b"k"),
        ("http://example.org?x=1", "", None),
    ],
)
def test_the_path_gives_bucket_and_key_as_bytes(target, bucket, key):
    request = request_of(target)
    assert (request.bucket, request.key) == (bucket, key)


@pytest.mark.parametrize("target", ["/box/%FF", "/box/%zz", "/box/%", "/%C3/k", "*"])
def test_a_path_that_is_not_percent_encoded_utf8_is_refused(target):
    with pytest.raises(S3Error) as refused:
        request_of(target)
    assert refused.value.code == "InvalidURI"


def test_a_key_may_have_1024_bytes_and_not_one_more():
    assert len(request_of("/box/" + "k" * 1024).key) == 1024
    with pytest.raises(S3Error) as refused:
        request_of("/box/" + "%C3%A4" * 513)
    assert refused.value.code == "KeyTooLongError"


def test_the_query_is_decoded_once_and_the_signature_left_out():
    assert parse_query("prefix=a%2Fb%26&acl&max-keys=&x=1+2&prefix=z&&X-Amz-Signature=00&X-Amz-Date=d") == {
        "prefix": "a/b&",
        "acl": "",
        "max-keys": "",
        "x": "1 2",
    }


def test_a_query_that_is_not_utf8_is_refused():
    with pytest.raises(S3Error):
        parse_query("prefix=%FF")


@pytest.mark.parametrize("text", ["+5", "5 ", "0x5", "-1", "٣"])
def test_a_content_length_that_is_no_number_is_refused(text):
    with pytest.raises(S3Error):
        Request(own_environ("/box/k", {"content-length": text}), "ID", 0.0)


def test_headers_of_another_server_get_their_names_back():
    environ = {"HTTP_X_AMZ_META_A_B": "1", "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "", "HTTP_HOST": "h", "SERVER_NAME": "n"}
    assert headers_from_cgi(environ) == {"x-amz-meta-a-b": "1", "content-type": "text/plain", "host": "h"}


def test_without_the_raw_target_the_path_is_encoded_again():
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/box/" + "ä b".encode().decode("latin-1"),
        "QUERY_STRING": "versionId=null",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": BytesIO(),
    }
    request = Request(environ, "ID", 0.0)
    request.split_resource()
    assert request.raw_path == "/box/%C3%A4%20b"
    assert (request.key, request.query, request.peer_ip) == ("ä b".encode(), {"versionId": "null"}, "127.0.0.1")


def test_headers_moved_into_a_presigned_query_are_taken_and_sent_ones_win():
    request = request_of("/box/k?x-amz-meta-a=%C3%A4&X-Amz-Acl=private&prefix=p", {"x-amz-acl": "public-read"})
    request.adopt_presigned_headers()
    assert request.headers == {"x-amz-meta-a": "Ã¤", "x-amz-acl": "public-read"}
