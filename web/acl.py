"""ACLs of buckets and objects: documents, and what a write may ask for. Parse, ask, render.

The rules of canned ACLs and their stored forms are `fasterstore/s3/acl.py`'s; whether a bucket allows ACLs is told by its settings
"ownership" and "public-access-block". Never decides who may read what: that is `web/authorise.py`.
Source: S3 API pages GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl; S3 user guide, "Controlling ownership of objects".
"""

from actors.messages import AmendObject, ConfigureBucket
from fasterstore.model import BucketRow
from fasterstore.s3.acl import PRIVATE, PUBLIC, parse_acl, render_acl, requested_acl
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xfs_signing import SCHEME as XFS_SCHEME
from web.body import receive_document
from web.context import Request
from web.lookup import need_bucket
from web.object_version import key_of, need_object
from web.ownership import ACLS_DISABLED, ownership_of
from web.public_access_block import blocks_public_acls
from web.reply import Reply, xml_reply
from web.worker import Worker

_OWNER_KEEPS_ALL = "bucket-owner-full-control"
_EMPTY_LENGTH = ("Content-Length", "0")


def object_acl(request: Request, bucket: BucketRow | None) -> str:
    """The ACL that a PUT, copy or upload gives its object, as `ObjectRow.acl` keeps it ("": private).

    `bucket`: where it is written to, None if the write is to create it. Raises: S3Error AccessControlListNotSupported, AccessDenied if
    the bucket blocks public ACLs or the request was signed by x-fs, and as `requested_acl`.
    """
    name = requested_acl(request.headers)
    if name is None:
        return ""
    refuse_unsigned_acl(request)
    if bucket is not None:
        if ownership_of(bucket) == ACLS_DISABLED and request.headers.get("x-amz-acl") != _OWNER_KEEPS_ALL:
            raise S3Error("AccessControlListNotSupported")
        _refuse_blocked(bucket, name)
    return "" if name == PRIVATE else name


def refuse_unsigned_acl(request: Request) -> None:
    """Raises S3Error AccessDenied for an x-fs request: that scheme leaves the headers unsigned."""
    if request.identity.scheme == XFS_SCHEME:
        raise S3Error("AccessDenied", "Requests signed by x-fs may not set ACLs.")


def get_bucket_acl(worker: Worker, request: Request) -> Reply:
    """GetBucketAcl. Raises: S3Error."""
    bucket = need_bucket(worker, request)
    return xml_reply(200, render_acl(_effective(bucket, bucket_acl_of(bucket))))


def put_bucket_acl(worker: Worker, request: Request) -> Reply:
    """PutBucketAcl. Raises: S3Error."""
    worker.writer()
    refuse_unsigned_acl(request)
    bucket = need_bucket(worker, request)
    name = _new_acl(worker, request, bucket)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, "acl", acl_setting(name)))
    return Reply(200, [_EMPTY_LENGTH])


def get_object_acl(worker: Worker, request: Request) -> Reply:
    """GetObjectAcl. Raises: S3Error."""
    row = need_object(worker, request)
    return xml_reply(200, render_acl(_effective(need_bucket(worker, request), row.acl)))


def put_object_acl(worker: Worker, request: Request) -> Reply:
    """PutObjectAcl. Raises: S3Error."""
    worker.writer()
    refuse_unsigned_acl(request)
    need_object(worker, request)
    name = _new_acl(worker, request, need_bucket(worker, request))
    worker.ask("metadata-journal", AmendObject(request.bucket, key_of(request), None, "" if name == PRIVATE else name))
    return Reply(200, [_EMPTY_LENGTH])


def bucket_acl_of(bucket: BucketRow) -> str:
    """The canned ACL that is set on a bucket."""
    stored: bytes = bucket.settings.get("acl", b"")
    return stored.decode("ascii") or PRIVATE


def acl_setting(name: str) -> bytes | None:
    """The setting "acl" for a canned ACL's name: ASCII bytes, None (not set) for private."""
    return None if name == PRIVATE else name.encode("ascii")


def _new_acl(worker: Worker, request: Request, bucket: BucketRow) -> str:
    """The canned ACL that PutBucketAcl or PutObjectAcl asks for, by headers or by its document."""
    if ownership_of(bucket) == ACLS_DISABLED:
        raise S3Error("AccessControlListNotSupported")
    body = receive_document(request, worker.blob_key)
    name = requested_acl(request.headers)
    if body.strip():
        if name is not None:
            raise S3Error("UnexpectedContent")
        name = parse_acl(body)
    elif name is None:
        raise S3Error("MissingSecurityHeader", MissingHeaderName="x-amz-acl")
    _refuse_blocked(bucket, name)
    return name


def _refuse_blocked(bucket: BucketRow, name: str) -> None:
    if name in PUBLIC and blocks_public_acls(bucket):
        raise S3Error("AccessDenied", "Public access control lists are prevented by the bucket's public access block (BlockPublicAcls).")


def _effective(bucket: BucketRow, name: str) -> str:
    # Without ACLs the document says who has what all the same: the owner, everything.
    return PRIVATE if ownership_of(bucket) == ACLS_DISABLED else name


HANDLERS = {
    "GetBucketAcl": get_bucket_acl,
    "PutBucketAcl": put_bucket_acl,
    "GetObjectAcl": get_object_acl,
    "PutObjectAcl": put_object_acl,
}
"""By S3 action."""
