"""The three lists of a bucket's keys over HTTP, paged as clients page: by NextMarker, by token, by key marker."""

from urllib.parse import unquote

import pytest
from defusedxml.ElementTree import fromstring

from tests.refusal import assert_refused

S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"
KEYS = sorted(
    [f"folder-{number % 3}/file {number:02}" for number in range(12)]
    + ["a", "a/", "a/b", "a//b", "plus+", "per%20cent", "<&>'\"", "\x01control", "\u00fc/\u4e16\u754c", "\U0001f600", "zz"],
    key=str.encode,
)
URL = ("encoding-type", "url")
V2, VERSIONS = ("list-type", "2"), ("versions", "")


@pytest.fixture
def filled(client, bucket):
    """A bucket with KEYS."""
    for key in KEYS:
        client.put(bucket, key, b"x")
    return bucket


def page(client, bucket, *query):
    answer = client.request("GET", bucket, query=query)
    assert answer.status_code == 200, answer.content
    return fromstring(answer.content)


def found(root):
    """(keys, common prefixes), decoded."""
    keys = [unquote(node.findtext(f"{S3}Key")) for tag in ("Contents", "Version") for node in root.iter(S3 + tag)]
    return keys, [unquote(node.findtext(f"{S3}Prefix")) for node in root.iter(f"{S3}CommonPrefixes")]


def pages(client, bucket, kind, cursors, size, *more):
    """All pages, as boto3's paginators go on: `cursors` maps the element that tells the next position to the parameter that takes it."""
    position = []
    for _ in range(100):
        root = page(client, bucket, *kind, URL, ("max-keys", str(size)), *more, *position)
        yield root
        if root.findtext(f"{S3}IsTruncated") == "false":
            return
        position = [(parameter, root.findtext(S3 + element)) for element, parameter in cursors.items()]
        position = [(name, value if name == "continuation-token" else unquote(value)) for name, value in position if value is not None]
        # A list of the first version without a delimiter names no next marker: clients take the last key.
        position = position or [("marker", found(root)[0][-1])]
    raise AssertionError("the pages never end")


LISTS = [
    ([], {"NextMarker": "marker"}),
    ([V2], {"NextContinuationToken": "continuation-token"}),
    ([VERSIONS], {"NextKeyMarker": "key-marker", "NextVersionIdMarker": "version-id-marker"}),
]


@pytest.mark.parametrize(("kind", "cursors"), LISTS)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_all_pages_hold_every_key_once_in_byte_order(client, filled, kind, cursors, size):
    listed = [found(root) for root in pages(client, filled, kind, cursors, size)]
    assert [key for keys, _ in listed for key in keys] == KEYS
    assert all(len(keys) == size for keys, _ in listed[:-1])


@pytest.mark.parametrize(("kind", "cursors"), LISTS)
def test_all_pages_hold_every_folder_once(client, filled, kind, cursors):
    listed = [found(root) for root in pages(client, filled, kind, cursors, 2, ("delimiter", "/"))]
    assert [prefix for _, prefixes in listed for prefix in prefixes] == ["a/", "folder-0/", "folder-1/", "folder-2/", "\u00fc/"]
    assert [key for keys, _ in listed for key in keys] == [key for key in KEYS if "/" not in key]
    inside = [found(root)[0] for root in pages(client, filled, kind, cursors, 3, ("delimiter", "/"), ("prefix", "folder-1/"))]
    assert [key for keys in inside for key in keys] == [key for key in KEYS if key.startswith("folder-1/")]


def test_a_delimiter_may_be_any_text(client, filled):
    assert found(page(client, filled, V2, URL, ("delimiter", " 0")))[1] == ["folder-0/file 0", "folder-1/file 0", "folder-2/file 0"]
    assert found(page(client, filled, V2, URL, ("delimiter", "\u4e16")))[1] == ["\u00fc/\u4e16"]
    assert found(page(client, filled, V2, URL, ("delimiter", "")))[1] == []


def test_a_version_can_be_deleted_by_what_the_list_says(client, filled):
    listed = found(page(client, filled, VERSIONS, URL))[0]
    assert listed == KEYS
    for key in listed:
        assert client.request("DELETE", filled, key, query=[("versionId", "null")]).status_code == 204
    assert found(page(client, filled, VERSIONS)) == ([], [])
    client.delete_bucket(filled)


def test_a_written_key_is_in_the_next_list_and_a_deleted_one_is_not(client, bucket):
    for number in range(20):
        client.put(bucket, "key", str(number).encode() * number)
        (contents,) = page(client, bucket, V2).iter(f"{S3}Contents")
        assert contents.findtext(f"{S3}Size") == str(len(str(number)) * number)
        client.delete(bucket, "key")
        assert found(page(client, bucket, V2)) == ([], [])


def test_a_page_says_in_which_bucket_and_region_it_is(client, filled):
    answer = client.request("GET", filled, query=[V2, ("max-keys", "1")])
    assert answer.headers["x-amz-bucket-region"] == "us-east-1"
    assert answer.headers["content-type"] == "application/xml"
    root = fromstring(answer.content)
    assert [root.findtext(S3 + name) for name in ("Name", "KeyCount", "MaxKeys")] == [filled, "1", "1"]


def test_refusals_look_like_all_others(client, bucket):
    said = assert_refused(client.request("GET", bucket, query=[V2, ("max-keys", "blah")]), 400, "InvalidArgument")
    assert (said["ArgumentName"], said["ArgumentValue"]) == ("max-keys", "blah")
    said = assert_refused(client.request("GET", bucket, query=[V2, ("continuation-token", "garbage")]), 400, "InvalidArgument")
    assert said["Message"] == "The continuation token provided is incorrect"
    assert_refused(client.request("GET", "no-such-bucket-here", query=[V2]), 404, "NoSuchBucket")
