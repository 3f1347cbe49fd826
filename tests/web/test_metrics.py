"""Counting, dumping, merging and rendering."""

from actors.samples import metric
from fasterstore.cache import BlobCache
from web.metrics import Metrics, merge, render


def value_of(dumps, name, suffix, **labels):
    found = [line for dump in dumps if dump["name"] == name for line in dump["samples"] if line[0] == suffix and line[1] == labels]
    assert len(found) == 1, (name, suffix, labels, found)
    return found[0][2]


def test_answers_are_counted_by_action_and_status_with_their_times():
    metrics = Metrics("worker-0")
    metrics.answered("GetObject", 200, 0.0004)
    metrics.finished("GetObject", 0.3)
    metrics.answered("GetObject", 404, 0.002)
    metrics.finished("GetObject", 0.002)
    dumps = metrics.samples()
    assert value_of(dumps, "fasterstore_s3_requests", "_total", api="GetObject", code="200") == 1
    assert value_of(dumps, "fasterstore_s3_requests", "_total", api="GetObject", code="404") == 1
    assert value_of(dumps, "fasterstore_s3_ttfb_seconds", "_bucket", api="GetObject", le="0.0005") == 1
    assert value_of(dumps, "fasterstore_s3_ttfb_seconds", "_bucket", api="GetObject", le="+Inf") == 2
    assert value_of(dumps, "fasterstore_s3_request_seconds", "_bucket", api="GetObject", le="0.25") == 1
    assert value_of(dumps, "fasterstore_s3_request_seconds", "_count", api="GetObject") == 2


def test_the_counts_of_two_processes_are_summed_and_their_gauges_kept_apart():
    dumps = []
    for process, hits in (("worker-0", 1), ("worker-1", 2)):
        metrics = Metrics(process)
        metrics.cache = BlobCache(1 << 20, 1 << 10)
        metrics.cache.admit(1, b"x" * hits)
        for _ in range(hits):
            metrics.cache.get(1)
            metrics.answered("PutObject", 200, 0.1)
        dumps += metrics.samples()
    merged = merge(dumps)
    assert len({dump["name"] for dump in merged}) == len(merged)
    assert value_of(merged, "fasterstore_s3_requests", "_total", api="PutObject", code="200") == 3
    assert value_of(merged, "fasterstore_s3_ttfb_seconds", "_bucket", api="PutObject", le="0.1") == 3
    assert value_of(merged, "fasterstore_cache_hits", "_total") == 3
    assert value_of(merged, "fasterstore_cache_blobs", "", process="worker-0") == 1
    assert value_of(merged, "fasterstore_cache_blobs", "", process="worker-1") == 1


def test_merging_leaves_the_dumps_as_they_were():
    dump = metric("a", "counter", "", [["_total", {}, 1]])
    merge([dump, dump])
    assert dump["samples"] == [["_total", {}, 1]]


def test_the_exposition_is_what_prometheus_reads():
    from prometheus_client.parser import text_string_to_metric_families

    metrics = Metrics("worker-0")
    metrics.answered("GetObject", 200, 0.01)
    metrics.finished("GetObject", 0.01)
    families = {family.name: family for family in text_string_to_metric_families(render(metrics.samples()).decode())}
    assert families["fasterstore_s3_requests"].type == "counter"
    assert [(sample.labels, sample.value) for sample in families["fasterstore_s3_requests"].samples] == [
        ({"api": "GetObject", "code": "200"}, 1.0)
    ]
    assert families["fasterstore_s3_request_seconds"].type == "histogram"
    assert {"_bucket", "_count", "_sum"} == {
        sample.name.removeprefix("fasterstore_s3_request_seconds") for sample in families["fasterstore_s3_request_seconds"].samples
    }
