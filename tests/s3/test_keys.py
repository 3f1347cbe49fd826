"""Keys: any UTF-8 up to 1,024 bytes, never a path; what differs on the wire but means the same key is the same key."""

import pytest

from tests.raw_connection import signed_request
from tests.refusal import assert_refused

KEYS = [
    "plain",
    "a/b/c",
    "..",
    ".",
    "../../../etc/passwd",
    "a/../b",
    "a/./b",
    "//",
    "/leading",
    "trailing/",
    "a//b",
    "%2F",
    "a%2Fb",
    "%",
    "%zz",
    "a b",
    "a+b",
    "a&b=c?d#e;f",
    "line\nbreak",
    "cr\r\nlf",
    "tab\tnull\x01",
    "\U0001f600 emoji",
    "é",
    "e\u0301",
    "\u202eright to left",
    "con",
    "metrics",
    "_admin/actors",
    "index.db",
    "'\"<>&`$(x)",
    "~-_.!*'()",
    "k" * 1024,
    "é" * 512,
]


@pytest.mark.parametrize("scheme", ["sigv4", "x-fs"])
def test_every_key_is_kept_apart_from_every_other(node, bucket, scheme):
    with node.client(scheme) as client:
        for key in KEYS:
            client.put(bucket, key, b"body of " + key.encode())
        assert node.usage(bucket)[0] == len(KEYS)
        for key in KEYS:
            assert client.get(bucket, key).content == b"body of " + key.encode(), key
        for key in KEYS:
            client.delete(bucket, key)
        assert node.usage(bucket) == (0, 0)


def test_keys_never_become_file_names(node, client, bucket):
    before = {path for path in node.data_dir.rglob("*") if path.suffix != ".seg"}
    for key in ("../../escaped-here", "escaped-here", "/tmp/escaped-here", "segments/escaped-here"):
        client.put(bucket, key, b"x" * 100_000)
    after = {path for path in node.data_dir.rglob("*") if path.suffix not in (".seg", ".wal")}
    assert not [path for path in node.data_dir.parent.rglob("*escaped*")]
    assert after - before == set()


@pytest.mark.parametrize("key", ["k" * 1025, "é" * 512 + "k", "/" * 1025])
def test_a_key_over_1024_bytes_is_refused(node, client, bucket, key):
    for method in ("PUT", "GET", "DELETE"):
        found = assert_refused(client.request(method, bucket, key, body=b"x" if method == "PUT" else b""), 400, "KeyTooLongError")
        assert (found["Size"], found["MaxSizeAllowed"]) == (str(len(key.encode())), "1024")
    assert node.usage(bucket) == (0, 0)


def test_one_key_in_two_encodings_is_one_key(node, client, bucket, connect):
    client.put(bucket, "a b/c~d", b"body")
    for target in ("a%20b/c~d", "a%20b/c%7Ed", "a%20b%2Fc%7ed", "%61%20b/c~d"):
        connection = connect()
        connection.send(signed_request(node, "GET", f"/{bucket}/{target}"))
        answer = connection.answer()
        assert (answer.status, answer.content) == (200, b"body"), target


@pytest.mark.parametrize("target", ["%ff", "%c3%28", "a%2", "%ed%a0%80"])
def test_a_path_that_is_no_encoded_utf8_is_refused(node, bucket, connect, target):
    connection = connect()
    connection.send(signed_request(node, "PUT", f"/{bucket}/{target}", body=b"x"))
    assert_refused(connection.answer(), 400, "InvalidURI")
    assert node.usage(bucket) == (0, 0)
