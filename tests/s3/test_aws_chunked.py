"""The STREAMING- payload forms with requests made by hand over plain HTTP: signed chunks, signed trailer, unsigned trailer."""

import hashlib
import os
import time

import pytest

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from fasterstore.s3 import canonical, signer
from fasterstore.s3.chunked_encoder import encode_chunked
from tests.raw_connection import request_bytes
from tests.refusal import assert_refused

SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER = (
    canonical.STREAMING_SIGNED,
    canonical.STREAMING_SIGNED_TRAILER,
    canonical.STREAMING_UNSIGNED_TRAILER,
)
FORMS = [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]
SIZES = [0, 1, 64 * 1024, 65_537, 262_145, 3_000_000]
ALGORITHMS = sorted(CHECKSUM_ALGORITHMS)


def _pieces(body, piece_bytes=65_536):
    return [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]


def _trailer(name, body):
    return {CHECKSUM_ALGORITHMS[name].header: checksum_base64(name, body)}


def _put(connect, node, bucket, payload, body, wire, **more):
    """Send one PUT whose aws-chunked framing is made by `wire(streaming context)`; return the answer."""
    headers = {
        "host": f"{node.host}:{node.port}",
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(body)),
        **more,
    }
    path = f"/{bucket}/key"
    added, streaming = signer.sign_v4_headers("PUT", path, "", headers, payload, node.credentials, int(time.time()))
    framed = wire(streaming)
    connection = connect()
    connection.send(request_bytes("PUT", path, headers | added | {"content-length": str(len(framed))}, framed))
    return connection.answer()


@pytest.mark.parametrize("payload", FORMS)
@pytest.mark.parametrize("size_bytes", SIZES)
def test_every_form_stores_the_payload_without_its_framing(node, client, bucket, payload, size_bytes):
    body = os.urandom(size_bytes)
    trailers = {} if payload == SIGNED else _trailer("CRC32", body)
    answer = client.put_chunked(bucket, "key", _pieces(body), payload=payload, trailers=trailers)
    assert answer.status_code == 200, answer.content
    assert answer.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = client.get(bucket, "key")
    assert got.content == body
    assert "content-encoding" not in got.headers
    assert node.usage(bucket) == (1, size_bytes)


