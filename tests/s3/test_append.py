"""Appends by x-amz-write-offset-bytes over HTTP: each adds to the end, and of several at one place one wins."""

import os
from concurrent.futures import ThreadPoolExecutor

from tests.refusal import assert_refused


def append(client, bucket, offset, body, **headers):
    return client.request("PUT", bucket, "log", headers={"x-amz-write-offset-bytes": str(offset), **headers}, body=body)


def test_an_object_grows_piece_by_piece(node, client, bucket):
    pieces = [b"first", b"", os.urandom(100_000), b"x", os.urandom(2_500_000)]
    whole = b""
    for piece in pieces:
        answer = append(client, bucket, len(whole), piece)
        whole += piece
        assert (answer.status_code, answer.headers["x-amz-object-size"]) == (200, str(len(whole))), answer.content
        read = client.get(bucket, "log")
        assert read.content == whole
        assert read.headers["etag"] == answer.headers["etag"]
    assert client.get(bucket, "log", {"range": "bytes=99990-100020"}).content == whole[99990:100021]
    assert node.usage(bucket) == (1, len(whole))


def test_an_append_elsewhere_is_refused(client, bucket):
    assert_refused(append(client, bucket, 1, b"x"), 404, "NoSuchKey")
    append(client, bucket, 0, b"12345")
    assert_refused(append(client, bucket, 4, b"x"), 400, "InvalidWriteOffset")
    assert_refused(append(client, bucket, 6, b"x"), 400, "InvalidWriteOffset")
    assert_refused(append(client, bucket, "five", b"x"), 400, "InvalidArgument")
    assert client.get(bucket, "log").content == b"12345"


def test_of_many_appends_at_one_place_one_wins(node, bucket):
    """Four writers, each adds its ten lines wherever the end is: every line is there once and whole."""

    def write(number):
        with node.client() as own:
            for line in range(10):
                text = b"%02d:%02d\n" % (number, line)
                while True:
                    found = own.request("HEAD", bucket, "log")
                    size = int(found.headers["content-length"]) if found.status_code == 200 else 0
                    answer = append(own, bucket, size, text)
                    if answer.status_code == 200:
                        break
                    assert answer.status_code in (400, 404), answer.content

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with node.client() as client:
        lines = client.get(bucket, "log").content.splitlines()
    assert sorted(lines) == [b"%02d:%02d" % (number, line) for number in range(4) for line in range(10)]
    for number in range(4):
        own = [line for line in lines if line.startswith(b"%02d:" % number)]
        assert own == sorted(own)
