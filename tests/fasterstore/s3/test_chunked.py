"""aws-chunked: AWS's published bodies, the same result however the stream is cut, and no success for a stream that was touched."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fasterstore.s3 import canonical
from fasterstore.s3.auth_result import StreamingContext
from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.chunked import ChunkedDecoder, decoded_length, is_streaming, stored_content_encoding
from fasterstore.s3.chunked_encoder import encode_chunked
from fasterstore.s3.errors import S3Error
from fasterstore.s3.signer import Credentials, sign_v4_headers

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = 1369353600
SCOPE = "20130524/us-east-1/s3/aws4_request"
SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER = (
    canonical.STREAMING_SIGNED,
    canonical.STREAMING_SIGNED_TRAILER,
    canonical.STREAMING_UNSIGNED_TRAILER,
)
CONTEXT = StreamingContext(canonical.signing_key(SECRET, "20130524", "us-east-1", "s3"), SCOPE, "20130524T000000Z", "0" * 64)
TRAILER = {"x-amz-checksum-crc32c": "sOO8/Q=="}


def decode(pieces, payload, size, context=CONTEXT, trailer_names=()):
    decoder = ChunkedDecoder(payload, size, context, trailer_names)
    out = b"".join(bytes(view) for piece in pieces for view in decoder.feed(piece))
    return out, decoder.finish()


def outcome(pieces, payload, size, context=CONTEXT, trailer_names=()):
    try:
        return decode(pieces, payload, size, context, trailer_names)
    except S3Error as error:
        return error.code


# ---- published examples ----------------------------------------------------------------------------------------------------------

CHUNKS = [b"a" * 65536, b"a" * 1024]
EXAMPLE_HEADERS = {
    "host": "s3.amazonaws.com",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
}


def test_the_published_chunked_upload() -> None:
    headers = EXAMPLE_HEADERS | {"content-length": "66824"}
    added, context = sign_v4_headers("PUT", "/examplebucket/chunkObject.txt", "", headers, SIGNED, Credentials(KEY, SECRET), NOW)
    assert context.seed_signature == "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    signatures = [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]
    body = b"".join(
        b"%x;chunk-signature=%s\r\n%s\r\n" % (len(chunk), signature.encode(), chunk)
        for chunk, signature in zip([*CHUNKS, b""], signatures, strict=True)
    )
    assert len(body) == 66824
    result = Authenticator({KEY: SECRET}.get).authenticate("PUT", "/examplebucket/chunkObject.txt", "", headers | added, NOW)
    assert result is not None and result.streaming == context and result.payload == SIGNED
    assert decode([body], SIGNED, decoded_length(headers), context) == (b"a" * 66560, {})
    assert b"".join(encode_chunked(CHUNKS, SIGNED, context)) == body


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n\r\n"])
def test_the_published_chunked_upload_with_a_trailer(line_end: bytes) -> None:
    headers = EXAMPLE_HEADERS | {"x-amz-trailer": "x-amz-checksum-crc32c"}
    path = "/examplebucket/chunkObject.txt"
    _, context = sign_v4_headers("PUT", path, "", headers, SIGNED_TRAILER, Credentials(KEY, SECRET), NOW)
    assert context.seed_signature == "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    signatures = [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ]
    body = b"".join(
        b"%x;chunk-signature=%s\r\n%s" % (len(chunk), signature.encode(), chunk + b"\r\n" if chunk else b"")
        for chunk, signature in zip([*CHUNKS, b""], signatures, strict=True)
    )
    body += b"x-amz-checksum-crc32c:sOO8/Q==" + line_end
    body += b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    assert decode([body], SIGNED_TRAILER, 66560, context, TRAILER) == (b"a" * 66560, TRAILER)


def test_what_botocore_sends_unsigned_is_read() -> None:
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    assert decode([body], UNSIGNED_TRAILER, 5, None, ["x-amz-checksum-crc32"]) == (b"hello", {"x-amz-checksum-crc32": "NhCmhg=="})


# ---- however the stream is cut, and whatever is done to it -----------------------------------------------------------------------

PAYLOADS = st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
PIECES = st.lists(st.binary(max_size=40), max_size=5)


def encoded(pieces, payload):
    trailers = TRAILER if payload != SIGNED else {}
    return b"".join(encode_chunked(pieces, payload, CONTEXT, trailers)), trailers


def cut(data: bytes, places) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]


@given(PIECES, PAYLOADS, st.lists(st.integers(0, 2000), max_size=12))
def test_any_cut_of_the_stream_gives_the_same_body(pieces, payload, places) -> None:
    stream, trailers = encoded(pieces, payload)
    body = b"".join(pieces)
    assert decode(cut(stream, places), payload, len(body), CONTEXT, trailers) == (body, trailers)


@given(PIECES, PAYLOADS)
def test_one_byte_at_a_time_gives_the_same_body(pieces, payload) -> None:
    stream, trailers = encoded(pieces, payload)
    body = b"".join(pieces)
    assert decode([stream[at : at + 1] for at in range(len(stream))], payload, len(body), CONTEXT, trailers) == (body, trailers)


@given(PIECES, PAYLOADS, st.data())
def test_a_truncated_stream_never_succeeds(pieces, payload, data) -> None:
    stream, trailers = encoded(pieces, payload)
    kept = data.draw(st.integers(0, len(stream) - 1))
    assert isinstance(outcome([stream[:kept]], payload, len(b"".join(pieces)), CONTEXT, trailers), str)


@given(PIECES, PAYLOADS, st.data())
@example([b"x"], SIGNED, None)
def test_a_changed_stream_never_gives_another_body_where_it_is_signed(pieces, payload, data) -> None:
    stream, trailers = encoded(pieces, payload)
    at = data.draw(st.integers(0, len(stream) - 1)) if data else 0
    changed = bytearray(stream)
    changed[at] ^= data.draw(st.integers(1, 255)) if data else 1
    body = b"".join(pieces)
    found = outcome([bytes(changed)], payload, len(body), CONTEXT, trailers)
    if payload == UNSIGNED_TRAILER:
        # Nothing but the checksum in the trailer protects these bytes; the framing alone must still hold.
        assert isinstance(found, str) or len(found[0]) == len(body)
    else:
        # Upper case in a size or a trailer's name is the only change that means the same.
        assert isinstance(found, str) or found == (body, trailers)


@given(PIECES, PAYLOADS, st.binary(min_size=1, max_size=6), st.data())
def test_an_insertion_never_gives_another_body_where_it_is_signed(pieces, payload, extra, data) -> None:
    stream, trailers = encoded(pieces, payload)
    at = data.draw(st.integers(0, len(stream)))
    body = b"".join(pieces)
    found = outcome([stream[:at] + extra + stream[at:]], payload, len(body), CONTEXT, trailers)
    if isinstance(found, str):
        return
    assert len(found[0]) == len(body)
    assert payload == UNSIGNED_TRAILER or found == (body, trailers)


@given(PIECES, PAYLOADS, st.integers(-3, 3), st.data())
def test_another_announced_length_never_succeeds(pieces, payload, difference, data) -> None:
    stream, trailers = encoded(pieces, payload)
    size = len(b"".join(pieces)) + difference
    assume(difference and size >= 0)
    assert outcome([stream], payload, size, CONTEXT, trailers) == "IncompleteBody"


@given(st.binary(max_size=200), PAYLOADS, st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_give_a_refusal_or_a_body_and_every_cut_the_same(stream, payload, places) -> None:
    whole = outcome([stream], payload, 3, None)
    assert outcome(cut(stream, places), payload, 3, None) == whole


# ---- single refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"5\r\nhello\r\n0\r\n\r\nx", "InvalidRequest"),
        (b"5\nhello\r\n0\r\n\r\n", "InvalidRequest"),
        (b"+5\r\nhello\r\n0\r\n\r\n", "InvalidRequest"),
        (b"0x5\r\nhello\r\n0\r\n\r\n", "InvalidRequest"),
        (b" 5\r\nhello\r\n0\r\n\r\n", "InvalidRequest"),
        (b"5;a=b\r\nhello\r\n0\r\n\r\n", "InvalidRequest"),
        (b"5\r\nhelloxx0\r\n\r\n", "InvalidRequest"),
        (b"5\r\nhello\n0\r\n\r\n", "InvalidRequest"),
        (b"00000000000000005\r\nhello\r\n0\r\n\r\n", "InvalidRequest"),
        (b"9" * 2000, "InvalidRequest"),
        (b"6\r\nhello!\r\n0\r\n\r\n", "IncompleteBody"),
        (b"ffffffffffffffff\r\n", "IncompleteBody"),
        (b"4\r\nhell\r\n0\r\n\r\n", "IncompleteBody"),
        (b"5\r\nhello\r\n0\r\n", "IncompleteBody"),
        (b"", "IncompleteBody"),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "MalformedTrailerError"),
        (b"5\r\nhello\r\n0\r\nno colon\r\n\r\n", "MalformedTrailerError"),
        (b"5\r\nhello\r\n0\r\nx-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n", "MalformedTrailerError"),
    ],
)
def test_malformed_unsigned_bodies(stream: bytes, code: str) -> None:
    assert outcome([stream], UNSIGNED_TRAILER, 5) == code


def test_exactly_the_announced_trailers_must_come_once() -> None:
    head = b"5\r\nhello\r\n0\r\n"
    line = b"x-amz-checksum-crc32:NhCmhg==\r\n"
    for tail in (b"\r\n", line + line + b"\r\n", b"x-amz-checksum-sha1:aa\r\n\r\n", line + b"x-amz-meta-a:b\r\n\r\n"):
        assert outcome([head + tail], UNSIGNED_TRAILER, 5, None, ["x-amz-checksum-crc32"]) == "MalformedTrailerError"
    with pytest.raises(S3Error):
        ChunkedDecoder(SIGNED, 5, CONTEXT, ["x-amz-checksum-crc32"])


def test_a_trailer_without_its_signature_is_refused() -> None:
    stream, trailers = encoded([b"hello"], SIGNED_TRAILER)
    start = stream.index(b"x-amz-trailer-signature")
    assert outcome([stream[:start] + b"\r\n"], SIGNED_TRAILER, 5, CONTEXT, trailers) == "MalformedTrailerError"


def test_chunks_may_not_change_places() -> None:
    first, second = list(encode_chunked([b"a"], SIGNED, CONTEXT)), list(encode_chunked([b"a", b"b"], SIGNED, CONTEXT))
    swapped = b"".join(second[3:6] + second[0:3] + second[6:])
    assert outcome([swapped], SIGNED, 2) == "SignatureDoesNotMatch"
    assert outcome([b"".join(first)], SIGNED, 1, CONTEXT._replace(seed_signature="1" * 64)) == "SignatureDoesNotMatch"


def test_a_wrong_chunk_signature_shows_what_was_signed_and_no_expected_signature() -> None:
    good = b"".join(encode_chunked([b"hello"], SIGNED, CONTEXT))
    decoder = ChunkedDecoder(SIGNED, 5, CONTEXT)
    with pytest.raises(S3Error) as refused:
        decoder.feed(good.replace(b"hello", b"jello"))
    assert (refused.value.code, refused.value.status) == ("SignatureDoesNotMatch", 403)
    assert refused.value.extra["StringToSign"].startswith("AWS4-HMAC-SHA256-PAYLOAD\n20130524T000000Z\n" + SCOPE)
    with pytest.raises(S3Error):
        decoder.feed(b"")
    with pytest.raises(S3Error):
        decoder.finish()


def test_without_authentication_signed_framing_is_read_but_not_verified() -> None:
    stream, trailers = encoded([b"hello"], SIGNED_TRAILER)
    assert decode([stream.replace(b"hello", b"jello")], SIGNED_TRAILER, 5, None, trailers) == (b"jello", trailers)


def test_the_decoded_length_must_be_there_and_a_number() -> None:
    assert decoded_length({"x-amz-decoded-content-length": "12"}) == 12
    for headers, code in (
        ({}, "MissingContentLength"),
        ({"x-amz-decoded-content-length": "+12"}, "InvalidArgument"),
        ({"x-amz-decoded-content-length": "-1"}, "InvalidArgument"),
        ({"x-amz-decoded-content-length": "1" * 30}, "InvalidArgument"),
        ({"x-amz-decoded-content-length": "²"}, "InvalidArgument"),
    ):
        with pytest.raises(S3Error) as refused:
            decoded_length(headers)
        assert refused.value.code == code


def test_aws_chunked_is_no_encoding_of_the_object() -> None:
    assert stored_content_encoding(None) is None
    assert stored_content_encoding("gzip") == "gzip"
    assert stored_content_encoding("aws-chunked") is None
    assert stored_content_encoding("aws-chunked,gzip") == "gzip"
    assert stored_content_encoding("gzip, AWS-chunked , br") == "gzip,br"


def test_streaming_payloads_are_the_three() -> None:
    assert is_streaming(SIGNED) and is_streaming(SIGNED_TRAILER) and is_streaming(UNSIGNED_TRAILER)
    assert not is_streaming("UNSIGNED-PAYLOAD") and not is_streaming("0" * 64)
