"""The connection of a running node: keep-alive, pipelining, Expect, IPv6. What is not beyond doubt is `test_smuggling`'s."""

import socket

import pytest

from tests.node import RunningNode
from tests.raw_connection import signed_request
from tests.refusal import assert_refused

CONTINUE = {"expect": "100-continue"}


def test_many_requests_share_one_connection(node, connect, bucket):
    connection = connect()
    for number in range(50):
        body = str(number).encode() * 100
        connection.send(signed_request(node, "PUT", f"/{bucket}/key", body=body))
        assert connection.answer().status == 200
        connection.send(signed_request(node, "GET", f"/{bucket}/key"))
        assert connection.answer().content == body


def test_pipelined_requests_are_answered_in_order(node, connect, bucket):
    large = b"L" * 400_000
    connection = connect()
    connection.send(
        signed_request(node, "PUT", f"/{bucket}/small", body=b"small")
        + signed_request(node, "GET", f"/{bucket}/small")
        + signed_request(node, "HEAD", f"/{bucket}/small")
        + signed_request(node, "PUT", f"/{bucket}/large", body=large)
        + signed_request(node, "GET", f"/{bucket}/missing")
        + signed_request(node, "GET", f"/{bucket}/large")
        + signed_request(node, "GET", f"/{bucket}/small", {"range": "bytes=1-2"})
        + signed_request(node, "DELETE", f"/{bucket}/small")
        + signed_request(node, "GET", f"/{bucket}/small")
    )
    assert connection.answer().status == 200
    assert connection.answer().content == b"small"
    assert connection.answer(to_head=True).headers["content-length"] == "5"
    assert connection.answer().status == 200
    assert_refused(connection.answer(), 404, "NoSuchKey")
    assert connection.answer().content == large
    assert connection.answer().content == b"ma"
    assert connection.answer().status == 204
    assert_refused(connection.answer(), 404, "NoSuchKey")


def test_the_connection_ends_when_the_client_asks_for_it(node, connect, bucket):
    connection = connect()
    connection.send(signed_request(node, "GET", f"/{bucket}/missing", {"connection": "close"}))
    assert_refused(connection.answer(), 404, "NoSuchKey")
    assert connection.rest() == b""


def test_a_refused_small_body_leaves_the_connection_usable(node, connect, bucket):
    connection = connect()
    connection.send(signed_request(node, "PUT", "/no-such-bucket/key", body=b"x" * 1000))
    assert_refused(connection.answer(), 404, "NoSuchBucket")
    connection.send(signed_request(node, "PUT", f"/{bucket}/key", body=b"body"))
    assert connection.answer().status == 200


def test_a_refused_large_body_is_answered_and_the_connection_closed(node, connect, bucket):
    connection = connect()
    connection.send(signed_request(node, "PUT", "/no-such-bucket/key", {"content-length": "10000000"}) + b"x" * 300_000)
    answer = connection.answer()
    assert_refused(answer, 404, "NoSuchBucket")
    assert answer.headers["connection"] == "close"


class TestExpect:
    @pytest.mark.parametrize("size", [4, 100_000, 400_000])
    def test_the_100_comes_and_then_the_body_is_taken(self, node, client, connect, bucket, size):
        connection = connect()
        connection.send(signed_request(node, "PUT", f"/{bucket}/key", CONTINUE | {"content-length": str(size)}))
        assert connection.answer().status == 100
        connection.send(b"x" * size)
        assert connection.answer().status == 200
        assert client.get(bucket, "key").content == b"x" * size

    def test_a_client_that_does_not_wait_is_served_too(self, node, client, connect, bucket):
        connection = connect()
        connection.send(signed_request(node, "PUT", f"/{bucket}/key", CONTINUE, b"body"))
        answer = connection.answer()
        assert (connection.answer() if answer.status == 100 else answer).status == 200
        assert client.get(bucket, "key").content == b"body"

    def test_an_aws_chunked_body_is_asked_for_too(self, node, connect, bucket):
        headers = CONTINUE | {"content-length": "9", "x-amz-decoded-content-length": "0", "content-encoding": "aws-chunked"}
        connection = connect()
        connection.send(signed_request(node, "PUT", f"/{bucket}/key", headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
        assert connection.answer().status == 100

    REFUSED = {
        "signature": ({}, "key", 403, "SignatureDoesNotMatch"),
        "length": ({"content-length": "99999999999"}, "key", 400, "EntityTooLarge"),
        "digest": ({"content-md5": "AAAA"}, "key", 400, "InvalidDigest"),
        "checksum": ({"x-amz-checksum-crc32": "AAAA"}, "key", 400, "BadDigest"),
        "precondition": ({"if-none-match": "*"}, "there", 412, "PreconditionFailed"),
        "if-match": ({"if-match": '"other"'}, "there", 412, "PreconditionFailed"),
        "missing": ({"if-match": '"other"'}, "key", 404, "NoSuchKey"),
        "key": ({}, "k" * 1025, 400, "KeyTooLongError"),
        "bucket": ({}, None, 404, "NoSuchBucket"),
        "encryption": ({"x-amz-server-side-encryption": "AES256"}, "key", 501, "NotImplemented"),
        "customer key": ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "key", 400, "InvalidArgument"),
        "metadata": ({"x-amz-meta-a": "x" * 3000}, "key", 400, "MetadataTooLarge"),
        "owner": ({"x-amz-expected-bucket-owner": "1"}, "key", 403, "AccessDenied"),
    }

    @pytest.mark.parametrize("why", REFUSED)
    def test_a_refusal_comes_instead_of_the_100(self, node, client, connect, bucket, why):
        headers, key, status, code = self.REFUSED[why]
        client.put(bucket, "there", b"body")
        target = f"/{bucket}/{key}" if key else "/no-such-bucket/key"
        request = signed_request(node, "PUT", target, CONTINUE | {"content-length": "400000"} | headers)
        if why == "signature":
            request = request.replace(b"Signature=", b"Signature=0")
        connection = connect()
        connection.send(request)
        assert_refused(connection.answer(), status, code)
        assert node.usage(bucket) == (1, 4)

    def test_nothing_is_asked_for_where_there_is_no_body(self, node, connect, bucket):
        connection = connect()
        connection.send(signed_request(node, "GET", f"/{bucket}/key", CONTINUE))
        assert_refused(connection.answer(), 404, "NoSuchKey")

    def test_a_disguised_expectation_is_refused_and_one_of_another_kind_left_aside(self, node, connect, bucket):
        for expectation, status in (("y 100-continue", 417), ("200-ok", 200)):
            connection = connect()
            connection.send(signed_request(node, "PUT", f"/{bucket}/key", {"expect": expectation}, b"body"))
            assert connection.answer().status == status


def test_a_node_serves_on_ipv6(tmp_path, connect):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with RunningNode(tmp_path / "data", {"FS_BIND_ADDR": "[::1]:0"}) as node:
        assert node.endpoint.startswith("http://[::1]:")
        for scheme in ("sigv4", "x-fs"):
            with node.client(scheme) as client:
                if scheme == "sigv4":
                    client.create_bucket("box")
                client.put("box", "key", b"body")
                assert client.head("box").status_code == 200
        with node.client() as client:
            assert client.get("box", "key").content == b"body"
        node.restart()
