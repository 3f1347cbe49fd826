"""The documents of multipart uploads."""

from xml.etree.ElementTree import fromstring

import pytest

from fasterstore.metadata.multipart import ListedPart, upload_id
from fasterstore.metadata.upload_listing import Place, UploadPage
from fasterstore.model import PARTS_MAX, PartRow, UploadRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.multipart_xml import (
    PartsPage,
    UploadsQuery,
    parse_complete,
    render_completed,
    render_initiated,
    render_part_copied,
    render_parts,
    render_uploads,
)
from fasterstore.s3.xml_reader import LARGE_DOCUMENT_MAX_BYTES

ETAG = "0123456789abcdef0123456789abcdef"
TOKEN = ETAG
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def upload(key=b"k", number=4, algorithm="", checksum_type="", system=None):
    return UploadRow(1, key, number, TOKEN, 1_700_000_000_123, 0, number, system or {}, {}, {}, "", algorithm, checksum_type)


def part(number, checksums=None):
    return PartRow(number, 10 * number, ETAG, 1_700_000_000_000, checksums or {}, ())


def tree(document):
    """(name, text) of every element in order, without namespace."""
    return [(element.tag.removeprefix(NAMESPACE), element.text or "") for element in fromstring(document).iter()]


def one(document, name):
    found = [text for tag, text in tree(document) if tag == name]
    assert len(found) == 1, found
    return found[0]


# ---- what clients send ----


@pytest.mark.parametrize("root", ["<CompleteMultipartUpload>", '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'])
@pytest.mark.parametrize("etag", [ETAG, f'"{ETAG}"', f"&quot;{ETAG}&quot;", f"&#34;{ETAG}&#34;", f" {ETAG}\n"])
def test_etags_are_read_with_and_without_quotes_and_namespace(root, etag):
    body = f"{root}<Part><ETag>{etag}</ETag><PartNumber>7</PartNumber></Part></CompleteMultipartUpload>"
    assert parse_complete(body.encode()) == [ListedPart(7, ETAG, {})]


def test_checksums_of_parts_are_read_and_other_elements_ignored():
    body = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ChecksumCRC32>AAAAAA==</ChecksumCRC32><Size>5</Size><ETag>{ETAG}</ETag>"
        "</Part></CompleteMultipartUpload>"
    )
    assert parse_complete(body.encode()) == [ListedPart(1, ETAG, {"CRC32": "AAAAAA=="})]


def test_ten_thousand_parts_with_checksums_fit():
    item = f"<Part><PartNumber>%d</PartNumber><ETag>&quot;{ETAG}&quot;</ETag><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME></Part>"
    body = f"<CompleteMultipartUpload>{''.join([item % number for number in range(1, PARTS_MAX + 1)])}</CompleteMultipartUpload>"
    assert len(body) < LARGE_DOCUMENT_MAX_BYTES
    listed = parse_complete(body.encode())
    assert [part.number for part in listed] == list(range(1, PARTS_MAX + 1))


PART = f"<Part><PartNumber>1</PartNumber><ETag>{ETAG}</ETag></Part>"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no xml",
        "<CompleteMultipartUpload>",
        f"<Complete>{PART}</Complete>",
        f"<CompleteMultipartUpload>{PART}<Other/></CompleteMultipartUpload>",
        f"<CompleteMultipartUpload><Part><ETag>{ETAG}</ETag></Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag></ETag></Part></CompleteMultipartUpload>",
        f"<CompleteMultipartUpload><Part><PartNumber>one</PartNumber><ETag>{ETAG}</ETag></Part></CompleteMultipartUpload>",
        f"<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber><ETag>{ETAG}</ETag></Part></CompleteMultipartUpload>",
        f"<CompleteMultipartUpload><Part><PartNumber>{'9' * 10}</PartNumber><ETag>{ETAG}</ETag></Part></CompleteMultipartUpload>",
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>{ETAG}</ETag></Part></CompleteMultipartUpload>",
        f"<CompleteMultipartUpload><Part><PartNumber><b>1</b></PartNumber><ETag>{ETAG}</ETag></Part></CompleteMultipartUpload>",
        f'<!DOCTYPE a [<!ENTITY e "1">]><CompleteMultipartUpload>{PART}</CompleteMultipartUpload>',
    ],
)
def test_anything_else_is_malformed(body):
    with pytest.raises(S3Error) as refusal:
        parse_complete(body.encode())
    assert refusal.value.code == "MalformedXML"


def test_a_list_over_2_mib_is_refused_as_too_long():
    with pytest.raises(S3Error) as refusal:
        parse_complete(b"<CompleteMultipartUpload>" + b" " * LARGE_DOCUMENT_MAX_BYTES + b"</CompleteMultipartUpload>")
    assert refusal.value.code == "MaxMessageLengthExceeded"


