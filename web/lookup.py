"""What the index says of a request's bucket and key, read once and shared by all who ask during that request.

The first reader pays; authorisation and handler then judge by the same rows. A handler that must look again (a record has moved) says so.
"""

from fasterstore.metadata.index import Located
from fasterstore.model import BucketRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.names import validate_bucket
from web.context import Request
from web.worker import Worker


def find_bucket(worker: Worker, request: Request) -> BucketRow | None:
    """The request's bucket, None if there is none. Raises: S3Error ServiceUnavailable."""
    if request.located is not None:
        return request.located.bucket
    if not request.bucket_known:
        request.bucket_row = worker.reader().bucket(request.bucket)
        request.bucket_known = True
    return request.bucket_row


def need_bucket(worker: Worker, request: Request) -> BucketRow:
    """The request's bucket. Raises: S3Error NoSuchBucket, InvalidBucketName, ServiceUnavailable."""
    row = find_bucket(worker, request)
    if row is None:
        raise no_bucket(request.bucket)
    return row


def locate(worker: Worker, request: Request, again: bool = False) -> Located:
    """Bucket, object and blob of the request's key, from one read. Raises: S3Error ServiceUnavailable."""
    found = request.located
    if found is None or again:
        assert request.key is not None
        found = request.located = worker.reader().locate(request.bucket, request.key)
    return found


def no_bucket(name: str) -> S3Error:
    """The error for a bucket that is not there. Raises: S3Error InvalidBucketName if there never can be one of that name."""
    validate_bucket(name)
    return S3Error("NoSuchBucket", BucketName=name)
