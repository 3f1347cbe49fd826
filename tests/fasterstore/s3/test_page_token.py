"""Continuation tokens: what was given out comes back, everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.s3.errors import S3Error
from fasterstore.s3.page_token import pack_token, unpack_token


@given(st.binary(min_size=1, max_size=1024))
def test_a_token_leads_back_to_its_position_and_needs_no_escaping_in_a_query(position):
    token = pack_token(position)
    assert unpack_token(token) == position
    assert token.replace("-", "a").replace("_", "a").isalnum()


def test_an_empty_token_is_as_none():
    assert unpack_token("") == b""


GIVEN_OUT = pack_token(b"folder/key")


@pytest.mark.parametrize(
    "token",
    [
        "garbage",
        "!!!!",
        "a",
        "=",
        "AAAA",
        "AAAAAAAA",
        pack_token(b""),
        GIVEN_OUT + "=",
        GIVEN_OUT + "!",
        "x" + GIVEN_OUT[1:],
        GIVEN_OUT[:-1],
    ]
    + ["\u00e9", "\x00", "a" * 5000],
)
def test_a_token_that_was_not_given_out_is_refused(token):
    with pytest.raises(S3Error, match="InvalidArgument: The continuation token provided is incorrect") as refused:
        unpack_token(token)
    assert refused.value.extra == {"ArgumentName": "continuation-token"}
