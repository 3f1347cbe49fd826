"""May this request do what it asks for? The last gate before a handler, after authentication.

One owner (FS_ACCESS_KEY) has every bucket; he may do all that the bucket's policy does not explicitly deny, and always read and change the
policy itself. Everybody else is anonymous and may do what the policy, or a public canned ACL, allows, and nothing else. The rules are
`fasterstore/policy/`'s; here a request is turned into questions, and an answer into a refusal. The bucket's row is read for each request
(`web/lookup.py`), so what a 200 revoked is revoked in every worker. Source: S3 user guide, "How Amazon S3 authorizes a request".
"""

from collections.abc import Iterable, Mapping

from fasterstore.metadata.index import Located
from fasterstore.model import BucketRow, ObjectRow
from fasterstore.policy.bucket_access import AccessCache, BucketAccess
from fasterstore.policy.compiled import Verdict
from fasterstore.policy.iam_actions import display_name, needed_actions
from fasterstore.policy.question import BUCKET_ARN_PREFIX, Question, user_arn
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.lookup import find_bucket, locate, no_bucket
from web.worker import Worker

NOBODY = "none"
"""The scheme of an identity that no signature proves."""
BUCKETS_KEPT = 1024
"""Compiled rules kept in each worker."""

_LEFT_TO_HANDLERS = frozenset(("PostObject", "PreflightBucket", "PreflightObject"))
_OWNERS_ONLY = frozenset(("CreateBucket", "GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"))
_LOCATED = frozenset(("GetObject", "HeadObject"))
_READS = frozenset(("GetObject", "HeadObject", "GetObjectAttributes", "GetObjectAcl", "GetObjectTagging"))
"""Whoever may not list the bucket is not told by these whether a key is missing."""
_MAKES = frozenset(("PutObject", "CopyObject", "CreateMultipartUpload"))
_GRANT = "x-amz-grant-"

_rules = AccessCache(BUCKETS_KEPT)


def is_owner(worker: Worker, request: Request) -> bool:
    """Is this the owner of all buckets? Also everybody while FS_AUTH_ENABLED is false."""
    return request.identity.scheme != NOBODY or not worker.settings.auth_enabled


def authorise(worker: Worker, request: Request) -> None:
    """Raises S3Error AccessDenied unless the request's identity may do its action; NoSuchBucket to a stranger who asks for a missing one.

    Called for every S3 request before its handler. Some is left to handlers, which must ask below: PostObject (`authorise_as`),
    DeleteObjects (`authorise_keys`), what CopyObject, UploadPartCopy and RenameObject read (`authorise_source`), and the tags of
    PutObjectTagging (`authorise_tags`). Preflights need no permission.
    """
    action = request.action
    if action in _LEFT_TO_HANDLERS:
        return
    if request.bucket and action not in _OWNERS_ONLY:
        authorise_as(worker, request, action)
    elif not is_owner(worker, request):
        raise S3Error("AccessDenied")


def authorise_as(worker: Worker, request: Request, action: str) -> None:
    """The same as `authorise`, for a request that turns out to be the S3 action `action` (PostObject's "PutObject").

    By now `request` must have the identity that the form's policy proves (ANONYMOUS without one), its key, and the form's fields as
    headers (x-amz-acl, x-amz-tagging, ...) where conditions are to see them. Raises: S3Error AccessDenied, NoSuchBucket.
    """
    if not worker.settings.auth_enabled:
        return
    row = locate(worker, request).bucket if action in _LOCATED else find_bucket(worker, request)
    if request.identity.scheme != NOBODY and (row is None or "policy" not in row.settings):
        # Nothing is denied to the owner but by a policy; that a bucket is missing is the handler's to say.
        return
    access = _access(worker, row, request.bucket)
    if action == "DeleteObjects":
        if request.identity.scheme == NOBODY and not access.may_delete_some():
            raise S3Error("AccessDenied")
    elif action != "PutObjectTagging" or not _waits_for_tags(access):
        _decide(worker, request, action, access)


def authorise_source(worker: Worker, request: Request, bucket: str, key: bytes) -> Located:
    """May this request read that object, as CopyObject and UploadPartCopy do? For RenameObject also: may it remove it?

    Returns: the rows that were judged, from one read: nothing else may be copied. Raises: S3Error AccessDenied, NoSuchBucket.
    """
    found = worker.reader().locate(bucket, key)
    row = found.bucket
    if not worker.settings.auth_enabled or (request.identity.scheme != NOBODY and (row is None or "policy" not in row.settings)):
        return found
    access = _access(worker, row, bucket)
    versioned = "?versionId=" in request.headers.get("x-amz-copy-source", "")
    actions = needed_actions("GetObject", versioned)
    if request.action == "RenameObject":
        actions += needed_actions("DeleteObject")
    question = _question(worker, request, request.action, bucket, key)
    question.existing_tags = lambda: _tags_of(found.object)
    _require_reading(access, question, actions, found.object, bucket, key)
    return found


