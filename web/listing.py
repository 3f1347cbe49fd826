"""ListObjects, ListObjectsV2, ListObjectVersions: parse, read, render. Source: S3 API pages of the three actions.

Reads rows only through `fasterstore.metadata.listing`, and lets other requests run between batches.
"""

from collections.abc import Sequence

from actors.runtime import sleep
from fasterstore.metadata.listing import Page, Read, list_page
from fasterstore.model import ObjectRow
from fasterstore.s3.listing_query import ListingQuery, check_version_marker, parse_listing, refuse_other_version
from fasterstore.s3.listing_xml import render_list_objects, render_list_objects_v2, render_list_versions
from fasterstore.s3.page_token import unpack_token
from web.context import Request
from web.lookup import need_bucket
from web.reply import Reply, xml_reply
from web.worker import Worker

ROWS_IN_A_TURN = 500
"""Rows read before other requests get a turn: two or three milliseconds."""
ROWS_OF_A_BATCH = 4
"""What a batch costs besides its rows, in rows."""


def list_objects(worker: Worker, request: Request) -> Reply:
    """ListObjects. Raises: S3Error."""
    refuse_other_version(request.query)
    bucket = need_bucket(worker, request)
    query = parse_listing(request.bucket, request.query)
    marker = request.query.get("marker", "")
    page = _page(worker, bucket.bucket_id, query, marker.encode())
    return _reply(worker, render_list_objects(query, page, marker))


def list_objects_v2(worker: Worker, request: Request) -> Reply:
    """ListObjectsV2; any list-type but 2 means ListObjects, as at AWS. Raises: S3Error."""
    sent = request.query
    if sent["list-type"] != "2":
        return list_objects(worker, request)
    refuse_other_version(sent)
    bucket = need_bucket(worker, request)
    query = parse_listing(request.bucket, sent)
    start_after, token = sent.get("start-after"), sent.get("continuation-token")
    after = unpack_token(token) if token else (start_after or "").encode()
    page = _page(worker, bucket.bucket_id, query, after)
    fetch_owner = sent.get("fetch-owner", "").lower() == "true"
    return _reply(worker, render_list_objects_v2(query, page, start_after, token, fetch_owner))


def list_object_versions(worker: Worker, request: Request) -> Reply:
    """ListObjectVersions: as long as no bucket has versioning, each object as its one version. Raises: S3Error."""
    check_version_marker(request.query)
    bucket = need_bucket(worker, request)
    query = parse_listing(request.bucket, request.query)
    key_marker = request.query.get("key-marker", "")
    page = _page(worker, bucket.bucket_id, query, key_marker.encode())
    return _reply(worker, render_list_versions(query, page, key_marker, request.query.get("version-id-marker", "")))


def _page(worker: Worker, bucket_id: int, query: ListingQuery, after: bytes) -> Page:
    return list_page(_reading(worker, bucket_id), query.prefix.encode(), query.delimiter.encode(), after, query.max_keys)


def _reading(worker: Worker, bucket_id: int) -> Read:
    """The bucket's rows. The index is asked for anew at each batch: during a switch it may have gone or been replaced."""
    read_rows = 0

    def read(key: bytes, limit: int) -> Sequence[tuple[bytes, ObjectRow]]:
        nonlocal read_rows
        if read_rows >= ROWS_IN_A_TURN:
            sleep(0)
            read_rows = 0
        rows = worker.reader().objects_from(bucket_id, key, limit)
        read_rows += len(rows) + ROWS_OF_A_BATCH
        return rows

    return read


def _reply(worker: Worker, document: bytes) -> Reply:
    reply = xml_reply(200, document)
    reply.headers.append(("x-amz-bucket-region", worker.settings.region))
    return reply


HANDLERS = {
    "ListObjects": list_objects,
    "ListObjectsV2": list_objects_v2,
    "ListObjectVersions": list_object_versions,
}
"""By S3 action."""
