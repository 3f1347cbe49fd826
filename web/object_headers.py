"""The headers of an object: what a PUT brings and is kept, what a GET gives back, and what is refused because it is not built.

A header that AWS would act on and this node would not is refused, never ignored: an upload that asks for a lock or for encryption must
not look done. Headers that mean nothing to S3 are ignored. Values are kept as latin-1 text and so are returned byte for byte.
Source: S3 API pages PutObject, GetObject; S3 user guide, "Working with object metadata" (limits).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from fasterstore.digests import CHECKSUM_ALGORITHMS
from fasterstore.model import ObjectRow
from fasterstore.s3.checksums import checksum_type
from fasterstore.s3.chunked import stored_content_encoding
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sse_c import TARGET, brings_key, refuse_two_methods
from fasterstore.s3.tags import parse_tagging_header
from fasterstore.s3.xfs_signing import SCHEME as XFS_SCHEME
from fasterstore.s3.xml import OWNER_ID
from web.context import Request
from web.encryption import ENCRYPTION, check_encryption
from web.reply import Headers, http_date_of

USER_METADATA_MAX_BYTES = 2 * 1024
SYSTEM_METADATA_MAX_BYTES = 8 * 1024
REDIRECT_MAX_BYTES = 2 * 1024
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
STORAGE_CLASS = "x-amz-storage-class"
WEBSITE_REDIRECT = "x-amz-website-redirect-location"
STANDARD = "STANDARD"

STORAGE_CLASSES = frozenset(
    (
        STANDARD, "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "OUTPOSTS",
        "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS",
    )
)  # fmt: skip
"""Names that are kept and returned; every object is stored alike."""

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

OVERRIDES = {f"response-{name}": name for name in SYSTEM_NAMES}
"""Query name -> the header it replaces in a GET's answer."""

_PLAIN = frozenset(
    (
        "x-amz-date", "x-amz-content-sha256", "x-amz-user-agent", "x-amz-decoded-content-length", "x-amz-trailer",
        "x-amz-sdk-checksum-algorithm", "x-amz-security-token", "x-amz-expected-bucket-owner",
        *(algorithm.header for algorithm in CHECKSUM_ALGORITHMS.values()),
    )
)  # fmt: skip
"""Headers of nearly every request, about which there is nothing to ask here."""
_ACL_PREFIXES = ("x-amz-acl", "x-amz-grant-")
_LOCK_PREFIX = "x-amz-object-lock-"
_UNBUILT_PREFIXES = ("x-amz-server-side-encryption", "x-amz-annotation")
_UNBUILT = frozenset(("x-amz-if-match-last-modified-time", "x-amz-if-match-size", "x-amz-rename-source"))
"""Conditions and commands of other actions: a PUT that carries one must not look as if it had honoured it."""


class Description(NamedTuple):
    """What a request says of a new object besides its bytes; fields as in ObjectRow.

    `has_acl`: an ACL was asked for too; `web/acl.py` (`object_acl`) says which. `has_key`: there are headers of SSE-C
    (`web/customer_key.py`).
    """

    system: dict[str, str]
    user: dict[str, str]
    tags: dict[str, str]
    has_acl: bool
    has_key: bool = False


_NO_TAGS: dict[str, str] = {}


def describe(headers: Mapping[str, str], seals: bool = False) -> Description:
    """What is kept of the headers of PutObject, CopyObject, CreateMultipartUpload, or of a form's fields; lower-case names.

    `seals`: new records are encrypted on this node.

    Raises: S3Error NotImplemented; InvalidArgument for control characters, a name that is no header's or two ways of encryption;
    InvalidStorageClass; InvalidTag; InvalidRedirectLocation; InvalidRequest for an object lock; MetadataTooLarge.
    """
    system: dict[str, str] = {}
    user: dict[str, str] = {}
    user_bytes = system_bytes = 0
    special = False
    for name, value in headers.items():
        if name.startswith("x-amz-"):
            if name.startswith(_META_PREFIX):
                if _TOKEN.fullmatch(name) is None:
                    # Only a presigned query can bring such a name; as a header it could never be returned.
                    raise S3Error("InvalidArgument", "The name of a metadata header is not valid.", ArgumentName=name)
                refuse_control(name, value)
                user[name[_META_CHARS:]] = value
                user_bytes += len(name) - _META_CHARS + len(value)
            elif name not in _PLAIN:
                special = True
        elif name in SYSTEM_NAMES:
            refuse_control(name, value)
            kept = stored_content_encoding(value) if name == "content-encoding" else value
            if kept:
                system[name] = kept
                system_bytes += len(kept)
    if user_bytes > USER_METADATA_MAX_BYTES:
        raise S3Error("MetadataTooLarge", Size=str(user_bytes), MaxSizeAllowed=str(USER_METADATA_MAX_BYTES))
    if system_bytes > SYSTEM_METADATA_MAX_BYTES:
        raise S3Error("MetadataTooLarge", Size=str(system_bytes), MaxSizeAllowed=str(SYSTEM_METADATA_MAX_BYTES))
    if not special:
        return Description(system, user, _NO_TAGS, False)
    has_key = brings_key(headers)
    if has_key:
        refuse_two_methods(headers)
    refuse_unbuilt(headers, seals)
    _add_class_and_redirect(headers, system)
    tagging = headers.get("x-amz-tagging")
    tags = parse_tagging_header(tagging) if tagging else _NO_TAGS
    return Description(system, user, tags, any(name.startswith(_ACL_PREFIXES) for name in headers), has_key)


