"""Decodes aws-chunked bodies: signed chunks, signed chunks with trailer, unsigned chunks with trailer. Incremental and strict.

    signed:    <hex size>;chunk-signature=<64 hex>CRLF <data> CRLF ... 0;chunk-signature=<64 hex>CRLF CRLF
    trailers:  instead of the last CRLF: name:value CRLF ... [x-amz-trailer-signature:<64 hex> CRLF] CRLF
    unsigned:  <hex size>CRLF <data> CRLF ... 0 CRLF, then trailers

Payload is handed out before its chunk's signature is known, so nothing may be committed before `finish()` returned. Every
deviation is refused; one is allowed: before the trailer signature AWS's own example and minio-go end a value with LF, CRLF.
Owns no buffer but an incomplete line (bounded). Never verifies a trailer's checksum (`checksums` does).

Source: S3 API Reference, "Signature Calculations: Transferring Payload in Multiple Chunks" and "... Including Trailing Headers".
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import Any

from fasterstore.digests import Buffer
from fasterstore.s3 import canonical
from fasterstore.s3.auth_result import StreamingContext
from fasterstore.s3.errors import S3Error

TRAILER_SIGNATURE = "x-amz-trailer-signature"
LINE_MAX_BYTES = 1024
TRAILERS_MAX = 8

_SIGNED_LINE = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})\r\n")
_UNSIGNED_LINE = re.compile(rb"([0-9a-fA-F]{1,16})\r\n")
_TRAILER_LINE = re.compile(rb"([A-Za-z0-9-]{1,128})[ \t]*:[ \t]*([\x21-\x7e]{1,512})[ \t]*\r?\n")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_STREAMING = frozenset((canonical.STREAMING_SIGNED, canonical.STREAMING_SIGNED_TRAILER, canonical.STREAMING_UNSIGNED_TRAILER))

_SIZE_LINE, _DATA, _DATA_END, _TRAILERS, _LAST_BLANK, _DONE = range(6)


def is_streaming(payload: str) -> bool:
    """Is the body of a request with this `AuthResult.payload` aws-chunked?"""
    return payload in _STREAMING


def decoded_length(headers: Mapping[str, str]) -> int:
    """x-amz-decoded-content-length: the body's length in bytes without the framing.

    Raises S3Error MissingContentLength if it is missing, InvalidArgument if it is no number.
    """
    text = headers.get("x-amz-decoded-content-length")
    if text is None:
        raise S3Error("MissingContentLength")
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise S3Error(
            "InvalidArgument",
            "x-amz-decoded-content-length must be a number.",
            ArgumentName="x-amz-decoded-content-length",
            ArgumentValue=text,
        )
    return int(text)


def stored_content_encoding(value: str | None) -> str | None:
    """Content-Encoding without `aws-chunked`, which frames the transfer and is not part of the object; None if nothing is left."""
    if value is None or "aws-chunked" not in value.lower():
        return value
    return ",".join(part for part in (piece.strip() for piece in value.split(",")) if part and part.lower() != "aws-chunked") or None


def _malformed(what: str) -> S3Error:
    return S3Error("InvalidRequest", f"The aws-chunked body is malformed: {what}.")


class ChunkedDecoder:
    """Feed it the body as it arrives; it hands back the payload and, at the end, the trailers.

    `payload` is one of the three STREAMING- values. `decoded_bytes` is the announced payload length, enforced exactly.
    `streaming` is what signatures are chained to; None only without authentication, then signatures are read but not verified.
    `trailer_names` are the lower-case names that x-amz-trailer announced: exactly these must come.
    After a refusal the decoder refuses everything.
    """

    __slots__ = (
        "_chunk_hash",
        "_chunk_left",
        "_chunk_signature",
        "_failure",
        "_line",
        "_line_pattern",
        "_open_line",
        "_previous_signature",
        "_signed",
        "_state",
        "_streaming",
        "_trailer_block",
        "_trailer_names",
        "_trailer_signature",
        "_trailers",
        "_with_trailer",
        "decoded_left",
    )

    def __init__(self, payload: str, decoded_bytes: int, streaming: StreamingContext | None, trailer_names: Iterable[str] = ()) -> None:
        if payload not in _STREAMING:
            raise ValueError(payload)
        self._signed = payload != canonical.STREAMING_UNSIGNED_TRAILER
        self._with_trailer = payload != canonical.STREAMING_SIGNED
        self._line_pattern = _SIGNED_LINE if self._signed else _UNSIGNED_LINE
        self._streaming = streaming if self._signed else None
        self._previous_signature = streaming.seed_signature if streaming is not None else ""
        self._trailer_names = frozenset(trailer_names)
        self._trailers: dict[str, str] = {}
        self._trailer_block = b""
        self._trailer_signature: str | None = None
        self._open_line = False
        self._state = _SIZE_LINE
        self._line = b""
        self._chunk_left = 0
        self._chunk_signature = ""
        self._chunk_hash: Any = None
        self._failure: S3Error | None = None
        self.decoded_left = decoded_bytes
        if not self._with_trailer and self._trailer_names:
            raise S3Error("InvalidRequest", "x-amz-trailer was sent, but x-amz-content-sha256 announces no trailer.")

    @property
    def done(self) -> bool:
        """Has the last byte of the framing been read?"""
        return self._state == _DONE

    def feed(self, data: Buffer) -> list[memoryview]:
        """Take the next bytes of the body; returns the payload in them, in order, as views into `data` (no copy).

        Raises S3Error: InvalidRequest or MalformedTrailerError for a malformed body, IncompleteBody if it holds more than was
        announced, SignatureDoesNotMatch.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._feed(memoryview(data))
        except S3Error as error:
            self._failure = error
            raise

    def finish(self) -> dict[str, str]:
        """The trailers by lower-case name (without the signature), once the body is complete and all of it verified.

        Raises S3Error IncompleteBody for a truncated body, or the refusal that `feed` raised.
        """
        if self._failure is not None:
            raise self._failure
        if self._state != _DONE:
            self._failure = S3Error("IncompleteBody", "The aws-chunked body ended before its last chunk and trailer.")
            raise self._failure
        return self._trailers

    def _feed(self, data: memoryview) -> list[memoryview]:
        payload: list[memoryview] = []
        position, end = 0, len(data)
        while position < end:
            if self._state == _DATA:
                piece = data[position : position + self._chunk_left]
                if self._chunk_hash is not None:
                    self._chunk_hash.update(piece)
                payload.append(piece)
                position += len(piece)
                self._chunk_left -= len(piece)
                if self._chunk_left == 0:
                    self._verify_chunk()
                    self._state = _DATA_END
            elif self._state == _DONE:
                raise _malformed("bytes follow its end")
            else:
                line, position = self._take_line(data, position)
                if line is not None:
                    self._on_line(line)
        return payload

    def _take_line(self, data: memoryview, position: int) -> tuple[bytes | None, int]:
        """One line with its LF and the position after it; None while the line is incomplete (its start is kept)."""
        window = bytes(data[position : position + LINE_MAX_BYTES + 1 - len(self._line)])
        found = window.find(b"\n")
        if found < 0:
            self._line += window
            if len(self._line) > LINE_MAX_BYTES:
                raise _malformed("a line is too long")
            return None, position + len(window)
        line = self._line + window[: found + 1]
        self._line = b""
        return line, position + found + 1

    def _on_line(self, line: bytes) -> None:
        if self._state == _SIZE_LINE:
            self._on_size_line(line)
        elif self._state == _DATA_END:
            if line != b"\r\n":
                raise _malformed("a chunk is not followed by CRLF")
            self._state = _SIZE_LINE
        elif self._state == _TRAILERS:
            self._on_trailer_line(line)
        else:
            if line != b"\r\n":
                raise _malformed("it does not end with an empty line")
            self._state = _DONE

    def _on_size_line(self, line: bytes) -> None:
        match = self._line_pattern.fullmatch(line)
        if match is None:
            raise _malformed("a chunk header is not of the announced form")
        size = int(match[1], 16)
        if size > self.decoded_left:
            raise S3Error("IncompleteBody", "The body holds more bytes than x-amz-decoded-content-length says.")
        if self._signed:
            self._chunk_signature = match[2].decode("ascii")
            self._chunk_hash = hashlib.sha256() if self._streaming is not None else None
        self.decoded_left -= size
        if size:
            self._chunk_left = size
            self._state = _DATA
            return
        if self.decoded_left:
            raise S3Error("IncompleteBody", "The body holds fewer bytes than x-amz-decoded-content-length says.")
        self._verify_chunk()
        self._state = _TRAILERS if self._with_trailer else _LAST_BLANK

    def _on_trailer_line(self, line: bytes) -> None:
        if line == b"\r\n":
            if self._open_line and self._trailer_signature is None and self._signed:
                # The value before ended with a bare LF: this CRLF belongs to it, and the signature is still to come.
                self._open_line = False
                return
            self._end_trailers()
            return
        match = _TRAILER_LINE.fullmatch(line)
        if match is None or self._trailer_signature is not None or len(self._trailers) >= TRAILERS_MAX:
            raise S3Error("MalformedTrailerError")
        name, value = match[1].decode("ascii").lower(), match[2].decode("ascii")
        if name == TRAILER_SIGNATURE and self._signed:
            if not line.endswith(b"\r\n"):
                raise S3Error("MalformedTrailerError")
            self._trailer_signature = value
            return
        if name in self._trailers or name not in self._trailer_names:
            raise S3Error("MalformedTrailerError")
        self._open_line = not line.endswith(b"\r\n")
        if self._open_line and not self._signed:
            raise S3Error("MalformedTrailerError")
        self._trailers[name] = value
        self._trailer_block += f"{name}:{value}\n".encode("ascii")

    def _end_trailers(self) -> None:
        if self._trailers.keys() != self._trailer_names:
            raise S3Error("MalformedTrailerError")
        if self._signed:
            # Without any announced trailer there is nothing to sign and the signature may be missing.
            if self._trailer_signature is None and (self._trailer_names or self._streaming is not None):
                raise S3Error("MalformedTrailerError")
            if self._streaming is not None:
                self._verify(
                    trailer_string_to_sign(self._streaming, self._previous_signature, self._trailer_block), self._trailer_signature or ""
                )
        self._state = _DONE

    def _verify_chunk(self) -> None:
        if self._streaming is None:
            return
        to_sign = chunk_string_to_sign(self._streaming, self._previous_signature, self._chunk_hash.hexdigest())
        self._verify(to_sign, self._chunk_signature)
        self._previous_signature = self._chunk_signature

    def _verify(self, to_sign: str, signature: str) -> None:
        assert self._streaming is not None
        expected = canonical.hmac_hex(self._streaming.signing_key, to_sign)
        if _SIGNATURE.fullmatch(signature) is None or not compare_digest(expected, signature):
            raise S3Error("SignatureDoesNotMatch", _WHAT_DIFFERS, StringToSign=to_sign, SignatureProvided=signature)


_WHAT_DIFFERS = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method. "
    "What differs: the signature of one piece of the aws-chunked body; the request's own signature is right."
)


def chunk_string_to_sign(streaming: StreamingContext, previous_signature: str, chunk_sha256_hex: str) -> str:
    """The string to sign of one chunk, chained to the signature before it."""
    return (
        f"AWS4-HMAC-SHA256-PAYLOAD\n{streaming.timestamp}\n{streaming.scope}\n{previous_signature}\n"
        f"{canonical.EMPTY_SHA256}\n{chunk_sha256_hex}"
    )


def trailer_string_to_sign(streaming: StreamingContext, previous_signature: str, trailer_block: bytes) -> str:
    """The string to sign of the trailers; `trailer_block` is `name:value\\n` for each, in the order sent."""
    block_hash = hashlib.sha256(trailer_block).hexdigest()
    return f"AWS4-HMAC-SHA256-TRAILER\n{streaming.timestamp}\n{streaming.scope}\n{previous_signature}\n{block_hash}"
