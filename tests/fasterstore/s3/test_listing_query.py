"""The parameters of lists, and what is refused in which words."""

import pytest

from fasterstore.s3.errors import S3Error
from fasterstore.s3.listing_query import ListingQuery, check_version_marker, parse_int32, parse_listing, refuse_other_version

NOT_AN_INTEGER = "Provided max-keys not an integer or within integer range"
OUT_OF_RANGE = "Argument maxKeys must be an integer between 0 and 2147483647"


def refusal(call, *arguments):
    with pytest.raises(S3Error) as refused:
        call(*arguments)
    assert refused.value.code == "InvalidArgument"
    return refused.value.message, refused.value.extra


def test_what_is_not_sent_or_empty_has_its_default():
    for query in ({}, {"prefix": "", "delimiter": "", "max-keys": "", "encoding-type": ""}):
        assert parse_listing("box", query) == ListingQuery("box", "", "", 1000, "")


@pytest.mark.parametrize(
    ("text", "keys"), [("5", 5), ("05", 5), ("0", 0), ("-0", 0), ("0" * 5000, 0), ("1000", 1000), ("1001", 1000), ("002147483647", 1000)]
)
def test_max_keys_is_read_by_its_value_and_capped(text, keys):
    assert parse_listing("box", {"max-keys": text}).max_keys == keys


@pytest.mark.parametrize("text", ["abc", " 5", "5 ", "+5", "5.0", "0x5", "-", "--5", "2147483648", "-2147483649", "9" * 5000, "\u0665"])
def test_max_keys_that_is_no_32_bit_integer_is_refused(text):
    message, extra = refusal(parse_listing, "box", {"max-keys": text})
    assert (message, extra) == (NOT_AN_INTEGER, {"ArgumentName": "max-keys", "ArgumentValue": text})


def test_negative_max_keys_are_refused_in_each_lists_own_words():
    assert refusal(parse_listing, "box", {"max-keys": "-01"}) == (OUT_OF_RANGE, {"ArgumentName": "maxKeys", "ArgumentValue": "-1"})
    assert refusal(parse_listing, "box", {"versions": "", "max-keys": "-1"}) == (
        "max-keys cannot be negative",
        {"ArgumentName": "max-keys"},
    )


def test_only_url_is_an_encoding_type():
    assert [parse_listing("box", {"encoding-type": text}).encoding_type for text in ("url", "URL")] == ["url", "URL"]
    message, extra = refusal(parse_listing, "box", {"encoding-type": "base64"})
    assert message == "Invalid Encoding Method specified in Request"
    assert extra == {"ArgumentName": "encoding-type", "ArgumentValue": "base64"}


def test_an_integer_is_named_after_its_parameter():
    assert parse_int32({"max-buckets": "7"}, "max-buckets", 9) == 7
    assert parse_int32({}, "max-buckets", 9) == 9
    assert refusal(parse_int32, {"max-buckets": "x"}, "max-buckets", 9)[0] == "Provided max-buckets not an integer or within integer range"


def test_a_version_marker_needs_a_key_marker_and_can_only_be_null():
    for query in ({}, {"version-id-marker": ""}, {"key-marker": "k"}, {"key-marker": "k", "version-id-marker": "null"}):
        check_version_marker(query)
    assert refusal(check_version_marker, {"version-id-marker": "null"}) == (
        "A version-id marker cannot be specified without a key marker.",
        {"ArgumentName": "version-id-marker", "ArgumentValue": "null"},
    )
    assert refusal(check_version_marker, {"key-marker": "k", "version-id-marker": "NULL"}) == (
        "Invalid version id specified",
        {"ArgumentName": "version-id-marker", "ArgumentValue": "NULL"},
    )


def test_parameters_of_the_other_version_are_refused_unless_they_say_nothing():
    for query in ({"marker": "a"}, {"list-type": "2", "start-after": "a", "continuation-token": "t"}, {"list-type": "2", "marker": ""}):
        refuse_other_version(query)
    assert refusal(refuse_other_version, {"list-type": "2", "marker": "a"}) == (
        "Marker unsupported with REST.GET.BUCKET in list-type=2",
        {"ArgumentName": "marker"},
    )
    assert refusal(refuse_other_version, {"start-after": "a", "continuation-token": "t"}) == (
        "continuation-token only supported in REST.GET.BUCKET with list-type=2",
        {"ArgumentName": "continuation-token"},
    )
    assert refusal(refuse_other_version, {"list-type": "1", "start-after": "a"})[0].startswith("startAfter only supported")


def test_unordered_pages_are_ordered_ones_and_exclude_a_delimiter():
    assert parse_listing("b", {"allow-unordered": "true"}) == parse_listing("b", {})
    assert refusal(parse_listing, "b", {"allow-unordered": "true", "delimiter": "/"})[1]["ArgumentName"] == "allow-unordered"
