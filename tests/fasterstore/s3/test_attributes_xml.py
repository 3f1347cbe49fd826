"""GetObjectAttributes: what is asked for, and the document."""

import pytest

from fasterstore.model import ObjectRow, PartRow
from fasterstore.s3.attributes_xml import PartsOfObject, render_attributes, wanted_attributes, wanted_parts
from fasterstore.s3.errors import S3Error

ROW = ObjectRow(1, 12, "etag", 0, {}, {}, {"CRC32": "abc==-2"}, 1, b"")


@pytest.mark.parametrize("text", [None, "", "etag", "ETag,", "ETag,Size"])
def test_an_attribute_must_have_a_known_name(text):
    with pytest.raises(S3Error) as refusal:
        wanted_attributes({} if text is None else {"x-amz-object-attributes": text})
    assert refusal.value.code == "InvalidArgument"


def test_only_what_is_wanted_is_told():
    assert wanted_attributes({"x-amz-object-attributes": "ETag, ObjectSize"}) == {"ETag", "ObjectSize"}
    document = render_attributes({"ETag", "ObjectSize"}, ROW, None)
    assert document.endswith(b"<ETag>etag</ETag><ObjectSize>12</ObjectSize></GetObjectAttributesResponse>")
    document = render_attributes({"Checksum", "StorageClass", "ObjectParts"}, ROW, None)
    assert document.endswith(
        b"<Checksum><ChecksumCRC32>abc==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></Checksum>"
        b"<StorageClass>STANDARD</StorageClass></GetObjectAttributesResponse>"
    )
    assert b"Checksum" not in render_attributes({"Checksum"}, ROW._replace(checksums={}), None)


def test_a_page_of_parts_tells_where_it_ends():
    rows = [PartRow(4, 5, "e", 0, {"CRC32": "c"}, ())]
    document = render_attributes({"ObjectParts"}, ROW, PartsOfObject(rows, 3, 1, 6, True))
    assert (
        b"<ObjectParts><PartsCount>6</PartsCount><PartNumberMarker>3</PartNumberMarker><NextPartNumberMarker>4</NextPartNumberMarker>"
        b"<MaxParts>1</MaxParts><IsTruncated>true</IsTruncated>"
        b"<Part><PartNumber>4</PartNumber><Size>5</Size><ChecksumCRC32>c</ChecksumCRC32></Part></ObjectParts>"
    ) in document


def test_the_page_of_parts_is_bounded():
    assert wanted_parts({}) == (0, 1000)
    assert wanted_parts({"x-amz-max-parts": "5000", "x-amz-part-number-marker": "7"}) == (7, 1000)
    assert wanted_parts({"x-amz-max-parts": "0"}) == (0, 0)
    for text in ("-1", "x", "1.5", "9" * 11, "2147483648"):
        with pytest.raises(S3Error) as refusal:
            wanted_parts({"x-amz-max-parts": text})
        assert refusal.value.code == "InvalidArgument"
