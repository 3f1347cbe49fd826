"""Request smuggling: of two requests only the first is answered, once, if anybody could see another end of it; the second never runs."""

from pathlib import Path

import pytest

from tests.framing_corpus import MISMATCHED, PAYLOAD
from tests.node import ROOT
from tests.raw_connection import request_bytes, signed_request
from tests.s3.smuggling import CORPUS, SMUGGLED_KEY, exchange, fault_of, framed_put, raw_case

PLANTED = f"{Path(__file__).parents[1] / 'probe' / 'planted'}:{ROOT}"


def is_stored(client, bucket, key):
    return client.request("HEAD", bucket, key).status_code == 200


def assert_stored(client, bucket, *keys):
    assert [key for key in (SMUGGLED_KEY, "first") if is_stored(client, bucket, key)] == list(keys)


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", CORPUS)
def test_what_is_ambiguous_is_refused_once_and_the_connection_closed(node, client, bucket, name, in_pieces):
    outcome = exchange(node, raw_case(node, bucket, name), in_pieces=in_pieces)
    assert fault_of(outcome) == ""
    answer = outcome.answers[0]
    assert answer.headers["connection"] == "close"
    assert b"<Error><Code>" in answer.content
    assert answer.headers["x-amz-request-id"].encode() in answer.content
    assert_stored(client, bucket)


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= 60


class TestWhatIsBeyondDoubt:
    """The same machinery sees requests that are accepted: without this a node that refuses everything would pass."""

    def test_a_body_in_both_codings_is_stored_and_the_second_request_served(self, node, client, bucket):
        chunked = b"f\r\n" + PAYLOAD + b"\r\n0\r\n\r\n"
        first = framed_put(node, bucket, {"transfer-encoding": "chunked"}, chunked)
        second = signed_request(node, "PUT", f"/{bucket}/{SMUGGLED_KEY}", {"connection": "close"}, b"body")
        for in_pieces in (False, True):
            assert [answer.status for answer in exchange(node, first + second, in_pieces=in_pieces).answers] == [200, 200]
        assert_stored(client, bucket, SMUGGLED_KEY, "first")
        assert client.get(bucket, "first").content == b"abcde"

    def test_an_aws_chunked_body_of_the_right_length_is_stored(self, node, client, bucket):
        first = framed_put(node, bucket, {"content-length": str(len(PAYLOAD)), "connection": "close"}, PAYLOAD)
        assert [answer.status for answer in exchange(node, first).answers] == [200]
        assert_stored(client, bucket, "first")


class TestARequestHiddenInABody:
    """The length is beyond doubt, so the connection may live; what lies in the body is bytes, whatever becomes of the request around it."""

    AROUND = {
        "a PUT that is stored": ("PUT", "first", 200),
        "a PUT without a bucket": ("PUT", None, 404),
        "a PUT with a bad signature": ("PUT", "first", 403),
        "a GET": ("GET", "first", 404),
        "a DELETE": ("DELETE", "first", 204),
        "a POST that is no action": ("POST", "first", 405),
        "a method that is unknown to S3": ("PATCH", "first", 405),
    }

    @pytest.mark.parametrize("padding", [0, 100_000], ids=["small", "large"])
    @pytest.mark.parametrize("name", AROUND)
    def test_is_never_run(self, node, client, bucket, name, padding):
        method, key, status = self.AROUND[name]
        hidden = signed_request(node, "PUT", f"/{bucket}/{SMUGGLED_KEY}", body=b"smuggled") + b"x" * padding
        target = f"/{bucket}/{key}" if key else "/no-such-bucket/first"
        raw = signed_request(node, method, target, {"connection": "close"}, hidden)
        if name.endswith("bad signature"):
            raw = raw.replace(b"Signature=", b"Signature=0", 1)
        if padding and method in ("GET", "DELETE"):
            status = 400  # what means nothing may not be long either
        answers = exchange(node, raw).answers
        assert [answer.status for answer in answers] == [status]
        assert not is_stored(client, bucket, SMUGGLED_KEY)
        if status == 200:
            assert client.get(bucket, "first").content == hidden

    def test_is_never_run_behind_a_refused_100_continue(self, node, client, connect, bucket):
        hidden = signed_request(node, "PUT", f"/{bucket}/{SMUGGLED_KEY}", body=b"smuggled")
        head = {"expect": "100-continue", "content-length": str(len(hidden))}
        connection = connect()
        connection.send(signed_request(node, "PUT", "/no-such-bucket/first", head))
        answer = connection.answer()
        # Whether the body comes now is the client's choice, so nothing that comes can be told from a request.
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        connection.send(hidden)
        assert connection.rest() == b""
        assert_stored(client, bucket)

    @pytest.mark.parametrize("path", ["/healthz", "/metrics", "/_admin/actors", "/_internal/x"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_is_never_run_where_no_body_is_expected(self, node, client, bucket, path, method):
        hidden = signed_request(node, "PUT", f"/{bucket}/{SMUGGLED_KEY}", body=b"smuggled")
        raw = request_bytes(method, path, {"host": "x", "connection": "close", "content-length": str(len(hidden))}, hidden)
        assert len(exchange(node, raw).answers) == 1
        assert_stored(client, bucket)


def reds(node, client, bucket, kind):
    """The cases of that kind that a node gets wrong, with what is wrong."""
    found = {}
    for name in (name for name in CORPUS if name.startswith(kind)):
        fault = fault_of(exchange(node, raw_case(node, bucket, name), timeout_secs=0.2))
        if not fault and is_stored(client, bucket, SMUGGLED_KEY):
            fault = "the second request was run"
        if fault:
            found[name] = fault
            client.delete(bucket, SMUGGLED_KEY)
    return found


PLANTED_BUGS = {
    "lax_heads": ("head: ", 200),
    "lax_chunks": ("chunks: ", 25),
    "lax_aws_chunks": ("aws-chunked ", 20),
}
"""The kind of cases that each is caught by, and at least how many of them turn red."""


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED_BUGS)
def test_the_corpus_finds_a_planted_reader_that_is(bug, start_node):
    kind, least = PLANTED_BUGS[bug]
    node = start_node(0, PYTHONPATH=PLANTED, PLANTED_BUG=bug)
    client = node.client()
    client.create_bucket("box")
    found = reds(node, client, "box", kind)
    print(f"\n{bug}: {len(found)} cases red", *(f"{name}: {fault}" for name, fault in found.items()), sep="\n  ")
    assert len(found) >= least


def test_every_kind_of_the_corpus_has_a_planted_bug():
    assert len([name for name in CORPUS if name.startswith("aws-chunked ")]) == len(MISMATCHED)
    assert all(any(name.startswith(kind) for kind, _ in PLANTED_BUGS.values()) for name in CORPUS)
