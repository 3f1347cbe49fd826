"""The body of a request: what is announced, what must hold of it, and its bytes without their framing.

`plan_body` is everything that can be known before the first byte is read, so that a client that waits for "100 Continue" is refused
without sending; `BodyReader` then hands out payload. Nothing may be committed before `BodyReader.trailers` returned and the digests were
verified against the plan. Never holds more than one piece of the wire; never computes a digest.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from actors.runtime import offload
from fasterstore.digests import Digests, small_digests
from fasterstore.s3.auth_result import StreamingContext
from fasterstore.s3.canonical import EMPTY_SHA256
from fasterstore.s3.checksums import ChecksumRequest, checksum_request, verify_digests
from fasterstore.s3.chunked import ChunkedDecoder, decoded_length, is_streaming
from fasterstore.s3.errors import S3Error
from web.context import Request

DOCUMENT_MAX_BYTES = 64 * 1024
"""XML and JSON documents are small; nothing larger is read into memory for a request that is not an upload."""
WIRE_PIECE_BYTES = 64 * 1024
SHORT_WIRE_PIECE_BYTES = 8 * 1024
"""While memory for bodies is short."""
_HASH_CHARS = 64
_NO_TRAILERS: dict[str, str] = {}


class BodyPlan(NamedTuple):
    """What is known of a body before it is read.

    `size_bytes` is the payload's length, without framing; `payload` and `streaming` come from the signature; `signed_hash`: `payload`
    is a SHA-256 that the bytes must have; `framed`: the body is aws-chunked.
    """

    size_bytes: int
    payload: str
    streaming: StreamingContext | None
    signed_hash: bool
    framed: bool
    checksums: ChecksumRequest

    def digests_of(self, body: Any, blob_key: bytes) -> Digests:
        """Every digest this plan needs, of a body in memory."""
        return small_digests(body, blob_key, self.signed_hash, self.checksums.names)

    def verify(self, digests: Digests, trailers: Mapping[str, str]) -> None:
        """Raises S3Error XAmzContentSHA256Mismatch, BadDigest or InvalidRequest if the client said otherwise."""
        if self.signed_hash or self.checksums.names or self.checksums.md5_hex is not None:
            verify_digests(self.checksums, self.payload, trailers, digests)


def plan_body(request: Request, max_bytes: int) -> BodyPlan:
    """Read what headers and signature say of the body, of at most `max_bytes`.

    Raises: S3Error MissingContentLength, EntityTooLarge, InvalidDigest, InvalidArgument, InvalidRequest.
    """
    identity = request.identity
    payload = identity.payload
    framed = is_streaming(payload)
    size_bytes = decoded_length(request.headers) if framed else request.content_length
    if size_bytes is None:
        raise S3Error("MissingContentLength")
    if size_bytes > max_bytes:
        raise S3Error("EntityTooLarge", ProposedSize=str(size_bytes), MaxSizeAllowed=str(max_bytes))
    checksums = checksum_request(request.headers)
    if checksums.trailer_names and not framed:
        raise S3Error("InvalidRequest", "x-amz-trailer was sent, but x-amz-content-sha256 announces no trailer.")
    return BodyPlan(size_bytes, payload, identity.streaming, not framed and len(payload) == _HASH_CHARS, framed, checksums)


class BodyReader:
    """Hands out the payload of one request in the caller's buffers. Raises S3Error and what the connection raises."""

    __slots__ = ("_decoder", "_input", "_left", "_pieces", "_request", "_wire")

    def __init__(self, request: Request, plan: BodyPlan) -> None:
        self._input = request.input
        self._request = request
        self._left = plan.size_bytes
        self._decoder: ChunkedDecoder | None = None
        self._pieces: list[memoryview] = []
        self._wire = memoryview(b"")
        if plan.framed:
            self._decoder = ChunkedDecoder(plan.payload, plan.size_bytes, plan.streaming, plan.checksums.trailer_names)

    def read_all(self) -> bytes:
        """The whole payload as one byte string: for small bodies. Raises S3Error IncompleteBody."""
        size_bytes = self._left
        if self._decoder is not None:
            self._request.account.take(size_bytes)
            buffer = bytearray(size_bytes)
            self.fill(memoryview(buffer))
            return bytes(buffer)
        body = self._input.read(size_bytes) if size_bytes else b""
        if len(body) != size_bytes:
            raise S3Error("IncompleteBody")
        self._request.bytes_in += size_bytes
        return body

    def fill(self, view: memoryview) -> None:
        """Fill all of `view`, which must not be longer than what is left of the payload. Raises S3Error IncompleteBody."""
        if self._decoder is None:
            self._fill_plain(view)
        else:
            self._fill_framed(self._decoder, view)
        self._left -= len(view)
        self._request.bytes_in += len(view)

    def trailers(self) -> Mapping[str, str]:
        """Read what follows the payload, and return the trailers. Raises S3Error IncompleteBody, SignatureDoesNotMatch."""
        decoder = self._decoder
        if decoder is None:
            return _NO_TRAILERS
        # To the end of the body, not of the framing: bytes behind it are refused, however they were cut into segments.
        while wire := self._receive_wire():
            self._decode(decoder, wire)
        try:
            return decoder.finish()
        except S3Error as error:
            raise _closing(error) from None

    def _fill_plain(self, view: memoryview) -> None:
        readinto = getattr(self._input, "readinto", None)
        filled = 0
        while filled < len(view):
            if readinto is not None:
                count: int = readinto(view[filled:])
            else:
                piece = self._input.read(len(view) - filled)
                count = len(piece)
                view[filled : filled + count] = piece
            if not count:
                raise S3Error("IncompleteBody")
            filled += count

    def _fill_framed(self, decoder: ChunkedDecoder, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            if not self._pieces:
                wire = self._receive_wire()
                if not wire:
                    raise _closing(S3Error("IncompleteBody"))
                self._pieces = self._decode(decoder, wire)
                self._pieces.reverse()
                continue
            piece = self._pieces.pop()
            count = min(len(piece), len(view) - filled)
            view[filled : filled + count] = piece[:count]
            if count < len(piece):
                self._pieces.append(piece[count:])
            filled += count

    def _decode(self, decoder: ChunkedDecoder, wire: memoryview) -> list[memoryview]:
        try:
            return decoder.feed(wire)
        except S3Error as error:
            raise _closing(error) from None

    def _receive_wire(self) -> memoryview:
        """The next bytes of a framed body, valid until the next call; empty at its end."""
        readinto = getattr(self._input, "readinto", None)
        if readinto is None:
            return memoryview(self._input.read(WIRE_PIECE_BYTES))
        if not self._wire:
            account = self._request.account
            piece_bytes = SHORT_WIRE_PIECE_BYTES if account.memory.is_short else WIRE_PIECE_BYTES
            size_bytes = min(piece_bytes, self._left + 4096)
            account.take(size_bytes)
            self._wire = memoryview(bytearray(size_bytes))
        return self._wire[: readinto(self._wire)]


def _closing(error: S3Error) -> S3Error:
    """That refusal, after which the connection closes: two framings of one body disagree, so nothing behind it is taken for a request."""
    error.headers["Connection"] = "close"
    return error


def receive_document(request: Request, blob_key: bytes, max_bytes: int = DOCUMENT_MAX_BYTES) -> bytes:
    """A whole small body (b"" without one), verified against signature and checksums.

    Raises: S3Error MaxMessageLengthExceeded over `max_bytes`, and all that plan and reader raise.
    """
    if request.content_length is None and not is_streaming(request.identity.payload):
        refuse_signed_body(request)
        return b""
    plan = plan_body(request, 1 << 62)
    if plan.size_bytes > max_bytes:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(max_bytes))
    reader = BodyReader(request, plan)
    body = reader.read_all()
    trailers = reader.trailers()
    # Digests of 2 MiB take up to 10 ms, in which a native thread needs no interpreter.
    is_large = len(body) > DOCUMENT_MAX_BYTES
    digests: Digests = offload(plan.digests_of, body, blob_key) if is_large else plan.digests_of(body, blob_key)
    plan.verify(digests, trailers)
    return body


def refuse_signed_body(request: Request) -> None:
    """For a request without body: the signature must be that of one.

    Raises: S3Error XAmzContentSHA256Mismatch.
    """
    payload = request.identity.payload
    if len(payload) == _HASH_CHARS and payload != EMPTY_SHA256:
        raise S3Error("XAmzContentSHA256Mismatch", ClientComputedContentSHA256=payload, S3ComputedContentSHA256=EMPTY_SHA256)
