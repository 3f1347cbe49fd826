"""The error table: S3's status for each code, XML that always parses, and every store error mapped."""

import inspect
import re
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

import fasterstore.errors
from fasterstore.s3 import errors
from fasterstore.s3.errors import ERRORS, S3Error, from_store, render_error

STORE_ERRORS = [
    name
    for name, kind in inspect.getmembers(fasterstore.errors, inspect.isclass)
    if issubclass(kind, fasterstore.errors.StoreError) and kind is not fasterstore.errors.StoreError
]


@pytest.mark.parametrize("name", STORE_ERRORS)
def test_every_store_error_is_mapped_on_purpose(name: str) -> None:
    assert name in errors._FROM_STORE
    assert from_store(name, "/secret/path").message.find("/secret/path") == -1


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [
        ("NoSuchKey", "NoSuchKey", 404),
        ("StorageFull", "XMinioStorageFull", 507),
        ("Overloaded", "SlowDown", 503),
        ("OutcomeUnknown", "ServiceUnavailable", 503),
        ("ReadOnly", "ServiceUnavailable", 503),
        ("DamagedRecord", "InternalError", 500),
        ("SomethingNew", "InternalError", 500),
    ],
)
def test_store_errors_become_s3_errors(name: str, code: str, status: int) -> None:
    assert (from_store(name).code, from_store(name).status) == (code, status)


def test_slow_down_says_when_to_come_back() -> None:
    assert from_store("Overloaded").headers == {"Retry-After": "1"}


def test_a_failed_precondition_names_its_header() -> None:
    assert from_store("PreconditionFailed", "If-None-Match").extra == {"Condition": "If-None-Match"}
    assert from_store("PreconditionFailed", "other").extra == {}


def test_an_error_document_has_the_elements_in_s3s_order() -> None:
    body = render_error(S3Error("NoSuchKey", Key="a<b"), "/bucket/a<b", "4442587FB7D0A2F9", "host")
    root = fromstring(body)
    assert root.tag == "Error"
    assert [(child.tag, child.text) for child in root] == [
        ("Code", "NoSuchKey"),
        ("Message", "The specified key does not exist."),
        ("Key", "a<b"),
        ("Resource", "/bucket/a<b"),
        ("RequestId", "4442587FB7D0A2F9"),
        ("HostId", "host"),
    ]


@given(st.text())
def test_an_error_document_parses_whatever_the_key_holds(text: str) -> None:
    root = fromstring(render_error(S3Error("NoSuchKey", Key=text), text, "id", "host"))
    kept = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", text)
    assert (root.findtext("Key") or "") == kept


def test_every_code_that_the_package_raises_is_in_the_table() -> None:
    for source in Path(errors.__file__).parent.glob("*.py"):
        for code in re.findall(r'S3Error\(\s*"(\w+)"', source.read_text()):
            assert code in ERRORS, (source.name, code)


def test_detail_takes_the_place_of_the_message() -> None:
    assert S3Error("AccessDenied", "Request has expired").message == "Request has expired"
    assert S3Error("AccessDenied").message == "Access Denied"
    with pytest.raises(KeyError):
        S3Error("NoSuchCode")
