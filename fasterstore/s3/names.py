"""Bucket names and object keys: what is allowed, and how both are read from a request path.

Keys are bytes and never become file names. Source: S3 user guide, "General purpose bucket naming rules", "Naming objects" and
"Virtual hosting of general purpose buckets". One of AWS's rules is left out: names ending in "-an" are kept there for a namespace of the
account's own, which this node does not have, and buckets that come from elsewhere may be called so.
"""

import re
from urllib.parse import unquote_to_bytes

from fasterstore.s3.errors import S3Error

KEY_MAX_BYTES = 1024
RESERVED_BUCKET_NAMES = frozenset(("metrics", "healthz", "readyz", "minio"))
"""Names that are this node's own routes, or begin them."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_FORBIDDEN_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_FORBIDDEN_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_PLAIN_PATH = re.compile(r"/([a-z0-9.-]+)(?:/([A-Za-z0-9._~/-]*))?")
_PERCENT_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")


def validate_bucket(name: str) -> None:
    """Raises S3Error InvalidBucketName unless `name` may be given to a bucket."""
    if (
        _BUCKET.fullmatch(name) is None
        or ".." in name
        or ".-" in name
        or "-." in name
        or _IP_ADDRESS.fullmatch(name) is not None
        or name in RESERVED_BUCKET_NAMES
        or name.startswith(_FORBIDDEN_PREFIXES)
        or name.endswith(_FORBIDDEN_SUFFIXES)
    ):
        raise S3Error("InvalidBucketName", BucketName=name)


def validate_key(key: bytes) -> None:
    """Raises S3Error KeyTooLongError over 1,024 bytes, InvalidURI if `key` is not UTF-8, InvalidArgument if it is empty."""
    if not key:
        raise S3Error("InvalidArgument", "The object key must not be empty.")
    if len(key) > KEY_MAX_BYTES:
        raise S3Error("KeyTooLongError", Size=str(len(key)), MaxSizeAllowed=str(KEY_MAX_BYTES))
    if not key.isascii():
        try:
            key.decode("utf-8")
        except UnicodeDecodeError:
            raise S3Error("InvalidURI") from None


def parse_path(raw_path: str) -> tuple[str, bytes]:
    """Bucket name and key of a path-style request path as it was on the wire (latin-1, starting with `/`, without the query).

    ("", b"") is the service itself; (bucket, b"") the bucket. The bucket's name is not judged against the naming rules, so that a
    wrong one reads as any missing bucket does. Only `%XX` is decoded (`+` is a plus); dots and doubled slashes are part of the key.

    Raises S3Error InvalidURI for a path that does not start with `/`, a broken `%`, or text that is not UTF-8; InvalidBucketName
    for an empty bucket before a key; KeyTooLongError.
    """
    plain = _PLAIN_PATH.fullmatch(raw_path)
    if plain is not None:
        bucket, key = plain.groups()
        if not key:
            return bucket, b""
        if len(key) <= KEY_MAX_BYTES:
            return bucket, key.encode("ascii")
    _refuse_broken(raw_path)
    raw_bucket, _, raw_key = raw_path[1:].partition("/")
    try:
        bucket = unquote_to_bytes(raw_bucket.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None
    key_bytes = _key_of(raw_key)
    if key_bytes and not bucket:
        raise S3Error("InvalidBucketName", BucketName="")
    return bucket, key_bytes


def parse_hosted_path(raw_path: str) -> bytes:
    """The key of a virtual-hosted request's path, which is all of it; b"" is the bucket. Raises as `parse_path` does."""
    _refuse_broken(raw_path)
    return _key_of(raw_path[1:])


def bucket_of_host(host: str, domain: str) -> str:
    """The bucket that a Host header names under `domain` (lower case, as FS_DOMAIN gives it); "" where it names none.

    `host` may carry a port and a final dot, and be in any case. The bucket is everything before `.domain`, dots included; like one in
    a path it is not judged against the naming rules.
    """
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    name = name.lower().removesuffix(".")
    end = len(name) - len(domain) - 1
    return name[:end] if end > 0 and name.endswith(domain) and name[end] == "." else ""


def _refuse_broken(raw_path: str) -> None:
    if not raw_path.startswith("/") or _PERCENT_BROKEN.search(raw_path) is not None:
        raise S3Error("InvalidURI")


def _key_of(raw_key: str) -> bytes:
    key = unquote_to_bytes(raw_key.encode("latin-1"))
    if key:
        validate_key(key)
    return key
