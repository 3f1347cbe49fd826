"""The scrubber's figures as metric samples."""

from actors.samples import MetricSamples, counter, metric
from fasterstore.scrub.report import ScrubReport

_STATES = ("running", "paused", "idle", "off")


def scrub_samples(report: ScrubReport) -> list[MetricSamples]:
    """What scrubbing has read and found, and where it stands."""
    progress = report.progress
    counts, last = report.counts, progress.last
    share = min(progress.counts.bytes / report.total_bytes, 1.0) if report.running and report.total_bytes else 0.0
    found = [
        counter("fasterstore_scrub_read_bytes", "Bytes read and verified by scrubbing.", counts.bytes),
        counter("fasterstore_scrub_records", "Records read and verified by scrubbing.", counts.records),
        counter("fasterstore_scrub_index_rows", "Index rows and index entries read and verified by scrubbing.", counts.rows),
        counter("fasterstore_scrub_damaged", "Records, rows and files that scrubbing found damaged.", counts.damaged),
        counter("fasterstore_scrub_copies_refused", "Bad records not copied to quarantine for want of room.", report.copies_refused),
        _gauge("fasterstore_scrub_round", "Number of the running or last round.", progress.round),
        _gauge("fasterstore_scrub_round_done_ratio", "How much of the running round has been read, 0 to 1.", share),
        _gauge("fasterstore_scrub_pace_bytes_per_second", "Rate of the running round, rests included.", report.status()["bytes_per_sec"]),
        _gauge("fasterstore_scrub_index_damaged", "1: the index is damaged; the next start makes it again.", bool(report.index_damage)),
        _gauge("fasterstore_scrub_copy_damaged", "1: a kept copy of the index is damaged.", bool(report.copy_damage)),
        _gauge("fasterstore_scrub_log_damaged", "1: a finished journal file is damaged.", bool(progress.log_damage)),
        metric(
            "fasterstore_scrub_state", "gauge", "1 for what scrubbing is doing.",
            [["", {"state": name}, int(name == report.state)] for name in _STATES],
        ),
    ]  # fmt: skip
    if last is not None:
        found.append(_gauge("fasterstore_scrub_last_round_end_seconds", "Unix time at which the last round ended.", last.ended_ms / 1000))
        found.append(_gauge("fasterstore_scrub_last_round_damaged", "What the last round found damaged.", last.counts.damaged))
    return found


def _gauge(name: str, text: str, value: float) -> MetricSamples:
    return metric(name, "gauge", text, [["", {}, value]])
