"""The query parameters that lists share, as S3 reads them and in its words. A parameter with an empty value is as one not sent.

Source: S3 API pages ListObjects, ListObjectsV2, ListObjectVersions; the refusals' texts are those that AWS sends.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from fasterstore.s3.errors import S3Error

PAGE_MAX_KEYS = 1000
"""Entries of a page at most, and when nothing is said."""

_INTEGER = re.compile(r"(-?)0*([0-9]{1,10})")
_INT32_MAX = 2**31 - 1


class ListingQuery(NamedTuple):
    """What every list of keys is asked for, and echoes. `encoding_type` is as sent, "" or "url" in any case; `max_keys` 0 .. 1,000."""

    bucket: str
    prefix: str
    delimiter: str
    max_keys: int
    encoding_type: str


def parse_listing(bucket: str, query: Mapping[str, str]) -> ListingQuery:
    """Read prefix, delimiter, max-keys and encoding-type; more than 1,000 keys are 1,000. Raises S3Error InvalidArgument."""
    max_keys = parse_int32(query, "max-keys", PAGE_MAX_KEYS)
    encoding_type = query.get("encoding-type", "")
    if encoding_type and encoding_type.lower() != "url":
        raise _invalid("Invalid Encoding Method specified in Request", "encoding-type", encoding_type)
    if max_keys < 0 and "versions" in query:
        raise S3Error("InvalidArgument", "max-keys cannot be negative", ArgumentName="max-keys")
    if max_keys < 0:
        raise _invalid(f"Argument maxKeys must be an integer between 0 and {_INT32_MAX}", "maxKeys", str(max_keys))
    if query.get("allow-unordered") == "true" and query.get("delimiter"):
        # Ceph's extension: our pages are in order all the same, but what it cannot mean is refused as there.
        raise _invalid("Allow-unordered cannot be used with a delimiter.", "allow-unordered", "true")
    return ListingQuery(bucket, query.get("prefix", ""), query.get("delimiter", ""), min(max_keys, PAGE_MAX_KEYS), encoding_type)


def parse_int32(query: Mapping[str, str], name: str, default: int) -> int:
    """The parameter `name` as a signed 32-bit integer, `default` without it. Raises S3Error InvalidArgument."""
    text = query.get(name, "")
    if not text:
        return default
    match = _INTEGER.fullmatch(text)
    number = 0 if match is None else int(match[1] + match[2])
    if match is None or not -_INT32_MAX - 1 <= number <= _INT32_MAX:
        raise _invalid(f"Provided {name} not an integer or within integer range", name, text)
    return number


def check_version_marker(query: Mapping[str, str]) -> None:
    """Refuse a version-id-marker that leads nowhere: only "null" exists without versioning, and only behind a key-marker.

    Raises S3Error InvalidArgument.
    """
    marker = query.get("version-id-marker", "")
    if marker and not query.get("key-marker"):
        raise _invalid("A version-id marker cannot be specified without a key marker.", "version-id-marker", marker)
    if marker not in ("", "null"):
        raise _invalid("Invalid version id specified", "version-id-marker", marker)


def refuse_other_version(query: Mapping[str, str]) -> None:
    """Refuse what only the other version of ListObjects takes: ignored, it would send a client through the first page for ever.

    Raises S3Error InvalidArgument.
    """
    if query.get("list-type") == "2":
        if query.get("marker"):
            raise S3Error("InvalidArgument", "Marker unsupported with REST.GET.BUCKET in list-type=2", ArgumentName="marker")
        return
    for name, shown in (("continuation-token", "continuation-token"), ("start-after", "startAfter")):
        if query.get(name):
            raise S3Error("InvalidArgument", f"{shown} only supported in REST.GET.BUCKET with list-type=2", ArgumentName=name)


def _invalid(message: str, name: str, value: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
