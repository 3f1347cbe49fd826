"""GET /_internal/blob/<hash>: the bytes of one record, as another node pulls them.

With `log` (hex) and `number` the blob is the one that log knows under that number: a blob of this node's own log must also have that
hash as its id (zeros where the caller lost its copy, and knows no more than the number); one of another log, as a peer asks for that
lost its own copy, is looked up among what is known of peers' numbers. The answer is framed (`fasterstore.replication.blob_frames`), 206,
and the range must lie within the blob. Without them, for an operator, it is the bytes of any blob with that id, as they are. What a
customer's key seals stays sealed: the record travels as it lies here, without this node's own encryption. Never cached: a resync must
not push out what clients read.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus

from blake3 import blake3

from actors.messages import BlobFoundDamaged
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.upload_view import PlacedBlob
from fasterstore.replication.blob_frames import FRAME_BYTES, UNKNOWN_BLOB_ID, framed_bytes
from fasterstore.s3.errors import S3Error, from_store
from fasterstore.s3.ranges import content_range, parse_range
from web.context import Request
from web.download import open_blob
from web.object_content import LOOKUPS, Content
from web.regions import Piece
from web.reply import Reply
from web.streamed_body import StreamedBody
from web.worker import Worker

logger = logging.getLogger(__name__)

_BLOB_ID = re.compile(r"[0-9a-fA-F]{64}")
_LOG_UUID = re.compile(r"[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)


def blob(worker: Worker, request: Request) -> Reply:
    """The handler. Raises: S3Error NoSuchKey if there is no such blob, InvalidRange, InvalidArgument, InternalError for a damaged one."""
    blob_id = _hex(_BLOB_ID, request.raw_path.rpartition("/")[2], "the blob's id")
    framed = "log" in request.query or "number" in request.query
    error: Exception = DamagedRecord("")
    found: PlacedBlob | None = None
    for _ in range(LOOKUPS):
        found = _find(worker.reader(), request, blob_id, framed)
        if found is None:
            raise S3Error("NoSuchKey", "There is no such blob.")
        size_bytes = found.blob.location.plaintext_bytes
        part = parse_range(request.headers.get("range", ""), size_bytes)
        first, length = part or (0, size_bytes)
        try:
            content = open_blob(worker, found.blob, found.file_uuid, first, length, keep=False)
        except (DamagedRecord, FileNotFoundError) as moved:
            error = moved
            continue
        headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(framed_bytes(length) if framed else length))]
        if framed or part is not None:
            headers.append(("Content-Range", content_range(first, length, size_bytes)))
        status = HTTPStatus.PARTIAL_CONTENT if framed or part is not None else HTTPStatus.OK
        worker.metrics.bytes_out += length
        return Reply(status, headers, FramedContent(content) if framed else content)
    assert found is not None
    location = found.blob.location
    logger.error("blob %d in segment %016x at %d: %s", found.blob.number, location.segment_id, location.offset, error)
    worker.metrics.damaged_reads += 1
    worker.tell("metadata-journal", BlobFoundDamaged.of(found.blob))
    raise from_store("DamagedRecord")


def _find(index: IndexView, request: Request, blob_id: bytes, by_number: bool) -> PlacedBlob | None:
    if not by_number:
        row = index.blob_by_id(blob_id)
        return None if row is None else index.uploads.blob(row.number)
    log_uuid = _hex(_LOG_UUID, request.query.get("log", ""), "log")
    text = request.query.get("number", "")
    if _NUMBER.fullmatch(text) is None:
        raise S3Error("InvalidArgument", "number must be that of a blob.", ArgumentName="number", ArgumentValue=text)
    number = int(text)
    if log_uuid != index.log_uuid():
        known = index.replication.local_blob(log_uuid, number)
        return None if known is None else index.uploads.blob(known)
    found = index.uploads.blob(number)
    return found if found is not None and blob_id in (found.blob.blob_id, UNKNOWN_BLOB_ID) else None


def _hex(pattern: re.Pattern[str], text: str, name: str) -> bytes:
    if pattern.fullmatch(text) is None:
        raise S3Error("InvalidArgument", f"{name} must be hexadecimal and whole.", ArgumentName=name, ArgumentValue=text)
    return bytes.fromhex(text)


class FramedContent(StreamedBody):
    """The bytes of a record in frames, each hashed as it is sent."""

    __slots__ = ("_content",)

    def __init__(self, content: Content) -> None:
        super().__init__()
        self._content = content

    @property
    def held_bytes(self) -> int:
        """See StreamedBody."""
        return self._content.held_bytes if isinstance(self._content, StreamedBody) else 0

    def regions(self) -> Iterator[Piece]:
        """See StreamedBody: byte strings, for they have to be hashed anyway."""
        return _framed(self._content)

    def __iter__(self) -> Iterator[bytes]:
        for piece in _framed(self._content):
            yield bytes(piece)

    def close(self) -> None:
        """See StreamedBody."""
        if isinstance(self._content, StreamedBody):
            self._content.close()
        super().close()


def _framed(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    hasher, left = blake3(), FRAME_BYTES
    for whole in pieces:
        piece = memoryview(whole)
        while piece:
            part = piece[:left]
            hasher.update(part)
            yield part
            piece = piece[len(part) :]
            left -= len(part)
            if not left:
                yield hasher.digest()
                hasher, left = blake3(), FRAME_BYTES
    if left < FRAME_BYTES:
        yield hasher.digest()
