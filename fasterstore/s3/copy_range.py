"""The range of an UploadPartCopy: which bytes of its source become the part. Pure. Source: S3 API page UploadPartCopy."""

import re

from fasterstore.s3.errors import S3Error

COPY_RANGE_HEADER = "x-amz-copy-source-range"

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})", re.ASCII)


def parse_copy_range(value: str | None, size_bytes: int) -> tuple[int, int]:
    """(first, length) in bytes that the header asks for of a source of `size_bytes`; all of it without the header.

    Unlike Range, both ends must be given and lie inside the source.
    Raises S3Error InvalidArgument for what is no such range, InvalidRange for one that ends outside.
    """
    if value is None:
        return 0, size_bytes
    match = _RANGE.fullmatch(value.strip())
    if match is None or int(match[1]) > int(match[2]):
        raise S3Error(
            "InvalidArgument",
            f"The {COPY_RANGE_HEADER} value must be of the form bytes=first-last where first and last are the zero-based offsets of the "
            "first and last bytes to copy",
            ArgumentName=COPY_RANGE_HEADER,
            ArgumentValue=value,
        )
    first, last = int(match[1]), int(match[2])
    if last >= size_bytes:
        raise S3Error("InvalidRange", RangeRequested=value, ActualObjectSize=str(size_bytes))
    return first, last - first + 1
