"""Lists as S3 writes them: order of elements, encodings, what is said of an object."""

from urllib.parse import unquote

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.metadata.listing import Page
from fasterstore.model import ObjectRow
from fasterstore.s3.listing_query import ListingQuery
from fasterstore.s3.listing_xml import render_list_objects, render_list_objects_v2, render_list_versions, url_encoded
from fasterstore.s3.page_token import unpack_token

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
ROW = ObjectRow(1, 4, "e" * 32, 1255369850123, {}, {}, {}, 1, b"N" * 16)
QUERY = ListingQuery("box", "", "", 1000, "")
DELIMITED = QUERY._replace(delimiter="/")
EMPTY = Page([], [], b"")
ODD_KEYS = [
    b"\x01control",
    b"line\nbreak",
    b"carriage\rreturn",
    b"tab\there",
    b"nul\x00",
    b"<&>\"'",
    "\ufffe".encode(),
    b" lead",
    b"a b+c%20",
]


def v1(query, page, marker=""):
    return fromstring(render_list_objects(query, page, marker))


def v2(query, page, start_after=None, token=None, fetch_owner=False):
    return fromstring(render_list_objects_v2(query, page, start_after, token, fetch_owner))


def versions(query, page, key_marker="", version_id_marker=""):
    return fromstring(render_list_versions(query, page, key_marker, version_id_marker))


def names(root):
    return [child.tag.removeprefix(NS) for child in root]


def text(root, path):
    return root.findtext("/".join(NS + name for name in path.split("/")))


def page_of(*keys, prefixes=(), last=b""):
    return Page([(key, ROW) for key in keys], list(prefixes), last)


def test_the_elements_of_each_list_come_in_s3s_order():
    query = ListingQuery("box", "p", "/", 2, "url")
    page = page_of(b"pa", prefixes=[b"p/"], last=b"pa")
    entries = ["Contents", "CommonPrefixes"]
    assert names(v1(query, page, "m")) == (
        ["Name", "Prefix", "Marker", "NextMarker", "MaxKeys", "Delimiter", "EncodingType", "IsTruncated", *entries]
    )
    assert names(v2(query, page, "s", "t")) == (
        ["Name", "Prefix", "StartAfter", "ContinuationToken", "NextContinuationToken", "KeyCount", "MaxKeys", "Delimiter", "EncodingType"]
        + ["IsTruncated", *entries]
    )
    assert names(versions(query, page, "k", "null")) == (
        ["Name", "Prefix", "KeyMarker", "VersionIdMarker", "NextKeyMarker", "NextVersionIdMarker", "MaxKeys", "Delimiter", "EncodingType"]
        + ["IsTruncated", "Version", "CommonPrefixes"]
    )


def test_an_empty_list_says_what_was_asked_and_nothing_else():
    assert names(v1(QUERY, EMPTY)) == ["Name", "Prefix", "Marker", "MaxKeys", "IsTruncated"]
    root = v2(QUERY, EMPTY)
    assert names(root) == ["Name", "Prefix", "KeyCount", "MaxKeys", "IsTruncated"]
    assert [child.text or "" for child in root] == ["box", "", "0", "1000", "false"]
    assert names(v2(QUERY, EMPTY, "", "")) == ["Name", "Prefix", "StartAfter", "ContinuationToken", "KeyCount", "MaxKeys", "IsTruncated"]


def test_what_is_said_of_an_object():
    root = v1(QUERY, page_of(b"key"))
    (contents,) = root.iter(f"{NS}Contents")
    assert names(contents) == ["Key", "LastModified", "ETag", "Size", "Owner", "StorageClass"]
    assert [text(contents, name) for name in ("Key", "LastModified", "ETag", "Size", "Owner/ID", "StorageClass")] == [
        "key", "2009-10-12T17:50:50.123Z", f'"{ROW.etag}"', "4", "000000000000", "STANDARD",
    ]  # fmt: skip
    row = ROW._replace(system={"x-amz-storage-class": "GLACIER_IR"}, checksums={"CRC32": "AAAAAA=="})
    (contents,) = v2(QUERY, Page([(b"key", row)], [], b"")).iter(f"{NS}Contents")
    assert names(contents) == ["Key", "LastModified", "ETag", "ChecksumAlgorithm", "ChecksumType", "Size", "StorageClass"]
    assert [text(contents, name) for name in ("ChecksumAlgorithm", "ChecksumType", "StorageClass")] == [
        "CRC32",
        "FULL_OBJECT",
        "GLACIER_IR",
    ]
    row = ROW._replace(checksums={"SHA256": "AAAA-3"})
    assert text(v2(QUERY, Page([(b"key", row)], [], b"")), "Contents/ChecksumType") == "COMPOSITE"


