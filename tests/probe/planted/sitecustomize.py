"""Faults that a node is given on purpose, to show that a harness turns red. Active only in a process started with this folder on
PYTHONPATH and the fault's name in PLANTED_BUG; never part of the product.

    no_sync                nothing is ever synced, files or folders
    ack_before_sync        the WAL is synced a while after the answer
    ack_before_write       the WAL frame itself is written a while after the answer
    no_directory_sync      names are not synced, file contents are
    segment_reused         a new epoch appends from the start of the segments that the one before it filled
    failed_sync_retried    a sync that failed is tried again, and believed when it succeeds
    page_cache_served      what a kill left only in the page cache is served after the restart, and not synced before
    full_disk_is_fatal     a full disk is taken for a failed one
    no_credit              storage grants its workers any number of bytes and requests
    lax_heads, lax_chunks, lax_aws_chunks
                           a request's head, its chunks, or the aws-chunked framing inside them are read by guessing (`lax_reader`)
    chatty, unblanked, failing
                           the node logs its secrets, blanked out or not, or a handler fails with them in its message (`leaky`)
    last_arrival_wins      of two states of a key the one that arrives last is taken
    no_tombstones          a delete is not remembered
    acked_unapplied        a peer's changes are now and then confirmed and not applied
    unlinked_before_moved  compaction unlinks a file before its records are named elsewhere
"""

import importlib.abc
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import lax_reader
import leaky

LATE_SECS = 0.2


def plant(module: str, change: Callable[[Any], None]) -> None:
    """Call `change` with the module when it has been imported: children patch the standard library before they import anything."""

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
            if name != module:
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            assert spec is not None and spec.loader is not None
            execute = spec.loader.exec_module

            def execute_and_change(made: Any) -> None:
                execute(made)
                change(made)

            setattr(spec.loader, "exec_module", execute_and_change)  # noqa: B010 - a method, which types do not let be assigned
            return spec

    sys.meta_path.insert(0, Finder())


def no_sync(disk: Any) -> None:
    for name in ("fdatasync", "fsync", "fsync_dir"):
        setattr(disk.RealDisk, name, lambda self, _what: None)


def no_directory_sync(disk: Any) -> None:
    disk.RealDisk.fsync_dir = lambda self, path: None


def ack_before_sync(wal: Any) -> None:
    """Sync only what was written some time ago, and say that all of it is durable."""
    sync = wal.WalWriter.sync
    last = [time.monotonic()]

    def late(self: Any) -> None:
        if time.monotonic() - last[0] > LATE_SECS:
            last[0] = time.monotonic()
            sync(self)
        self.durable_lsn = self.head_lsn

    wal.WalWriter.sync = late


def ack_before_write(wal: Any) -> None:
    """Keep frames in memory for some time, and say that they are in the log."""
    sync = wal.WalWriter.sync
    last = [time.monotonic()]
    held: list[tuple[int, bytes, int]] = []

    class LateDisk:
        def __init__(self, disk: Any) -> None:
            self._disk = disk

        def __getattr__(self, name: str) -> Any:
            return getattr(self._disk, name)

        def pwrite(self, fd: int, data: bytes, offset: int) -> None:
            held.append((fd, bytes(data), offset))

    def late(self: Any) -> None:
        if time.monotonic() - last[0] > LATE_SECS:
            last[0] = time.monotonic()
            for fd, data, offset in held:
                self._disk.pwrite(fd, data, offset)
            held.clear()
            sync(self)
        self.durable_lsn = self.head_lsn

    def write(self: Any, frame: Any, original: Any = wal.WalWriter.write) -> None:
        disk, self._disk = self._disk, LateDisk(self._disk)
        try:
            original(self, frame)
        finally:
            self._disk = disk

    wal.WalWriter.write, wal.WalWriter.sync = write, late


def segment_reused(appender: Any) -> None:
    """Open the file that is there instead of making a new one, keep its identity, and count ids from one in every epoch."""

    def add_ids(self: Any, first: int, count: int, original: Any = appender.SegmentAppender.add_ids) -> None:
        original(self, 1 if self.ids_left == 0 else first, count)

    def create(self: Any, segment: Any, original: Any = appender.SegmentAppender._create) -> None:
        path = f"{self._folder}/{appender.segment_name(segment.segment_id)}"
        if not os.path.exists(path):
            original(self, segment)
            return
        from fasterstore.storage.segment import unpack_header

        segment.fd = self._disk.open(path)
        segment.file_uuid = unpack_header(self._disk.pread(segment.fd, appender.HEADER_BYTES, 0)).file_uuid
        segment.allocated = appender.HEADER_BYTES

    appender.SegmentAppender.add_ids, appender.SegmentAppender._create = add_ids, create


