"""UploadPartCopy against the real engine: which bytes, from what, and that none is moved."""

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from actors.messages import CopyPart
from fasterstore.digests import checksum_base64
from fasterstore.storage.record import HEADER_BYTES
from fasterstore.storage.segment import segment_name
from tests.web.app.multipart_client import PART_BYTES, Meddler, Upload, code, element, elements, until
from web.part_copy import PIECES_MAX

BODY = os.urandom(PART_BYTES + 1000)


def md5(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


def part_row(store, upload, number=1):
    return store.worker.index.uploads.part(int(upload.id[:16], 16), number)


def appended(store, pieces, key="lines"):
    offset = 0
    for piece in pieces:
        assert store.send("PUT", f"/box/{key}", piece, {"x-amz-write-offset-bytes": str(offset)}).status == 200
        offset += len(piece)


@pytest.fixture
def source(store):
    store.send("PUT", "/box/source", BODY)
    return "/box/source"


def test_ranges_of_a_plain_object_become_parts(store, source):
    upload = Upload(store)
    for number, span in enumerate(((0, PART_BYTES - 1), (PART_BYTES, len(BODY) - 1)), 1):
        copied = upload.copy(number, source, span)
        assert (copied.status, element(copied, "ETag")) == (200, md5(BODY[span[0] : span[1] + 1]))
        assert element(copied, "LastModified").endswith("Z")
    assert upload.complete().status == 200
    assert store.send("GET", "/box/k").body == BODY


def test_no_byte_is_moved(store, source):
    upload = Upload(store)
    blob = store.worker.reader().locate("box", b"source").object.blob
    upload.copy(1, source, (10, PART_BYTES + 9))
    assert part_row(store, upload).slices == ((blob, 10, PART_BYTES),)
    upload.put(2, b"end")
    upload.complete()
    assert store.worker.index.uploads.blob(blob).blob.refs == 2
    store.send("DELETE", "/box/source")
    assert store.send("GET", "/box/k").body == BODY[10 : PART_BYTES + 10] + b"end"


def test_a_range_may_go_across_the_parts_of_its_source(store):
    first = Upload(store, "source")
    bodies = [os.urandom(PART_BYTES), os.urandom(PART_BYTES + 5), b"the end"]
    for number, body in enumerate(bodies, 1):
        first.put(number, body)
    first.complete()
    whole = b"".join(bodies)
    upload = Upload(store)
    span = (PART_BYTES - 3, 2 * PART_BYTES + 7)
    assert element(upload.copy(1, "/box/source", span), "ETag") == md5(whole[span[0] : span[1] + 1])
    assert element(upload.copy(2, "/box/source"), "ETag") == md5(whole)
    assert [len(part_row(store, upload, number).slices) for number in (1, 2)] == [3, 3]
    upload.complete()
    assert store.send("GET", "/box/k").body == whole[span[0] : span[1] + 1] + whole
    again = Upload(store, "again")
    again.copy(1, "/box/k", (1, 2 * PART_BYTES))
    again.complete()
    assert store.send("GET", "/box/again").body == (whole[span[0] : span[1] + 1] + whole)[1 : 2 * PART_BYTES + 1]


def test_a_whole_plain_object_needs_no_reading(store, source):
    """Its MD5 is known; that its bytes are damaged is found out by whoever reads them."""
    damage(store, b"source")
    upload = Upload(store)
    assert element(upload.copy(1, source), "ETag") == md5(BODY)
    assert code(upload.copy(2, source, (0, 9))) == (500, "InternalError")
    until(lambda: store.worker.reader().locate("box", b"source").blob.damaged)
    assert code(upload.copy(3, source)) == (500, "InternalError")
    assert elements(upload.listed(), "PartNumber") == ["1"]


def damage(store, key):
    place = store.worker.reader().locate("box", key).blob.location
    with (Path(store.datadir.segments_dir) / segment_name(place.segment_id)).open("r+b") as file:
        file.seek(place.offset + HEADER_BYTES)
        byte = file.read(1)[0]
        file.seek(place.offset + HEADER_BYTES)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_a_part_gets_the_checksum_that_its_upload_needs(store, source, algorithm):
    header = f"x-amz-checksum-{algorithm.lower()}"
    known = checksum_base64(algorithm, BODY)
    store.send("PUT", "/box/known", BODY, {header: known})
    upload = Upload(store, headers={"x-amz-checksum-algorithm": algorithm})
    assert element(upload.copy(1, source), f"Checksum{algorithm}") == known
    assert element(upload.copy(2, "/box/known"), f"Checksum{algorithm}") == known
    assert element(upload.copy(3, source, (5, 99)), f"Checksum{algorithm}") == checksum_base64(algorithm, BODY[5:100])
    upload.checksums = {number: dict(part_row(store, upload, number).checksums) for number in (1, 2, 3)}
    assert element(upload.complete(), f"Checksum{algorithm}").endswith("-3")


def test_an_empty_object_is_an_empty_part(store):
    store.send("PUT", "/box/empty", b"")
    upload = Upload(store)
    assert element(upload.copy(1, "/box/empty"), "ETag") == md5(b"")
    assert code(upload.copy(2, "/box/empty", (0, 0))) == (416, "InvalidRange")
    assert upload.complete().status == 200
    assert store.send("GET", "/box/k").body == b""


def test_a_source_may_have_any_name(store):
    for name in (" ", "_", "?versionId", "a+b", "\u00e9/\u00e9"):
        store.send("PUT", f"/box/{quote(name)}", name.encode())
        upload = Upload(store)
        assert element(upload.copy(1, f"box/{quote(name)}"), "ETag") == md5(name.encode()), name


def test_a_patchwork_of_many_pieces_is_written_anew(store):
    pieces = [b"line %04d\n" % number for number in range(PIECES_MAX + 10)]
    appended(store, pieces)
    whole = b"".join(pieces)
    upload = Upload(store, headers={"x-amz-checksum-algorithm": "CRC64NVME"})
    few = upload.copy(1, "/box/lines", (0, 10 * PIECES_MAX - 1))
    assert (element(few, "ETag"), len(part_row(store, upload, 1).slices)) == (md5(whole[: 10 * PIECES_MAX]), PIECES_MAX)
    many = upload.copy(1, "/box/lines")
    assert element(many, "ETag") == md5(whole)
    assert element(many, "ChecksumCRC64NVME") == checksum_base64("CRC64NVME", whole)
    assert len(part_row(store, upload, 1).slices) == 1
    assert upload.complete().status == 200
    assert store.send("GET", "/box/k").body == whole


def test_a_large_patchwork_is_written_anew_too(store):
    """More than rides in a message, in pieces of all sizes."""
    pieces = [os.urandom(1000 * (number % 40)) + b"." for number in range(PIECES_MAX + 10)]
    appended(store, pieces)
    whole = b"".join(pieces)
    upload = Upload(store)
    assert element(upload.copy(1, "/box/lines", (3, len(whole) - 4)), "ETag") == md5(whole[3:-3])
    upload.complete()
    assert store.send("GET", "/box/k").body == whole[3:-3]


def test_neighbouring_pieces_of_one_blob_are_one_piece(store, source):
    upload = Upload(store, "sliced")
    for number in range(1, 4):
        upload.copy(number, source, ((number - 1) * 10, number * 10 - 1 if number < 3 else PART_BYTES))
    store.send("POST", f"/box/sliced?uploadId={upload.id}", upload.document([(3, upload.etags[3])]))
    copied = Upload(store)
    copied.copy(1, "/box/sliced")
    assert len(part_row(store, copied).slices) == 1


# ---- what is refused ----


def test_conditions_on_the_source_are_kept(store, source):
    upload = Upload(store)
    etag = md5(BODY)
    past, future = "Thu, 01 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"
    for headers, status in (
        ({"if-match": etag}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-none-match": etag}, 412),
        ({"if-none-match": '"other"'}, 200),
        ({"if-unmodified-since": past}, 412),
        ({"if-unmodified-since": future}, 200),
        ({"if-modified-since": past}, 200),
        ({"if-match": etag, "if-unmodified-since": past}, 200),
    ):
        sent = {f"x-amz-copy-source-{name}": value for name, value in headers.items()}
        assert upload.copy(1, source, (0, 9), sent).status == status, headers


def test_what_cannot_be_copied_is_refused(store, source):
    upload = Upload(store)
    for name, refusal in (
        ("/box/missing", (404, "NoSuchKey")),
        ("/nothing/k", (404, "NoSuchBucket")),
        ("/box", (400, "InvalidArgument")),
        ("", (400, "InvalidArgument")),
        ("/box/source?versionId=null", (200, None)),
        ("/box/source?versionId=" + "v" * 32, (404, "NoSuchVersion")),
    ):
        assert code(upload.copy(1, name)) == refusal, name
    for span in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=0-2,3-5", "bytes=5-"):
        assert code(upload.copy(1, source, headers={"x-amz-copy-source-range": span})) == (400, "InvalidArgument"), span
    assert code(upload.copy(1, source, (0, len(BODY)))) == (416, "InvalidRange")
    assert code(upload.copy(0, source)) == (400, "InvalidArgument")
    assert code(upload.copy(10_001, source)) == (400, "InvalidArgument")
    assert elements(upload.listed(), "PartNumber") == ["1"]


def test_a_source_that_changes_between_look_and_judgement_is_looked_at_again(store, source):
    upload = Upload(store)
    Meddler(store, CopyPart, lambda: store.send("PUT", "/box/source", b"another body"))
    copied = upload.copy(1, source)
    assert (copied.status, element(copied, "ETag")) == (200, md5(b"another body"))
    Meddler(store, CopyPart, lambda: store.send("DELETE", "/box/source"))
    assert code(upload.copy(2, source)) == (404, "NoSuchKey")
    upload.complete()
    assert store.send("GET", "/box/k").body == b"another body"
