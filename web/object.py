"""PutObject, GetObject, HeadObject, DeleteObject: parse, ask, render. The last word on a write is the journal's.

What can be known before the body is read is checked here, so that a refused client sends nothing; the journal judges again, in order.
Source: S3 API pages of the four actions.
"""

from actors.messages import DeleteObject
from fasterstore.customer_key import CHECK_NAME, without_check
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import Located
from fasterstore.metadata.multipart import OBJECT_MAX_BYTES, check_part_number
from fasterstore.model import DeleteIntent, ObjectRow, PutIntent
from fasterstore.s3.checksums import checksum_type
from fasterstore.s3.conditions import NOT_MODIFIED, evaluate_read, exact_size, exact_time_secs, if_range_holds, write_condition_ok
from fasterstore.s3.errors import S3Error, from_store
from fasterstore.s3.names import validate_bucket
from fasterstore.s3.ranges import content_range, parse_range
from fasterstore.s3.sse_c import key_headers
from fasterstore.s3.xfs_signing import SCHEME as XFS_SCHEME
from web.acl import object_acl
from web.authorise import authorise, is_owner
from web.body import plan_body
from web.bucket_home import refuse_away_from_home
from web.context import Request
from web.customer_key import key_of_object, key_to_seal, refuse_other_key, sealed_system, written_headers
from web.encryption import stored_encrypted
from web.fetch_through import Fetched, fetch, is_catching_up, open_fetched
from web.lookup import find_bucket, locate, no_bucket
from web.manifest import part_checksums, part_range
from web.object_content import LOOKUPS, damaged, open_content
from web.object_headers import OVERRIDES, answer_headers, checksum_headers, describe, refuse_unsigned
from web.object_version import key_of, no_key, refuse_version
from web.peer_state import REPLICA, STATUS_HEADER, replication_headers
from web.reply import Headers, Reply
from web.sealing import store
from web.worker import Worker

APPEND_HEADER = "x-amz-write-offset-bytes"
_EMPTY_LENGTH = ("Content-Length", "0")
_OFFSET_CHARS = 19

Part = tuple[int, int]
"""A piece of an object: (offset of the first byte, length), both in bytes."""


def put(worker: Worker, request: Request) -> Reply:
    """PutObject. Raises: S3Error."""
    worker.writer()
    if request.query:
        refuse_version(request.query.get("versionId"))
    headers = request.headers
    described = describe(headers, worker.keyring.seals)
    plan = plan_body(request, worker.settings.max_request_bytes)
    key = key_of(request)
    bucket = find_bucket(worker, request)
    if bucket is None:
        if request.identity.scheme != XFS_SCHEME:
            raise no_bucket(request.bucket)
        validate_bucket(request.bucket)
    if described.tags:
        refuse_unsigned(request, "set tags")
    acl = object_acl(request, bucket) if described.has_acl else ""
    customer_key = key_to_seal(worker, request) if described.has_key else None
    system = described.system if customer_key is None else sealed_system(described.system, customer_key)
    if_match, if_none_match, append_at = headers.get("if-match"), headers.get("if-none-match"), -1
    if if_match is not None or if_none_match is not None or APPEND_HEADER in headers:
        append_at = _offset(headers.get(APPEND_HEADER))
        refuse_away_from_home(worker, request.bucket)
        current = locate(worker, request).object
        _refuse_early(request, current, append_at, plan.size_bytes)
        if append_at >= 0 and current is not None:
            refuse_other_key(current, customer_key)
            if customer_key is not None:
                system = system | {CHECK_NAME: current.system[CHECK_NAME]}
    intent = PutIntent(
        request.bucket, key, plan.size_bytes, "", system, described.user, {}, if_match, if_none_match, bucket is None,
        described.tags, acl, append_at=append_at,
    )  # fmt: skip
    stored = store(worker, request, plan, intent, customer_key)
    answer: Headers = [("ETag", f'"{stored.etag}"'), _EMPTY_LENGTH, *written_headers(worker, customer_key)]
    if append_at >= 0:
        answer.append(("x-amz-object-size", str(append_at + plan.size_bytes)))
    elif stored.checksums:
        answer += checksum_headers(stored.checksums)
    return Reply(200, answer)


def get(worker: Worker, request: Request) -> Reply:
    """GetObject. Raises: S3Error; the body may raise later, and then the connection is reset."""
    return _answer(worker, request, True)


