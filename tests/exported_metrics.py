"""Every series that a node can export, with its labels: read from an answer of /metrics by the program's own parts. No process is started.

The parts are put together as a node has them with peers, TLS, a rate limit and a cache, so that nothing is left out for being off.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pykka
from prometheus_client.parser import text_string_to_metric_families

from actors.observer import Observer
from actors.scrub_samples import scrub_samples
from fasterstore.keyring import Keyring
from fasterstore.replication.board import ReplicationBoard
from fasterstore.scrub.report import ScrubReport
from tests.certificates import make_certificate
from tests.web.app.conftest import Answer, Store
from tools.storage_metrics import StorageMetrics
from tools.storage_process import StorageProcess
from tools.supervisor import Child
from web.http_counters import HttpCounters
from web.served_certificate import ServedCertificate
from web.tls_acceptor import TlsAcceptor

TOKEN = "a-token-for-metrics"
SETTINGS = {
    "FS_ADVERTISE_ADDR": "http://10.0.0.1:9000",
    "FS_REPLICATION_PEERS": "http://10.0.0.2:9000",
    "FS_INTERNAL_TOKEN": "a-token-between-nodes",
    "FS_METRICS_TOKEN": TOKEN,
}

Exported = dict[str, dict[str, set[str]]]
"""Name of a series, as Prometheus stores it -> {label: values that it had}."""


def answer(folder: Path, headers: Mapping[str, str]) -> Answer:
    """The answer to GET /metrics with those headers, of a store in `folder` that has one bucket and has answered one request."""
    store = Store(folder / "data", SETTINGS)
    try:
        store.make_bucket("b")
        metrics = store.worker.metrics
        metrics.http = HttpCounters()
        metrics.tls = TlsAcceptor(ServedCertificate(*make_certificate(folder / "tls")))
        metrics.refusals = {"token": 1}
        store.send("GET", "/b")
        report = ScrubReport(interval_secs=86_400, share=0.05)
        report.progress = report.progress.ended(now_ms=1_000_000)
        usage = StorageMetrics(lambda: store.worker.index)
        peers = ReplicationBoard(store.settings.replication_peers)
        storage = StorageProcess(store.settings, store.datadir, Keyring(store.datadir.blob_key), Child(0, 0, -1, -1), peers)
        store.observer.stop()
        store.observer = Observer.start(
            "worker-0", lambda: [*metrics.samples(), *storage.samples(), *usage.samples(), *scrub_samples(report)]
        )
        store.directory.register("observer", store.observer)
        return store.send("GET", "/metrics", headers=dict(headers), sign="")
    finally:
        store.close()
        pykka.ActorRegistry.stop_all()


def exported(folder: Path) -> Exported:
    """The series of such an answer. `folder` is an empty one."""
    os.makedirs(folder, exist_ok=True)
    found = answer(folder, {"authorization": f"Bearer {TOKEN}"})
    assert found.status == 200, found.body
    series: Exported = {}
    for family in text_string_to_metric_families(found.body.decode()):
        for sample in family.samples:
            labels = series.setdefault(sample.name, defaultdict(set))
            for label, value in sample.labels.items():
                labels[label].add(value)
    return series
