"""ListBuckets: the one action on the service itself. Source: S3 API page ListBuckets."""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml import render_list_buckets
from web.context import Request
from web.reply import Reply, xml_reply
from web.worker import Worker

BUCKETS_MAX = 10_000


def list_buckets(worker: Worker, request: Request) -> Reply:
    """All buckets in byte order, or a page of them. Raises: S3Error InvalidArgument."""
    query = request.query
    region = worker.settings.region
    prefix = query.get("prefix", "")
    limit = _limit(query.get("max-buckets"))
    after = _name_of(query.get("continuation-token"))
    if query.get("bucket-region", region) != region:
        return xml_reply(200, render_list_buckets([], region, prefix))
    found = worker.reader().buckets(prefix, after, limit + 1)
    page = found[:limit]
    token = _token_of(page[-1].name) if len(found) > limit else ""
    return xml_reply(200, render_list_buckets(page, region, prefix, token))


def _limit(text: str | None) -> int:
    if text is None:
        return BUCKETS_MAX
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= BUCKETS_MAX):
        raise S3Error("InvalidArgument", f"max-buckets must be from 1 to {BUCKETS_MAX}.", ArgumentName="max-buckets", ArgumentValue=text)
    return int(text)


def _token_of(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode("ascii")


def _name_of(token: str | None) -> str:
    if not token:
        return ""
    try:
        return b64decode(token, altchars=b"-_", validate=True).decode("utf-8")
    except (Base64Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token is not valid", ArgumentName="continuation-token") from None
