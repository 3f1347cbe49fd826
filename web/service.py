"""ListBuckets: the one action on the service itself; with `?usage` it is answered by `web/usage.py`.

Source: S3 API page ListBuckets; the refusals' texts are those that AWS sends.
"""

from fasterstore.s3.errors import S3Error
from fasterstore.s3.listing_query import parse_int32
from fasterstore.s3.page_token import pack_token, unpack_token
from fasterstore.s3.xml import render_list_buckets
from web.context import Request
from web.reply import Reply, xml_reply
from web.usage import account_usage, wants_account_usage
from web.worker import Worker

BUCKETS_MAX = 10_000


def list_buckets(worker: Worker, request: Request) -> Reply:
    """All buckets in byte order, or a page of them. Raises: S3Error InvalidArgument."""
    query = request.query
    if wants_account_usage(request):
        return account_usage(worker)
    limit = parse_int32(query, "max-buckets", BUCKETS_MAX)
    if not 1 <= limit <= BUCKETS_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Argument max-buckets must be an integer between 1 and {BUCKETS_MAX}",
            ArgumentName="max-buckets",
            ArgumentValue=str(limit),
        )
    settings = worker.settings
    if settings.region_was_set and query.get("bucket-region", "").lower() not in ("", settings.region.lower()):
        # As in a request's scope: until FS_REGION is set, every region's name means this node.
        raise S3Error(
            "InvalidArgument",
            "Requests with bucket-region specified must be made to the corresponding regional endpoint",
            ArgumentName="bucket-region",
        )
    prefix = query.get("prefix", "")
    after = unpack_token(query.get("continuation-token", "")).decode("utf-8", "replace")
    found = worker.reader().buckets(prefix, after, limit + 1)
    page = found[:limit]
    token = pack_token(page[-1].name.encode()) if len(found) > limit else ""
    return xml_reply(200, render_list_buckets(page, settings.region, prefix, token))


HANDLERS = {
    "ListBuckets": list_buckets,
}
"""By S3 action."""
