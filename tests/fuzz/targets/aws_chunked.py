"""aws-chunked bodies with and without signatures and trailers: how they are cut changes nothing, and what is signed cannot be changed."""

import re
from typing import Any

from fasterstore.s3 import canonical, chunked
from fasterstore.s3.auth_result import StreamingContext
from fasterstore.s3.chunked_encoder import encode_chunked
from fasterstore.s3.errors import S3Error
from tests.framing_corpus import MISMATCHED
from tests.fuzz.edits import FLIP, INSERT, edited, step

DICTIONARY = [b"0\r\n", b"\r\n", b";chunk-signature=", b"x-amz-checksum-crc32:", b"x-amz-trailer-signature:", b"\n", b"+", b"0x", b";"]
TRAILER = "x-amz-checksum-crc32"
FORMS = (canonical.STREAMING_UNSIGNED_TRAILER, canonical.STREAMING_SIGNED, canonical.STREAMING_SIGNED_TRAILER)
STREAMING = StreamingContext(b"k" * 32, "20260101/us-east-1/s3/aws4_request", "20260101T000000Z", "0" * 64)
PIECES = [b"abcde", b"f" * 300, b"g"]
ANNOUNCED, SIGNED = 0x10, 0x20
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_TRAILER_LINE = re.compile(rb"x-amz-checksum-crc32[ \t]*:[ \t]*([\x21-\x7e]{1,512})[ \t]*\r\n", re.IGNORECASE)
_HEAD_BYTES = 4


def reference(wire: bytes, length: int, announced: bool) -> tuple[bytes, dict[str, str]] | None:
    """(payload, trailers) of an unsigned body, None if it is malformed or not of that length."""
    payload, at = b"", 0
    while (match := _SIZE.match(wire, at)) is not None:
        size, at = int(match[1], 16), match.end()
        if not size:
            break
        if wire[at + size : at + size + 2] != b"\r\n":
            return None
        payload += wire[at : at + size]
        at += size + 2
    else:
        return None
    trailers: dict[str, str] = {}
    if announced:
        trailer = _TRAILER_LINE.match(wire, at)
        if trailer is None:
            return None
        trailers, at = {TRAILER: trailer[1].decode("ascii")}, trailer.end()
    return (payload, trailers) if wire[at:] == b"\r\n" and len(payload) == length else None


def signed_wire(form: str) -> bytes:
    """PIECES with signatures; with a trailer where the form has one."""
    trailers = {TRAILER: "AAAAAA=="} if form == canonical.STREAMING_SIGNED_TRAILER else {}
    return b"".join(encode_chunked(PIECES, form, STREAMING, trailers))


def seeds() -> list[bytes]:
    """Bodies behind {form and flags, bytes a piece, length u16}, and edits of signed ones."""
    found = [bytes([0, 3, 5, 0]) + body for body in sorted({body for body, _ in MISMATCHED.values()})]
    found.append(bytes([ANNOUNCED, 7, 5, 0]) + b"5\r\nabcde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n")
    for number, form in enumerate(FORMS[1:], 1):
        wire = signed_wire(form)
        length = sum(map(len, PIECES)).to_bytes(2, "little")
        found.append(bytes([number | (ANNOUNCED if number == 2 else 0), 9]) + length + wire)
        found += [bytes([number | SIGNED, 5, 0, 0]), bytes([number | SIGNED, 200, 0, 0]) + step(FLIP, 100, 1, 3) + step(INSERT, 3, 2, 48)]
    return found


def one_input(data: bytes) -> None:
    """Decode in pieces and at once, and compare. Raises: anything, on a finding."""
    if len(data) < _HEAD_BYTES:
        return
    form, piece_bytes, length = FORMS[data[0] % 3], data[1] + 1, int.from_bytes(data[2:4], "little")
    if data[0] & SIGNED and form != FORMS[0]:
        _signed_one(form, piece_bytes, data[_HEAD_BYTES:])
        return
    announced = bool(data[0] & ANNOUNCED) and form != canonical.STREAMING_SIGNED
    wire = data[_HEAD_BYTES:]
    names = (TRAILER,) if announced else ()
    whole = _decoded(form, wire, len(wire) + 1, length, None, names)
    assert _decoded(form, wire, piece_bytes, length, None, names) == whole
    if form == FORMS[0]:
        assert (whole if type(whole) is tuple else None) == reference(wire, length, announced)


def _signed_one(form: str, piece_bytes: int, script: bytes) -> None:
    wire = edited(signed_wire(form), script)
    length = sum(map(len, PIECES))
    names = (TRAILER,) if form == canonical.STREAMING_SIGNED_TRAILER else ()
    found = _decoded(form, wire, piece_bytes, length, STREAMING, names)
    # Blanks beside a trailer, and the case of hex digits and names, mean nothing.
    assert type(found) is str or found == (b"".join(PIECES), {TRAILER: "AAAAAA=="} if names else {})


def _decoded(
    form: str, wire: bytes, piece_bytes: int, length: int, streaming: Any, names: tuple[str, ...]
) -> tuple[bytes, dict[str, str]] | str:
    """(payload, trailers), or the code of the refusal."""
    try:
        decoder = chunked.ChunkedDecoder(form, length, streaming, names)
        payload = []
        for at in range(0, len(wire), piece_bytes):
            payload += [bytes(piece) for piece in decoder.feed(wire[at : at + piece_bytes])]
        return b"".join(payload), decoder.finish()
    except S3Error as error:
        return error.code


def plant() -> None:
    """What stands between a chunk and the next is not looked at."""
    on_line = chunked.ChunkedDecoder._on_line

    def lax(self: Any, line: bytes) -> None:
        on_line(self, b"\r\n" if self._state == chunked._DATA_END else line)

    chunked.ChunkedDecoder._on_line = lax  # type: ignore[method-assign]
