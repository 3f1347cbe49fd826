"""CreateBucket, HeadBucket, GetBucketLocation, DeleteBucket: parse, ask, render. Source: S3 API pages of the four actions."""

from actors.messages import CreateBucket, DeleteBucket
from fasterstore.s3.acl import PRIVATE, requested_acl
from fasterstore.s3.errors import S3Error
from fasterstore.s3.names import validate_bucket
from fasterstore.s3.xml import check_location, parse_create_bucket, render_location
from web import ownership
from web.acl import acl_setting, bucket_acl_of, refuse_unsigned_acl
from web.body import receive_document
from web.bucket_tagging import refuse_xfs_tags, tagging_setting
from web.context import Request
from web.lookup import need_bucket
from web.reply import Headers, Reply, xml_reply
from web.usage import bucket_usage, wants_bucket_usage
from web.worker import Worker

_EMPTY_LENGTH = ("Content-Length", "0")


def create(worker: Worker, request: Request) -> Reply:
    """CreateBucket. Raises: S3Error.

    A second one of the same name is BucketAlreadyOwnedByYou in every region; AWS's 200 for us-east-1 is a legacy of its own. One that
    asks for another ACL than the bucket has is BucketAlreadyExists, as Ceph answers it: no client may take it for the bucket it wanted.
    """
    worker.writer()
    validate_bucket(request.bucket)
    if request.headers.get("x-amz-bucket-object-lock-enabled", "false").lower() != "false":
        raise S3Error("NotImplemented", Header="x-amz-bucket-object-lock-enabled")
    configuration = parse_create_bucket(receive_document(request, worker.blob_key))
    check_location(configuration.location, worker.settings.region, worker.settings.region_was_set)
    settings = _first_settings(request, configuration.tags)
    try:
        worker.ask("metadata-journal", CreateBucket(request.bucket, settings))
    except S3Error as refusal:
        if refusal.code == "BucketAlreadyOwnedByYou" and _asks_for_another_acl(worker, request):
            raise S3Error("BucketAlreadyExists", "The bucket exists, and has another ACL than this request asks for.") from None
        raise
    return Reply(200, [("Location", f"/{request.bucket}"), _EMPTY_LENGTH])


def head(worker: Worker, request: Request) -> Reply:
    """HeadBucket. Raises: S3Error."""
    bucket = need_bucket(worker, request)
    answer: Headers = [("x-amz-bucket-region", worker.settings.region), ("x-amz-access-point-alias", "false"), _EMPTY_LENGTH]
    if wants_bucket_usage(request):
        answer += bucket_usage(worker, request, bucket)
    return Reply(200, answer)


def location(worker: Worker, request: Request) -> Reply:
    """GetBucketLocation; minio-go and mc ask for it before anything else. Raises: S3Error."""
    need_bucket(worker, request)
    return xml_reply(200, render_location(worker.settings.region))


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteBucket. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    worker.ask("metadata-journal", DeleteBucket(request.bucket))
    return Reply(204, [])


def _asks_for_another_acl(worker: Worker, request: Request) -> bool:
    # Read behind the refusal, not before: only the words of it depend on what is read.
    bucket = worker.reader().bucket(request.bucket)
    return bucket is not None and (requested_acl(request.headers) or PRIVATE) != bucket_acl_of(bucket)


def _first_settings(request: Request, tags: dict[str, str]) -> dict[str, bytes]:
    """The settings that a CreateBucket asks for by its headers and its document's tags. Raises: S3Error."""
    settings: dict[str, bytes | None] = {}
    owning = request.headers.get("x-amz-object-ownership")
    if owning is not None:
        if owning not in ownership.OWNERSHIPS:
            raise S3Error("InvalidArgument", "Invalid x-amz-object-ownership header: " + owning, ArgumentName="x-amz-object-ownership")
        settings[ownership.NAME] = owning.encode("ascii")
    acl = requested_acl(request.headers)
    if acl is not None:
        refuse_unsigned_acl(request)
        if acl != PRIVATE and owning == ownership.ACLS_DISABLED:
            raise S3Error("InvalidBucketAclWithObjectOwnership")
        settings["acl"] = acl_setting(acl)
    if tags:
        refuse_xfs_tags(request)
        settings["tagging"] = tagging_setting(tags)
    return {name: document for name, document in settings.items() if document is not None}


HANDLERS = {
    "CreateBucket": create,
    "HeadBucket": head,
    "GetBucketLocation": location,
    "DeleteBucket": delete,
}
"""By S3 action."""
