"""What the storage process counts: WAL writes, batches, the index's usage per bucket, and tokens leased to workers."""

import logging
from collections.abc import Callable

from actors.samples import SIZE_BOUNDS, Histogram, MetricSamples, counter, metric
from fasterstore.errors import DamagedRow, VolumeSuspect
from fasterstore.metadata.index import IndexView
from fasterstore.token_buckets import TokenBuckets

logger = logging.getLogger("fasterstore.metrics")


class StorageMetrics:
    """Given to the journal as its observer; read by the observer actor."""

    def __init__(self, view: Callable[[], IndexView | None]) -> None:
        self._view = view
        self._write_secs = Histogram()
        self._batch_requests = Histogram(SIZE_BOUNDS)
        self._fsync_secs = Histogram()
        self.index_rebuilt = False
        """Whether the last start rebuilt the index."""
        self.torn_bytes = 0
        """How much of an unacknowledged batch the last start set aside."""

    def batch(self, requests: int, write_secs: float, sync_secs: float) -> None:
        """A journal batch of that many requests took so long to be written, synced and committed, and so long of it to be synced."""
        self._write_secs.observe(write_secs)
        self._fsync_secs.observe(sync_secs)
        self._batch_requests.observe(requests)

    def samples(self) -> list[MetricSamples]:
        """Everything counted so far, and the usage as of now."""
        found = [
            metric("fasterstore_wal_fsync_seconds", "histogram", "Time of a WAL fdatasync.", self._fsync_secs.samples({})),
            metric("fasterstore_journal_write_seconds", "histogram", "WAL frame, sync, index commit.", self._write_secs.samples({})),
            metric("fasterstore_journal_batch_requests", "histogram", "Requests in one batch.", self._batch_requests.samples({})),
            metric("fasterstore_index_rebuilt", "gauge", "1 if the last start rebuilt the index.", [["", {}, float(self.index_rebuilt)]]),
            metric("fasterstore_wal_torn_bytes", "gauge", "Unacknowledged bytes that the start set aside.", [["", {}, self.torn_bytes]]),
        ]
        view = self._view()
        if view is None:
            return found
        try:
            usage, applied_lsn, damaged = view.usage(), view.applied_lsn(), view.damaged_blobs()
        except (DamagedRow, VolumeSuspect) as error:
            logger.error("usage is left out of the metrics: %s", error)
            return found
        objects = [["", {"bucket": row.bucket}, row.objects] for row in usage]
        size_bytes = [["", {"bucket": row.bucket}, row.size_bytes] for row in usage]
        return [
            *found,
            metric("fasterstore_wal_head_lsn", "gauge", "The last entry that is durable and visible.", [["", {}, applied_lsn]]),
            metric("fasterstore_damaged_blobs", "gauge", "Blobs that failed verification and are not repaired.", [["", {}, damaged]]),
            metric("fasterstore_bucket_objects", "gauge", "Objects in a bucket.", objects),
            metric("fasterstore_bucket_bytes", "gauge", "Plaintext bytes of a bucket's objects.", size_bytes),
        ]


def lease_samples(buckets: TokenBuckets | None) -> list[MetricSamples]:
    """What the rate-limiter has leased; nothing without a limit."""
    if buckets is None:
        return []
    return [
        counter("fasterstore_rate_limiter_leases", "Asks of workers for request tokens.", buckets.leases),
        metric("fasterstore_rate_limiter_tokens", "gauge", "Tokens used or on lease since the start.", [["", {}, buckets.tokens]]),
    ]
