"""The client: what it puts on the wire is what it signed, for any key; the environment has no say."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from fasterstore.s3 import canonical
from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.chunked import ChunkedDecoder, decoded_length
from fasterstore.s3.errors import S3Error, render_error
from fasterstore.s3.names import parse_path
from tools.client import Client, ResponseError

KEY, SECRET = "faster", "faster-secret-key"
NOW = 1_700_000_000
AUTH = Authenticator({KEY: SECRET}.get)
ODD_KEYS = [
    "a b",
    "a+b",
    "100%",
    "%2F",
    "..",
    "../x",
    "./x",
    "x//y",
    "/lead",
    "a\nb",
    "~t",
    "😀",
    "a=b&c",
    "?q#f",
    "a'()*!$,;:@",
    "x/",
    "ä",
]


class Recorder(BaseHTTPRequestHandler):
    """Verifies each request as the node does; keeps what it saw; answers as told."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        raw_path, _, raw_query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        status, reply = 200, b""
        try:
            result = AUTH.authenticate(self.command, raw_path, raw_query, headers, NOW)
            self.server.seen.append((self.command, raw_path, raw_query, headers, body, result))  # type: ignore[attr-defined]
            reply = self.server.reply  # type: ignore[attr-defined]
        except S3Error as error:
            status, reply = error.status, render_error(error, raw_path, "ID", "HOST")
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.daemon_threads = True
    server.seen, server.reply = [], b""  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def client(server: ThreadingHTTPServer, **options) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}", KEY, options.pop("secret", SECRET), clock=lambda: NOW, **options)


@pytest.mark.parametrize("scheme", ["sigv4", "x-fs"])
def test_every_odd_key_arrives_whole_and_verifies(recorder, scheme) -> None:
    with client(recorder, scheme=scheme) as one:
        for key in ODD_KEYS:
            one.put("bucket", key, b"body", {"Content-Type": "text/plain", "x-amz-meta-a": "b"})
            one.get("bucket", key.encode())
            one.head("bucket", key)
            one.delete("bucket", key)
            assert one.send_presigned("GET", one.presign("GET", "bucket", key)).status_code == 200
    assert [parse_path(seen[1]) for seen in recorder.seen[::5]] == [("bucket", key.encode()) for key in ODD_KEYS]
    assert [seen[0] for seen in recorder.seen[:5]] == ["PUT", "GET", "HEAD", "DELETE", "GET"]
    assert all(seen[5] is not None for seen in recorder.seen)
    assert recorder.seen[0][4] == b"body"
    assert recorder.seen[0][5].scheme == scheme
    assert len(recorder.seen[0][5].payload) == 64
    assert recorder.seen[0][3]["content-type"] == "text/plain"


def test_an_empty_put_says_its_length(recorder) -> None:
    with client(recorder) as one:
        one.put("bucket", "k", b"")
        one.create_bucket("bucket")
    assert [seen[3]["content-length"] for seen in recorder.seen] == ["0", "0"]


def test_a_query_is_signed_as_sent(recorder) -> None:
    with client(recorder) as one:
        assert one.request("GET", "bucket", query=[("prefix", "a b+c"), ("list-type", "2"), ("acl", "")]).status_code == 200
    assert recorder.seen[0][2] == "prefix=a%20b%2Bc&list-type=2&acl="


@pytest.mark.parametrize("payload", [canonical.STREAMING_SIGNED, canonical.STREAMING_SIGNED_TRAILER, canonical.STREAMING_UNSIGNED_TRAILER])
def test_chunked_uploads_decode_to_the_body(recorder, payload) -> None:
    trailers = {} if payload == canonical.STREAMING_SIGNED else {"x-amz-checksum-crc32": "NhCmhg=="}
    with client(recorder) as one:
        assert one.put_chunked("bucket", "k", [b"he", b"", b"llo"], payload=payload, trailers=trailers).status_code == 200
    _, _, _, headers, body, result = recorder.seen[0]
    decoder = ChunkedDecoder(result.payload, decoded_length(headers), result.streaming, trailers)
    assert b"".join(bytes(view) for view in decoder.feed(body)) == b"hello"
    assert decoder.finish() == trailers


def test_a_refusal_is_an_exception_with_s3s_words(recorder) -> None:
    with client(recorder, secret="wrong") as one, pytest.raises(ResponseError) as refused:
        one.get("bucket", "k")
    assert (refused.value.status, refused.value.code) == (403, "SignatureDoesNotMatch")
    assert "does not match" in refused.value.message
    assert "wrong" not in repr(one.credentials)


def test_a_presigned_put_with_a_signed_header(recorder) -> None:
    with client(recorder) as one:
        url = one.presign("PUT", "bucket", "k", headers={"x-amz-meta-a": "b"})
        assert one.send_presigned("PUT", url, {"x-amz-meta-a": "b"}, b"x").status_code == 200
        assert one.send_presigned("PUT", url, {"x-amz-meta-a": "c"}, b"x").status_code == 403
        assert one.send_presigned("PUT", url, {}, b"x").status_code == 403


def test_proxies_and_netrc_of_the_environment_are_not_used(recorder, monkeypatch, tmp_path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with client(recorder, scheme="none") as one:
        assert one.request("GET", "bucket", "k").status_code == 200
    assert "authorization" not in recorder.seen[0][3]


def test_a_bucket_list_gives_the_names(recorder) -> None:
    recorder.reply = (
        b'<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Buckets><Bucket><Name>a</Name></Bucket>'
        b"<Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>"
    )
    with client(recorder) as one:
        assert one.list_buckets() == ["a", "b"]


def test_mistakes_that_would_do_harm_are_refused() -> None:
    one = Client("http://127.0.0.1:1", KEY, SECRET)
    with pytest.raises(ValueError):
        one.delete("bucket", "")
    with pytest.raises(ValueError):
        one.send_presigned("GET", "http://elsewhere.example/b/k")
    for endpoint in ("127.0.0.1:9000", "http://127.0.0.1:9000/path", "ftp://a"):
        with pytest.raises(ValueError):
            Client(endpoint, KEY, SECRET)
    with pytest.raises(ValueError):
        Client("http://127.0.0.1:1", KEY, SECRET, scheme="v2")


def test_an_answer_that_breaks_off_is_an_exception_of_requests() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def break_off() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")

        thread = threading.Thread(target=break_off)
        thread.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY, SECRET) as client, pytest.raises(requests.ConnectionError):
            client.get("bucket", "key")
        thread.join()
