"""ListParts and ListMultipartUploads: parse, read, render. Source: S3 API pages of the two actions."""

from collections.abc import Sequence

from actors.runtime import sleep
from fasterstore.metadata.multipart import parse_upload_id
from fasterstore.metadata.upload_listing import Place, Read, list_uploads
from fasterstore.model import PARTS_MAX, UploadRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.listing_query import PAGE_MAX_KEYS, parse_int32
from fasterstore.s3.multipart_xml import PartsPage, UploadsQuery, render_parts, render_uploads
from fasterstore.s3.sse_c import key_headers
from web.context import Request
from web.customer_key import key_to_list
from web.lookup import need_bucket
from web.multipart import open_upload
from web.reply import Reply, xml_reply
from web.worker import Worker

_INT32_MAX = 2**31 - 1


def list_parts(worker: Worker, request: Request) -> Reply:
    """ListParts of an open upload. Raises: S3Error."""
    max_parts = _page_size(request, "max-parts")
    marker = min(_count(request, "part-number-marker", 0), PARTS_MAX)
    upload = open_upload(worker, request)
    customer_key = key_to_list(worker, request, upload)
    rows = worker.reader().uploads.parts_after(upload.number, marker, max_parts + 1) if max_parts else []
    page = PartsPage(rows[:max_parts], marker, max_parts, len(rows) > max_parts)
    reply = xml_reply(200, render_parts(request.bucket, upload, page))
    if customer_key is not None:
        reply.headers += key_headers(customer_key)
    return reply


def list_multipart_uploads(worker: Worker, request: Request) -> Reply:
    """ListMultipartUploads. Raises: S3Error."""
    sent = request.query
    encoding_type = sent.get("encoding-type", "")
    if encoding_type and encoding_type.lower() != "url":
        raise _invalid("Invalid Encoding Method specified in Request", "encoding-type", encoding_type)
    query = UploadsQuery(
        request.bucket, sent.get("prefix", ""), sent.get("delimiter", ""), sent.get("key-marker", ""), sent.get("upload-id-marker", ""),
        _page_size(request, "max-uploads"), encoding_type,
    )  # fmt: skip
    bucket = need_bucket(worker, request)
    read = _reading(worker, bucket.bucket_id)
    page = list_uploads(read, query.prefix.encode(), query.delimiter.encode(), _after(query), query.max_uploads)
    return xml_reply(200, render_uploads(query, page))


def _after(query: UploadsQuery) -> Place:
    """Where the page begins. Without a key-marker an upload-id-marker means nothing (S3 API page)."""
    if not query.key_marker or not query.upload_id_marker:
        return Place(query.key_marker.encode(), 0)
    named = parse_upload_id(query.upload_id_marker)
    if named is None:
        raise _invalid("Invalid uploadId marker", "upload-id-marker", query.upload_id_marker)
    return Place(query.key_marker.encode(), named[0])


def _reading(worker: Worker, bucket_id: int) -> Read:
    """The bucket's open uploads; others get a turn between two batches, and the index may be another one after it."""
    is_first = True

    def read(key: bytes, number: int, limit: int) -> Sequence[UploadRow]:
        nonlocal is_first
        if not is_first:
            sleep(0)
        is_first = False
        return worker.reader().uploads.uploads_after(bucket_id, key, number, limit)

    return read


def _page_size(request: Request, name: str) -> int:
    return min(_count(request, name, PAGE_MAX_KEYS), PAGE_MAX_KEYS)


def _count(request: Request, name: str, default: int) -> int:
    number = parse_int32(request.query, name, default)
    if number < 0:
        raise _invalid(f"Argument {name} must be an integer between 0 and {_INT32_MAX}", name, str(number))
    return number


def _invalid(message: str, name: str, value: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)


HANDLERS = {
    "ListParts": list_parts,
    "ListMultipartUploads": list_multipart_uploads,
}
"""By S3 action."""
