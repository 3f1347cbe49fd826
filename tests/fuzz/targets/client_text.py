"""The small texts that clients send: forms, form policies, tags, tokens, ranges, copy sources, conditions, paths, checksums, CORS."""

import base64
from collections.abc import Callable
from urllib.parse import quote

from fasterstore.metadata.multipart import parse_upload_id, upload_id
from fasterstore.s3 import page_token
from fasterstore.s3.attributes_xml import wanted_attributes, wanted_parts
from fasterstore.s3.checksums import checksum_request
from fasterstore.s3.conditions import evaluate_read, exact_size, exact_time_secs, if_range_holds, write_condition_ok
from fasterstore.s3.copy_range import parse_copy_range
from fasterstore.s3.copy_source import parse_copy_source, parse_rename_source
from fasterstore.s3.cors import wanted_headers
from fasterstore.s3.errors import S3Error
from fasterstore.s3.form_data import FIELDS_MAX_BYTES, FormReader
from fasterstore.s3.listing_query import parse_listing
from fasterstore.s3.names import bucket_of_host, parse_hosted_path, parse_path
from fasterstore.s3.post_policy import parse_policy
from fasterstore.s3.ranges import parse_range
from fasterstore.s3.tags import parse_tagging_header

DICTIONARY = [
    b"--b\r\n", b"\r\n--b--\r\n", b'Content-Disposition: form-data; name="', b'"; filename="', b"filename*=utf-8''", b"\r\n\r\n",
    b"bytes=0-", b"bytes=-1", b"*", b'"etag"', b"W/", b"%2F", b"%00", b"%", b"+", b"/box/key", b"?versionId=null", b"arn:aws:s3:::",
    b"Thu, 01 Jan 2026 00:00:00 GMT", b'{"expiration":"2030-01-01T00:00:00Z","conditions":[', b'["starts-with","$key",""]',
    b"content-length-range", b'["eq","$acl","private"]', b"2147483648", b"-0", b"\xc2\xb2", b"AAAAAA==", b"CRC32", b"max-keys",
    b"encoding-type",
]  # fmt: skip
_TYPE = "multipart/form-data; boundary=b"


def _form(raw: bytes) -> None:
    if not raw:
        return
    found = [_read_form(raw[1:], size) for size in (raw[0] % 64 + 1, len(raw))]
    assert found[0] == found[1], found


def _read_form(raw: bytes, piece_bytes: int) -> tuple[object, bytes] | str:
    at = 0

    def receive(limit: int) -> bytes:
        nonlocal at
        piece = raw[at : at + min(limit, piece_bytes)]
        at += len(piece)
        return piece

    try:
        reader = FormReader(_TYPE, receive)
        form = reader.read_fields()
        assert sum(map(len, form.fields.values())) <= FIELDS_MAX_BYTES
        return form, b"".join(reader.file_pieces()) if form.has_file else b""
    except S3Error as error:
        return error.code


def _content_type(raw: bytes) -> None:
    FormReader(raw.decode("latin-1"), lambda limit: b"")


def _policy(raw: bytes) -> None:
    policy = parse_policy(base64.b64encode(raw).decode())
    try:
        policy.check({"key": "a", "acl": "private"}, "box", 1_767_225_600)
        policy.check_size(5)
    finally:
        parse_policy(raw.decode("latin-1"))


def _token(raw: bytes) -> None:
    if raw:
        assert page_token.unpack_token(page_token.pack_token(raw)) == raw
    page_token.unpack_token(raw.decode("latin-1"))


def _upload_id(raw: bytes) -> None:
    parsed = parse_upload_id(raw.decode("latin-1"))
    if parsed is not None:
        assert parse_upload_id(upload_id(*parsed)) == parsed


