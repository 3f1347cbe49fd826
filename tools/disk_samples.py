"""How full the file system of the data dir is, as metric samples."""

import logging
import os

from actors.samples import MetricSamples, metric

logger = logging.getLogger("fasterstore.metrics")


def disk_samples(data_dir: str) -> list[MetricSamples]:
    """Its size, and what of it is free for the node (statvfs(3): without what is reserved for root); nothing if that cannot be told."""
    try:
        found = os.statvfs(data_dir)
    except OSError as error:
        logger.error("the disk is left out of the metrics: %s", error)
        return []
    return [
        metric("fasterstore_disk_bytes", "gauge", "Size of the data dir's file system.", [["", {}, found.f_blocks * found.f_frsize]]),
        metric("fasterstore_disk_free_bytes", "gauge", "What of it is free for the node.", [["", {}, found.f_bavail * found.f_frsize]]),
    ]
