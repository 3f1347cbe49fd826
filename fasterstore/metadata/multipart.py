"""Objects made of parts: what a list of parts becomes, checked against the parts that are there; and pieces of bytes by offset.

Pure: gets rows, gives values, reads and writes nothing. What is decided here holds only while the upload is as it was looked at; that is
for the journal to judge. Sizes and offsets are bytes.
Source: S3 API page CompleteMultipartUpload; S3 user guide, "Amazon S3 multipart upload limits" and "Checking object integrity".
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import md5
from typing import NamedTuple

from fasterstore.errors import DamagedRow
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import PARTS_MAX, PartRow, Slice
from fasterstore.s3.composite import compose
from fasterstore.s3.errors import S3Error

PART_MIN_BYTES = 5 << 20
"""Of every part but the last."""
PART_MAX_BYTES = 5 << 30
OBJECT_MAX_BYTES = 5 << 40

_UPLOAD_ID = re.compile(r"([0-7][0-9a-f]{15})([0-9a-f]{32})")


def upload_id(number: int, token: str) -> str:
    """What a client names an upload by: its number as 16 hex digits, and its token of 32."""
    return f"{number:016x}{token}"


def parse_upload_id(text: str) -> tuple[int, str] | None:
    """(number, token) of an upload id, None if it is none of ours."""
    match = _UPLOAD_ID.fullmatch(text)
    return None if match is None else (int(match[1], 16), match[2])


def check_part_number(number: int) -> None:
    """Raises S3Error InvalidArgument unless 1 <= `number` <= 10,000."""
    if not 1 <= number <= PARTS_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PARTS_MAX}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=str(number),
        )


class ListedPart(NamedTuple):
    """A part as a Complete request lists it: `etag` without quotes, `checksums` by algorithm name, as sent."""

    number: int
    etag: str
    checksums: dict[str, str]


class Checks(NamedTuple):
    """What a Complete request says of the whole object.

    `size_bytes` is x-amz-mp-object-size or None, `checksums` maps algorithm names to header values as sent, `checksum_type` is the
    header's value or "".
    """

    size_bytes: int | None = None
    checksums: dict[str, str] = {}
    checksum_type: str = ""


class Completed(NamedTuple):
    """What an upload becomes: the manifest's map as it is stored, size, ETag without quotes, and checksums as in ObjectRow."""

    part_map: bytes
    size_bytes: int
    etag: str
    checksums: dict[str, str]


def in_order(listed: Sequence[ListedPart]) -> list[ListedPart]:
    """The parts of a list, which must be ascending; of two entries with one number the last counts (as ceph/s3-tests expects of AWS).

    Raises S3Error MalformedXML for an empty list, InvalidArgument for a number that no part has, InvalidPartOrder.
    """
    if not listed:
        raise S3Error("MalformedXML")
    ordered: list[ListedPart] = []
    for part in listed:
        check_part_number(part.number)
        if ordered and part.number < ordered[-1].number:
            raise S3Error("InvalidPartOrder")
        if ordered and part.number == ordered[-1].number:
            ordered.pop()
        ordered.append(part)
    return ordered


def complete(listed: Sequence[ListedPart], rows: Mapping[int, PartRow], algorithm: str, checksum_type: str, checks: Checks) -> Completed:
    """Return what an upload with these parts becomes.

    Args: `listed`, in order (`in_order`); `rows`, the upload's parts by number; `algorithm` and `checksum_type` as in UploadRow.
    A checksum that a part's entry leaves out is not asked for, also where AWS wants it (COMPOSITE): it was verified with the part.
    Raises S3Error: InvalidPart for a part that is not there or is another; EntityTooSmall; EntityTooLarge; BadDigest if the whole has
    another checksum; InvalidRequest for another size or checksum type.
    """
    chosen = [_matched(part, rows.get(part.number)) for part in listed]
    _check_sizes(chosen)
    size_bytes = sum(row.size_bytes for row in chosen)
    if checks.size_bytes is not None and checks.size_bytes != size_bytes:
        raise S3Error(
            "InvalidRequest", f"The provided 'x-amz-mp-object-size' header value {checks.size_bytes} does not match {size_bytes}."
        )
    checksums = _checksums(chosen, algorithm, checksum_type, checks)
    part_map = pack_map([(row.number, row.size_bytes) for row in chosen])
    return Completed(part_map, size_bytes, composed_etag([row.etag for row in chosen]), checksums)


