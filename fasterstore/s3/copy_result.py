"""The document that answers a CopyObject. Source: S3 API page CopyObject."""

from collections.abc import Mapping

from fasterstore.s3.checksums import render_checksums
from fasterstore.s3.xml import iso8601
from fasterstore.s3.xml_text import document, element


def render_copy_result(etag: str, modified_ms: int, checksums: Mapping[str, str]) -> bytes:
    """CopyObjectResult. `etag` is bare, `modified_ms` Unix milliseconds, `checksums` as ObjectRow keeps them."""
    return document(
        "CopyObjectResult",
        (element("LastModified", iso8601(modified_ms)), element("ETag", f'"{etag}"'), render_checksums(checksums)),
    )
