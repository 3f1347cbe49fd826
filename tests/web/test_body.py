"""Bodies: what is announced, what must hold, and payload without framing."""

import hashlib
from base64 import b64encode
from io import BytesIO

import pytest

from fasterstore.digests import checksum_base64
from fasterstore.s3.auth_result import AuthResult
from fasterstore.s3.canonical import EMPTY_SHA256, STREAMING_UNSIGNED_TRAILER
from fasterstore.s3.errors import S3Error
from web.body import BodyReader, plan_body, receive_document
from web.context import Request

KEY = b"k" * 32


class PlainInput:
    """wsgi.input of a server that is not ours: `read` only."""

    def __init__(self, data):
        self._data = BytesIO(data)

    def read(self, size=-1):
        return self._data.read(size)


class DribblingInput:
    """Our own server's input on a slow line: a few bytes at a time."""

    def __init__(self, data, step):
        self._data, self._step = BytesIO(data), step

    def read(self, size=-1):
        return self._data.read(size)

    def readinto(self, buffer):
        return self._data.readinto(memoryview(buffer)[: self._step])


def request_of(source, headers=None, payload="UNSIGNED-PAYLOAD"):
    environ = {"REQUEST_METHOD": "PUT", "REQUEST_URI": "/box/k", "fs.headers": headers or {}, "fs.peer": ("::1", 1), "wsgi.input": source}
    request = Request(environ, "ID", 0.0)
    request.identity = AuthResult("sigv4", "key", payload)
    return request


def framed(body, chunk_bytes, trailer):
    pieces = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return wire + b"0\r\n" + trailer + b"\r\n"


def code_of(function, *arguments):
    with pytest.raises(S3Error) as refused:
        function(*arguments)
    return refused.value.code


@pytest.mark.parametrize("make", [BytesIO, PlainInput, lambda data: DribblingInput(data, 7)])
def test_a_plain_body_is_read_whole_from_every_kind_of_input(make):
    body = bytes(range(256)) * 5
    request = request_of(make(body), {"content-length": str(len(body))})
    plan = plan_body(request, 10_000)
    buffer = bytearray(len(body))
    BodyReader(request, plan).fill(memoryview(buffer))
    assert (buffer, request.bytes_in) == (body, len(body))


@pytest.mark.parametrize("make", [BytesIO, PlainInput, lambda data: DribblingInput(data, 7)])
def test_a_body_that_ends_early_is_incomplete(make):
    request = request_of(make(b"short"), {"content-length": "6"})
    plan = plan_body(request, 100)
    assert code_of(BodyReader(request, plan).read_all) == "IncompleteBody"
    request = request_of(make(b"short"), {"content-length": "6"})
    assert code_of(BodyReader(request, plan).fill, memoryview(bytearray(6))) == "IncompleteBody"


@pytest.mark.parametrize("make", [BytesIO, PlainInput, lambda data: DribblingInput(data, 3)])
@pytest.mark.parametrize("step", [1, 1000, 70_000, 200_000])
def test_a_framed_body_loses_its_framing_in_buffers_of_any_size(make, step):
    body = bytes(range(256)) * 600
    if step == 1:
        body = body[:500]
    crc = checksum_base64("CRC32", body)
    wire = framed(body, 40_000, b"x-amz-checksum-crc32:%s\r\n" % crc.encode())
    headers = {"x-amz-decoded-content-length": str(len(body)), "x-amz-trailer": "x-amz-checksum-crc32"}
    request = request_of(make(wire), headers, STREAMING_UNSIGNED_TRAILER)
    plan = plan_body(request, 1 << 20)
    reader = BodyReader(request, plan)
    buffer = bytearray(len(body))
    for start in range(0, len(body), step):
        reader.fill(memoryview(buffer)[start : start + step])
    trailers = reader.trailers()
    assert buffer == body
    plan.verify(plan.digests_of(bytes(buffer), KEY), trailers)


def test_a_framed_body_without_its_end_is_refused():
    body = b"x" * 100
    wire = framed(body, 40, b"x-amz-checksum-crc32:%s\r\n" % checksum_base64("CRC32", body).encode())[:-2]
    headers = {"x-amz-decoded-content-length": "100", "x-amz-trailer": "x-amz-checksum-crc32"}
    request = request_of(BytesIO(wire), headers, STREAMING_UNSIGNED_TRAILER)
    reader = BodyReader(request, plan_body(request, 1000))
    assert reader.read_all() == body
    assert code_of(reader.trailers) == "IncompleteBody"


