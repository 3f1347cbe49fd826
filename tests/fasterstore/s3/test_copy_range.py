"""The range of an UploadPartCopy."""

import pytest

from fasterstore.s3.copy_range import parse_copy_range
from fasterstore.s3.errors import S3Error


def test_without_a_range_it_is_all_of_the_source():
    assert parse_copy_range(None, 7) == (0, 7)
    assert parse_copy_range(None, 0) == (0, 0)


def test_both_ends_are_inclusive():
    assert parse_copy_range("bytes=0-0", 5) == (0, 1)
    assert parse_copy_range("bytes=1-4", 5) == (1, 4)


@pytest.mark.parametrize(
    "value", ["", "0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=-2", "bytes=3-2"]
)
def test_anything_but_first_and_last_is_no_range(value):
    with pytest.raises(S3Error) as refusal:
        parse_copy_range(value, 5)
    assert refusal.value.code == "InvalidArgument"


@pytest.mark.parametrize(("value", "size"), [("bytes=0-21", 5), ("bytes=5-5", 5), ("bytes=0-0", 0)])
def test_a_range_that_ends_outside_is_not_satisfiable(value, size):
    with pytest.raises(S3Error) as refusal:
        parse_copy_range(value, size)
    assert refusal.value.code == "InvalidRange"
