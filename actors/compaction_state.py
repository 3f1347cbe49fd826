"""What the compactor says of itself: `/_admin/compaction` and `/metrics` are made from it. Plain numbers, no names of objects.

| field              | meaning                                                                                              |
|--------------------|------------------------------------------------------------------------------------------------------|
| state              | idle, running, paused, failed (the last round ended with an error; the next is tried at its time)   |
| rounds             | rounds since the start of the storage process                                                        |
| reclaimable_bytes  | dead bytes of sealed segments, as of the last look                                                   |
| live_bytes, held_bytes | what blobs take of sealed segments, and what those take of the disk, as of the last look          |
| short_of_space     | free space is below twice FS_MIN_FREE_MB: full speed, no read grace                                  |
| segments_to_do / segments_done | of the running round, or of the last one                                                |
| moved_bytes, moved_blobs, freed_bytes, forgotten_blobs, damaged_blobs | totals since the start of the process            |
| unpunched_bytes    | what the log gave back within segment files and the disk did not (yet): dead bytes, part of reclaimable |
| left_out           | damaged rows and unreadable files that the running round, or the last one, had to pass over           |
| last_round         | {started_ms, ended_ms, moved_bytes, freed_bytes, segments, error}, None before the first             |
"""

from typing import Any

from actors.samples import MetricSamples, counter, metric


class CompactionState:
    """Written by the compactor alone, read by whoever shows it."""

    def __init__(self) -> None:
        self.state = "idle"
        self.paused = False
        self.rounds = 0
        self.reclaimable_bytes = 0
        self.live_bytes = 0
        self.held_bytes = 0
        self.short_of_space = False
        self.segments_to_do = 0
        self.segments_done = 0
        self.moved_bytes = 0
        self.moved_blobs = 0
        self.freed_bytes = 0
        self.forgotten_blobs = 0
        self.damaged_blobs = 0
        self.left_out = 0
        self.unpunched_bytes = 0
        self.last_round: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The table above, as a plain dict."""
        return {**vars(self), "state": "paused" if self.paused and self.state == "running" else self.state}

    def samples(self) -> list[MetricSamples]:
        """The same as metrics."""

        def gauge(name: str, text: str, value: float) -> MetricSamples:
            return metric(f"fasterstore_compaction_{name}", "gauge", text, [["", {}, value]])

        last_error = bool(self.last_round and self.last_round["error"])
        return [
            gauge("reclaimable_bytes", "Dead bytes of sealed segments.", self.reclaimable_bytes),
            gauge("live_bytes", "Bytes of sealed segments that blobs hold.", self.live_bytes),
            gauge("held_bytes", "Bytes that sealed segments take of the disk.", self.held_bytes),
            gauge("running", "1 while a round is under way.", float(self.state == "running")),
            gauge("paused", "1 while an operator has paused compaction.", float(self.paused)),
            gauge("short_of_space", "1 while free space is below twice FS_MIN_FREE_MB.", float(self.short_of_space)),
            gauge("segments_to_do", "Segments that the round is to rewrite.", self.segments_to_do),
            gauge("segments_done", "Segments that the round has rewritten.", self.segments_done),
            gauge("last_round_failed", "1 if the last round ended with an error.", float(last_error)),
            gauge("unpunched_bytes", "Bytes given back within segment files by the log and not by the disk.", self.unpunched_bytes),
            gauge("left_out", "Damaged rows and unreadable files that the last round had to pass over.", self.left_out),
            counter("fasterstore_compaction_rounds", "Rounds.", self.rounds),
            counter("fasterstore_compaction_moved_bytes", "Bytes of records moved.", self.moved_bytes),
            counter("fasterstore_compaction_moved_blobs", "Blobs moved.", self.moved_blobs),
            counter("fasterstore_compaction_freed_bytes", "Bytes of segment files unlinked.", self.freed_bytes),
            counter("fasterstore_compaction_forgotten_blobs", "Unused blobs forgotten.", self.forgotten_blobs),
            counter("fasterstore_compaction_damaged_blobs", "Records that fail their checksum and stay.", self.damaged_blobs),
        ]
