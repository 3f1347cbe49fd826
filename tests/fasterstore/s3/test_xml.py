"""Bucket lists as S3 writes them; CreateBucketConfiguration read strictly."""

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.model import BucketId, BucketRow
from fasterstore.s3 import xml
from fasterstore.s3.errors import S3Error

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def test_a_bucket_list_names_owner_buckets_and_times() -> None:
    body = xml.render_list_buckets([BucketRow(BucketId(1), "one", 1255369850123, {}), BucketRow(BucketId(2), "two", 0, {})], "us-east-1")
    root = fromstring(body)
    assert root.tag == f"{NS}ListAllMyBucketsResult"
    assert root.findtext(f"{NS}Owner/{NS}ID") == "000000000000"
    assert [node.text for node in root.iter(f"{NS}Name")] == ["one", "two"]
    assert [node.text for node in root.iter(f"{NS}CreationDate")] == ["2009-10-12T17:50:50.123Z", "1970-01-01T00:00:00.000Z"]
    assert root.find(f"{NS}ContinuationToken") is None
    assert fromstring(xml.render_list_buckets([], "r", "p", "t")).findtext(f"{NS}ContinuationToken") == "t"


def test_http_dates_are_imf_fixdates() -> None:
    assert xml.http_date(784111777_999) == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", None),
        (b"  \n", None),
        (b"<CreateBucketConfiguration/>", None),
        (b"<CreateBucketConfiguration><LocationConstraint/></CreateBucketConfiguration>", None),
        (b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>", "eu-west-1"),
        (
            b'<?xml version="1.0"?><CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            b"<LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>",
            "x",
        ),
    ],
)
def test_a_location_constraint_is_read(body: bytes, expected) -> None:
    assert xml.parse_create_bucket(body) == (expected, {})


@pytest.mark.parametrize(
    "body",
    [
        b"<CreateBucket",
        b"hello",
        b"<Other/>",
        b"<CreateBucketConfiguration><Wrong/></CreateBucketConfiguration>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><CreateBucketConfiguration/>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><CreateBucketConfiguration/>',
        b'<?xml version="1.0" encoding="nonsense"?><CreateBucketConfiguration/>',
        b"\xff\xfe<\x00",
        b"<CreateBucketConfiguration><LocationConstraint><A/></LocationConstraint></CreateBucketConfiguration>",
        b"<CreateBucketConfiguration><Tags><Tag><Key>k</Key></Tag></Tags></CreateBucketConfiguration>",
        b"<CreateBucketConfiguration><LocationConstraint>a</LocationConstraint><LocationConstraint>b</LocationConstraint>"
        b"</CreateBucketConfiguration>",
    ],
)
def test_anything_else_is_malformed_xml(body: bytes) -> None:
    with pytest.raises(S3Error) as refused:
        xml.parse_create_bucket(body)
    assert refused.value.code == "MalformedXML"


def test_a_location_is_judged_only_when_the_region_was_set() -> None:
    xml.check_location("eu-west-1", "us-east-1", strict=False)
    xml.check_location(None, "us-east-1", strict=True)
    xml.check_location("us-east-1", "us-east-1", strict=True)
    with pytest.raises(S3Error) as refused:
        xml.check_location("eu-west-1", "us-east-1", strict=True)
    assert refused.value.code == "IllegalLocationConstraintException"


def test_the_location_of_us_east_1_is_empty_and_that_of_others_their_name() -> None:
    assert fromstring(xml.render_location("us-east-1")).text is None
    assert fromstring(xml.render_location("eu-central-1")).text == "eu-central-1"


def test_a_new_buckets_tags_are_read_and_judged() -> None:
    tag = b"<Tag><Key>%s</Key><Value>v</Value></Tag>"
    around = b"<CreateBucketConfiguration><Tags>%s</Tags></CreateBucketConfiguration>"
    assert xml.parse_create_bucket(around % (tag % b"a" + tag % b"b")) == (None, {"a": "v", "b": "v"})
    with pytest.raises(S3Error) as refused:
        xml.parse_create_bucket(around % (tag % b"a" + tag % b"a"))
    assert refused.value.code == "InvalidTag"


@pytest.mark.parametrize("asked", [b"<Bucket><Type>Directory</Type></Bucket>", b"<Location><Type>AvailabilityZone</Type></Location>"])
def test_a_directory_bucket_is_not_made_as_another_one(asked: bytes) -> None:
    with pytest.raises(S3Error) as refused:
        xml.parse_create_bucket(b"<CreateBucketConfiguration>" + asked + b"</CreateBucketConfiguration>")
    assert refused.value.code == "NotImplemented"
