"""The certificate that new connections of this process get, and the watch over its two files.

Owns: when files are loaded again, and what is served while they cannot be. Must never: serve a pair that has not proved itself, or stop
serving one that has because the files changed. An open connection keeps what it began with.
"""

from __future__ import annotations

import logging
import os
import ssl
from datetime import UTC, datetime
from typing import Any

from actors.runtime import Event, offload, spawn
from actors.samples import MetricSamples, counter, metric
from fasterstore.certificate_dates import Validity
from web.tls_context import CertificateRefused, load_certificate

logger = logging.getLogger("fasterstore.tls")

LOOK_INTERVAL_SECS = 1.0

Signature = tuple[tuple[int, int, int], ...]
"""(inode, bytes, time of change in ns) of each file: programs that renew certificates replace files or links to them."""


class ServedCertificate:
    """`context` and `validity` of the pair in use; `trouble` says why the files as they are now are not, "" if they are."""

    def __init__(self, cert_path: str, key_path: str) -> None:
        """Loads the pair. Raises CertificateRefused."""
        self._paths = (cert_path, key_path)
        self._judged: Signature | None = self._signature()
        self._seen = self._judged
        loaded = load_certificate(cert_path, key_path)
        self.context: ssl.SSLContext = loaded.context
        self.validity: Validity = loaded.validity
        self.trouble = ""
        self.reloads = 0
        self._wanted = Event()
        self._watcher: Any = None

    def look(self, at_once: bool = False) -> None:
        """Load the files if they have changed and were left alone since the last look: two files are never replaced at one moment.

        Args: at_once, load them whether they changed or not. Never raises; what cannot be served is logged once and kept in `trouble`.
        """
        found = self._signature()
        unsettled = found != self._seen
        self._seen = found
        if not at_once and (unsettled or found == self._judged):
            return
        self._judged = found
        try:
            loaded = load_certificate(*self._paths)
        except CertificateRefused as error:
            if self.trouble != str(error):
                logger.error("the new certificate cannot be served, the one before it still is: %s", error)
            self.trouble = str(error)
            return
        self.context, self.validity = loaded
        self.trouble = ""
        self.reloads += 1
        until = datetime.fromtimestamp(self.validity.not_after, UTC)
        logger.info("new connections get the certificate that is valid until %s", f"{until:%Y-%m-%d %H:%M} UTC")

    def watch(self) -> None:
        """Look at the files every second from now on, in a greenlet."""
        self._watcher = spawn(self._watch)

    def reload(self) -> None:
        """Load the files at once: an operator says that they are ready."""
        self._wanted.set()

    def stop(self) -> None:
        """End the watch."""
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher = None

    def samples(self, process: str) -> list[MetricSamples]:
        """What /metrics shows of it; `process` names this process in gauges."""
        labels = {"process": process}
        return [
            counter("fasterstore_tls_reloads", "Certificates taken into use without a restart.", self.reloads),
            metric(
                "fasterstore_tls_reload_failed",
                "gauge",
                "1 while the certificate's files cannot be served and the pair before them is.",
                [["", labels, int(bool(self.trouble))]],
            ),
            metric(
                "fasterstore_tls_certificate_not_after_seconds",
                "gauge",
                "Unix time at which the certificate in use ceases to be valid.",
                [["", labels, self.validity.not_after]],
            ),
        ]

    def _watch(self) -> None:
        while True:
            at_once = self._wanted.wait(LOOK_INTERVAL_SECS)
            self._wanted.clear()
            offload(self.look, at_once)  # the files may lie on a file system that hangs

    def _signature(self) -> Signature | None:
        try:
            return tuple((found.st_ino, found.st_size, found.st_mtime_ns) for found in map(os.stat, self._paths))
        except OSError:
            return None
