"""The Range header of a GET: one range of bytes. Pure; knows no object. Source: RFC 9110, section 14; S3 API page GetObject."""

import re

from fasterstore.s3.errors import S3Error

_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,20})[ \t]*-[ \t]*(\d{0,20})[ \t]*", re.IGNORECASE | re.ASCII)


def parse_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The part of `size_bytes` that `header` asks for, as (first byte's offset, length in bytes).

    None means the whole: no header, another unit, several ranges (S3 serves one range only), or a syntax that RFC 9110 14.1.2 says
    to ignore (first byte after last). Raises S3Error InvalidRange, with its Content-Range header, when no byte would be left.
    """
    if not header:
        return None
    match = _ONE_RANGE.fullmatch(header)
    if match is None:
        return None
    first_text, last_text = match.groups()
    if first_text:
        first = int(first_text)
        last = int(last_text) if last_text else max(first, size_bytes - 1)
        if last < first:
            return None
        if first < size_bytes:
            return first, min(last, size_bytes - 1) - first + 1
    elif last_text:
        length = min(int(last_text), size_bytes)
        if length > 0:
            return size_bytes - length, length
    else:
        return None
    raise S3Error(
        "InvalidRange",
        headers={"Content-Range": f"bytes */{size_bytes}"},
        RangeRequested=header,
        ActualObjectSize=str(size_bytes),
    )


def content_range(first: int, length_bytes: int, size_bytes: int) -> str:
    """The Content-Range value of a 206 answer."""
    return f"bytes {first}-{first + length_bytes - 1}/{size_bytes}"
