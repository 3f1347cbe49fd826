"""Bugs planted on purpose: a harness that does not find each of them is worth nothing.

Each is a context manager that breaks one promise of the engine while it is open, and yields the disk class to run on. Product code
has no switch for any of this: disks are subclassed, one function or method is patched.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from blake3 import blake3

import actors.segment_writer
from actors.metadata_journal import MetadataJournal
from actors.runtime import Envelope
from actors.segment_writer import SegmentWriter
from fasterstore.metadata import fold, fold_uploads, judge, judge_uploads
from fasterstore.metadata.entries import Entry, ObjectDeleted, SegmentIdsLeased, UploadCompleted
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.journal import Journal
from fasterstore.metadata.upload_writer import UploadWriter
from fasterstore.model import BlobLocation, ManifestRow, ObjectRow, SegmentId
from fasterstore.storage import record, sealed_record, wal_format
from fasterstore.storage.disk import Buffer, Disk
from fasterstore.storage.wal import WalWriter
from tests.faults.memory import SharedMemoryDisk

DiskClass = type[SharedMemoryDisk]
Bug = Callable[[], AbstractContextManager[DiskClass]]


class _Forgetful(SharedMemoryDisk):
    """A disk that does not sync the data of files in one folder, or the names in another."""

    data_folder = ""
    names_folder = ""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        super().__init__(capacity_bytes)
        self._paths: dict[int, str] = {}

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> int:
        fd = super().open(path, create=create, exclusive=exclusive, read_only=read_only)
        self._paths[fd] = path
        return fd

    def fdatasync(self, fd: int) -> None:
        if not self.data_folder or os.path.basename(os.path.dirname(self._paths[fd])) != self.data_folder:
            super().fdatasync(fd)

    def fsync_dir(self, path: str) -> None:
        if not self.names_folder or os.path.basename(path) != self.names_folder:
            super().fsync_dir(path)


@contextmanager
def segments_are_not_synced() -> Iterator[DiskClass]:
    yield type("Broken", (_Forgetful,), {"data_folder": "segments"})


@contextmanager
def the_log_is_not_synced() -> Iterator[DiskClass]:
    yield type("Broken", (_Forgetful,), {"data_folder": "journal"})


@contextmanager
def new_segments_names_are_not_synced() -> Iterator[DiskClass]:
    yield type("Broken", (_Forgetful,), {"names_folder": "segments"})


@contextmanager
def new_log_files_names_are_not_synced() -> Iterator[DiskClass]:
    yield type("Broken", (_Forgetful,), {"names_folder": "journal"})


@contextmanager
def acknowledged_before_the_log_is_synced() -> Iterator[DiskClass]:
    """The sync of each frame is put off until the next one is written."""
    reserve = WalWriter.reserve

    def sync_later(self: WalWriter) -> None:
        self.durable_lsn = self.head_lsn

    def sync_now(self: WalWriter, length: int) -> None:
        self._disk.fdatasync(self._fd)
        reserve(self, length)

    with patch.object(WalWriter, "sync", sync_later), patch.object(WalWriter, "reserve", sync_now):
        yield SharedMemoryDisk


class _OpensWhatIsThere(SharedMemoryDisk):
    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False) -> int:
        return super().open(path, create=create, read_only=read_only)


@contextmanager
def segments_are_reused_after_a_restart() -> Iterator[DiskClass]:
    """Segment ids begin at 1 in every life, and a file that is there is taken."""

    def lease_again(index: IndexWriter, count: int) -> list[Entry]:
        return [SegmentIdsLeased(SegmentId(1), count)]

    with patch.object(judge, "lease_segment_ids", lease_again):
        yield _OpensWhatIsThere


@contextmanager
def an_extent_of_an_earlier_epoch_is_finished() -> Iterator[DiskClass]:
    finish = SegmentWriter._finish

    def finish_any(self: SegmentWriter, envelope: Envelope) -> None:
        envelope.message = envelope.message._replace(epoch=self._appender.epoch)
        finish(self, envelope)

    with patch.object(SegmentWriter, "_finish", finish_any):
        yield SharedMemoryDisk


@contextmanager
def records_are_not_verified() -> Iterator[DiskClass]:
    def believe(buffer: Buffer, location: BlobLocation) -> memoryview:
        return memoryview(buffer)[record.HEADER_BYTES : record.HEADER_BYTES + location.stored_bytes]

    with patch.object(record, "verify_record", believe), patch.object(sealed_record, "verify_record", believe):
        yield SharedMemoryDisk


class _Agreeable(bytes):
    """A hash that is never found to differ."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


@contextmanager
def log_frames_are_not_verified() -> Iterator[DiskClass]:
    real = blake3

    class Hasher:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._digest = real(*args, **kwargs).digest()

        def digest(self) -> bytes:
            return _Agreeable(self._digest)

    with patch.object(wal_format, "blake3", Hasher):
        yield SharedMemoryDisk


def in_a_replay(broken: Callable[[], Any]) -> AbstractContextManager[Any]:
    """Break this, but only in a replay."""
    replay = Journal.replay

    def replay_broken(self: Journal, disk: Disk, wal_folder: str) -> Iterator[tuple[int, int]]:
        with broken():
            yield from replay(self, disk, wal_folder)

    return patch.object(Journal, "replay", replay_broken)


@contextmanager
def copies_of_manifests_are_not_counted_in_a_replay() -> Iterator[DiskClass]:
    with in_a_replay(lambda: patch.object(fold, "use_manifest", lambda *_: None)):
        yield SharedMemoryDisk


