"""PutObject, GetObject, HeadObject, DeleteObject: parse, ask, render. The last word on a write is the journal's.

What can be known before the body is read is checked here, so that a refused client sends nothing; the journal judges again, in order.
Source: S3 API pages of the four actions.
"""

import logging

from actors.messages import BlobFoundDamaged, DeleteObject
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import Located
from fasterstore.model import ObjectRow, PutIntent
from fasterstore.s3.conditions import NOT_MODIFIED, evaluate_read, if_range_holds, write_condition_ok
from fasterstore.s3.errors import S3Error, from_store
from fasterstore.s3.names import validate_bucket
from fasterstore.s3.ranges import content_range, parse_range
from fasterstore.s3.xfs_signing import SCHEME as XFS_SCHEME
from web.body import plan_body
from web.context import Request
from web.download import open_blob
from web.object_headers import answer_headers, metadata_of
from web.reply import Headers, Reply
from web.upload import store_body
from web.worker import Worker

logger = logging.getLogger(__name__)

LOOKUPS = 3
"""How often a key is looked up before a record that is not where its row says counts as damage: compaction may be moving it."""

_EMPTY_LENGTH = ("Content-Length", "0")


def put(worker: Worker, request: Request) -> Reply:
    """PutObject. Raises: S3Error."""
    index = worker.writer()
    _refuse_version(request)
    system, user = metadata_of(request.headers)
    plan = plan_body(request, worker.settings.max_request_bytes)
    key = _key(request)
    create_bucket = False
    if index.bucket(request.bucket) is None:
        if request.identity.scheme != XFS_SCHEME:
            raise no_bucket(request.bucket)
        validate_bucket(request.bucket)
        create_bucket = True
    if_match, if_none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if if_match is not None or if_none_match is not None:
        found = index.locate(request.bucket, key).object
        _refuse_failed_condition(request, if_match, if_none_match, None if found is None else found.etag)
    intent = PutIntent(request.bucket, key, plan.size_bytes, "", system, user, {}, if_match, if_none_match, create_bucket)
    stored = store_body(worker, request, plan, intent)
    return Reply(200, [("ETag", f'"{stored.etag}"'), _EMPTY_LENGTH])


def get(worker: Worker, request: Request) -> Reply:
    """GetObject. Raises: S3Error; the body may raise later, and then the connection is reset."""
    error: Exception | None = None
    found: Located | None = None
    for _ in range(LOOKUPS):
        found = worker.reader().locate(request.bucket, _key(request))
        row = _row(request, found)
        reply, part = _described(request, row)
        if part is None or found.blob is None or found.file_uuid is None:
            return reply
        try:
            reply.body = open_blob(worker, found.blob, found.file_uuid, *part)
        except (DamagedRecord, FileNotFoundError) as moved:
            error = moved
            continue
        worker.metrics.bytes_out += part[1]
        return reply
    assert found is not None and found.blob is not None
    blob = found.blob
    logger.error("blob %d in segment %016x at %d: %s", blob.number, blob.location.segment_id, blob.location.offset, error)
    worker.metrics.damaged_reads += 1
    worker.tell("metadata-journal", BlobFoundDamaged(blob.number, blob.location.record_id))
    raise from_store("DamagedRecord")


def head(worker: Worker, request: Request) -> Reply:
    """HeadObject: the same answer as GetObject's, without reading the record. Raises: S3Error."""
    row = _row(request, worker.reader().locate(request.bucket, _key(request)))
    return _described(request, row)[0]


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteObject: 204 whether or not there was such a key. Raises: S3Error."""
    index = worker.writer()
    _refuse_version(request)
    if index.bucket(request.bucket) is None:
        raise no_bucket(request.bucket)
    worker.ask("metadata-journal", DeleteObject(request.bucket, _key(request), request.headers.get("if-match")))
    return Reply(204, [])


def no_bucket(name: str) -> S3Error:
    """The error for a bucket that is not there. Raises: S3Error InvalidBucketName if there never can be one of that name."""
    validate_bucket(name)
    return S3Error("NoSuchBucket", BucketName=name)


def _described(request: Request, row: ObjectRow) -> tuple[Reply, tuple[int, int] | None]:
    """The answer without its body, and the part of the object (first, length in bytes) that the body is; None for no body."""
    headers = request.headers
    if evaluate_read(headers, row.etag, row.modified_ms) is not None:
        return _not_sent(request, row), None
    answer = answer_headers(row, request.query)
    wanted = headers.get("range")
    if wanted is not None and if_range_holds(headers.get("if-range"), row.etag, row.modified_ms):
        part = parse_range(wanted, row.size_bytes)
        if part is not None:
            answer.append(("Content-Length", str(part[1])))
            answer.append(("Content-Range", content_range(*part, row.size_bytes)))
            return Reply(206, answer), part
    answer.append(("Content-Length", str(row.size_bytes)))
    return Reply(200, answer), (0, row.size_bytes) if row.size_bytes else None


def _not_sent(request: Request, row: ObjectRow) -> Reply:
    """304, or the refusal of a condition that does not hold."""
    if evaluate_read(request.headers, row.etag, row.modified_ms) == NOT_MODIFIED:
        answer: Headers = [pair for pair in answer_headers(row, request.query) if pair[0] != "Content-Type"]
        return Reply(304, answer)
    condition = "If-Match" if "if-match" in request.headers else "If-Unmodified-Since"
    raise S3Error("PreconditionFailed", Condition=condition)


def _row(request: Request, found: Located) -> ObjectRow:
    """The current object of the key. Raises: S3Error NoSuchBucket, NoSuchKey, NotImplemented."""
    if found.bucket is None:
        raise no_bucket(request.bucket)
    if request.query:
        _refuse_version(request)
        if "partNumber" in request.query:
            raise S3Error("NotImplemented", "Reading an object by part number is not implemented.")
    if found.object is None:
        raise S3Error("NoSuchKey", Key=_key(request).decode("utf-8"))
    return found.object


def _refuse_failed_condition(request: Request, if_match: str | None, if_none_match: str | None, etag: str | None) -> None:
    failed = write_condition_ok(if_match, if_none_match, etag)
    if failed == "NoSuchKey":
        raise S3Error("NoSuchKey", Key=_key(request).decode("utf-8"))
    if failed is not None:
        raise from_store(failed, "If-Match" if if_match is not None else "If-None-Match")


def _refuse_version(request: Request) -> None:
    """Without versions the current object is the version "null", and there is no other."""
    version = request.query.get("versionId")
    if version is not None and version != "null":
        raise S3Error("InvalidArgument", "Invalid version id specified", ArgumentName="versionId", ArgumentValue=version)


def _key(request: Request) -> bytes:
    assert request.key is not None
    return request.key
