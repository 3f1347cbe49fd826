"""What this process counts about its requests, and one exposition made of the counts of all processes.

A process's counts travel as plain dicts (`actors/samples.py`) to whoever renders `/metrics`; they are summed there by name and labels
and rendered by prometheus-client. Recording is on the hot path, so it is a few additions: prometheus-client's own counters take a
lock per call. Only this process's greenlets write the numbers. Must never hold a key, a bucket's name or an address.
"""

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from actors.samples import Histogram, MetricSamples, counter, metric
from fasterstore.cache import BlobCache
from web.http_counters import HttpCounters
from web.rate_limit import RateLimit
from web.tls_acceptor import TlsAcceptor

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Action:
    """The series of one S3 action."""

    __slots__ = ("codes", "request_secs", "ttfb_secs")

    def __init__(self) -> None:
        self.codes: dict[int | str, int] = {}
        self.request_secs = Histogram()
        self.ttfb_secs = Histogram()


class Metrics:
    """This process's counts. `process` names it in gauges; `http`, `cache`, `rate_limit` and `tls` are read when samples are taken."""

    __slots__ = (
        "_actions", "bytes_in", "bytes_out", "cache", "damaged_reads", "downloads_open", "http", "process", "pulls", "rate_limit",
        "refusals", "tls",
    )  # fmt: skip

    def __init__(self, process: str) -> None:
        self.process = process
        self._actions: dict[str, _Action] = {}
        self.bytes_in = 0
        self.bytes_out = 0
        self.damaged_reads = 0
        self.downloads_open = 0
        self.http: HttpCounters | None = None
        self.cache: BlobCache | None = None
        self.rate_limit: RateLimit | None = None
        self.tls: TlsAcceptor | None = None
        self.refusals: Mapping[str, int] | None = None
        """Calls between nodes that were refused, by kind; None on a node without peers."""
        self.pulls: Sized = ()

    def answered(self, action: str, code: int, ttfb_secs: float) -> None:
        """Count an answer of `action` (a name from the table of S3 actions) whose head is about to be sent."""
        series = self._actions.get(action)
        if series is None:
            series = self._actions[action] = _Action()
        codes = series.codes
        codes[code] = codes.get(code, 0) + 1
        series.ttfb_secs.observe(ttfb_secs)

    def finished(self, action: str, request_secs: float) -> None:
        """Count the time of an answer whose last byte has been handed over."""
        self._actions[action].request_secs.observe(request_secs)

    def samples(self) -> list[MetricSamples]:
        """Everything counted so far, as plain values."""
        requests, seconds, ttfb = [], [], []
        for action, series in sorted(self._actions.items()):
            labels = {"api": action}
            requests += [["_total", {**labels, "code": str(code)}, count] for code, count in sorted(series.codes.items())]
            seconds += series.request_secs.samples(labels)
            ttfb += series.ttfb_secs.samples(labels)
        found = [
            metric("fasterstore_s3_requests", "counter", "Answers by S3 action and HTTP status.", requests),
            metric("fasterstore_s3_request_seconds", "histogram", "Time from the request's head to the answer's last byte.", seconds),
            metric("fasterstore_s3_ttfb_seconds", "histogram", "Time from the request's head to the answer's head.", ttfb),
            counter("fasterstore_s3_received_bytes", "Body bytes received, as stored.", self.bytes_in),
            counter("fasterstore_s3_sent_bytes", "Object bytes of answers.", self.bytes_out),
            counter("fasterstore_damaged_reads", "Reads refused because stored bytes failed verification.", self.damaged_reads),
            self._gauge("fasterstore_s3_downloads_open", "Streamed answers that have not ended.", self.downloads_open),
        ]
        if self.http is not None:
            found += self._http_samples(self.http)
        if self.cache is not None:
            found += self._cache_samples(self.cache)
        if self.tls is not None:
            found += self.tls.samples(self.process)
        if (limit := self.rate_limit) is not None:
            found += [
                counter("fasterstore_rate_limit_granted", "Requests that found a token of their access key.", limit.granted),
                counter("fasterstore_rate_limit_refused", "Requests answered SlowDown by FS_RATE_LIMIT_PER_SEC.", limit.refused),
                counter("fasterstore_rate_limit_on_account", "Requests let through by a worker's own share.", limit.on_account),
            ]
        if (refusals := self.refusals) is not None:
            refused = [["_total", {"kind": kind}, count] for kind, count in sorted(refusals.items())]
            found += [
                metric("fasterstore_internal_refused", "counter", "Calls between nodes, or answers to them, that were refused.", refused),
                self._gauge("fasterstore_replication_pulls", "Blobs that are being pulled from peers, or wait for it.", len(self.pulls)),
            ]
        return found

    def _http_samples(self, http: HttpCounters) -> list[MetricSamples]:
        return [
            self._gauge("fasterstore_http_connections", "Open connections.", http.connections_open),
            counter("fasterstore_http_connections_accepted", "Connections accepted.", http.connections_accepted),
            counter("fasterstore_http_connections_over_limit", "Connections refused for their number.", http.connections_over_limit),
            counter(
                "fasterstore_http_connections_over_address_limit",
                "Connections refused by FS_MAX_CONNECTIONS_PER_ADDR.",
                http.connections_over_address_limit,
            ),
            counter("fasterstore_http_refused_heads", "Requests refused for their framing, target or size.", http.refused_heads),
            counter("fasterstore_http_deadlines_passed", "Connections ended by a deadline.", http.deadlines_passed),
            counter("fasterstore_http_slow_ended", "Slow connections ended for the memory that they held.", http.slow_ended),
            counter("fasterstore_http_body_waits", "Bodies that waited for memory to be received into.", http.body_waits),
            counter("fasterstore_http_disconnects", "Peers that went away inside a request.", http.disconnects),
            counter("fasterstore_http_resets", "Answers broken off with a reset.", http.resets),
            counter("fasterstore_http_defects", "Requests on which the application failed.", http.defects),
        ]

    def _cache_samples(self, cache: BlobCache) -> list[MetricSamples]:
        return [
            counter("fasterstore_cache_hits", "Reads answered from the cache of verified blobs.", cache.hits),
            counter("fasterstore_cache_misses", "Reads of cacheable blobs that were not in it.", cache.misses),
            counter("fasterstore_cache_evictions", "Blobs that made room for others.", cache.evictions),
            self._gauge("fasterstore_cache_bytes", "Bytes held by the cache.", cache.held_bytes),
            self._gauge("fasterstore_cache_blobs", "Blobs held by the cache.", len(cache)),
        ]

    def _gauge(self, name: str, text: str, value: float) -> MetricSamples:
        return metric(name, "gauge", text, [["", {"process": self.process}, value]])


