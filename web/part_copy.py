"""UploadPartCopy: a range of an existing object becomes a part. Its bytes stay where they are: the part is a list of pieces of blobs.

The bytes are read and verified all the same, for the part's MD5 and checksum, unless the part is a whole object of which both are known.
What was looked at must still be so when the journal writes the part down; if the source was changed meanwhile it is looked at again. A
range that would be a patchwork of many pieces, as of an object that was appended to line by line, is written anew instead: each piece is
a reference that the journal counts, and it must never be held for long. So is what is, or is to be, sealed under a customer's key.
Source: S3 API page UploadPartCopy.
"""

import re
from hashlib import md5
from itertools import islice
from typing import Any, NamedTuple

from actors.messages import CopyPart, Stored
from actors.runtime import offload
from fasterstore.customer_key import CustomerKey
from fasterstore.digests import checksum_text, new_checksum
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import Located
from fasterstore.metadata.multipart import PART_MAX_BYTES, merge_neighbours
from fasterstore.model import ObjectRow, PartCopyIntent, PutIntent, Slice, UploadRow
from fasterstore.s3.copy_range import COPY_RANGE_HEADER, parse_copy_range
from fasterstore.s3.copy_source import COPY_SOURCE_HEADER, CopySource, parse_copy_source, require_source
from fasterstore.s3.errors import S3Error, from_store
from fasterstore.s3.multipart_xml import render_part_copied
from fasterstore.s3.sse_c import key_headers
from web.body import receive_document
from web.context import Request
from web.customer_key import key_of_part, key_of_source
from web.manifest import PieceReader, verified_pieces
from web.multipart import CHANGED, LOOKS, open_upload, part_number
from web.object_content import OFFLOAD_MIN_BYTES, damaged
from web.object_copy import find_source, refuse_source_headers
from web.object_headers import refuse_unbuilt, refuse_unsigned
from web.object_version import refuse_version
from web.reply import Reply, xml_reply
from web.reread import store_again
from web.upload import StoredBody
from web.worker import Worker

PIECES_MAX = 64
"""Of one part: about two milliseconds of the journal's time."""
_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")


class _Range(NamedTuple):
    """The bytes `first` .. `first + length` of the source as it was found."""

    found: Located
    row: ObjectRow
    first: int
    length: int
    key: CustomerKey | None
    """The customer's under which the source is sealed, if it is."""


def upload_part_copy(worker: Worker, request: Request) -> Reply:
    """UploadPartCopy. Raises: S3Error."""
    worker.writer()
    refuse_unsigned(request, "copy")
    number = part_number(request)
    source = parse_copy_source(request.headers[COPY_SOURCE_HEADER])
    refuse_version(source.version_id)
    refuse_source_headers(request.headers)
    refuse_unbuilt(request.headers)
    upload = open_upload(worker, request)
    key = key_of_part(worker, request, upload)
    receive_document(request, worker.blob_key)
    for left in reversed(range(LOOKS)):
        wanted = _range_of(worker, request, source)
        try:
            stored = _store(worker, request, upload, number, source, wanted, key)
            reply = xml_reply(200, render_part_copied(stored.etag, stored.modified_ms, stored.checksums))
            if key is not None:
                reply.headers += key_headers(key)
            return reply
        except FileNotFoundError as moved:
            if not left:
                raise damaged(worker, wanted.found, moved) from None
        except DamagedRecord:
            raise from_store("DamagedRecord") from None
        except S3Error as refusal:
            if not left or refusal.code != CHANGED:
                raise
    raise AssertionError("unreachable")


def _range_of(worker: Worker, request: Request, source: CopySource) -> _Range:
    """The bytes that the part is to have, as the source is now. Raises: S3Error."""
    found = find_source(worker, request, source)
    row = found.object
    assert row is not None
    key = key_of_source(worker, request, row)
    require_source(request.headers, row.etag, row.modified_ms)
    first, length = parse_copy_range(request.headers.get(COPY_RANGE_HEADER), row.size_bytes)
    if length > PART_MAX_BYTES:
        raise S3Error(
            "InvalidRequest",
            f"The specified copy source is larger than the maximum allowable size for a copy source: {PART_MAX_BYTES}",
        )
    return _Range(found, row, first, length, key)


def _store(
    worker: Worker, request: Request, upload: UploadRow, number: int, source: CopySource, wanted: _Range, key: CustomerKey | None
) -> StoredBody:
    """Have the part written down. Raises: S3Error, OperationAborted if the source was changed; FileNotFoundError, DamagedRecord."""
    # What is sealed under a customer's key shares no bytes: each body has a key of its own.
    pieces = _pieces(worker, wanted) if key is None and wanted.key is None else None
    intent = PutIntent(request.bucket, upload.key, wanted.length, "", {}, {}, {}, upload=upload.number, part=number)
    if pieces is None:
        names = (upload.algorithm,) if upload.algorithm else ()
        bytes_again = verified_pieces(worker, wanted.row, wanted.first, wanted.length, wanted.key)
        return store_again(worker, request, bytes_again, intent, names, key)
    etag, checksums = _known(wanted, upload.algorithm) or _digests(worker, wanted, upload.algorithm)
    target = intent._replace(etag=etag, checksums=checksums)
    message = CopyPart(PartCopyIntent(target, tuple(pieces), source.bucket, source.key, wanted.row.stamp))
    stored: Stored = worker.ask("metadata-journal", message)
    return StoredBody(etag, stored.modified_ms, checksums)


def _pieces(worker: Worker, wanted: _Range) -> list[Slice] | None:
    """Where the bytes lie, None if that is more pieces than a part may have. Raises: FileNotFoundError, DamagedRecord."""
    if not wanted.length:
        return []
    found = PieceReader(worker).pieces_of(wanted.row, wanted.first, wanted.length)
    pieces = list(islice(merge_neighbours(found), PIECES_MAX + 1))
    return pieces if len(pieces) <= PIECES_MAX else None


def _known(wanted: _Range, algorithm: str) -> tuple[str, dict[str, str]] | None:
    """ETag and checksums of the part if those of the source tell them: it is copied whole, and was not made of parts itself."""
    row = wanted.row
    if wanted.length != row.size_bytes or _PLAIN_MD5.fullmatch(row.etag) is None:
        return None
    if not algorithm:
        return row.etag, {}
    checksum = row.checksums.get(algorithm)
    return None if checksum is None else (row.etag, {algorithm: checksum})


def _digests(worker: Worker, wanted: _Range, algorithm: str) -> tuple[str, dict[str, str]]:
    """ETag and checksum of the bytes, read and verified. Raises: S3Error, FileNotFoundError, DamagedRecord."""
    digests = [md5(usedforsecurity=False)]
    if algorithm:
        digests.append(new_checksum(algorithm))
    for piece in verified_pieces(worker, wanted.row, wanted.first, wanted.length):
        if len(piece) < OFFLOAD_MIN_BYTES:
            _update(digests, piece)
        else:
            offload(_update, digests, piece)
    checksums = {algorithm: checksum_text(digests[1])} if algorithm else {}
    return digests[0].hexdigest(), checksums


def _update(digests: list[Any], piece: bytes | memoryview) -> None:
    for digest in digests:
        digest.update(piece)


HANDLERS = {
    "UploadPartCopy": upload_part_copy,
}
"""By S3 action."""