@pytest.mark.parametrize("payload", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("size_bytes", [9, 100_000, 400_000], ids=["message", "collected", "streamed"])
def test_a_checksum_in_the_trailer_is_verified(node, client, bucket, payload, name, size_bytes):
    body = os.urandom(size_bytes)
    wrong = client.put_chunked(bucket, "key", _pieces(body), payload=payload, trailers=_trailer(name, body + b"x"))
    assert name in assert_refused(wrong, 400, "BadDigest")["Message"]
    assert node.usage(bucket) == (0, 0)
    right = client.put_chunked(bucket, "key", _pieces(body), payload=payload, trailers=_trailer(name, body))
    assert right.status_code == 200, right.content
    assert client.get(bucket, "key").content == body


def test_a_coding_of_the_object_itself_is_kept_without_aws_chunked(node, client, connect, bucket):
    body = b"squeezed"

    def wire(streaming):
        return b"".join(encode_chunked([body], SIGNED, streaming))

    assert _put(connect, node, bucket, SIGNED, body, wire, **{"content-encoding": "aws-chunked,x-own"}).status == 200
    assert client.get(bucket, "key").headers["content-encoding"] == "x-own"


@pytest.mark.parametrize("size_bytes", [20_000, 400_000])
def test_a_changed_chunk_is_refused(node, connect, bucket, size_bytes):
    body = os.urandom(size_bytes)

    def wire(streaming):
        framed = bytearray(b"".join(encode_chunked(_pieces(body, 8192), SIGNED, streaming)))
        framed[len(framed) // 2] ^= 1
        return bytes(framed)

    answer = _put(connect, node, bucket, SIGNED, body, wire)
    assert "aws-chunked" in assert_refused(answer, 403, "SignatureDoesNotMatch")["Message"]
    assert node.usage(bucket) == (0, 0)


def test_chunks_in_another_order_are_refused(node, connect, bucket):
    body = b"a" * 10 + b"b" * 10

    def wire(streaming):
        framed = b"".join(encode_chunked([b"a" * 10, b"b" * 10], SIGNED, streaming))
        length = len(b"a;chunk-signature=") + 64 + 2 + 10 + 2
        return framed[length : 2 * length] + framed[:length] + framed[2 * length :]

    assert_refused(_put(connect, node, bucket, SIGNED, body, wire), 403, "SignatureDoesNotMatch")
    assert node.usage(bucket) == (0, 0)


def test_a_changed_trailer_is_refused_even_if_it_is_right(node, connect, bucket):
    body = b"body"

    def wire(streaming):
        framed = b"".join(encode_chunked([body], SIGNED_TRAILER, streaming, _trailer("CRC32", b"other")))
        return framed.replace(checksum_base64("CRC32", b"other").encode(), checksum_base64("CRC32", body).encode())

    answer = _put(connect, node, bucket, SIGNED_TRAILER, body, wire, **{"x-amz-trailer": "x-amz-checksum-crc32"})
    assert_refused(answer, 403, "SignatureDoesNotMatch")
    assert node.usage(bucket) == (0, 0)


CRC = b"x-amz-checksum-crc32:" + checksum_base64("CRC32", b"body").encode()


@pytest.mark.parametrize(
    ("framed", "code"),
    [
        (b"4\r\nbody\r\n0\r\n\r\n", "MalformedTrailerError"),
        (b"4\r\nbody\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n", "MalformedTrailerError"),
        (b"4\r\nbody\r\n0\r\n" + CRC + b"\r\n" + CRC + b"\r\n\r\n", "MalformedTrailerError"),
        (b"4\r\nbody\r\n", "IncompleteBody"),
        (b"4\r\nbody\r\n0\r\n" + CRC + b"\r\n", "IncompleteBody"),
        (b"3\r\nbod\r\n0\r\n" + CRC + b"\r\n\r\n", "IncompleteBody"),
        (b"5\r\nbodyy\r\n0\r\n" + CRC + b"\r\n\r\n", "IncompleteBody"),
        (b"4\nbody\n0\n" + CRC + b"\n\n", "InvalidRequest"),
        (b"+4\r\nbody\r\n0\r\n" + CRC + b"\r\n\r\n", "InvalidRequest"),
        (b"0x4\r\nbody\r\n0\r\n" + CRC + b"\r\n\r\n", "InvalidRequest"),
        (b"4;chunk-signature=" + b"0" * 64 + b"\r\nbody\r\n0\r\n" + CRC + b"\r\n\r\n", "InvalidRequest"),
        (b"4\r\nbodyXX0\r\n" + CRC + b"\r\n\r\n", "InvalidRequest"),
        (b"body\r\n\r\n", "InvalidRequest"),
        (b"body", "IncompleteBody"),
        (b"4\r\nbody\r\n0\r\n" + CRC + b"\r\n\r\nmore", "InvalidRequest"),
    ],
)
def test_malformed_framing_is_refused(node, connect, bucket, framed, code):
    answer = _put(connect, node, bucket, UNSIGNED_TRAILER, b"body", lambda _: framed, **{"x-amz-trailer": "x-amz-checksum-crc32"})
    assert_refused(answer, 400, code)
    assert node.usage(bucket) == (0, 0)


def test_the_decoded_length_must_be_announced(node, connect, bucket):
    headers = {"host": f"{node.host}:{node.port}", "content-encoding": "aws-chunked"}
    added, streaming = signer.sign_v4_headers("PUT", f"/{bucket}/key", "", headers, SIGNED, node.credentials, int(time.time()))
    framed = b"".join(encode_chunked([b"body"], SIGNED, streaming))
    connection = connect()
    connection.send(request_bytes("PUT", f"/{bucket}/key", headers | added | {"content-length": str(len(framed))}, framed))
    assert_refused(connection.answer(), 411, "MissingContentLength")


@pytest.mark.parametrize("payload", FORMS)
def test_the_transfer_may_be_chunked_as_well(node, client, connect, bucket, payload):
    body = os.urandom(100_000)
    trailers = {} if payload == SIGNED else _trailer("CRC64NVME", body)
    headers = {
        "host": f"{node.host}:{node.port}",
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(body)),
        "transfer-encoding": "chunked",
        **({"x-amz-trailer": ",".join(trailers)} if trailers else {}),
    }
    added, streaming = signer.sign_v4_headers("PUT", f"/{bucket}/key", "", headers, payload, node.credentials, int(time.time()))
    framed = b"".join(encode_chunked(_pieces(body), payload, streaming, trailers))
    wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in _pieces(framed, 10_000)) + b"0\r\n\r\n"
    connection = connect()
    connection.send(request_bytes("PUT", f"/{bucket}/key", headers | added, wire))
    assert connection.answer().status == 200
    assert client.get(bucket, "key").content == body
