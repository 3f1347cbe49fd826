"""CreateBucket, HeadBucket, GetBucketLocation, DeleteBucket: parse, ask, render. Source: S3 API pages of the four actions."""

from actors.messages import CreateBucket, DeleteBucket
from fasterstore.s3.names import validate_bucket
from fasterstore.s3.xml import check_location, parse_create_bucket, render_location
from web.body import receive_document
from web.context import Request
from web.object import no_bucket
from web.object_headers import refuse_unbuilt
from web.reply import Reply, xml_reply
from web.worker import Worker

_EMPTY_LENGTH = ("Content-Length", "0")


def create(worker: Worker, request: Request) -> Reply:
    """CreateBucket. Raises: S3Error."""
    worker.writer()
    validate_bucket(request.bucket)
    refuse_unbuilt(request.headers)
    document = receive_document(request, worker.blob_key)
    check_location(parse_create_bucket(document), worker.settings.region, worker.settings.region_was_set)
    worker.ask("metadata-journal", CreateBucket(request.bucket))
    return Reply(200, [("Location", f"/{request.bucket}"), _EMPTY_LENGTH])


def head(worker: Worker, request: Request) -> Reply:
    """HeadBucket. Raises: S3Error."""
    if worker.reader().bucket(request.bucket) is None:
        raise no_bucket(request.bucket)
    return Reply(200, [("x-amz-bucket-region", worker.settings.region), ("x-amz-access-point-alias", "false"), _EMPTY_LENGTH])


def location(worker: Worker, request: Request) -> Reply:
    """GetBucketLocation; minio-go and mc ask for it before anything else. Raises: S3Error."""
    if worker.reader().bucket(request.bucket) is None:
        raise no_bucket(request.bucket)
    return xml_reply(200, render_location(worker.settings.region))


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteBucket. Raises: S3Error."""
    if worker.writer().bucket(request.bucket) is None:
        raise no_bucket(request.bucket)
    worker.ask("metadata-journal", DeleteBucket(request.bucket))
    return Reply(204, [])
