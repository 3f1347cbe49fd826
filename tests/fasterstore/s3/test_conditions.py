"""Conditional reads by RFC 9110's precedence, conditional writes by S3's rules."""

import pytest

from fasterstore.s3.conditions import evaluate_read, exact_size, exact_time_secs, failed_date, if_range_holds, write_condition_ok
from fasterstore.s3.errors import S3Error

ETAG = "9b2cf535f27731c974343645a3985328"
OTHER = "0" * 32
MODIFIED_MS = 784111777_500
AT = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"if-match": f'"{ETAG}"'}, None),
        ({"if-match": ETAG}, None),
        ({"if-match": "*"}, None),
        ({"if-match": f'"{OTHER}", "{ETAG}"'}, None),
        ({"if-match": f'"{OTHER}"'}, 412),
        ({"if-match": f'W/"{ETAG}"'}, 412),
        ({"if-match": ""}, 412),
        ({"if-none-match": f'"{ETAG}"'}, 304),
        ({"if-none-match": f'W/"{ETAG}"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": f'"{OTHER}",{ETAG}'}, 304),
        ({"if-none-match": f'"{OTHER}"'}, None),
        ({"if-modified-since": AT}, 304),
        ({"if-modified-since": AFTER}, 304),
        ({"if-modified-since": BEFORE}, None),
        ({"if-modified-since": "yesterday"}, None),
        ({"if-unmodified-since": AT}, None),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": "Sunday, 06-Nov-94 08:49:36 GMT"}, 412),
        ({"if-unmodified-since": "Sun Nov  6 08:49:36 1994"}, 412),
        ({"if-match": f'"{ETAG}"', "if-unmodified-since": BEFORE}, None),
        ({"if-none-match": f'"{OTHER}"', "if-modified-since": AT}, None),
        ({"if-none-match": f'"{ETAG}"', "if-modified-since": BEFORE}, 304),
        ({"if-match": f'"{OTHER}"', "if-none-match": f'"{ETAG}"'}, 412),
        ({"if-unmodified-since": AFTER, "if-none-match": f'"{ETAG}"'}, 304),
    ],
)
def test_conditional_reads(headers, expected) -> None:
    assert evaluate_read(headers, ETAG, MODIFIED_MS) == expected


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "current", "expected"),
    [
        (None, None, None, None),
        (None, None, ETAG, None),
        (None, "*", None, None),
        (None, "*", ETAG, "PreconditionFailed"),
        (None, f'"{ETAG}"', ETAG, "PreconditionFailed"),
        (None, f'"{OTHER}"', ETAG, None),
        (f'"{ETAG}"', None, ETAG, None),
        (ETAG, None, ETAG, None),
        ("*", None, ETAG, None),
        (f'"{OTHER}"', None, ETAG, "PreconditionFailed"),
        (f'"{ETAG}"', None, None, "NoSuchKey"),
        ("*", None, None, "NoSuchKey"),
        (f'"{ETAG}"', "*", ETAG, "PreconditionFailed"),
    ],
)
def test_conditional_writes(if_match, if_none_match, current, expected) -> None:
    assert write_condition_ok(if_match, if_none_match, current) == expected


@pytest.mark.parametrize(
    ("header", "holds"),
    [(None, True), (f'"{ETAG}"', True), (f'"{OTHER}"', False), (f'W/"{ETAG}"', False), (AT, True), (BEFORE, False), ("x", False)],
)
def test_if_range(header, holds) -> None:
    assert if_range_holds(header, ETAG, MODIFIED_MS) is holds


@pytest.mark.parametrize(
    ("headers", "modified_ms", "failed"),
    [
        ({}, MODIFIED_MS, None),
        ({"if-unmodified-since": AT}, MODIFIED_MS, None),
        ({"if-unmodified-since": BEFORE}, MODIFIED_MS, "If-Unmodified-Since"),
        ({"if-unmodified-since": BEFORE, "if-match": "x"}, MODIFIED_MS, None),
        ({"if-unmodified-since": BEFORE}, None, None),
        ({"if-modified-since": BEFORE}, MODIFIED_MS, None),
        ({"if-modified-since": AT}, MODIFIED_MS, "If-Modified-Since"),
        ({"if-modified-since": AT, "if-none-match": "x"}, MODIFIED_MS, None),
        ({"if-modified-since": BEFORE}, None, "If-Modified-Since"),
        ({"if-modified-since": "yesterday", "if-unmodified-since": "today"}, MODIFIED_MS, None),
    ],
)
def test_dates_alone(headers, modified_ms, failed) -> None:
    assert failed_date(headers, modified_ms) == failed


@pytest.mark.parametrize("text", [AT, "1994-11-06T08:49:37Z", "1994-11-06T08:49:37.000Z", "1994-11-06T08:49:37+00:00"])
def test_the_exact_time_of_a_version_may_be_given_in_either_form(text) -> None:
    assert exact_time_secs("x", text) == MODIFIED_MS // 1000


@pytest.mark.parametrize("text", ["", "yesterday", "1994-11-06", "1994-13-06T08:49:37Z", "784111777"])
def test_a_time_that_cannot_be_read_is_refused_not_ignored(text) -> None:
    with pytest.raises(S3Error) as refused:
        exact_time_secs("x-amz-if-match-last-modified-time", text)
    assert refused.value.code == "InvalidArgument"
    assert refused.value.extra == {"ArgumentName": "x-amz-if-match-last-modified-time", "ArgumentValue": text}


def test_a_size_is_a_number_of_bytes() -> None:
    assert exact_size("x", "0") == 0
    assert exact_size("x", "5497558138880") == 5497558138880
    for text in ("", "-1", "1.5", "one", "٣", "9" * 19):
        with pytest.raises(S3Error):
            exact_size("x", text)
