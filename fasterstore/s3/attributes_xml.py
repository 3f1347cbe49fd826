"""The document of GetObjectAttributes, and the headers that ask for it. Source: S3 API page GetObjectAttributes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fasterstore.model import ObjectRow, PartRow
from fasterstore.s3.checksums import render_checksums
from fasterstore.s3.errors import S3Error
from fasterstore.s3.listing_xml import DEFAULT_STORAGE_CLASS, STORAGE_CLASS_HEADER
from fasterstore.s3.multipart_xml import checksum_elements
from fasterstore.s3.xml_text import document, element

ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
"""In the order in which they stand in the answer."""
PAGE_MAX_PARTS = 1000

_INT32_MAX = 2**31 - 1


class PartsOfObject(NamedTuple):
    """A page of an object's parts: those behind number `marker`, `max_parts` as asked for, how many there are, and whether more follow."""

    rows: Sequence[PartRow]
    marker: int
    max_parts: int
    part_count: int
    is_truncated: bool


def wanted_attributes(headers: Mapping[str, str]) -> frozenset[str]:
    """The names in x-amz-object-attributes. Raises S3Error InvalidArgument for none, or one that is none."""
    names = [name.strip() for name in headers.get("x-amz-object-attributes", "").split(",")]
    if any(name not in ATTRIBUTES for name in names):
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            ArgumentName="x-amz-object-attributes",
            ArgumentValue=headers.get("x-amz-object-attributes", ""),
        )
    return frozenset(names)


def wanted_parts(headers: Mapping[str, str]) -> tuple[int, int]:
    """(part number marker, max parts) that the headers ask for; more than 1,000 parts are 1,000. Raises S3Error InvalidArgument."""
    marker = _number(headers, "x-amz-part-number-marker", 0)
    return marker, min(_number(headers, "x-amz-max-parts", PAGE_MAX_PARTS), PAGE_MAX_PARTS)


def _number(headers: Mapping[str, str], name: str, default: int) -> int:
    text = headers.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_INT32_MAX)) and int(text) <= _INT32_MAX):
        raise S3Error("InvalidArgument", f"Provided {name} not an integer or within integer range", ArgumentName=name, ArgumentValue=text)
    return int(text)


def render_attributes(wanted: Iterable[str], row: ObjectRow, parts: PartsOfObject | None) -> bytes:
    """GetObjectAttributesResponse with the `wanted` attributes; `parts` is None for an object that is not made of parts."""
    elements = {
        "ETag": element("ETag", row.etag),
        "Checksum": f"<Checksum>{render_checksums(row.checksums)}</Checksum>" if row.checksums else "",
        "ObjectParts": "" if parts is None else _parts(parts),
        "StorageClass": element("StorageClass", row.system.get(STORAGE_CLASS_HEADER, DEFAULT_STORAGE_CLASS)),
        "ObjectSize": element("ObjectSize", str(row.size_bytes)),
    }
    return document("GetObjectAttributesResponse", [elements[name] for name in ATTRIBUTES if name in wanted])


def _parts(parts: PartsOfObject) -> str:
    last = parts.rows[-1].number if parts.rows else parts.marker
    head = (
        element("PartsCount", str(parts.part_count)), element("PartNumberMarker", str(parts.marker)),
        element("NextPartNumberMarker", str(last)), element("MaxParts", str(parts.max_parts)),
        element("IsTruncated", "true" if parts.is_truncated else "false"),
    )  # fmt: skip
    return f"<ObjectParts>{''.join(head)}{''.join([_part(row) for row in parts.rows])}</ObjectParts>"


def _part(row: PartRow) -> str:
    return f"<Part>{element('PartNumber', str(row.number))}{element('Size', str(row.size_bytes))}{checksum_elements(row.checksums)}</Part>"
