"""Settings that a peer sends: what the S3 calls of this build store is readable, and what would break a reader is not."""

import pytest

from fasterstore.replication.plausible_settings import is_readable
from fasterstore.s3.cors import Rule, pack_rules


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("acl", b"public-read"),
        ("cors", pack_rules([Rule("", ("GET",), ("*",), (), (), None)])),
        ("cors", pack_rules([Rule("\u540d", ("GET",), ("http://\u540d.example",), ("*",), ("x-a",), 5)])),
        ("ownership", b"ObjectWriter"),
        ("public-access-block", b"0110"),
        ("tagging", b'{"colour":"blue"}'),
        ("policy", b"whatever it says"),
        ("of-a-later-build", b"\x00"),
    ],
)
def test_what_is_stored_here_may_come_from_a_peer(name, document):
    assert is_readable(name, document)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("acl", b"everybody"),
        ("acl", b"\xff"),
        ("cors", b""),
        ("cors", b"[]"),
        ("cors", b"<x/>"),
        ("cors", b'[["",["GET"],[1],[],[],null]]'),
        ("cors", b"[" * 100_000),
        ("cors", pack_rules([Rule("", ("GET",), ("*",), (), ("x-a\r\nset-cookie: b",), None)])),
        ("ownership", b"Mine"),
        ("public-access-block", b""),
        ("public-access-block", b"011"),
        ("tagging", b"[]"),
        ("tagging", b'{"colour":1}'),
    ],
)
def test_what_would_break_a_reader_may_not(name, document):
    assert not is_readable(name, document)