def _range(raw: bytes) -> None:
    for size in (0, 1, 1000):
        try:
            found = parse_range(raw.decode("latin-1"), size)
        except S3Error as error:
            assert error.code == "InvalidRange"
        else:
            assert found is None or (0 <= found[0] < size and 0 < found[1] <= size - found[0]), found
    parse_copy_range(raw.decode("latin-1"), 1000)


def _source(raw: bytes) -> None:
    try:
        parse_rename_source(raw.decode("latin-1"), "box")
    finally:
        parse_copy_source(raw.decode("latin-1"))


def _conditions(raw: bytes) -> None:
    first, _, second = raw.decode("latin-1").partition("\n")
    for names in (("if-match", "if-modified-since"), ("if-none-match", "if-unmodified-since")):
        assert evaluate_read(dict(zip(names, (first, second), strict=True)), "etag", 1_767_225_600_000) in (None, 304, 412)
    if_range_holds(first, "etag", 1_767_225_600_000)
    try:
        write_condition_ok(first, second, "etag")
        exact_size("Size", first)
    finally:
        exact_time_secs("Time", second)


def _path(raw: bytes) -> None:
    text = raw.decode("latin-1")
    bucket_of_host(text, "s3.example.org")
    parse_hosted_path(f"/{quote(raw)}")
    try:
        parse_path(f"/{text}")
    finally:
        parse_path(f"/box/{quote(raw)}")


def _headers(raw: bytes) -> None:
    first, _, second = raw.decode("latin-1").partition("\n")
    wanted_headers(first)
    try:
        checksum_request(
            {"x-amz-checksum-crc32": first, "x-amz-trailer": second, "x-amz-sdk-checksum-algorithm": second, "content-md5": first}
        )
    finally:
        try:
            wanted_attributes({"x-amz-object-attributes": first})
        finally:
            wanted_parts({"x-amz-max-parts": first, "x-amz-part-number-marker": second})


def _listing(raw: bytes) -> None:
    pairs = [part.partition("=") for part in raw.decode("utf-8", "replace").split("&")]
    parse_listing("box", {name: value for name, _, value in pairs})


def _tags(raw: bytes) -> None:
    assert len(parse_tagging_header(raw.decode("latin-1"))) <= 10


_READERS: tuple[Callable[[bytes], None], ...] = (
    _form, _content_type, _policy, _token, _upload_id, _range, _source, _conditions, _path, _headers, _listing, _tags,
)  # fmt: skip


def seeds() -> list[bytes]:
    """A text of each kind; the first byte picks the reader."""
    form = b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\na/${filename}\r\n--b\r\nContent-Disposition: form-data; name="file"; '
    form += b'filename="C:\\x\\y"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n'
    texts = [
        b"\x05" + form,
        b'multipart/form-data; charset=x; boundary="a b"',
        b'{"expiration":"2030-01-01T00:00:00Z","conditions":[{"acl":"private"},["starts-with","$key",""],["content-length-range",0,9],{"bucket":"box"}]}',
        page_token.pack_token(b"docs/a").encode(),
        upload_id(7, "a" * 16).encode(),
        b"bytes=0-499",
        b"/box/docs/%C3%A4?versionId=null",
        b'"etag", W/"x"\nThu, 01 Jan 2026 00:00:00 GMT',
        b"box/docs/%C3%A4",
        b"AAAAAA==\nx-amz-checksum-crc32",
        b"list-type=2&prefix=a&delimiter=/&max-keys=7&encoding-type=url&start-after=x",
        b"a=b&c=%C3%A4+d",
    ]
    return [bytes([number]) + text for number, text in enumerate(texts)]


def one_input(data: bytes) -> None:
    """Read one text. Raises: anything but S3's refusals."""
    if not data:
        return
    try:
        _READERS[data[0] % len(_READERS)](data[1:])
    except S3Error:
        pass


def plant() -> None:
    """A token is decoded without a look at what it is."""
    page_token.unpack_token = lambda token: page_token.urlsafe_b64decode(token + "=" * (-len(token) % 4))[4:]
