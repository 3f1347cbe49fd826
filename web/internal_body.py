"""The body of a call between nodes: read whole, within bounds, and held against the hash that its proof covered."""

from hashlib import sha256
from hmac import compare_digest

from actors.runtime import offload
from fasterstore.replication.change import BATCH_HARD_MAX_BYTES
from fasterstore.s3.canonical import UNSIGNED_PAYLOAD
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.worker import Worker

OFFLOAD_MIN_BYTES = 256 * 1024
"""Hashing less takes less time than handing it to a thread."""


def receive(worker: Worker, request: Request, max_bytes: int = BATCH_HARD_MAX_BYTES) -> bytes:
    """The whole body, verified. Its length must be known beforehand, so it has an end; the connection sees to it that it makes progress.

    Raises: S3Error MissingContentLength, EntityTooLarge, IncompleteBody, XAmzContentSHA256Mismatch, and what the connection raises.
    """
    length = request.content_length
    if length is None:
        worker.refusals.refused("endless-body", f"{request.peer_ip} sends a body without a length")
        raise S3Error("MissingContentLength")
    if length > max_bytes:
        worker.refusals.refused("oversized-body", f"{request.peer_ip} sends a body of {length} bytes; at most {max_bytes} are taken")
        raise S3Error("EntityTooLarge", ProposedSize=str(length), MaxSizeAllowed=str(max_bytes))
    # A peer has a few batches on their way, and waits for a sign of life: behind a crowd of clients it would fall back ever further.
    request.account.waits = False
    body = request.input.read(length) if length else b""
    if len(body) != length:
        worker.refusals.refused("short-body", f"{request.peer_ip} sent {len(body)} of {length} bytes")
        raise S3Error("IncompleteBody")
    request.bytes_in += length
    # What is not coming any more needs no room among the bodies: this one may wait for hours for what is pulled.
    request.account.close()
    stated = request.identity.payload
    if stated != UNSIGNED_PAYLOAD:
        found = (offload(sha256, body) if length >= OFFLOAD_MIN_BYTES else sha256(body)).hexdigest()
        if not compare_digest(found, stated):
            worker.refusals.refused("wrong-hash", f"{request.peer_ip} sent a body that is not the one it signed")
            raise S3Error("XAmzContentSHA256Mismatch", ClientComputedContentSHA256=stated, S3ComputedContentSHA256=found)
    return body


def refuse_unreadable(worker: Worker, request: Request, error: Exception) -> S3Error:
    """The refusal of a body that is not what this route takes."""
    worker.refusals.refused("unreadable", f"{request.peer_ip} sent what this node cannot read: {error}")
    return S3Error("InvalidRequest", f"The body cannot be read: {error}")
