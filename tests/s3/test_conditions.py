"""Conditional requests: RFC 9110 section 13.2.2 on GET and HEAD; If-Match and If-None-Match on PUT, judged in order."""

from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate, parsedate_to_datetime

import pytest

from tests.refusal import assert_refused, assert_refused_head

OTHER = '"00000000000000000000000000000000"'
LONG_AGO, FAR_AHEAD = formatdate(1_000_000_000, usegmt=True), formatdate(4_000_000_000, usegmt=True)


@pytest.fixture
def etag(client, bucket):
    """The ETag of `key` in `bucket`."""
    return client.put(bucket, "key", b"body").headers["etag"]


def _filled(headers, etag):
    return {name: etag if value == "<etag>" else etag.strip('"') if value == "<bare>" else value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-match": "<etag>"}, 200),
        ({"if-match": "<bare>"}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": OTHER}, 412),
        ({"if-none-match": "<etag>"}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": OTHER}, 200),
        ({"if-modified-since": LONG_AGO}, 200),
        ({"if-modified-since": FAR_AHEAD}, 304),
        ({"if-unmodified-since": FAR_AHEAD}, 200),
        ({"if-unmodified-since": LONG_AGO}, 412),
        ({"if-modified-since": "not a date"}, 200),
        # If-Match counts before If-Unmodified-Since, If-None-Match before If-Modified-Since.
        ({"if-match": "<etag>", "if-unmodified-since": LONG_AGO}, 200),
        ({"if-match": OTHER, "if-unmodified-since": FAR_AHEAD}, 412),
        ({"if-none-match": OTHER, "if-modified-since": FAR_AHEAD}, 200),
        ({"if-none-match": "<etag>", "if-modified-since": LONG_AGO}, 304),
        # 412 counts before 304.
        ({"if-match": OTHER, "if-none-match": "<etag>"}, 412),
        ({"if-match": "<etag>", "if-none-match": "<etag>"}, 304),
        ({"if-unmodified-since": LONG_AGO, "if-modified-since": FAR_AHEAD}, 412),
    ],
)
def test_a_conditional_read_follows_the_order_of_rfc_9110(client, bucket, etag, headers, status):
    headers = _filled(headers, etag)
    get = client.request("GET", bucket, "key", headers=headers)
    head = client.request("HEAD", bucket, "key", headers=headers)
    assert (get.status_code, head.status_code) == (status, status)
    if status == 412:
        assert assert_refused(get, 412, "PreconditionFailed")["Condition"] in ("If-Match", "If-Unmodified-Since")
        assert_refused_head(head, 412)
    else:
        assert get.content == (b"body" if status == 200 else b"")
        assert get.headers["etag"] == etag
        assert get.headers["last-modified"] == head.headers["last-modified"]


def test_a_date_equal_to_last_modified_counts_as_unmodified(client, bucket, etag):
    modified = client.head(bucket, "key").headers["last-modified"]
    assert client.request("GET", bucket, "key", headers={"if-modified-since": modified}).status_code == 304
    assert client.request("GET", bucket, "key", headers={"if-unmodified-since": modified}).status_code == 200
    before = formatdate(parsedate_to_datetime(modified).timestamp() - 1, usegmt=True)
    assert client.request("GET", bucket, "key", headers={"if-unmodified-since": before}).status_code == 412


def test_a_failed_condition_counts_before_the_range(client, bucket, etag):
    headers = {"if-none-match": etag, "range": "bytes=0-1"}
    assert client.request("GET", bucket, "key", headers=headers).status_code == 304
    assert client.request("GET", bucket, "key", headers={"if-match": etag, "range": "bytes=0-1"}).status_code == 206


@pytest.mark.parametrize("size_bytes", [4, 100_000, 400_000], ids=["message", "collected", "streamed"])
def test_a_put_that_must_not_replace_is_refused_if_the_key_is_there(node, client, bucket, size_bytes):
    body = b"x" * size_bytes
    assert client.request("PUT", bucket, "key", headers={"if-none-match": "*"}, body=body).status_code == 200
    answer = client.request("PUT", bucket, "key", headers={"if-none-match": "*"}, body=b"y" * size_bytes)
    assert assert_refused(answer, 412, "PreconditionFailed")["Condition"] == "If-None-Match"
    assert client.get(bucket, "key").content == body
    assert node.usage(bucket) == (1, size_bytes)


def test_a_put_with_if_match_replaces_only_what_it_names(client, bucket, etag):
    answer = client.request("PUT", bucket, "key", headers={"if-match": OTHER}, body=b"new")
    assert assert_refused(answer, 412, "PreconditionFailed")["Condition"] == "If-Match"
    assert client.get(bucket, "key").content == b"body"
    assert client.request("PUT", bucket, "key", headers={"if-match": etag}, body=b"new").status_code == 200
    assert client.get(bucket, "key").content == b"new"
    assert_refused(client.request("PUT", bucket, "key", headers={"if-match": etag}, body=b"newer"), 412, "PreconditionFailed")


def test_if_match_on_a_missing_key_is_no_such_key(node, client, bucket):
    assert_refused(client.request("PUT", bucket, "nope", headers={"if-match": OTHER}, body=b"x"), 404, "NoSuchKey")
    assert node.usage(bucket) == (0, 0)


@pytest.mark.parametrize("size_bytes", [4, 100_000], ids=["message", "extent"])
def test_of_many_puts_that_must_create_exactly_one_wins(node, client, bucket, size_bytes):
    def create(number):
        with node.client() as own:
            body = bytes([number]) * size_bytes
            return own.request("PUT", bucket, "key", headers={"if-none-match": "*"}, body=body).status_code, body

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, range(16)))
    winners = [body for status, body in outcomes if status == 200]
    assert len(winners) == 1
    assert {status for status, _ in outcomes} == {200, 412}
    assert client.get(bucket, "key").content == winners[0]