def full_disk_is_fatal(appender: Any) -> None:
    free_above = appender.SegmentAppender._free_above

    def suspect(self: Any, reserve_bytes: int) -> int:
        try:
            return int(free_above(self, reserve_bytes))
        except appender.StorageFull as error:
            raise appender.VolumeSuspect(error.detail) from error

    appender.SegmentAppender._free_above = suspect


def no_credit(channel: Any) -> None:
    channel.Channel.admits = lambda self, size_bytes: True


def unlinked_before_moved(compaction_round: Any) -> None:
    """A segment's file goes as soon as its records are copied, before the journal names the copies."""

    def ask(self: Any, actor: str, message: Any, *, paced: bool = True, original: Any = compaction_round.Round._ask) -> Any:
        if isinstance(message, compaction_round.m.FinishRegion):
            self._tools.thread.run(self._unlink, sorted({move.old.segment_id for move in message.relocations}))
        return original(self, actor, message, paced=paced)

    compaction_round.Round._ask = ask


def last_arrival_wins(merge: Any) -> None:
    merge.wins = lambda stamp, origin, over_stamp, over_origin: (stamp, origin) != (over_stamp, over_origin)


def no_tombstones(replication_writer: Any) -> None:
    replication_writer.ReplicationWriter.add_tombstone = lambda self, row: None


def acked_unapplied(receiving: Any) -> None:
    """Every third batch: what it brought never comes again."""
    batches = [0]

    def run(self: Any, original: Any = receiving.Receiving.run) -> Any:
        batches[0] += 1
        return original(self) if batches[0] % 3 else [receiving.APPLIED] * len(self._changes)

    receiving.Receiving.run = run


def failed_sync_retried(disk: Any) -> None:
    """As if the first failure had been a hiccup: the pages are marked clean by then, and the second sync has nothing to do."""

    def again(self: Any, fd: int, original: Any = disk.RealDisk.fdatasync) -> None:
        try:
            original(self, fd)
        except OSError:
            original(self, fd)

    disk.RealDisk.fdatasync = again


def page_cache_served(recovery: Any) -> None:
    """Take the log as it is read, and sync it no more."""

    def settle(disk: Any, folder: str, path: str, content: bytes) -> int:
        if not disk.exists(path):
            return int(settled(disk, folder, path, content))
        fd: int = disk.open(path)
        disk.truncate(fd, len(content))
        return fd

    def sync(writer: Any) -> None:
        writer.durable_lsn = writer.head_lsn

    settled = recovery._settle
    recovery._settle, recovery.WalWriter.sync = settle, sync


_BUGS = {
    "no_sync": ("fasterstore.storage.disk", no_sync),
    "no_directory_sync": ("fasterstore.storage.disk", no_directory_sync),
    "ack_before_sync": ("fasterstore.storage.wal", ack_before_sync),
    "ack_before_write": ("fasterstore.storage.wal", ack_before_write),
    "segment_reused": ("fasterstore.storage.appender", segment_reused),
    "chatty": ("tools.logs", leaky.chatty),
    "unblanked": ("tools.logs", leaky.unblanked),
    "failing": ("web.app", leaky.failing),
    "lax_heads": ("web.connection", lax_reader.lax_heads),
    "lax_chunks": ("web.chunked_body", lax_reader.lax_chunks),
    "lax_aws_chunks": ("web.body", lax_reader.lax_aws_chunks),
    "full_disk_is_fatal": ("fasterstore.storage.appender", full_disk_is_fatal),
    "no_credit": ("actors.channel", no_credit),
    "unlinked_before_moved": ("actors.compaction_round", unlinked_before_moved),
    "last_arrival_wins": ("fasterstore.replication.merge", last_arrival_wins),
    "no_tombstones": ("fasterstore.metadata.replication_writer", no_tombstones),
    "acked_unapplied": ("web.receiving", acked_unapplied),
    "failed_sync_retried": ("fasterstore.storage.disk", failed_sync_retried),
    "page_cache_served": ("fasterstore.storage.wal_recovery", page_cache_served),
}

if "PLANTED_BUG" in os.environ:
    plant(*_BUGS[os.environ["PLANTED_BUG"]])
