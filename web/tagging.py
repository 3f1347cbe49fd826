"""Tags of an object: get, put, delete. Parse, ask, render; the rules of tag sets are `fasterstore/s3/tags.py`'s.

A change of tags changes neither the ETag nor the time of the object. Source: S3 API pages GetObjectTagging, PutObjectTagging,
DeleteObjectTagging.
"""

from actors.messages import AmendObject
from fasterstore.s3.tags import OBJECT_TAGS_MAX, parse_tagging, render_tagging
from web.authorise import authorise_tags
from web.body import receive_document
from web.context import Request
from web.object_headers import refuse_unsigned
from web.object_version import key_of, need_object
from web.reply import Reply, xml_reply
from web.worker import Worker

_EMPTY_LENGTH = ("Content-Length", "0")


def get(worker: Worker, request: Request) -> Reply:
    """GetObjectTagging: an empty set for an object without tags. Raises: S3Error."""
    return xml_reply(200, render_tagging(need_object(worker, request).tags))


def put(worker: Worker, request: Request) -> Reply:
    """PutObjectTagging: the set takes the place of the one before. Raises: S3Error."""
    worker.writer()
    refuse_unsigned(request, "set tags")
    tags = parse_tagging(receive_document(request, worker.blob_key), OBJECT_TAGS_MAX)
    authorise_tags(worker, request, tags)
    need_object(worker, request)
    worker.ask("metadata-journal", AmendObject(request.bucket, key_of(request), tags, None))
    return Reply(200, [_EMPTY_LENGTH])


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteObjectTagging. Raises: S3Error."""
    worker.writer()
    refuse_unsigned(request, "remove tags")
    need_object(worker, request)
    worker.ask("metadata-journal", AmendObject(request.bucket, key_of(request), {}, None))
    return Reply(204, [])


HANDLERS = {
    "GetObjectTagging": get,
    "PutObjectTagging": put,
    "DeleteObjectTagging": delete,
}
"""By S3 action."""
