"""Bucket policies: set, read, removed, and whether they make the bucket public. Parse, ask, render.

The text is kept and given back as it was put. What it means is `fasterstore/policy/`'s; who it lets in is `web/authorise.py`'s.
Source: S3 API pages PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy, GetBucketPolicyStatus.
"""

from actors.messages import ConfigureBucket
from fasterstore.policy.bucket_access import BucketAccess, blocks_public_policies
from fasterstore.policy.document import BODY_MAX_BYTES, too_large
from fasterstore.policy.status import is_public
from fasterstore.policy.validate import read_policy
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_text import document, element
from web.body import receive_document
from web.context import Request
from web.lookup import need_bucket
from web.reply import Reply, json_reply, xml_reply
from web.worker import Worker

NAME = "policy"
_BLOCKED = "Access Denied because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access."


def put(worker: Worker, request: Request) -> Reply:
    """PutBucketPolicy. Raises: S3Error MalformedPolicy; AccessDenied for a public policy where public ones are blocked."""
    worker.writer()
    bucket = need_bucket(worker, request)
    body = _receive(worker, request)
    policy = read_policy(body, request.bucket)
    if blocks_public_policies(bucket.settings) and is_public(policy):
        raise S3Error("AccessDenied", _BLOCKED)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, body))
    return Reply(204, [])


def get(worker: Worker, request: Request) -> Reply:
    """GetBucketPolicy: the text as it was put. Raises: S3Error NoSuchBucketPolicy."""
    body: bytes | None = need_bucket(worker, request).settings.get(NAME)
    if body is None:
        raise S3Error("NoSuchBucketPolicy", BucketName=request.bucket)
    return json_reply(200, body)


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteBucketPolicy: 204 whether or not there was one. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, None))
    return Reply(204, [])


def status(worker: Worker, request: Request) -> Reply:
    """GetBucketPolicyStatus: is the bucket public by its policy or its ACL? Without a policy AWS tells of none (404), Ceph that it is not.

    Here it is told as Ceph does it: the question has an answer. Raises: S3Error.
    """
    access = BucketAccess(need_bucket(worker, request).settings, worker.settings.access_key)
    public = access.has_public_acl or (access.policy is not None and access.policy.is_public)
    return xml_reply(200, document("PolicyStatus", (element("IsPublic", "true" if public else "false"),)))


def _receive(worker: Worker, request: Request) -> bytes:
    try:
        return receive_document(request, worker.blob_key, BODY_MAX_BYTES)
    except S3Error as refusal:
        if refusal.code != "MaxMessageLengthExceeded":
            raise
        raise too_large() from None


HANDLERS = {
    "PutBucketPolicy": put,
    "GetBucketPolicy": get,
    "DeleteBucketPolicy": delete,
    "GetBucketPolicyStatus": status,
}
"""By S3 action."""