def refuse_unbuilt(headers: Mapping[str, str], seals: bool = False) -> None:
    """Raises S3Error NotImplemented for a header that asks for what this node does not do, InvalidRequest for an object lock."""
    check_encryption(headers, seals)
    for name in headers:
        if not name.startswith("x-amz-") or name == ENCRYPTION:
            continue
        if (name.startswith(_UNBUILT_PREFIXES) and not name.startswith(TARGET)) or name in _UNBUILT:
            raise S3Error("NotImplemented", Header=name)
        if name.startswith(_LOCK_PREFIX):
            raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")


def refuse_unsigned(request: Request, what: str) -> None:
    """Raises S3Error AccessDenied for an x-fs request: its headers are unsigned, so what they ask for, `what`, may be anybody's wish."""
    if request.identity.scheme == XFS_SCHEME:
        raise S3Error("AccessDenied", f"Requests signed by x-fs may not {what}.")


def _add_class_and_redirect(headers: Mapping[str, str], system: dict[str, str]) -> None:
    storage_class = headers.get(STORAGE_CLASS)
    if storage_class is not None:
        if storage_class not in STORAGE_CLASSES:
            raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class)
        if storage_class != STANDARD:
            system[STORAGE_CLASS] = storage_class
    redirect = headers.get(WEBSITE_REDIRECT)
    if redirect:
        refuse_control(WEBSITE_REDIRECT, redirect)
        if not redirect.startswith(("/", "http://", "https://")):
            raise S3Error("InvalidRedirectLocation")
        if len(redirect) > REDIRECT_MAX_BYTES:
            raise S3Error("InvalidRedirectLocation", "The length of website redirect location cannot exceed 2,048 characters.")
        system[WEBSITE_REDIRECT] = redirect


def refuse_other_owner(request: Request) -> None:
    """Raises S3Error AccessDenied if the client expects the bucket to be somebody else's."""
    expected = request.headers.get("x-amz-expected-bucket-owner")
    if expected is not None and expected != OWNER_ID:
        raise S3Error("AccessDenied")


def refuse_control(name: str, value: str) -> None:
    """Raises S3Error InvalidArgument for a value that could not be returned as a header."""
    if _CONTROL.search(value) is not None:
        raise S3Error("InvalidArgument", "A header value may not hold control characters.", ArgumentName=name)


def answer_headers(row: ObjectRow, query: Mapping[str, str]) -> Headers:
    """The headers that describe an object in the answer to GET and HEAD, without length, range and checksums.

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
    if row.tags:
        headers.append(("x-amz-tagging-count", str(len(row.tags))))
    return headers


def checksum_headers(checksums: Mapping[str, str], kind: str = "") -> Headers:
    """The headers that tell an object's or a part's checksums (as ObjectRow keeps them), with their type; none if there are none.

    `kind`: the type to tell; for a part it is its object's, not its own.
    """
    if not checksums:
        return []
    headers = [(CHECKSUM_ALGORITHMS[name].header, value) for name, value in checksums.items()]
    headers.append(("x-amz-checksum-type", kind or checksum_type(checksums)))
    return headers


def _overridden(system: Mapping[str, str], query: Mapping[str, str]) -> dict[str, str]:
    replaced = dict(system)
    for name, header in OVERRIDES.items():
        value = query.get(name)
        if value is not None:
            refuse_control(name, value)
            # What is not ASCII goes out as the UTF-8 it was sent as.
            replaced[header] = value.encode("utf-8").decode("latin-1")
    return replaced
