"""Tags of a bucket. The limits of a tag set are `fasterstore/s3/tags.py`'s.

Stored as the setting "tagging": a JSON object of names and values; a bucket without tags has no such setting.
Source: API pages GetBucketTagging, PutBucketTagging, DeleteBucketTagging.
"""

import json
from collections.abc import Mapping

from actors.messages import ConfigureBucket
from fasterstore.model import BucketRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.tags import BUCKET_TAGS_MAX, parse_tagging, render_tagging
from fasterstore.s3.xfs_signing import SCHEME as XFS_SCHEME
from fasterstore.s3.xml_reader import DOCUMENT_MAX_BYTES
from web.body import receive_document
from web.context import Request
from web.lookup import need_bucket
from web.reply import Reply, xml_reply
from web.worker import Worker

NAME = "tagging"


def tags_of(bucket: BucketRow) -> dict[str, str]:
    """The bucket's tags."""
    tags: dict[str, str] = json.loads(bucket.settings.get(NAME, b"{}"))
    return tags


def tagging_setting(tags: Mapping[str, str]) -> bytes | None:
    """The setting "tagging" for a tag set, None (not set) for an empty one."""
    return json.dumps(tags, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8") if tags else None


def get(worker: Worker, request: Request) -> Reply:
    """GetBucketTagging. Raises: S3Error NoSuchTagSet."""
    tags = tags_of(need_bucket(worker, request))
    if not tags:
        raise S3Error("NoSuchTagSet", BucketName=request.bucket)
    return xml_reply(200, render_tagging(tags))


def put(worker: Worker, request: Request) -> Reply:
    """PutBucketTagging: the tags take the place of all earlier ones. Raises: S3Error."""
    worker.writer()
    refuse_xfs_tags(request)
    need_bucket(worker, request)
    tags = parse_tagging(receive_document(request, worker.blob_key, DOCUMENT_MAX_BYTES), BUCKET_TAGS_MAX)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, tagging_setting(tags)))
    return Reply(204, [])


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteBucketTagging. Raises: S3Error."""
    worker.writer()
    refuse_xfs_tags(request)
    need_bucket(worker, request)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, None))
    return Reply(204, [])


def refuse_xfs_tags(request: Request) -> None:
    """Raises S3Error AccessDenied for an x-fs request: tags may grant something, by a policy's conditions (design, section 7)."""
    if request.identity.scheme == XFS_SCHEME:
        raise S3Error("AccessDenied", "Requests signed by x-fs may not set tags.")


HANDLERS = {
    "GetBucketTagging": get,
    "PutBucketTagging": put,
    "DeleteBucketTagging": delete,
}
"""By S3 action."""
