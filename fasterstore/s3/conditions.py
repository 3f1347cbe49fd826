"""Conditional requests: may this read or write go on, given the current ETag and time? Pure; no clock.

Source: RFC 9110, section 13 (precedence in 13.2.2); S3 API pages GetObject, PutObject and DeleteObject; S3 user guide, "Conditional
requests". ETags are taken with or without quotes, as S3 does.
"""

import re
from calendar import timegm
from collections.abc import Mapping
from email.utils import parsedate_tz
from functools import lru_cache

from fasterstore.s3.errors import S3Error

NOT_MODIFIED = 304
PRECONDITION_FAILED = 412
_SIZE_CHARS = 19
"""Numbers of fewer digits fit into 64 bits."""

_ISO_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|\+00:?00)", re.ASCII)
_ETAG = re.compile(r'\s*(W/)?(?:"([^"]*)"|([^",\s]+))\s*(?:,|$)')


def _matches(header: str, etag: str, weak: bool) -> bool:
    """Is `etag` (bare hex) in the list `header`? A weak entry counts only if `weak` comparison is asked for (RFC 9110, 8.8.3.2)."""
    if header in (etag, f'"{etag}"'):
        return True
    if header.strip() == "*":
        return True
    position = 0
    while position < len(header):
        match = _ETAG.match(header, position)
        if match is None:
            return False
        if (match[2] if match[2] is not None else match[3]) == etag and (weak or not match[1]):
            return True
        position = match.end()
    return False


@lru_cache(maxsize=256)
def http_date_secs(text: str) -> int | None:
    """Unix seconds of an HTTP date, in any of its forms; None for what is no date."""
    parsed = parsedate_tz(text)
    if parsed is None:
        return None
    try:
        return timegm(parsed[:6] + (0, 1, 0)) - (parsed[9] or 0)
    except (ValueError, OverflowError):
        return None


def evaluate_read(headers: Mapping[str, str], etag: str, modified_ms: int) -> int | None:
    """None if a GET or HEAD goes on, else the status 304 or 412.

    `headers` by lower-case name; `etag` bare; `modified_ms` Unix milliseconds (HTTP compares whole seconds). A date that cannot be
    read is ignored, as RFC 9110 asks.
    """
    if_match = headers.get("if-match")
    if if_match is not None:
        if not _matches(if_match, etag, weak=False):
            return PRECONDITION_FAILED
    else:
        unmodified_since = headers.get("if-unmodified-since")
        if unmodified_since is not None:
            limit = http_date_secs(unmodified_since)
            if limit is not None and modified_ms // 1000 > limit:
                return PRECONDITION_FAILED
    if_none_match = headers.get("if-none-match")
    if if_none_match is not None:
        if _matches(if_none_match, etag, weak=True):
            return NOT_MODIFIED
    else:
        modified_since = headers.get("if-modified-since")
        if modified_since is not None:
            limit = http_date_secs(modified_since)
            if limit is not None and modified_ms // 1000 <= limit:
                return NOT_MODIFIED
    return None


def failed_date(headers: Mapping[str, str], modified_ms: int | None) -> str | None:
    """The condition on a date that does not hold, None if all do; one that a condition on the ETag outranks does not count.

    For requests whose ETags are judged elsewhere. `headers` and `modified_ms` as above; None: there is no such object, which counts as
    not modified.
    """
    if "if-match" not in headers and "if-unmodified-since" in headers:
        limit = http_date_secs(headers["if-unmodified-since"])
        if limit is not None and modified_ms is not None and modified_ms // 1000 > limit:
            return "If-Unmodified-Since"
    if "if-none-match" not in headers and "if-modified-since" in headers:
        limit = http_date_secs(headers["if-modified-since"])
        if limit is not None and (modified_ms is None or modified_ms // 1000 <= limit):
            return "If-Modified-Since"
    return None


def if_range_holds(header: str | None, etag: str, modified_ms: int) -> bool:
    """May a Range be honoured? True without If-Range; an ETag must match strongly, a date exactly (RFC 9110, 13.1.5)."""
    if header is None:
        return True
    if header.startswith(('"', "W/")) or header == etag:
        return _matches(header, etag, weak=False)
    return http_date_secs(header) == modified_ms // 1000


def write_condition_ok(if_match: str | None, if_none_match: str | None, current_etag: str | None) -> str | None:
    """None if a write goes on, else the StoreError name that refuses it.

    `current_etag` is that of the key's current version, None if there is none. If-Match on a missing key is NoSuchKey (S3's rule),
    every other failed condition PreconditionFailed.
    """
    if if_match is not None:
        if current_etag is None:
            return "NoSuchKey"
        if not _matches(if_match, current_etag, weak=False):
            return "PreconditionFailed"
    if if_none_match is not None and current_etag is not None and _matches(if_none_match, current_etag, weak=True):
        return "PreconditionFailed"
    return None


def exact_time_secs(name: str, text: str) -> int:
    """Unix seconds of the time that a deleted version must have: an HTTP date, or ISO 8601 in UTC, as SDKs send either.

    `name` is that of the header or element. Raises S3Error InvalidArgument: a condition that cannot be read is never taken as met.
    """
    iso = _ISO_TIME.fullmatch(text.strip())
    try:
        seconds = http_date_secs(text) if iso is None else timegm((*map(int, iso.groups()), 0, 1, 0))
    except ValueError:
        seconds = None
    if seconds is None:
        raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=text)
    return seconds


def exact_size(name: str, text: str) -> int:
    """Bytes that a deleted version must have; `name` as above. Raises S3Error InvalidArgument."""
    if not (text.isascii() and text.isdigit() and len(text) < _SIZE_CHARS):
        raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=text)
    return int(text)
