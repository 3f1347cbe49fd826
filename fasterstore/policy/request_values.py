"""What one request says to each condition key: values as texts, None where it says nothing.

Owns the meaning of every key. Called only while a condition that names the key is evaluated, so nothing here is paid by other requests.
Sources as in `condition_keys.py`.
"""

from calendar import timegm
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from time import gmtime, strftime, strptime
from urllib.parse import parse_qs

from fasterstore.policy.dates import parse_date_ms
from fasterstore.policy.question import ACCOUNT_ID, Question, user_arn
from fasterstore.s3.copy_source import parse_copy_source
from fasterstore.s3.errors import S3Error
from fasterstore.s3.tags import parse_tagging_header

Values = tuple[str, ...] | None

_CREATES = frozenset(("PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"))
_CREATES_NOTHING_YET = frozenset(("CreateMultipartUpload", "UploadPart", "UploadPartCopy"))
_DAY_MS = 86_400_000
_NO_TAGS: dict[str, str] = {}


def header(question: Question, name: str) -> Values:
    """A request header; text in UTF-8 is read as such."""
    value = question.headers.get(name)
    return None if value is None else (_text(value),)


def source_ip(question: Question) -> Values:
    """The client's address."""
    return (question.source_ip,) if question.source_ip else None


def secure_transport(question: Question) -> Values:
    """Did the client use TLS?"""
    return ("true" if question.is_secure else "false",)


def current_time(question: Question) -> Values:
    """Now, in seconds, ISO 8601."""
    return (strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(question.now_ms // 1000)),)


def epoch_time(question: Question) -> Values:
    """Now, in Unix seconds."""
    return (str(question.now_ms // 1000),)


def principal_type(question: Question) -> Values:
    """User for the owner."""
    return ("User" if question.is_owner else "Anonymous",)


def principal_arn(question: Question) -> Values:
    """The owner's ARN."""
    return (user_arn(question.access_key),) if question.is_owner else None


def principal_account(question: Question) -> Values:
    """The owner's account."""
    return (ACCOUNT_ID,) if question.is_owner else None


def user_name(question: Question) -> Values:
    """The owner's access key: nobody here has another name."""
    return (question.access_key,) if question.is_owner else None


def user_id(question: Question) -> Values:
    """The owner's access key; "anonymous" for everybody else, as IAM has it."""
    return (question.access_key if question.is_owner else "anonymous",)


def requested_region(question: Question) -> Values:
    """This node's region."""
    return (question.region,) if question.region else None


def resource_account(_question: Question) -> Values:
    """All buckets have one owner."""
    return (ACCOUNT_ID,)


def never_a_service(_question: Question) -> Values:
    """No AWS service calls here."""
    return ("false",)


def auth_type(question: Question) -> Values:
    """Where the signature stood; absent without one."""
    if question.scheme == "none":
        return None
    if question.scheme.endswith("-post"):
        return ("POST",)
    return ("REST-QUERY-STRING" if question.scheme.endswith("-query") else "REST-HEADER",)


def signature_version(question: Question) -> Values:
    """AWS's names of the two versions; the x-fs scheme is called by its own."""
    scheme = question.scheme
    if scheme == "none":
        return None
    return ("AWS4-HMAC-SHA256" if scheme.startswith("sigv4") else "AWS" if scheme.startswith("sigv2") else scheme,)


def signature_age(question: Question) -> Values:
    """How long ago the request was signed, in milliseconds; absent if the signature does not tell."""
    signed_ms = _signed_ms(question)
    return None if signed_ms is None else (str(max(question.now_ms - signed_ms, 0)),)


def prefix(question: Question) -> Values:
    """What is listed; for a missing key that is asked for, that key."""
    return (question.prefix,) if question.prefix is not None else _query(question, "prefix")


def delimiter(question: Question) -> Values:
    """Of a listing."""
    return None if question.prefix is not None else _query(question, "delimiter")


def max_keys(question: Question) -> Values:
    """Of a listing."""
    return None if question.prefix is not None else _query(question, "max-keys")


def version_id(question: Question) -> Values:
    """The version that the request names."""
    return _query(question, "versionId")


def copy_source(question: Question) -> Values:
    """`bucket/key`, decoded and without a leading slash, however the client wrote it."""
    value = question.headers.get("x-amz-copy-source")
    if value is None:
        return None
    try:
        source = parse_copy_source(value)
    except S3Error:
        return (_text(value),)
    return (f"{source.bucket}/{source.key.decode('utf-8')}",)


def creation_operation(question: Question) -> Values:
    """Does the request make an object? The steps of a multipart upload before its completion do not."""
    if question.operation in _CREATES:
        return ("true",)
    return ("false",) if question.operation in _CREATES_NOTHING_YET else None


def remaining_retention_days(question: Question) -> Values:
    """Whole days until the date in x-amz-object-lock-retain-until-date."""
    until_ms = parse_date_ms(question.headers.get("x-amz-object-lock-retain-until-date", ""))
    return None if until_ms is None else (str((until_ms - question.now_ms) // _DAY_MS),)


def existing_tag(question: Question, name: str) -> Values:
    """A tag of the object that is there."""
    value = question.existing_tags().get(name)
    return None if value is None else (value,)


def request_tag(question: Question, name: str) -> Values:
    """A tag that the request brings."""
    value = _request_tags(question).get(name)
    return None if value is None else (value,)


def request_tag_keys(question: Question) -> Values:
    """The names of the tags that the request brings, in any order; absent if there are none."""
    return tuple(_request_tags(question)) or None


def _request_tags(question: Question) -> Mapping[str, str]:
    if question.request_tags is None:
        try:
            question.request_tags = parse_tagging_header(question.headers.get("x-amz-tagging", ""))
        except S3Error:
            # The handler refuses the request by the same parser; here it brings no tags.
            question.request_tags = _NO_TAGS
    return question.request_tags


def _query(question: Question, name: str) -> Values:
    value = question.query.get(name)
    return None if value is None else (value,)


def _text(raw: str) -> str:
    """A header's latin-1 text as the UTF-8 that it may be."""
    if raw.isascii():
        return raw
    try:
        return raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return raw


def _signed_ms(question: Question) -> int | None:
    if question.scheme in ("none", "sigv2-query", "sigv2-post"):
        # URLs and forms of version 2 say until when they are valid, not since when; their Date header, if there is one, is not signed.
        return None
    headers = question.headers
    stamp = headers.get("x-fs-timestamp") if question.scheme == "x-fs" else headers.get("x-amz-date")
    if question.scheme == "sigv4-query":
        stamp = parse_qs(question.raw_query).get("X-Amz-Date", [""])[0]
    if stamp is None:
        stamp = headers.get("date", "")
    if stamp.isascii() and stamp.isdigit():
        return int(stamp) * 1000
    try:
        return timegm(strptime(stamp, "%Y%m%dT%H%M%SZ")) * 1000
    except ValueError:
        parsed = parsedate_tz(stamp)
        return None if parsed is None else mktime_tz(parsed) * 1000
