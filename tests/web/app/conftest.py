"""A worker with the real storage actors in this process, on a folder of its own, called as a WSGI application."""

import itertools
import os
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from actors.cache import Cache
from actors.directory import Directory
from actors.messages import CreateBucket
from actors.observer import Observer
from actors.replication_messages import SetPeers
from actors.runtime import sleep
from fasterstore.cache import BlobCache
from fasterstore.keyring import unlock
from fasterstore.metadata.index import IndexView
from fasterstore.replication.board import ReplicationBoard
from fasterstore.s3.signer import Credentials, sign_v4_headers, sign_xfs
from fasterstore.settings import load
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.disk import RealDisk
from tools.key_preparation import prepare
from tools.scrubbing import make_report, start_scrubber
from tools.storage_actors import StorageActors, compaction_plan, journal_rules
from web.app import make_app
from web.regions import CheckedRegion, FileRegion
from web.worker import Worker

ACCESS_KEY, SECRET_KEY = "test-key", "test-secret-key"


class Answer(NamedTuple):
    """What the application answered; `failure` is what its body raised on the way."""

    status: int
    headers: dict[str, str]
    body: bytes
    failure: Exception | None = None


class Store:
    """Drives the application the way a server does: without a socket, with wire-level requests."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.settings = load({"FS_ACCESS_KEY": ACCESS_KEY, "FS_SECRET_KEY": SECRET_KEY, "FS_MIN_FREE_MB": "0", **settings}, cores=1)
        self.disk = RealDisk()
        self.datadir = open_datadir(self.disk, str(folder), os.urandom)
        if self.settings.encryption_key is not None:
            prepare(self.disk, self.datadir, self.settings.encryption_key, os.urandom)
            self.datadir = open_datadir(self.disk, str(folder), os.urandom)
        self.keyring = unlock(self.datadir.keys, self.settings.encryption_key)
        self.directory = Directory()
        self.fatal: list[str] = []
        self.shift_ms = 0
        """How far this store's clock is ahead."""
        self.now_ms = lambda: int(time.time() * 1000) + self.shift_ms
        self.actors = StorageActors(
            self.disk,
            self.datadir,
            self.directory,
            segment_target_bytes=self.settings.segment_target_bytes,
            min_free_bytes=0,
            checkpoint_interval_secs=60,
            multipart_ttl_secs=self.settings.multipart_ttl_secs,
            read_grace_secs=self.settings.read_grace_secs,
            fatal=lambda reason, suspect: self.fatal.append(reason),
            now_ms=self.now_ms,
            keyring=self.keyring,
            compaction=compaction_plan(self.settings),
            rules=journal_rules(self.settings),
        )
        for _ in self.actors.start():
            pass
        self.directory.get("metadata-journal").ask(SetPeers(list(self.settings.replication_peers)))
        self.scrubber = start_scrubber(self.settings, self.disk, self.datadir, self.directory, make_report(self.settings))
        blobs = BlobCache(self.settings.cache_capacity_bytes, self.settings.cache_object_max_bytes)
        self.cache = Cache.start(blobs)
        self.worker = Worker(
            settings=self.settings,
            directory=self.directory,
            disk=self.disk,
            segments_dir=self.datadir.segments_dir,
            blob_key=self.keyring.blob_key,
            now_ms=self.now_ms,
            cache=blobs,
            cache_ref=self.cache,
            host_id="node",
            keyring=self.keyring,
            node_id=self.datadir.node_id,
        )
        if self.settings.replication_peers:
            self.worker.replication = ReplicationBoard(self.settings.replication_peers)
        self.worker.index = IndexView(self.datadir.index_path)
        self.observer = Observer.start("worker-0", self.worker.metrics.samples)
        self.directory.register("observer", self.observer)
        self.app = make_app(self.worker)
        self.credentials = Credentials(ACCESS_KEY, SECRET_KEY)

    def close(self) -> None:
        sleep(0)
        self.observer.stop()
        self.cache.stop()
        self.scrubber.stop()
        self.actors.stop()
        if self.worker.index is not None:
            self.worker.index.close()

    def make_bucket(self, name: str) -> None:
        self.directory.get("metadata-journal").ask(CreateBucket(name))

    def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        sign: str = "v4",
        payload: str = "UNSIGNED-PAYLOAD",
        peer: str = "127.0.0.1",
        source: Any = None,
        stock: bool = False,
        credentials: Credentials | None = None,
    ) -> Answer:
        """One request. `source` takes the place of wsgi.input; `stock`: as a WSGI server that is not ours would call."""
        path, _, query = target.partition("?")
        sent = {"host": "localhost", **{name.lower(): value for name, value in (headers or {}).items()}}
        if (body or method in ("PUT", "POST")) and "content-length" not in sent and "transfer-encoding" not in sent:
            sent["content-length"] = str(len(body))
        sent = {name: value for name, value in sent.items() if value != "(none)"}
        now = self.now_ms() // 1000
        used = credentials or self.credentials
        if sign == "v4":
            sent |= sign_v4_headers(method, path, query, sent, payload, used, now)[0]
        elif sign == "xfs":
            sent |= sign_xfs(method, path, query, payload, used, now)
        environ = _environ(method, path, query, sent, source if source is not None else BytesIO(body), peer, stock)
        return call(self.app, environ)


def _environ(method: str, path: str, query: str, headers: dict[str, str], source: Any, peer: str, stock: bool) -> dict[str, Any]:
    from urllib.parse import unquote_to_bytes

    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "9000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": peer,
        "wsgi.input": source,
        "wsgi.errors": BytesIO(),
        "wsgi.url_scheme": "http",
    }
    for name, value in headers.items():
        variable = name.upper().replace("-", "_")
        environ[variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"] = value
    if not stock:
        environ |= {"REQUEST_URI": f"{path}?{query}" if query else path, "fs.headers": headers, "fs.peer": (peer, 40000)}
    return environ


def call(app: Any, environ: dict[str, Any]) -> Answer:
    """Call a WSGI application and take its whole answer, file regions included."""
    started: list[Any] = []
    result = app(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
    pieces: list[bytes] = []
    failure = None
    try:
        if environ["REQUEST_METHOD"] != "HEAD":
            use_regions = "fs.headers" in environ and hasattr(result, "regions")
            for piece in result.regions() if use_regions else result:
                if isinstance(piece, CheckedRegion):
                    pieces += piece.pieces()
                else:
                    pieces.append(os.pread(piece.fd, piece.length, piece.offset) if isinstance(piece, FileRegion) else bytes(piece))
    except Exception as error:
        failure = error
    finally:
        if hasattr(result, "close"):
            result.close()
    status, headers = started[-1]
    return Answer(int(status.split()[0]), {name.lower(): value for name, value in headers}, b"".join(pieces), failure)


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Any]:
    """Make a store with the given FS_ settings; it is stopped at the end."""
    made: list[Store] = []
    numbers = itertools.count()

    def make(**settings: str) -> Store:
        store = Store(tmp_path / f"data-{next(numbers)}", settings)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(new_store: Any) -> Store:
    """A store with the bucket `box`."""
    made: Store = new_store()
    made.make_bucket("box")
    return made
