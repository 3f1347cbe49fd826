"""Range on GET and HEAD (RFC 9110, section 14; S3 serves one range): of small objects, of streamed ones, across chunks and windows."""

import os

import pytest

from tests.refusal import assert_refused, assert_refused_head

CHUNK = 256 * 1024
LARGE_BYTES = 3 * 1024 * 1024 + 17
LARGE = os.urandom(LARGE_BYTES)
SMALL = b"0123456789"


@pytest.fixture
def stored(client, bucket):
    """A bucket with `small` and `large`."""
    client.put(bucket, "small", SMALL)
    client.put(bucket, "large", LARGE)
    client.put(bucket, "empty", b"")
    return bucket


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=2-5", 2, 5),
        ("bytes=7-", 7, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-100", 0, 9),
        ("bytes=5-1000", 5, 9),
        ("bytes=0-", 0, 9),
        ("bytes=9-9", 9, 9),
        ("BYTES=1-2", 1, 2),
    ],
)
def test_one_range_is_served_with_206(client, stored, header, first, last):
    for method in ("GET", "HEAD"):
        answer = client.request(method, stored, "small", headers={"range": header})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {first}-{last}/10"
        assert answer.headers["content-length"] == str(last - first + 1)
        assert answer.content == (SMALL[first : last + 1] if method == "GET" else b"")


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0, 0),
        (0, LARGE_BYTES - 1),
        (CHUNK - 1, CHUNK),
        (CHUNK, 2 * CHUNK - 1),
        (4 * CHUNK - 1, 4 * CHUNK),
        (1, LARGE_BYTES - 2),
        (LARGE_BYTES - 1, LARGE_BYTES - 1),
        (3 * 1024 * 1024, LARGE_BYTES - 1),
        (5 * CHUNK + 7, 9 * CHUNK + 11),
    ],
)
def test_a_range_of_a_large_object_is_exact_at_chunk_edges(client, stored, first, last):
    answer = client.get(stored, "large", {"range": f"bytes={first}-{last}"})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{LARGE_BYTES}"
    assert answer.content == LARGE[first : last + 1]


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"])
def test_an_unsatisfiable_range_is_416_and_says_the_size(client, stored, header):
    answer = client.request("GET", stored, "small", headers={"range": header})
    found = assert_refused(answer, 416, "InvalidRange")
    assert answer.headers["content-range"] == "bytes */10"
    assert (found["RangeRequested"], found["ActualObjectSize"]) == (header, "10")
    assert_refused_head(client.request("HEAD", stored, "small", headers={"range": header}), 416)


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=-", "bytes 0-1"])
def test_what_is_not_one_range_of_bytes_is_ignored(client, stored, header):
    answer = client.get(stored, "small", {"range": header})
    assert answer.status_code == 200
    assert answer.content == SMALL
    assert "content-range" not in answer.headers


def test_no_range_of_an_empty_object_is_satisfiable(client, stored):
    for header in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        assert_refused(client.request("GET", stored, "empty", headers={"range": header}), 416, "InvalidRange")


def test_if_range_guards_against_mixing_two_versions(client, stored):
    etag = client.head(stored, "small").headers["etag"]
    assert client.get(stored, "small", {"range": "bytes=0-1", "if-range": etag}).status_code == 206
    whole = client.get(stored, "small", {"range": "bytes=0-1", "if-range": '"another"'})
    assert (whole.status_code, whole.content) == (200, SMALL)
