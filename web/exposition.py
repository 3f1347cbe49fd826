"""`/metrics`: the counts of every process in one Prometheus answer, collected by the storage process's observer."""

from actors.messages import CollectMetrics
from actors.samples import MetricSamples, metric
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.metrics import CONTENT_TYPE, render
from web.reply import Reply
from web.worker import Worker


def exposition(worker: Worker, request: Request) -> Reply:
    """All samples; those of this process alone while the storage process is away. Never fails for its absence."""
    try:
        dumps: list[MetricSamples] = list(worker.ask("observer", CollectMetrics()))
    except S3Error:
        dumps = worker.metrics.samples() + _usage_samples(worker)
    dumps.append(metric("fasterstore_read_only", "gauge", "1 while writes are refused.", [["", {}, int(bool(worker.read_only))]]))
    document = render(dumps)
    return Reply(200, [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(document)))], (document,))


def _usage_samples(worker: Worker) -> list[MetricSamples]:
    if worker.index is None:
        return []
    usage = worker.index.usage()
    return [
        metric("fasterstore_bucket_objects", "gauge", "Current objects.", [["", {"bucket": row.bucket}, row.objects] for row in usage]),
        metric(
            "fasterstore_bucket_bytes",
            "gauge",
            "Bytes of current objects.",
            [["", {"bucket": row.bucket}, row.size_bytes] for row in usage],
        ),
    ]
