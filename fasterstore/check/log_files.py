"""Checking the write-ahead log: every file's header, frames and entries, the chain from file to file, its end against what was durable.

The judgement is that of `wal_recovery`, but nothing is changed, and it goes on behind the first damage to say all there is.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from fasterstore.check.finding import Finding, Kind
from fasterstore.errors import StoreError, UnsupportedFormat
from fasterstore.metadata.entries import decode
from fasterstore.storage import wal_format
from fasterstore.storage.disk import Disk, read_file
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_format import FileHeader, FileWalk


class LogEnd(NamedTuple):
    """What the log must reach: the highest LSN that was durable, and how it is known; `applied_lsn` of the index (-1: not known).

    `running`: a writer is at work, so that an unfinished frame at the end is what one expects.
    """

    durable_lsn: int
    applied_lsn: int
    running: bool


def check_log(disk: Disk, folder: str, log_uuid: bytes, end: LogEnd) -> Iterator[Finding | int]:
    """Yield findings, and the bytes read so far after each file. Raises OSError."""
    firsts = list_files(disk, folder)
    if not firsts:
        yield Finding(Kind.LOG_SHORT, folder, f"there is no log file, but LSN {end.durable_lsn} was durable")
        return
    if end.applied_lsn >= 0 and firsts[0] > end.applied_lsn + 1:
        yield Finding(Kind.LOG_SHORT, folder, f"the log begins at LSN {firsts[0]}, behind what the index holds: LSN {end.applied_lsn}")
    before: FileWalk | None = None
    previous_first = 0
    read_bytes = 0
    for place, first in enumerate(firsts):
        name = wal_format.file_name(first)
        try:
            data = read_file(disk, os.path.join(folder, name))
        except FileNotFoundError:
            if end.running:  # retired meanwhile
                before = None
                continue
            raise
        read_bytes += len(data)
        is_last = place == len(firsts) - 1
        header, reason = _header(data, first, log_uuid)
        if header is None:
            yield Finding(Kind.LOG_DAMAGED, f"{name} at offset 0", reason)
            before = None
            previous_first = first
            yield read_bytes
            continue
        if previous_first and header.previous_first_lsn != previous_first:
            missing = wal_format.file_name(header.previous_first_lsn)
            yield Finding(Kind.LOG_DAMAGED, f"{name} at offset 0", f"the file before it, {missing}, is missing")
        elif before is not None and (before.next_lsn, before.previous_hash) != (first, header.previous_hash):
            reason = f"it does not follow LSN {before.next_lsn - 1}, where the one before it ends"
            yield Finding(Kind.LOG_DAMAGED, f"{name} at offset 0", reason)
        before = FileWalk(data, header)
        yield from _frames(name, data, before)
        yield from _end(name, before, end) if is_last else _inner_end(name, before)
        previous_first = first
        yield read_bytes


def _header(data: bytes, first: int, log_uuid: bytes) -> tuple[FileHeader | None, str]:
    try:
        header = wal_format.unpack_file_header(data)
    except UnsupportedFormat as error:
        return None, error.detail
    if header is None:
        return None, "the file header is unreadable"
    if header.log_uuid != log_uuid or header.first_lsn != first:
        return None, "the file header is that of another file"
    return header, ""


def _frames(name: str, data: bytes, walk: FileWalk) -> Iterator[Finding]:
    for frame in walk:
        entries = wal_format.entries_of(data, frame)
        if entries is None:
            yield Finding(Kind.LOG_DAMAGED, f"{name} at offset {frame.offset}", "the frame verifies but its entries do not fill it")
            continue
        for lsn, entry in enumerate(entries, frame.first_lsn):
            try:
                decode(entry)
            except (StoreError, ValueError, TypeError) as error:
                yield Finding(Kind.LOG_DAMAGED, f"{name} at offset {frame.offset}", f"entry {lsn} cannot be read: {error}")


def _inner_end(name: str, walk: FileWalk) -> Iterator[Finding]:
    if walk.reason:
        yield Finding(Kind.LOG_DAMAGED, f"{name} at offset {walk.end}", walk.reason)


def _end(name: str, walk: FileWalk, end: LogEnd) -> Iterator[Finding]:
    head = walk.next_lsn - 1
    where = f"{name} at offset {walk.end}"
    if head < end.durable_lsn:
        yield Finding(Kind.LOG_SHORT, where, f"{walk.reason or 'the log ends'} after LSN {head}, but LSN {end.durable_lsn} was durable")
    elif walk.reason and (walk.misplaced or walk.durable_evidence() is not None):
        yield Finding(Kind.LOG_DAMAGED, where, walk.reason)
    elif walk.reason and not end.running:
        torn_bytes = walk.content_bytes - walk.end
        yield Finding(Kind.TORN_TAIL, where, f"{torn_bytes} bytes of an unfinished batch: the next start sets them aside")
    if 0 <= end.applied_lsn < head and not end.running:
        yield Finding(Kind.LOG_AHEAD, where, f"{head - end.applied_lsn} entries are not in the index yet: the next start folds them")