# ---- what they get ----


def test_keys_are_escaped_in_every_document():
    key = "a&<b>\u00e9".encode()
    assert one(render_initiated("box", key, "id"), "Key") == key.decode()
    assert one(render_completed("http://h/k", "box", key, ETAG, {}), "Key") == key.decode()
    assert one(render_parts("box", upload(key), PartsPage([], 0, 10, False)), "Key") == key.decode()


def test_a_completed_upload_tells_its_etag_and_checksum_with_the_type():
    document = render_completed("http://host/box/k", "box", b"k", ETAG + "-2", {"CRC32": "AAAAAA==-2"})
    assert tree(document)[1:] == [
        ("Location", "http://host/box/k"), ("Bucket", "box"), ("Key", "k"), ("ETag", f'"{ETAG}-2"'),
        ("ChecksumCRC32", "AAAAAA==-2"), ("ChecksumType", "COMPOSITE"),
    ]  # fmt: skip


def test_a_copied_part_tells_its_checksum_without_a_type():
    document = render_part_copied(ETAG, 1_700_000_000_000, {"SHA1": "x"})
    assert tree(document) == [
        ("CopyPartResult", ""), ("LastModified", "2023-11-14T22:13:20.000Z"), ("ETag", f'"{ETAG}"'), ("ChecksumSHA1", "x"),
    ]  # fmt: skip


def test_a_page_of_parts_leads_to_the_next_one():
    document = render_parts(
        "box", upload(algorithm="CRC32", checksum_type="FULL_OBJECT"), PartsPage([part(3, {"CRC32": "c"}), part(5)], 2, 2, True)
    )
    assert one(document, "UploadId") == upload_id(4, TOKEN)
    assert (one(document, "PartNumberMarker"), one(document, "NextPartNumberMarker")) == ("2", "5")
    assert (one(document, "MaxParts"), one(document, "IsTruncated")) == ("2", "true")
    assert (one(document, "ChecksumAlgorithm"), one(document, "ChecksumType")) == ("CRC32", "FULL_OBJECT")
    assert [text for tag, text in tree(document) if tag in ("PartNumber", "Size", "ChecksumCRC32")] == ["3", "30", "c", "5", "50"]
    assert one(render_parts("box", upload(), PartsPage([], 7, 2, False)), "NextPartNumberMarker") == "7"


def query(**fields):
    whole = {
        "bucket": "box", "prefix": "", "delimiter": "", "key_marker": "", "upload_id_marker": "", "max_uploads": 10, "encoding_type": "",
    }  # fmt: skip
    return UploadsQuery(**(whole | fields))


def test_a_page_of_uploads_names_its_last_entry_and_nothing_when_it_ends():
    rows = [upload(b"a", 4), upload(b"b", 9, system={"x-amz-storage-class": "GLACIER"})]
    ended = render_uploads(query(), UploadPage(rows, [], None))
    assert one(ended, "IsTruncated") == "false"
    assert b"NextKeyMarker" not in ended
    assert [text for tag, text in tree(ended) if tag in ("UploadId", "StorageClass")] == [
        upload_id(4, TOKEN), "STANDARD", upload_id(9, TOKEN), "GLACIER",
    ]  # fmt: skip
    truncated = render_uploads(query(), UploadPage(rows, [], Place(b"b", 9)))
    assert (one(truncated, "NextKeyMarker"), one(truncated, "NextUploadIdMarker")) == ("b", upload_id(9, TOKEN))
    at_prefix = render_uploads(query(delimiter="/"), UploadPage(rows, [b"c/"], Place(b"c/", 0)))
    assert (one(at_prefix, "NextKeyMarker"), one(at_prefix, "NextUploadIdMarker")) == ("c/", "")


def test_encoding_type_url_encodes_keys_prefixes_and_markers():
    page = UploadPage([upload("a b\u00e9".encode())], [b"c d/"], Place(b"c d/", 0))
    fields = {"prefix": "p q", "delimiter": "/", "key_marker": "k m"}
    encoded = render_uploads(query(**fields, encoding_type="url"), page)
    assert (one(encoded, "Key"), one(encoded, "NextKeyMarker"), one(encoded, "KeyMarker")) == ("a%20b%C3%A9", "c%20d/", "k%20m")
    assert [text for tag, text in tree(encoded) if tag == "Prefix"] == ["p%20q", "c%20d/"]
    plain = render_uploads(query(**fields), page)
    assert (one(plain, "Key"), one(plain, "NextKeyMarker"), one(plain, "KeyMarker")) == ("a b\u00e9", "c d/", "k m")
    assert b"EncodingType" not in plain
