"""S3's XML documents that this node reads and writes. Values in, bytes out; text escaping is in `xml_text`.

Must never resolve an entity or read a DTD: bodies are parsed with defusedxml only.
"""

from collections.abc import Iterable
from time import gmtime, strftime

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from fasterstore.model import BucketRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_text import document, element, escape

OWNER_ID = "000000000000"
"""The one account that owns every bucket (also its canonical user id)."""
OWNER_DISPLAY_NAME = "faster"
CREATE_BUCKET_BODY_MAX_BYTES = 64 * 1024

_LOCATION_TAGS = ("LocationConstraint", "Location", "Bucket", "Tags")


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


def parse_create_bucket(body: bytes) -> str | None:
    """The LocationConstraint of a CreateBucketConfiguration, None if the body is empty or names none.

    Raises S3Error MalformedXML for anything else, for entities and DTDs, and for a body over CREATE_BUCKET_BODY_MAX_BYTES.
    Source: API page CreateBucket.
    """
    if not body.strip():
        return None
    if len(body) > CREATE_BUCKET_BODY_MAX_BYTES:
        raise S3Error("MalformedXML")
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise S3Error("MalformedXML") from None
    if root.tag.rpartition("}")[2] != "CreateBucketConfiguration":
        raise S3Error("MalformedXML")
    constraint = None
    for child in root:
        name = child.tag.rpartition("}")[2]
        if name not in _LOCATION_TAGS or (name == "LocationConstraint" and (constraint is not None or len(child))):
            raise S3Error("MalformedXML")
        if name == "LocationConstraint":
            constraint = (child.text or "").strip()
    return constraint or None


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
