"""How much is stored, told as Ceph does: `HEAD /bucket?read-stats=true` and `GET /?usage`. Neither is known to AWS.

Both ride on an S3 action, and who may do that one may ask: HeadBucket (s3:ListBucket) and ListBuckets (the owner alone). The figures are
the counters that change with the objects, in the same transaction; nothing is added up here but those of all buckets.
Source: Ceph documentation, "Head Bucket" and "Get Usage" of the S3 API.
"""

from fasterstore.model import BucketRow
from fasterstore.s3.usage_xml import QUOTA_HEADERS, render_usage, usage_headers
from web.authorise import is_owner
from web.context import Request
from web.reply import Headers, Reply, xml_reply
from web.worker import Worker


def wants_bucket_usage(request: Request) -> bool:
    """Does a HeadBucket ask for what the bucket holds?"""
    return request.query.get("read-stats", "").lower() in ("true", "1")


def wants_account_usage(request: Request) -> bool:
    """Does a ListBuckets ask for how much is stored instead of the list?"""
    return "usage" in request.query


def bucket_usage(worker: Worker, request: Request, bucket: BucketRow) -> Headers:
    """The headers that tell what a bucket holds; quotas only to the owner. Raises: S3Error ServiceUnavailable."""
    headers = usage_headers(worker.reader().usage_of(bucket))
    return headers + QUOTA_HEADERS if is_owner(worker, request) else headers


def account_usage(worker: Worker) -> Reply:
    """The Usage document of all buckets. Raises: S3Error ServiceUnavailable."""
    return xml_reply(200, render_usage(worker.reader().usage()))
