"""What metadata-journal answers to those who give space back: message in, reply out, judged and folded in the running batch.

Part of `metadata_journal.py`, which owns batch and order.
"""

from collections.abc import Callable
from typing import Any

from actors import space_messages as m
from actors.messages import Done
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.requests import Requests

LEFT_OUT_MAX = 100
"""Damaged rows of which an answer tells."""


class SpaceJudges:
    """One method a message; `by_message` is for the journal's table of judges."""

    def __init__(self, requests: Requests, index: IndexWriter) -> None:
        self._requests = requests
        self._index = index
        self.by_message: dict[type, Callable[[Any, int], Any]] = {
            m.ForgetBlobs: self._forget,
            m.CommitMoves: self._move,
            m.RetireSegments: self._retire,
            m.SegmentsRemoved: self._removed,
            m.PunchRange: self._punch,
        }

    def _forget(self, message: m.ForgetBlobs, now_ms: int) -> m.Forgotten:
        count, left_out = self._requests.forget_blobs(message.before_ms, message.limit, now_ms)
        return m.Forgotten(count, left_out[:LEFT_OUT_MAX])

    def _move(self, message: m.CommitMoves, _now_ms: int) -> m.Moved:
        return m.Moved(self._requests.move_blobs(message.relocations))

    def _retire(self, message: m.RetireSegments, _now_ms: int) -> m.Retired:
        segment_ids, left_out = self._requests.retire_segments(message.segment_ids)
        return m.Retired(segment_ids, left_out[:LEFT_OUT_MAX])

    def _removed(self, message: m.SegmentsRemoved, _now_ms: int) -> Done:
        self._requests.segments_removed(message.segment_ids)
        return Done()

    def _punch(self, message: m.PunchRange, _now_ms: int) -> m.RangeGivenBack | None:
        """What segment-writer is told once the entry is written; None: something lies there, it stays."""
        if not self._requests.punch_range(*message):
            return None
        return m.RangeGivenBack(message.segment_id, self._index.segment(message.segment_id).file_uuid, message.offset, message.length_bytes)
