"""Customers' keys: recognised by a check that tells nothing of them, another key for every body, shown nowhere."""

import hashlib
import hmac
import pickle
from base64 import b64decode, b64encode

import pytest

from fasterstore.customer_key import CHECK_NAME, CustomerKey, without_check

SECRET = bytes(range(32))
KEY = CustomerKey(SECRET)


def test_a_key_is_known_again_by_its_check():
    check = KEY.new_check(b"s" * 16)
    assert KEY.is_that_of(check)
    assert CustomerKey(SECRET).is_that_of(check)
    for bit in range(256):
        other = (int.from_bytes(SECRET, "big") ^ (1 << bit)).to_bytes(32, "big")
        assert not CustomerKey(other).is_that_of(check)


@pytest.mark.parametrize("check", ["", "no base64!", "AAAA", b64encode(b"s" * 16).decode(), "\u00e9"])
def test_what_is_no_check_is_that_of_no_key(check):
    assert not KEY.is_that_of(check)


def test_a_check_is_what_its_docstring_says():
    check = b64decode(KEY.new_check(bytes(range(16))))
    assert check[:16] == bytes(range(16))
    assert check[16:] == hmac.digest(SECRET, b"fasterstore sse-c check 1\0" + bytes(range(16)), "sha256")
    assert KEY.body_key(b"t" * 24) == hmac.digest(SECRET, b"fasterstore sse-c body 1\0" + b"t" * 24, "sha256")


def test_equal_keys_have_unlike_checks_and_each_body_a_key_of_its_own():
    assert KEY.new_check(b"a" * 16) != KEY.new_check(b"b" * 16)
    assert KEY.body_key(b"a" * 24) != KEY.body_key(b"b" * 24)
    # The check of a salt is no key of a body, even should the salts be the same.
    assert KEY.body_key(b"a" * 16) != b64decode(KEY.new_check(b"a" * 16))[16:]


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_has_32_bytes_and_a_wrong_one_is_not_told(length):
    with pytest.raises(ValueError) as refused:
        CustomerKey(b"K" * length)
    assert "KKK" not in str(refused.value)


def test_the_md5_is_told_and_the_key_is_not_shown_nor_sent():
    assert KEY.md5 == b64encode(hashlib.md5(SECRET).digest()).decode()
    for text in (repr(KEY), str(KEY), f"{KEY}", repr([KEY])):
        assert text.strip("[]") == "CustomerKey(...)"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(KEY, protocol)


def test_a_client_sees_system_metadata_without_the_check():
    assert without_check({"content-type": "a/b", CHECK_NAME: "x"}) == {"content-type": "a/b"}
