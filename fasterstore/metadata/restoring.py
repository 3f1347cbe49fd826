"""Preparing a store from a snapshot: everything a data dir needs, in a folder that is none yet. Putting it in place is another step.

The index is the snapshot's, or that with the log folded in up to a later LSN. The segments are those its rows name: from the snapshot, or,
opened since, from the data dir. One that compaction has removed since cannot be had any more: the restore to that LSN is refused by
name, and nothing was changed. The log begins anew behind the restored LSN, under a new uuid, as does the index: what peers have of
the entries that are gone must not be taken for what comes next, so they resync, and its clock leaps, so that no stamp is given twice.

`keys.json` is taken as it is, whatever it holds.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fasterstore.errors import DamagedRecord, StoreError
from fasterstore.metadata import index_file
from fasterstore.metadata.roll import LogEndsEarly, Places, Progress, bring_upto, sync_file
from fasterstore.model import SegmentRow
from fasterstore.storage import wal_format
from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.datadir import FORMAT, FORMAT_NAME
from fasterstore.storage.disk import Disk, read_file
from fasterstore.storage.kept_copies import copy_file
from fasterstore.storage.pins import INDEX_NAME, KEYS_NAME, SEGMENTS_NAME, Pin
from fasterstore.storage.segment import HEADER_BYTES, segment_name, unpack_header
from fasterstore.storage.verified_copy import copy_verified
from fasterstore.storage.wal import list_files


class RestoreRefused(StoreError):
    """That LSN cannot be had from this snapshot, this log and these segments."""


class Target(NamedTuple):
    """What is to be prepared: the folder (which exists and is empty), the node's id, and whether the snapshot's keys go into it."""

    path: str
    node_id: bytes
    with_keys: bool


def prepare(
    disk: Disk, pin: Pin, target: Target, lsn: int, data_dir: str | None, random_bytes: Callable[[int], bytes], *, now_ms: int
) -> Iterator[Progress]:
    """Fill `target` with the store as of `lsn`, synced. `data_dir` is where log and segments above the snapshot are; None: nowhere.

    `now_ms` is Unix time: the stamps of what comes next begin above it. The last value's `what` is the new log's uuid in hex.
    Raises RestoreRefused, DamagedRow, DamagedLog, OSError.
    """
    index_dir, journal_dir, segments_dir = (os.path.join(target.path, name) for name in ("index", "journal", "segments"))
    for folder in (index_dir, journal_dir, segments_dir):
        disk.mkdir(folder)
    index_path = os.path.join(index_dir, INDEX_NAME)
    for done, total in copy_file(disk, os.path.join(pin.path, INDEX_NAME), index_path):
        yield Progress("copying the index", done, total)
    for rows in index_file.check_file(index_path):
        yield Progress("checking the index", rows, 0)
    if index_file.describe_file(index_path).applied_lsn != pin.lsn:
        raise RestoreRefused(f"{pin.path}: its index is not at LSN {pin.lsn}")
    if lsn != pin.lsn:
        yield from _fold_later(disk, pin, index_path, lsn, data_dir, target.node_id, random_bytes)
    rows_of_segments = index_file.segments_of(index_path)
    sources = [os.path.join(pin.path, SEGMENTS_NAME), *([os.path.join(data_dir, "segments")] if data_dir else [])]
    for number, row in enumerate(rows_of_segments):
        _take_segment(disk, row, sources, segments_dir)
        yield Progress("taking over segments", number + 1, len(rows_of_segments))
    log_uuid = random_bytes(16)
    index_file.adopt(index_path, index_uuid=random_bytes(16), log_uuid=log_uuid, log_start=lsn + 1, restored_ms=now_ms)
    sync_file(disk, index_path)
    _begin_log(disk, journal_dir, log_uuid, lsn + 1, random_bytes)
    if target.with_keys:
        write_atomically(disk, os.path.join(target.path, KEYS_NAME), read_file(disk, os.path.join(pin.path, KEYS_NAME)))
    for folder in (index_dir, journal_dir, segments_dir):
        disk.fsync_dir(folder)
    document = {"format": FORMAT, "node_id": target.node_id.hex(), "log_uuid": log_uuid.hex()}
    write_atomically(disk, os.path.join(target.path, FORMAT_NAME), (json.dumps(document, indent=2) + "\n").encode("ascii"))
    yield Progress(log_uuid.hex(), 1, 1)


def _fold_later(
    disk: Disk, pin: Pin, index_path: str, lsn: int, data_dir: str | None, node_id: bytes, random_bytes: Callable[[int], bytes]
) -> Iterator[Progress]:
    if lsn < pin.lsn:
        raise RestoreRefused(f"snapshot {pin.name} is at LSN {pin.lsn}: LSN {lsn} was before it")
    if data_dir is None:
        raise RestoreRefused("a later LSN needs the log of the data dir that the snapshot was taken of")
    journal = os.path.join(data_dir, "journal")
    firsts = list_files(disk, journal)
    if not firsts or firsts[0] > pin.lsn + 1:
        start = firsts[0] if firsts else "nowhere"
        raise RestoreRefused(f"the log begins at {start}, so it does not go on from LSN {pin.lsn}: only that can be restored")
    folder = os.path.dirname(index_path)
    places = Places(disk, disk, folder, journal, folder, index_path, pin.log_uuid, node_id)
    try:
        yield from bring_upto(index_path, places, lsn, 0, random_bytes)
    except LogEndsEarly as early:
        raise RestoreRefused(f"the log ends at LSN {early.end_lsn}: there is no LSN {lsn}") from None


def _take_segment(disk: Disk, row: SegmentRow, sources: list[str], folder: str) -> None:
    name = segment_name(row.segment_id)
    for source in sources:
        path = os.path.join(source, name)
        if disk.exists(path) and _is_the_one(disk, path, row):
            break
    else:
        raise RestoreRefused(f"segment {name}, which the index names at that LSN, is not in {' or '.join(sources)}: compaction removed it")
    try:
        os.link(path, os.path.join(folder, name))
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
            raise
        for _step in copy_verified(disk, path, os.path.join(folder, name)):
            pass


def _is_the_one(disk: Disk, path: str, row: SegmentRow) -> bool:
    """Whether the file is the one that the row names, and as long as the row says (0: it was not sealed)."""
    fd = disk.open(path, read_only=True)
    try:
        header = unpack_header(disk.pread(fd, HEADER_BYTES, 0))
        return header.file_uuid == row.file_uuid and disk.size(fd) >= row.length_bytes
    except DamagedRecord:
        return False
    finally:
        disk.close(fd)


def _begin_log(disk: Disk, folder: str, log_uuid: bytes, first_lsn: int, random_bytes: Callable[[int], bytes]) -> None:
    """The first file of the new log, without a frame."""
    header = wal_format.make_file_header(log_uuid, random_bytes(wal_format.SALT_BYTES), first_lsn, wal_format.NO_HASH, 0)
    fd = disk.open(os.path.join(folder, wal_format.file_name(first_lsn)), create=True, exclusive=True)
    try:
        disk.pwrite(fd, wal_format.pack_file_header(header), 0)
        disk.fsync(fd)
    finally:
        disk.close(fd)