@contextmanager
def completions_replay_as_if_nothing_had_been_left_out() -> Iterator[DiskClass]:
    apply = fold._APPLY[UploadCompleted]
    rules = {UploadCompleted: lambda index, lsn, entry: apply(index, lsn, entry._replace(drops_parts=False))}
    with in_a_replay(lambda: patch.dict(fold._APPLY, rules)):
        yield SharedMemoryDisk


BUGS: tuple[Bug, ...] = (
    copies_of_manifests_are_not_counted_in_a_replay,
    completions_replay_as_if_nothing_had_been_left_out,
    segments_are_not_synced,
    the_log_is_not_synced,
    new_segments_names_are_not_synced,
    new_log_files_names_are_not_synced,
    acknowledged_before_the_log_is_synced,
    segments_are_reused_after_a_restart,
    an_extent_of_an_earlier_epoch_is_finished,
    records_are_not_verified,
    log_frames_are_not_verified,
)


# ---- for the model: bugs that need no power cut ----


@contextmanager
def usage_counts_no_deletes() -> Iterator[DiskClass]:
    add_usage = IndexWriter.add_usage

    def add_only(self: IndexWriter, bucket_id: int, objects: int, size_bytes: int) -> None:
        add_usage(self, bucket_id, max(objects, 0), max(size_bytes, 0))

    with patch.object(IndexWriter, "add_usage", add_only):
        yield SharedMemoryDisk


@contextmanager
def conditions_are_not_judged() -> Iterator[DiskClass]:
    with patch.object(judge, "write_condition_ok", lambda *_: None):
        yield SharedMemoryDisk


@contextmanager
def claims_are_not_compared() -> Iterator[DiskClass]:
    with patch.object(actors.segment_writer, "plaintext_of", lambda *_: _Agreeable()):
        yield SharedMemoryDisk


@contextmanager
def the_log_is_not_written() -> Iterator[DiskClass]:
    def write_nothing(self: WalWriter, frame: wal_format.Frame) -> None:
        self._end += len(frame.data)
        self.head_lsn = frame.last_lsn
        self._previous_hash = frame.digest

    with patch.object(WalWriter, "write", write_nothing):
        yield SharedMemoryDisk


@contextmanager
def a_delete_is_not_replayed() -> Iterator[DiskClass]:
    with in_a_replay(lambda: patch.dict(fold._APPLY, {ObjectDeleted: lambda *_: None})):
        yield SharedMemoryDisk


@contextmanager
def completing_keeps_the_parts_that_were_left_out() -> Iterator[DiskClass]:
    apply = fold._APPLY[UploadCompleted]
    with patch.dict(fold._APPLY, {UploadCompleted: lambda index, lsn, entry: apply(index, lsn, entry._replace(drops_parts=False))}):
        yield SharedMemoryDisk


@contextmanager
def a_copy_does_not_count_the_manifest() -> Iterator[DiskClass]:
    with patch.object(fold, "use_manifest", lambda *_: None):
        yield SharedMemoryDisk


@contextmanager
def a_release_ignores_the_map() -> Iterator[DiskClass]:
    with patch.object(judge_uploads, "in_map", lambda *_: False):
        yield SharedMemoryDisk


@contextmanager
def a_part_that_is_replaced_keeps_its_bytes() -> Iterator[DiskClass]:
    with patch.object(fold_uploads, "_release_part", lambda *_: None):
        yield SharedMemoryDisk


@contextmanager
def an_append_writes_into_a_shared_manifest() -> Iterator[DiskClass]:
    manifest, extend = UploadWriter.manifest, fold_uploads._parts_to_extend

    def used_once(self: UploadWriter, number: int) -> ManifestRow:
        return manifest(self, number)._replace(refs=1)

    def extend_any(*args: Any) -> Any:
        with patch.object(UploadWriter, "manifest", used_once):
            return extend(*args)

    with patch.object(fold_uploads, "_parts_to_extend", extend_any):
        yield SharedMemoryDisk


@contextmanager
def a_copy_takes_whatever_version_is_there() -> Iterator[DiskClass]:
    def source(index: IndexWriter, bucket: str, key: bytes, _stamp: int) -> ObjectRow | None:
        row = index.bucket(bucket)
        return None if row is None else index.object(row.bucket_id, key)

    with patch.object(judge, "source_of_copy", source), patch.object(judge_uploads, "source_of_copy", source):
        yield SharedMemoryDisk


@contextmanager
def uploads_outlive_their_bucket() -> Iterator[DiskClass]:
    with patch.object(UploadWriter, "has_uploads", lambda *_: False):
        yield SharedMemoryDisk


@contextmanager
def news_of_a_segment_is_lost_on_a_full_disk() -> Iterator[DiskClass]:
    def refuse(_self: MetadataJournal, envelopes: list[Envelope], refusal: Any) -> None:
        for envelope in envelopes:
            envelope.reply(refusal)

    with patch.object(MetadataJournal, "_refuse_all", refuse):
        yield SharedMemoryDisk


MODEL_BUGS: tuple[Bug, ...] = (
    completing_keeps_the_parts_that_were_left_out,
    a_copy_does_not_count_the_manifest,
    a_release_ignores_the_map,
    a_part_that_is_replaced_keeps_its_bytes,
    an_append_writes_into_a_shared_manifest,
    a_copy_takes_whatever_version_is_there,
    uploads_outlive_their_bucket,
    news_of_a_segment_is_lost_on_a_full_disk,
    usage_counts_no_deletes,
    conditions_are_not_judged,
    claims_are_not_compared,
    the_log_is_not_written,
    a_delete_is_not_replayed,
    an_extent_of_an_earlier_epoch_is_finished,
    records_are_not_verified,
)
