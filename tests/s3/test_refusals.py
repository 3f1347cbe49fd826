"""Refusals that are judged before or while the body is read: their codes, and that they leave nothing behind."""

import os
import socket
import time

import pytest

from fasterstore.s3.errors import ERRORS
from tests.raw_connection import signed_request
from tests.refusal import assert_refused

MIB = 1 << 20


def test_an_upload_that_is_too_large_is_refused_before_its_body(node, connect, bucket):
    connection = connect()
    started = time.monotonic()
    connection.send(signed_request(node, "PUT", f"/{bucket}/key", {"content-length": str((32 << 20) + 1)}))
    found = assert_refused(connection.answer(), 400, "EntityTooLarge")
    assert time.monotonic() - started < 5
    assert (found["ProposedSize"], found["MaxSizeAllowed"]) == (str((32 << 20) + 1), str(32 << 20))
    assert node.usage(bucket) == (0, 0)


def test_an_upload_of_exactly_the_limit_is_taken(start_node):
    node = start_node(FS_MAX_REQUEST_BYTES="1000")
    client = node.client()
    client.create_bucket("box")
    client.put("box", "fits", b"x" * 1000)
    assert_refused(client.request("PUT", "box", "key", body=b"x" * 1001), 400, "EntityTooLarge")
    assert_refused(client.put_chunked("box", "key", [b"x" * 1001]), 400, "EntityTooLarge")
    assert client.put_chunked("box", "chunked", [b"x" * 1000]).status_code == 200
    assert node.usage("box") == (2, 2000)


@pytest.mark.parametrize("size", [10, 100_000, 400_000])
def test_a_body_of_unknown_length_is_refused(node, connect, bucket, size):
    connection = connect()
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)
    connection.send(signed_request(node, "PUT", f"/{bucket}/key", {"transfer-encoding": "chunked"}) + body)
    assert_refused(connection.answer(), 411, "MissingContentLength")
    assert node.usage(bucket) == (0, 0)


def test_a_put_without_any_length_is_refused(node, connect, bucket):
    connection = connect()
    head = signed_request(node, "PUT", f"/{bucket}/key", {"content-length": "0"}).replace(b"content-length: 0\r\n", b"")
    connection.send(head)
    # content-length was signed: the request is refused for that first. Nothing may be stored either way.
    assert connection.answer().status in (403, 411)
    connection = connect()
    head = signed_request(node, "PUT", f"/{bucket}/key", {"content-length": "0"}, scheme="x-fs").replace(b"content-length: 0\r\n", b"")
    connection.send(head)
    assert_refused(connection.answer(), 411, "MissingContentLength")
    assert node.usage(bucket) == (0, 0)


@pytest.mark.parametrize("announced", [100, 70_000, 300_000, 3 * MIB])
@pytest.mark.parametrize("how", ["half-closed", "closed", "reset"])
def test_an_upload_that_is_given_up_leaves_nothing(node, client, connect, bucket, announced, how):
    connection = connect()
    head = signed_request(node, "PUT", f"/{bucket}/key", {"content-length": str(announced)})
    connection.send(head + b"x" * (announced - 1))
    if how == "half-closed":
        connection.socket.shutdown(socket.SHUT_WR)
        told = assert_refused(connection.answer(), 400, "IncompleteBody")
        assert told["Message"] == ERRORS["IncompleteBody"].message
    elif how == "reset":
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    time.sleep(0.05)
    assert_refused(client.request("GET", bucket, "key"), 404, "NoSuchKey")
    assert node.usage(bucket) == (0, 0)
    body = os.urandom(announced)
    client.put(bucket, "key", body)
    assert client.get(bucket, "key").content == body


def test_a_refused_replacement_leaves_the_object_that_was_there(node, client, bucket):
    client.put(bucket, "key", b"first", {"x-amz-meta-a": "1"})
    for size in (10, 100_000, 400_000):
        refused = client.request("PUT", bucket, "key", body=b"x" * size, payload_hash="0" * 64)
        assert_refused(refused, 400, "XAmzContentSHA256Mismatch")
    got = client.get(bucket, "key")
    assert (got.content, got.headers["x-amz-meta-a"]) == (b"first", "1")
    assert node.usage(bucket) == (1, 5)


def test_an_upload_that_stalls_is_refused(start_node, connect):
    node = start_node(FS_REQUEST_TIMEOUT_SECS="1")
    client = node.client()
    client.create_bucket("box")
    stalled = [connect(node), connect(node)]
    for connection, size in zip(stalled, (100, 400_000), strict=True):
        connection.send(signed_request(node, "PUT", "/box/key", {"content-length": str(size)}) + b"x" * (size // 2))
    for connection in stalled:
        assert_refused(connection.answer(), 400, "RequestTimeout")
        assert connection.rest() == b""
    assert node.usage("box") == (0, 0)


@pytest.mark.parametrize(
    ("method", "query"), [("POST", ""), ("PATCH", ""), ("GET", "uploads"), ("GET", "torrent"), ("POST", "select&select-type=2")]
)
def test_what_is_not_built_is_refused_by_name(node, client, bucket, method, query):
    answer = client.send(method, f"/{bucket}/key", query, body=b"")
    assert (answer.status_code, answer.content[:5]) in ((405, b"<?xml"), (501, b"<?xml"))
    assert node.usage(bucket) == (0, 0)


def test_below_the_minimum_of_free_space_only_puts_are_refused(start_node):
    node = start_node()
    client = node.client()
    client.create_bucket("box")
    bodies = {"small": b"x" * 10, "large": b"y" * 400_000}
    for key, body in bodies.items():
        client.put("box", key, body)
    node.stop()
    node.settings["FS_MIN_FREE_MB"] = str(1 << 24)
    node.start()
    client = node.client()
    for body in (b"", b"z" * 10, b"x" * 10, b"z" * 100_000, b"z" * 400_000, b"y" * 400_000):  # bytes that are stored already too
        refused = client.request("PUT", "box", "new", body=body)
        assert_refused(refused, 507, "XMinioStorageFull")
    assert node.usage("box") == (2, 400_010)
    for key, body in bodies.items():
        assert client.get("box", key).content == body
        client.delete("box", key)
    assert node.usage("box") == (0, 0)
    client.delete_bucket("box")
    assert node.is_ready()
