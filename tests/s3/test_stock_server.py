"""The Bottle app is a plain WSGI application: served by stock gevent.pywsgi in this process, attached to a running storage process."""

import os

import pytest
from gevent.pywsgi import WSGIServer

from actors.cache import Cache
from actors.directory import Directory
from actors.observer import Observer
from actors.runtime import sleep
from actors.transport import StorageLink
from fasterstore.cache import BlobCache
from fasterstore.metadata.index import IndexView
from fasterstore.settings import load
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.disk import RealDisk
from tests.node import node_environment
from tests.refusal import assert_refused
from tools.client import Client
from tools.storage_process import now_ms
from web.app import make_app
from web.worker import LinkState, Worker

OUR_NUMBER = 1_000_000
"""An incarnation that the supervisor will not give to a worker of its own."""
SIZES = [0, 10, 100_000, 400_000, 3_000_000]


@pytest.fixture
def stock(node):
    """A client of the stock server."""
    settings = load(node_environment(node.data_dir, 1, node.settings))
    datadir = open_datadir(RealDisk(), str(node.data_dir), os.urandom)
    local, remote = Directory(), Directory()
    blobs = BlobCache(1 << 20, 1 << 19)
    cache = Cache.start(blobs)
    hellos = []
    link = StorageLink(datadir.path, OUR_NUMBER, local, hellos.append)
    for name in ("segment-writer", "metadata-journal", "observer"):
        remote.register(name, link.ref(name))
    worker = Worker(
        settings=settings,
        directory=remote,
        disk=RealDisk(),
        segments_dir=datadir.segments_dir,
        blob_key=datadir.blob_key,
        now_ms=now_ms,
        number=OUR_NUMBER,
        cache=blobs,
        cache_ref=cache,
        link_state=lambda: LinkState(link.state == "connected"),
    )
    observer = Observer.start("stock", worker.metrics.samples)
    local.register("observer", observer)
    link.start()
    while not hellos:
        sleep(0.01)
    worker.index = IndexView(datadir.index_path)
    server = WSGIServer(("127.0.0.1", 0), make_app(worker), log=None)
    server.start()
    credentials = node.credentials
    with Client(f"http://127.0.0.1:{server.server_port}", credentials.access_key, credentials.secret_key) as client:
        yield client
    server.stop()
    link.stop()
    worker.index.close()
    observer.stop()
    cache.stop()


@pytest.mark.parametrize("size_bytes", SIZES)
def test_objects_pass_both_ways_between_the_stock_server_and_the_nodes_own(stock, client, bucket, size_bytes):
    body = os.urandom(size_bytes)
    stock.put(bucket, "from stock", body, {"x-amz-meta-a": "1"})
    client.put(bucket, "from node", body)
    for reader in (stock, client):
        for key in ("from stock", "from node"):
            for _ in range(2):
                assert reader.get(bucket, key).content == body
    assert stock.head(bucket, "from stock").headers["x-amz-meta-a"] == "1"
    assert stock.head(bucket, "from node").headers["content-length"] == str(size_bytes)
    if size_bytes > 10:
        ranged = stock.get(bucket, "from node", {"range": f"bytes=5-{size_bytes - 6}"})
        assert (ranged.status_code, ranged.content) == (206, body[5:-5])
    stock.delete(bucket, "from node")
    assert_refused(client.request("GET", bucket, "from node"), 404, "NoSuchKey")


def test_keys_headers_and_framings_mean_the_same(stock, client, bucket):
    for key in ("a b", "é/\U0001f600", "..", "a//b", "line\nbreak", "100%"):
        stock.put(bucket, key, key.encode())
        assert client.get(bucket, key).content == key.encode()
        assert stock.get(bucket, key).content == key.encode()
    assert stock.put_chunked(bucket, "chunked", [b"x" * 100_000, b"y" * 100_000]).status_code == 200
    assert client.get(bucket, "chunked").content == b"x" * 100_000 + b"y" * 100_000
    assert stock.send_presigned("GET", stock.presign("GET", bucket, "a b")).content == b"a b"


def test_refusals_are_the_same(stock, node, bucket):
    assert_refused(stock.request("GET", bucket, "missing"), 404, "NoSuchKey")
    assert_refused(stock.request("PUT", bucket, "key", body=b"x", payload_hash="0" * 64), 400, "XAmzContentSHA256Mismatch")
    assert_refused(stock.request("PUT", bucket, "key", body=b"x" * 400_000, payload_hash="0" * 64), 400, "XAmzContentSHA256Mismatch")
    with Client(stock.endpoint, "stranger", "some-secret-key") as stranger:
        assert_refused(stranger.request("GET", bucket, "missing"), 403, "InvalidAccessKeyId")
    with Client(stock.endpoint, "", "", scheme="none") as nobody:
        assert_refused(nobody.request("GET", bucket, "missing"), 403, "AccessDenied")
        assert nobody.send("GET", "/readyz").status_code == 200
    assert node.usage(bucket) == (0, 0)


def test_the_x_fs_scheme_is_served_too(stock, node, bucket):
    with Client(stock.endpoint, node.credentials.access_key, node.credentials.secret_key, scheme="x-fs") as client:
        client.put(bucket, "key", b"body")
        assert client.get(bucket, "key").content == b"body"
        client.put(f"{bucket}-implicit", "key", b"body")
        assert client.get(f"{bucket}-implicit", "key").content == b"body"
