"""Bugs of the compactor, planted on purpose; see `planted.py`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import actors.metadata_journal
import actors.regions
from actors import space_messages
from actors.compaction_round import Round
from fasterstore.metadata import fold, judge_space, schema
from fasterstore.metadata.entries import Entry
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.space_entries import BlobsMoved, SegmentRetired
from fasterstore.model import BlobRow, SegmentId
from fasterstore.storage.appender import SegmentAppender
from fasterstore.storage.segment import ALIGNMENT_BYTES, segment_name
from tests.faults.memory import SharedMemoryDisk
from tests.faults.planted import Bug, DiskClass, in_a_replay


@contextmanager
def copies_are_named_before_they_are_synced() -> Iterator[DiskClass]:
    with patch.object(SegmentAppender, "sync_region", lambda *_: None):
        yield SharedMemoryDisk


@contextmanager
def moves_are_not_replayed() -> Iterator[DiskClass]:
    with in_a_replay(lambda: patch.dict(fold._APPLY, {BlobsMoved: lambda *_: None})):
        yield SharedMemoryDisk


@contextmanager
def files_are_unlinked_before_their_records_are_moved() -> Iterator[DiskClass]:
    """The round unlinks what it has copied, and has it named then."""
    ask = Round._ask

    def unlink_first(self: Round, actor: str, message: Any, *, paced: bool = True) -> Any:
        if isinstance(message, space_messages.FinishRegion):
            self._tools.thread.run(self._unlink, sorted({move.old.segment_id for move in message.relocations}))
        return ask(self, actor, message, paced=paced)

    with patch.object(Round, "_ask", unlink_first):
        yield SharedMemoryDisk


@contextmanager
def names_of_unlinked_files_are_not_synced() -> Iterator[DiskClass]:
    """The log says that they are gone, a power cut brings them back, and nothing will ever remove them."""

    def unlink(self: Round, segment_ids: list[SegmentId]) -> None:
        for segment_id in segment_ids:
            path = os.path.join(self._tools.folder, segment_name(segment_id))
            if self._tools.disk.exists(path):
                self._tools.disk.unlink(path)

    with patch.object(Round, "_unlink", unlink):
        yield SharedMemoryDisk


SPACE_BUGS: tuple[Bug, ...] = (
    copies_are_named_before_they_are_synced,
    moves_are_not_replayed,
    files_are_unlinked_before_their_records_are_moved,
    names_of_unlinked_files_are_not_synced,
)


# ---- for the model: bugs that need no power cut ----


@contextmanager
def blobs_that_are_used_again_are_forgotten() -> Iterator[DiskClass]:
    """The row by which unused blobs are found is left as it was, and the judge believes it."""

    def change(self: IndexWriter, row: BlobRow) -> None:
        self._execute("UPDATE blobs SET value = ? WHERE number = ?", (schema.pack_blob(row), row.number))
        if not row.refs:
            self._execute("UPDATE blobs SET unused_ms = ? WHERE number = ?", (row.zero_since_ms, row.number))

    def believed(self: IndexWriter, before_ms: int, limit: int) -> tuple[list[BlobRow], list[str]]:
        statement = "SELECT number, prefix, segment, value FROM blobs WHERE unused_ms <= ? ORDER BY unused_ms LIMIT ?"
        rows = [schema.unpack_blob(*row) for row in self._execute(statement, (before_ms, limit)).fetchall()]
        return [row._replace(refs=0, zero_since_ms=before_ms) for row in rows], []

    with patch.object(IndexWriter, "change_blob", change), patch.object(IndexWriter, "unused_blobs", believed):
        yield SharedMemoryDisk


@contextmanager
def a_segment_is_retired_with_a_blob_in_it() -> Iterator[DiskClass]:
    """What cannot be read cannot be moved, and goes with its segment."""

    def retire(_index: IndexWriter, segment_ids: list[int]) -> list[Entry]:
        return [SegmentRetired(SegmentId(segment_id)) for segment_id in segment_ids]

    with patch.object(judge_space, "judge_retire", retire):
        yield SharedMemoryDisk


@contextmanager
def more_is_punched_than_was_given_back() -> Iterator[DiskClass]:
    def rounded_up(offset: int, length_bytes: int) -> tuple[int, int]:
        first = offset // ALIGNMENT_BYTES * ALIGNMENT_BYTES
        return first, -(-(offset + length_bytes) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES - first

    with (
        patch.object(actors.regions, "punchable", rounded_up),
        patch.object(actors.metadata_journal, "punchable", rounded_up),
        patch.object(judge_space, "record_bytes", lambda _: 0),
    ):
        yield SharedMemoryDisk


SPACE_MODEL_BUGS: tuple[Bug, ...] = (
    blobs_that_are_used_again_are_forgotten,
    a_segment_is_retired_with_a_blob_in_it,
    more_is_punched_than_was_given_back,
)
