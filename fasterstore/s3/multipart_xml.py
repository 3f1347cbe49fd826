"""The documents of multipart uploads. Values in, bytes out; what clients send goes through `xml_reader`.

Source: S3 API pages CreateMultipartUpload, UploadPartCopy, CompleteMultipartUpload, ListParts and ListMultipartUploads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fasterstore.digests import CHECKSUM_ALGORITHMS
from fasterstore.metadata.multipart import ListedPart, upload_id
from fasterstore.metadata.upload_listing import UploadPage
from fasterstore.model import PartRow, UploadRow
from fasterstore.s3.checksums import render_checksums
from fasterstore.s3.errors import S3Error
from fasterstore.s3.listing_xml import DEFAULT_STORAGE_CLASS, STORAGE_CLASS_HEADER, url_encoded
from fasterstore.s3.xml import OWNER_DISPLAY_NAME, OWNER_ID, iso8601, owner
from fasterstore.s3.xml_reader import LARGE_DOCUMENT_MAX_BYTES, local_name, parse_document
from fasterstore.s3.xml_text import document, element, escape

_CHECKSUM_ELEMENTS = {f"Checksum{name}": name for name in CHECKSUM_ALGORITHMS}
_PART_NUMBER_CHARS = 9
_INITIATOR = f"<Initiator>{element('ID', OWNER_ID)}{element('DisplayName', OWNER_DISPLAY_NAME)}</Initiator>"


class PartsPage(NamedTuple):
    """A page of ListParts: the rows behind `marker`, `max_parts` as asked for, and whether more follow."""

    rows: Sequence[PartRow]
    marker: int
    max_parts: int
    is_truncated: bool


class UploadsQuery(NamedTuple):
    """What ListMultipartUploads is asked for, and echoes; `encoding_type` is "" or "url" as sent."""

    bucket: str
    prefix: str
    delimiter: str
    key_marker: str
    upload_id_marker: str
    max_uploads: int
    encoding_type: str


def parse_complete(body: bytes) -> list[ListedPart]:
    """The parts of a CompleteMultipartUpload, in the order of the document. Raises S3Error MalformedXML, MaxMessageLengthExceeded."""
    if not body:
        raise S3Error("MalformedXML")
    root = parse_document(body, "CompleteMultipartUpload", LARGE_DOCUMENT_MAX_BYTES)
    listed = []
    for part in root:
        if local_name(part) != "Part":
            raise S3Error("MalformedXML")
        fields: dict[str, str] = {}
        for child in part:
            name = local_name(child)
            if name in fields or len(child):
                raise S3Error("MalformedXML")
            fields[name] = (child.text or "").strip()
        number, etag = fields.get("PartNumber", ""), fields.get("ETag", "").strip('"')
        if not (number.isascii() and number.isdigit() and len(number) <= _PART_NUMBER_CHARS and etag):
            raise S3Error("MalformedXML")
        checksums = {name: fields[child] for child, name in _CHECKSUM_ELEMENTS.items() if child in fields}
        listed.append(ListedPart(int(number), etag, checksums))
    return listed


def render_initiated(bucket: str, key: bytes, upload: str) -> bytes:
    """InitiateMultipartUploadResult."""
    return document("InitiateMultipartUploadResult", (element("Bucket", bucket), element("Key", _text(key)), element("UploadId", upload)))


def render_completed(location: str, bucket: str, key: bytes, etag: str, checksums: Mapping[str, str]) -> bytes:
    """CompleteMultipartUploadResult; `etag` without quotes, `checksums` as in ObjectRow."""
    parts = (
        element("Location", location), element("Bucket", bucket), element("Key", _text(key)), element("ETag", f'"{etag}"'),
        render_checksums(checksums),
    )  # fmt: skip
    return document("CompleteMultipartUploadResult", parts)


def render_part_copied(etag: str, modified_ms: int, checksums: Mapping[str, str]) -> bytes:
    """CopyPartResult."""
    parts = (element("LastModified", iso8601(modified_ms)), element("ETag", f'"{etag}"'), checksum_elements(checksums))
    return document("CopyPartResult", parts)


def checksum_elements(checksums: Mapping[str, str]) -> str:
    """The elements that tell a part's checksums: unlike an object's they have no type."""
    return "".join([element(f"Checksum{name}", value) for name, value in checksums.items()])


def render_parts(bucket: str, upload: UploadRow, page: PartsPage) -> bytes:
    """ListPartsResult."""
    next_marker = page.rows[-1].number if page.rows else page.marker
    head = [
        element("Bucket", bucket), element("Key", _text(upload.key)), element("UploadId", upload_id(upload.number, upload.token)),
        element("PartNumberMarker", str(page.marker)), element("NextPartNumberMarker", str(next_marker)),
        element("MaxParts", str(page.max_parts)), element("IsTruncated", _truth(page.is_truncated)),
    ]  # fmt: skip
    parts = [_part(row) for row in page.rows]
    return document("ListPartsResult", (*head, *parts, _INITIATOR, owner(), _class_and_checksum(upload)))


def render_uploads(query: UploadsQuery, page: UploadPage) -> bytes:
    """ListMultipartUploadsResult. With encoding-type=url every key and prefix is percent-encoded, also in the head."""
    spell = url_encoded if query.encoding_type else _escaped
    return document("ListMultipartUploadsResult", _uploads(query, page, spell))


def _uploads(query: UploadsQuery, page: UploadPage, spell: Callable[[bytes], str]) -> Iterator[str]:
    yield element("Bucket", query.bucket)
    yield f"<KeyMarker>{spell(query.key_marker.encode())}</KeyMarker>"
    yield element("UploadIdMarker", query.upload_id_marker)
    if page.last is not None:
        last = page.uploads[-1] if page.last.number else None
        yield f"<NextKeyMarker>{spell(page.last.key)}</NextKeyMarker>"
        yield element("NextUploadIdMarker", "" if last is None else upload_id(last.number, last.token))
    yield f"<Prefix>{spell(query.prefix.encode())}</Prefix>"
    if query.delimiter:
        yield f"<Delimiter>{spell(query.delimiter.encode())}</Delimiter>"
    if query.encoding_type:
        yield element("EncodingType", query.encoding_type)
    yield element("MaxUploads", str(query.max_uploads))
    yield element("IsTruncated", _truth(page.last is not None))
    for row in page.uploads:
        yield (
            f"<Upload><Key>{spell(row.key)}</Key>{element('UploadId', upload_id(row.number, row.token))}{_INITIATOR}{owner()}"
            f"{_class_and_checksum(row)}{element('Initiated', iso8601(row.initiated_ms))}</Upload>"
        )
    for prefix in page.common_prefixes:
        yield f"<CommonPrefixes><Prefix>{spell(prefix)}</Prefix></CommonPrefixes>"


def _part(row: PartRow) -> str:
    return (
        f"<Part>{element('PartNumber', str(row.number))}{element('LastModified', iso8601(row.modified_ms))}"
        f"<ETag>&quot;{row.etag}&quot;</ETag>{element('Size', str(row.size_bytes))}{checksum_elements(row.checksums)}</Part>"
    )


def _class_and_checksum(upload: UploadRow) -> str:
    parts = element("StorageClass", upload.system.get(STORAGE_CLASS_HEADER, DEFAULT_STORAGE_CLASS))
    if upload.algorithm:
        parts += element("ChecksumAlgorithm", upload.algorithm) + element("ChecksumType", upload.checksum_type)
    return parts


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _escaped(key: bytes) -> str:
    return escape(_text(key))