@pytest.mark.parametrize("make", [BytesIO, PlainInput, lambda data: DribblingInput(data, 1)])
def test_bytes_behind_the_framing_are_refused_however_they_arrive_and_the_connection_closes(make):
    wire = framed(b"x" * 10, 10, b"")
    for beyond in (b"\r\n", b"0\r\n\r\n", b"GET /box/k HTTP/1.1\r\n\r\n"):
        request = request_of(make(wire + beyond), {"x-amz-decoded-content-length": "10"}, STREAMING_UNSIGNED_TRAILER)
        reader = BodyReader(request, plan_body(request, 1000))
        with pytest.raises(S3Error) as refused:
            reader.read_all()
            reader.trailers()
        assert (refused.value.code, refused.value.headers["Connection"]) == ("InvalidRequest", "close")


def test_a_framed_body_that_ends_inside_its_payload_is_incomplete():
    headers = {"x-amz-decoded-content-length": "100", "x-amz-trailer": "x-amz-checksum-crc32"}
    request = request_of(BytesIO(b"64\r\n" + b"x" * 50), headers, STREAMING_UNSIGNED_TRAILER)
    assert code_of(BodyReader(request, plan_body(request, 1000)).read_all) == "IncompleteBody"


def test_the_length_must_be_known_and_within_the_limit():
    assert code_of(plan_body, request_of(BytesIO()), 10) == "MissingContentLength"
    assert code_of(plan_body, request_of(BytesIO(), {"content-length": "5"}, STREAMING_UNSIGNED_TRAILER), 10) == "MissingContentLength"
    assert code_of(plan_body, request_of(BytesIO(), {"content-length": "11"}), 10) == "EntityTooLarge"
    assert plan_body(request_of(BytesIO(), {"content-length": "10"}), 10).size_bytes == 10
    decoded = {"content-length": "11", "x-amz-decoded-content-length": "10"}
    assert plan_body(request_of(BytesIO(), decoded, STREAMING_UNSIGNED_TRAILER), 10).size_bytes == 10


def test_a_trailer_needs_a_framing_that_can_carry_it():
    headers = {"content-length": "1", "x-amz-trailer": "x-amz-checksum-crc32"}
    assert code_of(plan_body, request_of(BytesIO(b"x"), headers), 10) == "InvalidRequest"


def digests_hold(headers, payload, body=b"the body"):
    request = request_of(BytesIO(body), {"content-length": str(len(body)), **headers}, payload)
    return receive_document(request, KEY)


def test_what_the_client_says_of_the_bytes_is_verified():
    body = b"the body"
    sha256 = hashlib.sha256(body).hexdigest()
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    good = {"content-md5": md5, "x-amz-checksum-sha256": checksum_base64("SHA256", body)}
    assert digests_hold(good, sha256) == body
    assert code_of(digests_hold, {}, EMPTY_SHA256) == "XAmzContentSHA256Mismatch"
    assert code_of(digests_hold, {"content-md5": b64encode(bytes(16)).decode()}, sha256) == "BadDigest"
    assert code_of(digests_hold, {"content-md5": "???"}, sha256) == "InvalidDigest"
    for name, digest_bytes in (("crc32", 4), ("crc32c", 4), ("crc64nvme", 8), ("sha1", 20), ("sha256", 32)):
        wrong = {f"x-amz-checksum-{name}": b64encode(bytes(digest_bytes)).decode()}
        assert code_of(digests_hold, wrong, sha256) == "BadDigest"


def test_a_request_without_a_body_must_be_signed_as_one():
    assert receive_document(request_of(BytesIO(), payload=EMPTY_SHA256), KEY) == b""
    assert receive_document(request_of(BytesIO()), KEY) == b""
    assert code_of(receive_document, request_of(BytesIO(), payload="0" * 64), KEY) == "XAmzContentSHA256Mismatch"


def test_a_document_is_bounded_before_it_is_read():
    class Unread:
        def read(self, size=-1):
            raise AssertionError("read")

    assert code_of(receive_document, request_of(Unread(), {"content-length": "65537"}), KEY) == "MaxMessageLengthExceeded"