def head(worker: Worker, request: Request) -> Reply:
    """HeadObject: the same answer as GetObject's, without reading the record. Raises: S3Error."""
    return _answer(worker, request, False)


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteObject: 204 whether or not there was such a key. Raises: S3Error."""
    worker.writer()
    if request.query:
        refuse_version(request.query.get("versionId"))
    if find_bucket(worker, request) is None:
        raise no_bucket(request.bucket)
    headers = request.headers
    time_name, size_name = "x-amz-if-match-last-modified-time", "x-amz-if-match-size"
    modified, size = headers.get(time_name), headers.get(size_name)
    intent = DeleteIntent(
        key_of(request),
        headers.get("if-match"),
        None if modified is None else exact_time_secs(time_name, modified),
        None if size is None else exact_size(size_name, size),
    )
    worker.ask("metadata-journal", DeleteObject(request.bucket, intent))
    return Reply(204, [])


def _answer(worker: Worker, request: Request, with_body: bool) -> Reply:
    error: Exception = DamagedRecord("")
    found: Located | None = None
    for attempt in range(LOOKUPS):
        found = locate(worker, request, again=attempt > 0)
        if attempt:
            # Another object may have come in between, with another ACL and other tags.
            authorise(worker, request)
        if found.object is None and is_catching_up(worker):
            fetched = fetch(worker, request)
            found = locate(worker, request, again=True)
            if fetched is not None and found.object is None:
                request.located = found._replace(object=fetched.row)
            authorise(worker, request)
            if fetched is not None and found.object is None:
                return _from_peer(worker, request, fetched, with_body)
        row = _row(worker, request, found)
        key = key_of_object(worker, request, row)
        if key is not None:
            row = row._replace(system=without_check(row.system))
        try:
            reply, part = _described(worker, request, row, stored_encrypted(worker, found) if key is None else [])
            if key is not None:
                reply.headers += key_headers(key)
            if worker.replication is not None:
                reply.headers += replication_headers(worker, row)
            if with_body and part is not None:
                reply.body = open_content(worker, found, *part, key)
                worker.metrics.bytes_out += part[1]
        except (DamagedRecord, FileNotFoundError) as moved:
            error = moved
            continue
        return reply
    assert found is not None
    raise damaged(worker, found, error)


def _from_peer(worker: Worker, request: Request, fetched: Fetched, with_body: bool) -> Reply:
    """The answer from an object that is still on its way here. Raises: S3Error."""
    reply, part = _described(worker, request, fetched.row, [])
    reply.headers.append((STATUS_HEADER, REPLICA))
    if with_body and part is not None:
        reply.body = open_fetched(worker, fetched, *part)
        worker.metrics.bytes_out += part[1]
    return reply


def _row(worker: Worker, request: Request, found: Located) -> ObjectRow:
    """The current object of the key. Raises: S3Error NoSuchBucket, NoSuchKey, and for a query that asks for what cannot be."""
    if found.bucket is None:
        raise no_bucket(request.bucket)
    if request.query:
        refuse_version(request.query.get("versionId"))
        if not is_owner(worker, request) and not OVERRIDES.keys().isdisjoint(request.query):
            raise S3Error("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
    if found.object is None:
        raise no_key(request)
    return found.object


def _described(worker: Worker, request: Request, row: ObjectRow, encrypted: Headers) -> tuple[Reply, Part | None]:
    """The answer without its body, and the part of the object that the body is; None for no body. `encrypted`: what it says of that.

    Raises: S3Error, FileNotFoundError if the object's manifest is gone (look the key up again).
    """
    headers = request.headers
    if evaluate_read(headers, row.etag, row.modified_ms) is not None:
        return _not_sent(request, row), None
    answer = answer_headers(row, request.query) + encrypted
    if request.query and "partNumber" in request.query:
        return _one_part(worker, request, row, answer)
    wanted = headers.get("range")
    if wanted is not None and if_range_holds(headers.get("if-range"), row.etag, row.modified_ms):
        part = parse_range(wanted, row.size_bytes)
        if part is not None:
            answer.append(("Content-Length", str(part[1])))
            answer.append(("Content-Range", content_range(*part, row.size_bytes)))
            return Reply(206, answer), part
    if row.checksums and _wants_checksums(request):
        answer += checksum_headers(row.checksums)
    answer.append(("Content-Length", str(row.size_bytes)))
    return Reply(200, answer), (0, row.size_bytes) if row.size_bytes else None


def _one_part(worker: Worker, request: Request, row: ObjectRow, answer: Headers) -> tuple[Reply, Part | None]:
    """The answer to a request for one part of the object, by its number."""
    if "range" in request.headers:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    number = _part_number(request.query["partNumber"])
    first, length, parts = part_range(worker, row, number)
    answer.append(("Content-Length", str(length)))
    if parts:
        answer.append(("x-amz-mp-parts-count", str(parts)))
    if row.checksums and _wants_checksums(request):
        answer += checksum_headers(part_checksums(worker, row, number), checksum_type(row.checksums))
    if not length:
        return Reply(200, answer), None
    answer.append(("Content-Range", content_range(first, length, row.size_bytes)))
    return Reply(206, answer), (first, length)


def _not_sent(request: Request, row: ObjectRow) -> Reply:
    """304, or the refusal of a condition that does not hold."""
    if evaluate_read(request.headers, row.etag, row.modified_ms) == NOT_MODIFIED:
        answer: Headers = [pair for pair in answer_headers(row, request.query) if pair[0] != "Content-Type"]
        return Reply(304, answer)
    condition = "If-Match" if "if-match" in request.headers else "If-Unmodified-Since"
    raise S3Error("PreconditionFailed", Condition=condition)


def _wants_checksums(request: Request) -> bool:
    return request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"


def _part_number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < _OFFSET_CHARS else 0
    check_part_number(number)
    return number


def _offset(text: str | None) -> int:
    """The length that the object must have to be appended to; -1 for a PUT that is none."""
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < _OFFSET_CHARS):
        raise S3Error("InvalidArgument", "The write offset must be a number of bytes.", ArgumentName=APPEND_HEADER, ArgumentValue=text)
    return int(text)


def _refuse_early(request: Request, current: ObjectRow | None, append_at: int, size_bytes: int) -> None:
    """Raises S3Error for conditions and offsets that do not hold for the current object (None: there is none)."""
    if_match, if_none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    failed = write_condition_ok(if_match, if_none_match, None if current is None else current.etag)
    if failed == "NoSuchKey" or (current is None and append_at > 0):
        raise no_key(request)
    if failed is not None:
        raise from_store(failed, "If-Match" if if_match is not None else "If-None-Match")
    if append_at >= 0 and current is not None and current.size_bytes != append_at:
        raise from_store("WrongOffset")
    if append_at + size_bytes > OBJECT_MAX_BYTES:
        raise S3Error("EntityTooLarge", ProposedSize=str(append_at + size_bytes), MaxSizeAllowed=str(OBJECT_MAX_BYTES))


HANDLERS = {
    "PutObject": put,
    "GetObject": get,
    "HeadObject": head,
    "DeleteObject": delete,
}
"""By S3 action."""
