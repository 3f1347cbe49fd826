"""CORS: a bucket's rules, preflight, and the headers of answers to other origins.

A preflight carries no signature and is answered before authentication; it tells what the bucket's rules say and nothing of its objects.
Answers of every other request with an Origin header, refusals too, get the headers of the rule that fits. The rules and their stored
form are `fasterstore/s3/cors.py`'s. Source: API pages PutBucketCors, GetBucketCors, DeleteBucketCors, "OPTIONS object".
"""

from actors.messages import ConfigureBucket
from fasterstore.errors import StoreError
from fasterstore.model import BucketId, BucketRow
from fasterstore.s3.cors import (
    METHODS,
    VARY,
    CompiledRule,
    answer_of,
    compile_rules,
    pack_rules,
    parse_cors,
    render_cors,
    unpack_rules,
    wanted_headers,
)
from fasterstore.s3.errors import S3Error
from web.body import receive_document
from web.context import Request
from web.lookup import find_bucket, need_bucket
from web.reply import Headers, Reply, xml_reply
from web.worker import Worker

NAME = "cors"
COMPILED_MAX = 1024
"""Buckets whose compiled rules are kept."""

_EMPTY_LENGTH = ("Content-Length", "0")
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
    "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
)
_compiled: dict[BucketId, tuple[bytes, tuple[CompiledRule, ...]]] = {}


def get(worker: Worker, request: Request) -> Reply:
    """GetBucketCors. Raises: S3Error NoSuchCORSConfiguration."""
    stored = need_bucket(worker, request).settings.get(NAME)
    if stored is None:
        raise S3Error("NoSuchCORSConfiguration", BucketName=request.bucket)
    return xml_reply(200, render_cors(unpack_rules(stored)))


def put(worker: Worker, request: Request) -> Reply:
    """PutBucketCors: the rules take the place of all earlier ones. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    rules = parse_cors(receive_document(request, worker.blob_key))
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, pack_rules(rules)))
    return Reply(200, [_EMPTY_LENGTH])


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteBucketCors. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, None))
    return Reply(204, [])


def preflight(worker: Worker, request: Request) -> Reply:
    """OPTIONS of a bucket or an object. Raises: S3Error BadRequest, AccessForbidden."""
    headers = request.headers
    origin = headers.get("origin")
    if not origin:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    method = headers.get("access-control-request-method")
    if method not in METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}")
    bucket = find_bucket(worker, request)
    if bucket is None:
        raise _forbidden("CORSResponse: Bucket not found", method, request)
    if NAME not in bucket.settings:
        raise _forbidden("CORSResponse: CORS is not enabled for this bucket.", method, request)
    wanted = wanted_headers(headers.get("access-control-request-headers"))
    found = None if wanted is None else answer_of(rules_of(bucket), origin, method, wanted)
    if found is None:
        raise _forbidden(_NOT_ALLOWED, method, request)
    return Reply(200, [*found, VARY, _EMPTY_LENGTH])


def answer_headers(worker: Worker, request: Request) -> Headers:
    """What CORS adds to the answer of a request that has an Origin and is no preflight. Raises nothing."""
    try:
        bucket = find_bucket(worker, request) if request.bucket else None
    except (S3Error, StoreError):
        # The answer says it, if it matters there.
        return []
    if bucket is None or NAME not in bucket.settings:
        return []
    method = request.headers.get("access-control-request-method", request.method)
    # Without a rule that fits the answer still depends on the origin: a cache must not give it to one that is allowed.
    return [*(answer_of(rules_of(bucket), request.headers["origin"], method) or ()), VARY]


def rules_of(bucket: BucketRow) -> tuple[CompiledRule, ...]:
    """The rules of a bucket that has some, compiled once for every version of them.

    Compared by their bytes: after a restore the same bucket id and version may stand for other rules.
    """
    stored: bytes = bucket.settings[NAME]
    known = _compiled.get(bucket.bucket_id)
    if known is not None and known[0] == stored:
        return known[1]
    rules = compile_rules(stored)
    if len(_compiled) >= COMPILED_MAX:
        # The oldest goes; a bucket in use comes back at its next request.
        del _compiled[next(iter(_compiled))]
    _compiled[bucket.bucket_id] = (stored, rules)
    return rules


def _forbidden(message: str, method: str, request: Request) -> S3Error:
    return S3Error("AccessForbidden", message, Method=method, ResourceType="BUCKET" if request.key is None else "OBJECT")


HANDLERS = {
    "GetBucketCors": get,
    "PutBucketCors": put,
    "DeleteBucketCors": delete,
    "PreflightBucket": preflight,
    "PreflightObject": preflight,
}
"""By S3 action."""
