"""One range, suffix, open and unsatisfiable; everything else is the whole object."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.s3.errors import S3Error
from fasterstore.s3.ranges import content_range, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-4", (0, 5)),
        ("bytes=5-", (5, 5)),
        ("bytes=-3", (7, 3)),
        ("bytes=-30", (0, 10)),
        ("bytes=9-99", (9, 1)),
        ("bytes=0-99999999999999999999", (0, 10)),
        ("Bytes = 1 - 2 ", (1, 2)),
        (None, None),
        ("", None),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=+1-2", None),
        ("bytes=١-٢", None),
    ],
)
def test_ranges_of_ten_bytes(header, expected) -> None:
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_a_range_without_a_byte_is_416_and_says_the_size(header, size) -> None:
    with pytest.raises(S3Error) as refused:
        parse_range(header, size)
    assert (refused.value.code, refused.value.status) == ("InvalidRange", 416)
    assert refused.value.headers == {"Content-Range": f"bytes */{size}"}
    assert refused.value.extra["ActualObjectSize"] == str(size)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_slicing_gives(size, first, last) -> None:
    body = bytes(range(size))
    try:
        found = parse_range(f"bytes={first}-{last}", size)
    except S3Error:
        assert first >= size and last >= first
        return
    if found is None:
        assert last < first
    else:
        assert body[found[0] : found[0] + found[1]] == body[first : last + 1]
        assert content_range(*found, size) == f"bytes {first}-{min(last, size - 1)}/{size}"
