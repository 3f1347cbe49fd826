"""Conditional reads by RFC 9110's precedence, conditional writes by S3's rules."""

import pytest

from fasterstore.s3.conditions import evaluate_read, if_range_holds, write_condition_ok

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
