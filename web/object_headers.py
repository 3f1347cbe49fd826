"""The headers of an object: what a PUT brings and is kept, what a GET gives back, and what is refused because it is not built.

A header that AWS would act on and this node would not is refused (NotImplemented), never ignored: an upload that asks for a lock, a
tag or a copy must not look done. Values are kept as latin-1 text and so are returned byte for byte.
Source: S3 API pages PutObject, GetObject; S3 user guide, "Working with object metadata" (limits).
"""

import re
from collections.abc import Mapping

from fasterstore.model import ObjectRow
from fasterstore.s3.chunked import stored_content_encoding
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml import OWNER_ID
from web.context import Request
from web.reply import Headers, http_date_of

USER_METADATA_MAX_BYTES = 2 * 1024
SYSTEM_METADATA_MAX_BYTES = 8 * 1024
DEFAULT_CONTENT_TYPE = "binary/octet-stream"

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_META_PREFIX = "x-amz-meta-"
_META_CHARS = len(_META_PREFIX)
SYSTEM_NAMES = {
    "content-type": "Content-Type",
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "expires": "Expires",
}
"""What is kept beside user metadata: lower-case name -> the name in an answer."""

_OVERRIDES = {f"response-{name}": name for name in SYSTEM_NAMES}
"""Query name -> the header it replaces in a GET's answer."""

_NO_EFFECT_VALUES: dict[str, tuple[str, ...]] = {
    # With one owner of everything these two say what is so anyway.
    "x-amz-acl": ("private", "bucket-owner-full-control"),
    "x-amz-storage-class": ("STANDARD",),
    "x-amz-tagging": ("",),
    "x-amz-bucket-object-lock-enabled": ("false", "False"),
    "x-amz-object-ownership": ("BucketOwnerEnforced",),
    "x-amz-object-lock-legal-hold": ("OFF",),
}
"""Headers whose named values ask for nothing; any other value is refused."""
_UNBUILT = frozenset(
    (
        "x-amz-copy-source",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
        "x-amz-rename-source",
    )
)
_UNBUILT_PREFIXES = ("x-amz-grant-", "x-amz-server-side-encryption", "x-amz-copy-source-", "x-amz-annotation")


def refuse_unbuilt(headers: Mapping[str, str]) -> None:
    """Raises S3Error NotImplemented for a header that asks for what this node does not do."""
    for name, value in headers.items():
        if name.startswith("x-amz-"):
            _check_built(name, value)


def _check_built(name: str, value: str) -> None:
    harmless = _NO_EFFECT_VALUES.get(name)
    if (harmless is not None and value not in harmless) or name in _UNBUILT or name.startswith(_UNBUILT_PREFIXES):
        raise S3Error("NotImplemented", Header=name)


def refuse_other_owner(request: Request) -> None:
    """Raises S3Error AccessDenied if the client expects the bucket to be somebody else's."""
    expected = request.headers.get("x-amz-expected-bucket-owner")
    if expected is not None and expected != OWNER_ID:
        raise S3Error("AccessDenied")


def metadata_of(headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(system, user) metadata that a PUT brings, as ObjectRow keeps them.

    Raises: S3Error NotImplemented, InvalidArgument for control characters or a name that is no header's, MetadataTooLarge.
    """
    system: dict[str, str] = {}
    user: dict[str, str] = {}
    user_bytes = system_bytes = 0
    for name, value in headers.items():
        if name.startswith("x-amz-"):
            if name.startswith(_META_PREFIX):
                if _TOKEN.fullmatch(name) is None:
                    # Only a presigned query can bring such a name; as a header it could never be returned.
                    raise S3Error("InvalidArgument", "The name of a metadata header is not valid.", ArgumentName=name)
                _refuse_control(name, value)
                user[name[_META_CHARS:]] = value
                user_bytes += len(name) - _META_CHARS + len(value)
            else:
                _check_built(name, value)
        elif name in SYSTEM_NAMES:
            _refuse_control(name, value)
            kept = stored_content_encoding(value) if name == "content-encoding" else value
            if kept:
                system[name] = kept
                system_bytes += len(kept)
    if user_bytes > USER_METADATA_MAX_BYTES:
        raise S3Error("MetadataTooLarge", Size=str(user_bytes), MaxSizeAllowed=str(USER_METADATA_MAX_BYTES))
    if system_bytes > SYSTEM_METADATA_MAX_BYTES:
        raise S3Error("MetadataTooLarge", Size=str(system_bytes), MaxSizeAllowed=str(SYSTEM_METADATA_MAX_BYTES))
    return system, user


def _refuse_control(name: str, value: str) -> None:
    if _CONTROL.search(value) is not None:
        raise S3Error("InvalidArgument", "A header value may not hold control characters.", ArgumentName=name)


def answer_headers(row: ObjectRow, query: Mapping[str, str]) -> Headers:
    """The headers that describe an object in the answer to GET and HEAD, without length and range.

    `query` may replace some by `response-*`. Raises: S3Error InvalidArgument for an override that is no header value.
    """
    headers = [
        ("Last-Modified", http_date_of(row.modified_ms // 1000)),
        ("ETag", f'"{row.etag}"'),
        ("Accept-Ranges", "bytes"),
    ]
    system = row.system
    if query:
        system = _overridden(system, query)
    if "content-type" not in system:
        headers.append(("Content-Type", DEFAULT_CONTENT_TYPE))
    for name, value in system.items():
        headers.append((SYSTEM_NAMES.get(name, name), value))
    for name, value in row.user.items():
        headers.append((_META_PREFIX + name, value))
    return headers


def _overridden(system: Mapping[str, str], query: Mapping[str, str]) -> dict[str, str]:
    replaced = dict(system)
    for name, header in _OVERRIDES.items():
        value = query.get(name)
        if value is not None:
            if _CONTROL.search(value) is not None:
                raise S3Error("InvalidArgument", "A header value may not hold control characters.", ArgumentName=name)
            # What is not ASCII goes out as the UTF-8 it was sent as.
            replaced[header] = value.encode("utf-8").decode("latin-1")
    return replaced
