"""What the snapshots actor shows: copies of the index, the log's length, pins. Plain values, read by metrics and the inspector."""

from collections.abc import Callable

from actors.samples import MetricSamples, metric


class SnapshotState:
    """Written by the snapshots actor, read by everybody. Sizes are bytes, times Unix milliseconds."""

    def __init__(self) -> None:
        self.copy_lsns: list[int] = []
        """The kept copies, oldest first."""
        self.newest_copy_ms = 0
        self.log_bytes = 0
        self.log_start = 1
        self.head_lsn = 0
        self.pins = 0
        self.pin_bytes = 0
        """What pins hold and the data dir does not."""
        self.rolls = 0
        self.roll_secs = 0.0
        self.last_error = ""
        self.doing, self.done, self.total = "", 0, 0

    def samples(self, now_ms: Callable[[], int]) -> list[MetricSamples]:
        """The metrics of this actor."""

        def gauge(name: str, text: str, value: float) -> MetricSamples:
            return metric(name, "gauge", text, [["", {}, value]])

        age_secs = (now_ms() - self.newest_copy_ms) / 1000 if self.newest_copy_ms else 0.0
        return [
            gauge("fasterstore_wal_bytes", "Bytes of log files, preallocated space included.", self.log_bytes),
            gauge("fasterstore_wal_start_lsn", "The log below this LSN has been given up.", self.log_start),
            gauge("fasterstore_index_copies", "Whole copies of the index.", len(self.copy_lsns)),
            gauge("fasterstore_index_copy_lsn", "LSN of the newest copy of the index, 0 if there is none.", max(self.copy_lsns, default=0)),
            gauge("fasterstore_index_copy_age_seconds", "Age of the newest copy of the index.", max(age_secs, 0.0)),
            metric("fasterstore_index_rolls", "counter", "Copies of the index brought up to date.", [["_total", {}, self.rolls]]),
            gauge("fasterstore_index_roll_seconds", "How long the last of them took.", self.roll_secs),
            gauge("fasterstore_snapshot_pins", "Snapshots that are kept.", self.pins),
            gauge("fasterstore_snapshot_pin_bytes", "Bytes that only snapshots hold.", self.pin_bytes),
        ]