def authorise_keys(worker: Worker, request: Request, keys: Iterable[tuple[bytes, bool]]) -> list[bool]:
    """For DeleteObjects: may each of these keys of the request's bucket be deleted? In the order given.

    Beside each key stands whether the request names a version of it, as DeleteObject asks. Raises: S3Error NoSuchBucket.
    """
    row = find_bucket(worker, request)
    if is_owner(worker, request) and (row is None or "policy" not in row.settings or not worker.settings.auth_enabled):
        return [True for _ in keys]
    access = _access(worker, row, request.bucket)
    question = _question(worker, request, "DeleteObjects", request.bucket, None)
    allowed = []
    for key, versioned in keys:
        (question.action,) = needed_actions("DeleteObject", versioned)
        question.resource = _arn(request.bucket, key)
        allowed.append(access.decide(question) is Verdict.ALLOWED)
    return allowed


def authorise_tags(worker: Worker, request: Request, tags: Mapping[str, str]) -> None:
    """For PutObjectTagging, whose tags stand in the body: called once they are read. Raises: S3Error AccessDenied.

    Only a policy that asks for them is decided here; all else was by `authorise`.
    """
    if not worker.settings.auth_enabled:
        return
    row = find_bucket(worker, request)
    if row is not None and "policy" in row.settings:
        access = _access(worker, row, request.bucket)
        if _waits_for_tags(access):
            _decide(worker, request, "PutObjectTagging", access, tags)


def _access(worker: Worker, row: BucketRow | None, bucket: str) -> BucketAccess:
    if row is None:
        raise no_bucket(bucket)
    return _rules.of(row, worker.settings.access_key)


def _waits_for_tags(access: BucketAccess) -> bool:
    return access.policy is not None and access.policy.needs_request_tags


def _decide(worker: Worker, request: Request, operation: str, access: BucketAccess, tags: Mapping[str, str] | None = None) -> None:
    """Raises: S3Error AccessDenied."""
    actions = needed_actions(operation, "versionId" in request.query)
    if operation in _MAKES:
        actions += _on_the_way(request.headers)
    question = _question(worker, request, operation, request.bucket, request.key)
    question.request_tags = tags
    if request.key is not None:
        question.existing_tags = lambda: _tags_of(locate(worker, request).object)
        if operation in _READS:
            _require_reading(access, question, actions, locate(worker, request).object, request.bucket, request.key)
            return
    _require(access, question, actions)


def _require(access: BucketAccess, question: Question, actions: tuple[str, ...], object_acl: str = "") -> None:
    """Raises S3Error AccessDenied unless all of `actions` are allowed, and at least one is asked for."""
    if not actions and not question.is_owner:
        raise S3Error("AccessDenied")
    for action in actions:
        question.action = action
        verdict = access.decide(question, object_acl)
        if verdict is not Verdict.ALLOWED:
            raise _refusal(question, verdict)


def _require_reading(
    access: BucketAccess, question: Question, actions: tuple[str, ...], found: ObjectRow | None, bucket: str, key: bytes
) -> None:
    """The same for reading the object `found`. That there is none (None) is told only to those who may list the bucket by its key.

    Source: S3 API page GetObject, "Permissions".
    """
    if found is not None:
        _require(access, question, actions, found.acl)
        return
    for action in actions:
        question.action = action
        if access.decide(question) is Verdict.DENIED:
            raise _refusal(question, Verdict.DENIED)
    (question.action,) = needed_actions("ListObjectsV2")
    question.resource = _arn(bucket, None)
    question.prefix = key.decode("utf-8")
    if access.decide(question) is not Verdict.ALLOWED:
        raise S3Error("AccessDenied")


def _on_the_way(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What else a request needs that gives its object an ACL or tags at once (S3 API page PutObject, "Permissions")."""
    actions: tuple[str, ...] = ()
    if "x-amz-acl" in headers or any(name.startswith(_GRANT) for name in headers):
        actions += needed_actions("PutObjectAcl")
    if headers.get("x-amz-tagging"):
        actions += needed_actions("PutObjectTagging")
    return actions


def _question(worker: Worker, request: Request, operation: str, bucket: str, key: bytes | None) -> Question:
    """The question about that bucket or object; its action is still to be filled in."""
    return Question(
        "",
        _arn(bucket, key),
        request.identity.scheme != NOBODY,
        operation,
        headers=request.headers,
        query=request.query,
        raw_query=request.raw_query,
        source_ip=request.client_ip,
        is_secure=request.is_secure,
        now_ms=worker.now_ms(),
        scheme=request.identity.scheme,
        access_key=request.identity.access_key,
        region=worker.settings.region,
    )


def _arn(bucket: str, key: bytes | None) -> str:
    return BUCKET_ARN_PREFIX + bucket if key is None else f"{BUCKET_ARN_PREFIX}{bucket}/{key.decode('utf-8')}"


def _tags_of(row: ObjectRow | None) -> Mapping[str, str]:
    return {} if row is None else row.tags


def _refusal(question: Question, verdict: Verdict) -> S3Error:
    """The owner is told what denies him, in AWS's words; strangers are told nothing."""
    if not question.is_owner or verdict is not Verdict.DENIED:
        return S3Error("AccessDenied")
    return S3Error(
        "AccessDenied",
        f"User: {user_arn(question.access_key)} is not authorized to perform: {display_name(question.action)} on resource: "
        f'"{question.resource}" with an explicit deny in a resource-based policy',
    )