def test_owners_are_always_in_the_old_lists_and_in_the_new_one_when_asked_for():
    page = page_of(b"key")
    assert text(v1(QUERY, page), "Contents/Owner/ID") == text(versions(QUERY, page), "Version/Owner/ID") == "000000000000"
    assert text(v2(QUERY, page), "Contents/Owner/ID") is None
    assert text(v2(QUERY, page, fetch_owner=True), "Contents/Owner/ID") == "000000000000"


def test_the_next_marker_is_named_only_with_a_delimiter():
    assert text(v1(DELIMITED, page_of(b"a", last=b"a")), "NextMarker") == "a"
    assert text(v1(DELIMITED, page_of(prefixes=[b"a/"], last=b"a/")), "NextMarker") == "a/"
    assert text(v1(DELIMITED, page_of(b"a")), "NextMarker") is None
    root = v1(QUERY, page_of(b"a", last=b"a"))
    assert (text(root, "NextMarker"), text(root, "IsTruncated")) == (None, "true")


def test_the_next_token_leads_behind_the_last_entry_and_key_count_counts_prefixes_too():
    root = v2(DELIMITED, page_of(b"a", b"c", prefixes=[b"b/"], last=b"c"))
    assert unpack_token(text(root, "NextContinuationToken")) == b"c"
    assert (text(root, "KeyCount"), text(root, "IsTruncated")) == ("3", "true")


def test_every_object_is_its_own_latest_version():
    root = versions(QUERY, page_of(b"a", b"b", last=b"b"))
    assert [(text(node, "Key"), text(node, "VersionId"), text(node, "IsLatest")) for node in root.iter(f"{NS}Version")] == [
        ("a", "null", "true"),
        ("b", "null", "true"),
    ]
    assert (text(root, "NextKeyMarker"), text(root, "NextVersionIdMarker")) == ("b", "null")
    behind_a_prefix = versions(DELIMITED, page_of(b"a", prefixes=[b"b/"], last=b"b/"))
    assert (text(behind_a_prefix, "NextKeyMarker"), text(behind_a_prefix, "NextVersionIdMarker")) == ("b/", None)


def test_url_encoding_leaves_what_s3_leaves():
    assert url_encoded(b"AZaz09-_.*/") == "AZaz09-_.*/"
    assert url_encoded(b"a b+c~(d)'!") == "a%20b%2Bc%7E%28d%29%27%21"
    assert url_encoded("\u00fc\x00".encode()) == "%C3%BC%00"


def test_every_name_is_encoded_and_no_token_is():
    query = ListingQuery("box", "p q", "+", 10, "url")
    page = page_of(b"p q&", prefixes=[b"p q 1+"], last=b"p q 1+")
    for root in (v1(query, page, "m+"), v2(query, page, "m+", "t+t"), versions(query, page, "m+")):
        assert (text(root, "Prefix"), text(root, "Delimiter"), text(root, "EncodingType")) == ("p%20q", "%2B", "url")
        assert text(root, "CommonPrefixes/Prefix") == "p%20q%201%2B"
        assert (text(root, "Contents/Key") or text(root, "Version/Key")) == "p%20q%26"
    assert [text(v1(query, page, "m+"), name) for name in ("Marker", "NextMarker")] == ["m%2B", "p%20q%201%2B"]
    assert [text(versions(query, page, "m+"), name) for name in ("KeyMarker", "NextKeyMarker")] == ["m%2B", "p%20q%201%2B"]
    assert [text(v2(query, page, "m+", "t+t"), name) for name in ("StartAfter", "ContinuationToken")] == ["m%2B", "t+t"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_that_xml_cannot_hold_is_whole_when_encoded_and_harmless_when_not(key):
    encoded = v2(QUERY._replace(encoding_type="url"), page_of(key))
    assert unquote(text(encoded, "Contents/Key")).encode() == key
    plain = text(v2(QUERY, page_of(key)), "Contents/Key")
    assert len(plain) == len(key.decode())
    assert plain.replace("\ufffd", "") == "".join(letter for letter in key.decode() if letter not in "\x00\x01\ufffe")


@given(st.text())
def test_what_is_encoded_is_decoded_by_any_client(name):
    assert unquote(url_encoded(name.encode())) == name
