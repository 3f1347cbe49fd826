"""Writes aws-chunked bodies: the client's side of `chunked`, used by tools and tests. No sockets, no clock."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from fasterstore.s3 import canonical
from fasterstore.s3.auth_result import StreamingContext
from fasterstore.s3.chunked import TRAILER_SIGNATURE, chunk_string_to_sign, trailer_string_to_sign


def encode_chunked(
    pieces: Iterable[bytes],
    payload: str,
    streaming: StreamingContext | None = None,
    trailers: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The body that carries `pieces` (one chunk each; empty ones are left out) framed as `payload` says.

    `payload` is one of the three STREAMING- values; `streaming` (from `signer.sign_v4_headers`) is needed for the two signed ones.
    `trailers` by lower-case name. Yields bytes; their joint length depends on sizes only.
    """
    signed = payload != canonical.STREAMING_UNSIGNED_TRAILER
    if signed and streaming is None:
        raise ValueError("signed chunks need what they are chained to")
    previous = streaming.seed_signature if streaming is not None else ""
    for piece in (*filter(None, pieces), b""):
        head = f"{len(piece):x}"
        if signed and streaming is not None:
            to_sign = chunk_string_to_sign(streaming, previous, hashlib.sha256(piece).hexdigest())
            previous = canonical.hmac_hex(streaming.signing_key, to_sign)
            head += f";chunk-signature={previous}"
        yield f"{head}\r\n".encode("ascii")
        if piece:
            yield piece
            yield b"\r\n"
    if payload != canonical.STREAMING_SIGNED:
        block = "".join(f"{name}:{value}\n" for name, value in (trailers or {}).items())
        yield block.replace("\n", "\r\n").encode("ascii")
        if signed and streaming is not None:
            signature = canonical.hmac_hex(streaming.signing_key, trailer_string_to_sign(streaming, previous, block.encode("ascii")))
            yield f"{TRAILER_SIGNATURE}:{signature}\r\n".encode("ascii")
    yield b"\r\n"
