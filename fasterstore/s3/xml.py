"""S3's documents of the service and of buckets as such: lists, location, CreateBucketConfiguration. Values in, bytes out.

Also what many documents share: owner and times. Text escaping is in `xml_text`, parsing in `xml_reader`.
"""

from collections.abc import Iterable
from time import gmtime, strftime
from typing import NamedTuple

from fasterstore.model import BucketRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.tags import BUCKET_TAGS_MAX, check_tags
from fasterstore.s3.xml_reader import children, local_name, need_text, parse_document, text_of
from fasterstore.s3.xml_text import document, element, escape

OWNER_ID = "000000000000"
"""The one account that owns every bucket (also its canonical user id)."""
OWNER_DISPLAY_NAME = "faster"

_DIRECTORY_BUCKETS = frozenset(("Location", "Bucket"))
_CONFIGURATION = _DIRECTORY_BUCKETS | {"LocationConstraint", "Tags"}


def iso8601(unix_ms: int) -> str:
    """Unix milliseconds as S3 writes times in XML: `2009-10-12T17:50:30.000Z`."""
    seconds, milliseconds = divmod(unix_ms, 1000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{milliseconds:03d}Z"


def http_date(unix_ms: int) -> str:
    """Unix milliseconds as an IMF-fixdate (RFC 9110, 5.6.7), rounded down to the second; locale-free."""
    moment = gmtime(unix_ms // 1000)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[moment.tm_mon - 1]
    return f"{day}, {moment.tm_mday:02d} {month} {moment.tm_year:04d} {moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d} GMT"


def owner() -> str:
    """The `<Owner>` element."""
    return f"<Owner>{element('ID', OWNER_ID)}{element('DisplayName', OWNER_DISPLAY_NAME)}</Owner>"


def render_list_buckets(buckets: Iterable[BucketRow], region: str, prefix: str = "", next_token: str = "") -> bytes:
    """ListAllMyBucketsResult (API page ListBuckets). Prefix and ContinuationToken appear only when not empty."""
    parts = [owner(), "<Buckets>"]
    for bucket in buckets:
        parts.append(
            f"<Bucket>{element('Name', bucket.name)}{element('CreationDate', iso8601(bucket.created_ms))}"
            f"{element('BucketRegion', region)}</Bucket>"
        )
    parts.append("</Buckets>")
    if prefix:
        parts.append(element("Prefix", prefix))
    if next_token:
        parts.append(element("ContinuationToken", next_token))
    return document("ListAllMyBucketsResult", parts)


def render_location(region: str) -> bytes:
    """LocationConstraint (API page GetBucketLocation): empty for us-east-1, the region that had no name at first."""
    return document("LocationConstraint", () if region == "us-east-1" else (escape(region),))


class BucketConfiguration(NamedTuple):
    """What a CreateBucketConfiguration asks for; `location` is None if it names no region."""

    location: str | None
    tags: dict[str, str]


def parse_create_bucket(body: bytes) -> BucketConfiguration:
    """Read a CreateBucketConfiguration; an empty body asks for nothing.

    Raises S3Error MalformedXML, InvalidTag, and NotImplemented for a directory bucket. Source: API page CreateBucket.
    """
    if not body.strip():
        return BucketConfiguration(None, {})
    root = parse_document(body, "CreateBucketConfiguration")
    names = [local_name(child) for child in root]
    if len(set(names)) < len(names) or not _CONFIGURATION.issuperset(names):
        raise S3Error("MalformedXML")
    if not _DIRECTORY_BUCKETS.isdisjoint(names):
        raise S3Error("NotImplemented", "Directory buckets are not implemented.")
    pairs = [(need_text(tag, "Key"), need_text(tag, "Value")) for tags in children(root, "Tags") for tag in children(tags, "Tag")]
    return BucketConfiguration((text_of(root, "LocationConstraint") or "").strip() or None, check_tags(pairs, BUCKET_TAGS_MAX))


def check_location(constraint: str | None, region: str, strict: bool) -> None:
    """Refuse a bucket that is asked for in another region.

    `strict`: FS_REGION was set, so only that region's name is right; otherwise every name is accepted, as in request scopes.
    Raises S3Error IllegalLocationConstraintException.
    """
    if strict and constraint and constraint != region:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was sent to.",
        )
