"""The headers that name what is copied or renamed, in every way that clients write them."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.s3.copy_source import (
    RENAME_SOURCE_HEADER,
    CopySource,
    conditions_of,
    parse_copy_source,
    parse_rename_source,
    require_source,
)
from fasterstore.s3.errors import S3Error

MODIFIED_MS = 784111777_500
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("bucket/key", CopySource("bucket", b"key", None)),
        ("/bucket/key", CopySource("bucket", b"key", None)),
        ("%2Fbucket%2Fkey", CopySource("bucket", b"key", None)),
        ("bucket/a/b", CopySource("bucket", b"a/b", None)),
        ("bucket//a", CopySource("bucket", b"/a", None)),
        ("bucket/a+b%20c", CopySource("bucket", b"a+b c", None)),
        ("bucket/a%2Bb", CopySource("bucket", b"a+b", None)),
        ("bucket/%25", CopySource("bucket", b"%", None)),
        ("bucket/what?", CopySource("bucket", b"what?", None)),
        ("bucket/key?versionId=null", CopySource("bucket", b"key", "null")),
        ("bucket/key?versionId=", CopySource("bucket", b"key", "")),
        ("bucket/key%3FversionId=1", CopySource("bucket", b"key?versionId=1", None)),
        ("bucket/grün".encode().decode("latin-1"), CopySource("bucket", "grün".encode(), None)),
    ],
)
def test_a_source_is_read(value, source) -> None:
    assert parse_copy_source(value) == source


@pytest.mark.parametrize("value", ["", "/", "bucket", "bucket/", "/bucket/", "bucket/%FF", "%C3%BC/key", "?versionId=1"])
def test_what_names_no_object_is_refused(value) -> None:
    with pytest.raises(S3Error) as refused:
        parse_copy_source(value)
    assert refused.value.code == "InvalidArgument"
    assert refused.value.extra["ArgumentName"] == "x-amz-copy-source"


@pytest.mark.parametrize("value", ["key", "/key", "bucket/key", "/bucket/key", "%6Bey"])
def test_a_rename_may_name_the_key_alone_or_with_its_bucket(value) -> None:
    assert parse_rename_source(value, "bucket") == b"key"
    assert parse_rename_source("other/key", "bucket") == b"other/key"


@pytest.mark.parametrize("value", ["", "/", "bucket/", "/bucket/", "%FF"])
def test_a_rename_of_nothing_is_refused(value) -> None:
    with pytest.raises(S3Error) as refused:
        parse_rename_source(value, "bucket")
    assert (refused.value.code, refused.value.extra["ArgumentName"]) == ("InvalidArgument", RENAME_SOURCE_HEADER)


@given(st.text(min_size=1, max_size=30).filter(lambda key: key.isprintable()))
def test_every_encoded_key_is_read_back(key) -> None:
    assert parse_copy_source("/bucket/" + quote(key, safe="/")) == CopySource("bucket", key.encode(), None)


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({}, True),
        ({"if-match": '"abc"'}, True),
        ({"if-match": "other"}, False),
        ({"if-none-match": "abc"}, False),
        ({"if-none-match": "other"}, True),
        ({"if-unmodified-since": BEFORE}, False),
        ({"if-modified-since": BEFORE}, True),
        ({"if-modified-since": "Sun, 06 Nov 2094 08:49:36 GMT"}, False),
        ({"if-match": "abc", "if-unmodified-since": BEFORE}, True),
        ({"if-none-match": "abc", "if-modified-since": BEFORE}, False),
    ],
)
def test_conditions_on_the_source_are_those_of_a_get_and_only_theirs(conditions, holds) -> None:
    headers = {f"x-amz-copy-source-{name}": value for name, value in conditions.items()}
    assert conditions_of(headers, "x-amz-copy-source-") == conditions
    headers |= {"if-match": "of the target", "if-none-match": "*"}
    if holds:
        require_source(headers, "abc", MODIFIED_MS)
    else:
        with pytest.raises(S3Error) as refused:
            require_source(headers, "abc", MODIFIED_MS)
        assert refused.value.code == "PreconditionFailed"
