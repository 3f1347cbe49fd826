"""The headers by which a request names an object to copy from, and the conditions on it. Pure; knows no object.

Source: S3 API pages CopyObject, UploadPartCopy (x-amz-copy-source*) and RenameObject (x-amz-rename-source*).
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from fasterstore.s3.conditions import evaluate_read
from fasterstore.s3.errors import S3Error

COPY_SOURCE_HEADER = "x-amz-copy-source"
RENAME_SOURCE_HEADER = "x-amz-rename-source"
_VERSION_MARK = "?versionId="
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


class CopySource(NamedTuple):
    """Bucket and key (UTF-8 bytes) of a source; `version_id` is None if none was named."""

    bucket: str
    key: bytes
    version_id: str | None


def parse_copy_source(value: str) -> CopySource:
    """Read `[/]bucket/key[?versionId=id]`, percent-encoded, from the latin-1 text of a header. "+" stands for itself, as in a path.

    Raises S3Error InvalidArgument for anything else.
    """
    path, mark, version = value.rpartition(_VERSION_MARK)
    bucket, _, key = _decoded(path if mark else value).partition(b"/")
    if not (bucket.isascii() and bucket and key and _is_utf8(key)):
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName=COPY_SOURCE_HEADER,
            ArgumentValue=value,
        )
    return CopySource(bucket.decode("ascii"), key, version if mark else None)


def parse_rename_source(value: str, bucket: str) -> bytes:
    """The key in `bucket` that a rename names: `[/]bucket/key` as the API page has it, or `[/]key` as the user guide's examples.

    Percent-encoded, as above; a key that begins with the bucket's name and "/" needs the first form. Raises S3Error InvalidArgument.
    """
    key = _decoded(value).removeprefix(bucket.encode() + b"/")
    if not key or not _is_utf8(key):
        raise S3Error("InvalidArgument", "The source of a rename must be a key.", ArgumentName=RENAME_SOURCE_HEADER, ArgumentValue=value)
    return key


def _decoded(value: str) -> bytes:
    return unquote_to_bytes(value.encode("latin-1", "replace")).removeprefix(b"/")


def _is_utf8(key: bytes) -> bool:
    try:
        key.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def conditions_of(headers: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """The conditions whose names begin with `prefix`, by their names on a GET; empty if there are none. `headers` by lower-case name."""
    return {name: headers[prefix + name] for name in _CONDITIONS if prefix + name in headers}


def require_source(headers: Mapping[str, str], etag: str, modified_ms: int) -> None:
    """Raises S3Error PreconditionFailed unless a copy's conditions on its source hold; their precedence is that of a GET.

    `etag` is bare, `modified_ms` Unix milliseconds. What would be 304 on a GET is 412 here.
    """
    conditions = conditions_of(headers, f"{COPY_SOURCE_HEADER}-")
    if conditions and evaluate_read(conditions, etag, modified_ms) is not None:
        raise S3Error("PreconditionFailed", Condition=f"{COPY_SOURCE_HEADER}-{next(iter(conditions))}")