def merge(dumps: Iterable[MetricSamples]) -> list[MetricSamples]:
    """Metrics of one name made one: samples of equal suffix and labels are summed.

    Gauges that must not be summed carry the label `process`.
    """
    merged: dict[str, MetricSamples] = {}
    values: dict[str, dict[tuple[Any, ...], list[Any]]] = {}
    for dump in dumps:
        name = dump["name"]
        if name not in merged:
            merged[name] = metric(name, dump["kind"], dump["help"], [])
            values[name] = {}
        place = values[name]
        for suffix, labels, value in dump["samples"]:
            key = (suffix, *sorted(labels.items()))
            line = place.get(key)
            if line is None:
                place[key] = line = [suffix, labels, 0]
                merged[name]["samples"].append(line)
            line[2] += value
    return list(merged.values())


class _Merged:
    """A collector, as prometheus-client wants one, over ready samples."""

    def __init__(self, metrics: list[MetricSamples]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for found in self._metrics:
            family = Metric(found["name"], found["help"], found["kind"])
            for suffix, labels, value in found["samples"]:
                family.add_sample(found["name"] + suffix, labels, value)
            yield family


def render(dumps: Iterable[MetricSamples]) -> bytes:
    """The Prometheus text exposition (format 0.0.4) of the merged dumps."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(merge(dumps)))
    return generate_latest(registry)
