"""What serves HTTP in a process: the worker's shared state, its cache and observer actors, the Bottle app, the server.

Used by worker processes, which reach storage by its socket, and by the single process, which has storage inside.
"""

import logging
import socket
from collections.abc import Callable
from typing import Any

from actors.cache import Cache
from actors.directory import Directory
from actors.messages import ForgetAll
from actors.observer import Observer
from actors.runtime import sleep, spawn
from fasterstore.cache import BlobCache
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.settings import Settings
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import RealDisk
from tools.heap import give_back
from tools.wall_clock import now_ms
from web.address_limit import AddressCounts, AddressLimit
from web.app import make_app
from web.served_certificate import ServedCertificate
from web.server import HttpLimits, HttpServer
from web.tls_acceptor import TlsAcceptor
from web.tls_context import CertificateRefused
from web.worker import LinkState, Worker

logger = logging.getLogger("fasterstore.web")

FORGET_UNLINKED_SECS = 1.0
SLOW_MEMORY_BYTES = 16 * 1024 * 1024
"""What the slow clients of all workers may hold."""
RUSH_MEMORY_BYTES = 24 * 1024 * 1024
"""What is half received in all workers: with what 2,000 connections cost anyway, up to 40 MiB, it stays below 64 MiB."""
RUSH_MEMORY_MIN_BYTES = 4 * 1024 * 1024
"""Of each worker, however many there are: less would cut large uploads into small pieces where there is no rush at all."""


class WebProcess:
    """Owns the parts of one web process. `directory` resolves the storage actors; `link_state` is shown by /readyz."""

    def __init__(
        self,
        settings: Settings,
        datadir: DataDir,
        keyring: Keyring,
        listener: socket.socket,
        *,
        number: int,
        directory: Directory,
        link_state: Callable[[], LinkState],
    ) -> None:
        self._settings = settings
        self._datadir = datadir
        self._directory = directory
        share_bytes = settings.cache_capacity_bytes // max(settings.workers, 1)
        blobs = BlobCache(share_bytes, settings.cache_object_max_bytes)
        self._cache_ref = Cache.start(blobs)
        self.worker = Worker(
            settings=settings,
            directory=directory,
            disk=RealDisk(),
            segments_dir=datadir.segments_dir,
            blob_key=keyring.blob_key,
            now_ms=now_ms,
            number=number,
            cache=blobs,
            cache_ref=self._cache_ref,
            link_state=link_state,
            host_id=datadir.node_id.hex(),
            keyring=keyring,
            node_id=datadir.node_id,
        )
        limits = HttpLimits(
            progress_timeout_secs=settings.request_timeout_secs,
            min_body_rate_bytes=settings.min_body_rate_bytes_per_sec,
            slow_memory_bytes=SLOW_MEMORY_BYTES // max(settings.workers, 1),
            rush_memory_bytes=max(RUSH_MEMORY_BYTES // max(settings.workers, 1), RUSH_MEMORY_MIN_BYTES),
        )
        tls = None
        if settings.tls_cert_path is not None and settings.tls_key_path is not None:
            tls = self._tls_acceptor(settings.tls_cert_path, settings.tls_key_path)
        self.server = HttpServer(listener, make_app(self.worker), limits, tls=tls)
        self.server.give_back_memory = give_back
        spawn(self._forget_unlinked_for_ever)
        self.worker.metrics.http = self.server.counters
        self.worker.metrics.cache = blobs

    def _tls_acceptor(self, cert_path: str, key_path: str) -> TlsAcceptor:
        try:
            certificate = ServedCertificate(cert_path, key_path)
        except CertificateRefused as error:  # it was good when the node started: this process is started again until it is good once more
            logger.error("%s", error)
            raise SystemExit(1) from None
        certificate.watch()
        self.worker.certificate = certificate
        acceptor = self.worker.metrics.tls = TlsAcceptor(certificate)
        return acceptor

    def limit_addresses(self, counts: AddressCounts) -> None:
        """Let each address have FS_MAX_CONNECTIONS_PER_ADDR connections in `counts`. Call before the server starts."""
        settings = self._settings
        self.server.address_limit = AddressLimit(counts, settings.max_connections_per_addr, settings.trusted_proxies)

    def observe(self, directory: Directory) -> Any:
        """Start this process's observer under its name in `directory`; return its ref."""
        ref = Observer.start(self.worker.metrics.process, self.worker.metrics.samples)
        directory.register("observer", ref)
        return ref

    def open_index(self) -> None:
        """Read from the index as it is now: at each connection to storage, and when the node becomes read-only."""
        self.close_index()
        view = IndexView(self._datadir.index_path)
        self.worker.segments.forget_all()
        self._cache_ref.ask(ForgetAll(view.identity()))  # before any request reads blob numbers under this index
        self.worker.index = view

    def close_index(self) -> None:
        """Answer 503 from now on: storage may have another epoch when it comes back. Read-only nodes go on reading."""
        view = self.worker.index
        if view is not None and not self.worker.read_only:
            self.worker.index = None
            view.close()

    def become_read_only(self, reason: str) -> None:
        """Refuse writes, and read from the last committed index."""
        self.worker.read_only = reason
        if self.worker.index is None:
            try:
                self.open_index()
            except Exception as error:  # an unreadable volume: reads are refused too, and /readyz says why
                logger.error("no reads either: the index cannot be opened: %s: %s", type(error).__name__, error)

    def _forget_unlinked_for_ever(self) -> None:
        """An open descriptor keeps the space of a segment that compaction has unlinked."""
        while True:
            sleep(FORGET_UNLINKED_SECS)
            self.worker.segments.forget_unlinked()

    def reload(self) -> None:
        """Take what an operator has changed: the certificate."""
        if self.worker.certificate is not None:
            self.worker.certificate.reload()

    def drain(self) -> None:
        """Finish the requests in flight; what still runs after the request timeout is reset."""
        reset = self.server.drain(self._settings.request_timeout_secs)
        if reset:
            logger.warning("%d connections were reset at the end of the drain", reset)