def composed_etag(etags: Sequence[str]) -> str:
    """The ETag of an object of parts: the MD5 of the parts' MD5s (hex in, hex out), and how many there are."""
    return f"{md5(bytes.fromhex(''.join(etags)), usedforsecurity=False).hexdigest()}-{len(etags)}"


def _matched(part: ListedPart, row: PartRow | None) -> PartRow:
    if row is not None and row.etag == part.etag and all(_same(row.checksums.get(name), given) for name, given in part.checksums.items()):
        return row
    raise S3Error("InvalidPart", PartNumber=str(part.number), ETag=part.etag)


def _check_sizes(rows: Sequence[PartRow]) -> None:
    for row in rows[:-1]:
        if row.size_bytes < PART_MIN_BYTES:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(row.size_bytes),
                MinSizeAllowed=str(PART_MIN_BYTES),
                PartNumber=str(row.number),
                ETag=row.etag,
            )
    size_bytes = sum(row.size_bytes for row in rows)
    if size_bytes > OBJECT_MAX_BYTES:
        raise S3Error("EntityTooLarge", ProposedSize=str(size_bytes), MaxSizeAllowed=str(OBJECT_MAX_BYTES))


def _checksums(rows: Sequence[PartRow], algorithm: str, checksum_type: str, checks: Checks) -> dict[str, str]:
    """The whole object's checksum, after comparing it with what the client says it is."""
    if checks.checksum_type and checks.checksum_type != checksum_type:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {checksum_type or 'null'} checksum mode. "
            "The complete request must use the same checksum mode.",
        )
    for name in checks.checksums:
        if name != algorithm:
            raise S3Error(
                "InvalidRequest",
                f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.lower() or 'null'}, "
                f"actual checksum Type: {name.lower()}",
            )
    if not algorithm:
        return {}
    parts = []
    for row in rows:
        checksum = row.checksums.get(algorithm)
        if checksum is None:
            raise S3Error("InvalidPart", PartNumber=str(row.number), ETag=row.etag)
        parts.append((checksum, row.size_bytes))
    whole = compose(algorithm, checksum_type, parts)
    given = checks.checksums.get(algorithm)
    if given is not None and given != whole and not _same(whole.partition("-")[0], given):
        raise S3Error("BadDigest", f"The {algorithm.lower()} you specified did not match the calculated checksum.")
    return {algorithm: whole}


def _same(stored: str | None, given: str) -> bool:
    """Do two base64 texts mean the same bytes? Base64 has spare bits, so two texts of one digest may both be right."""
    if stored == given:
        return True
    try:
        return stored is not None and b64decode(stored) == b64decode(given, validate=True)
    except (Base64Error, ValueError):
        return False


def cut(slices: Sequence[Slice], first: int, length: int) -> list[Slice]:
    """The pieces that hold the bytes `first` .. `first + length` of those slices put together.

    Raises DamagedRow if there are not so many.
    """
    pieces = []
    for piece in slices:
        if length == 0:
            break
        if first >= piece.length:
            first -= piece.length
            continue
        taken = min(piece.length - first, length)
        pieces.append(Slice(piece.blob, piece.first + first, taken))
        first = 0
        length -= taken
    if length:
        raise DamagedRow(f"a part has {length} bytes less than its manifest says")
    return pieces


def merge_neighbours(slices: Iterable[Slice]) -> Iterator[Slice]:
    """The same bytes in fewer pieces, where one piece goes on where the one before ends."""
    held: Slice | None = None
    for piece in slices:
        if held is not None and held.blob == piece.blob and held.first + held.length == piece.first:
            held = held._replace(length=held.length + piece.length)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held
