"""The start of the log: decide what is in it, make that durable, hand over a writer; then `read_from` replays it.

**Trusted.** A frame whose header CRC, keyed hash, LSN and previous hash all fit. The *witness*: an LSN that was once known to be
durable. What the writer promises: a frame is written only after the file's header and name are durable, and a file is begun
only after every frame of the file before it is.

**Decided**, for the last file, where the walk over good frames ends at LSN `head`:

    zeros to the end of the file                                    a clean end
    a bad frame, nothing below says it was durable                  a torn tail: an unsynced batch; copied aside, dropped, counted
    a bad frame, and behind it an intact frame header whose
        durable_upto reaches the bad frame                          damage
    an intact header that does not follow the frame before it       damage: no interrupted write leaves that
    the witness is above `head`, whatever the tail looks like       damage: a lost or rotted tail

A last file whose own header is unreadable is a torn creation if nothing but zeros is behind the header, the witness is below
its first LSN, and the file before it ends exactly there; it is copied aside and made again. Else it is damage. In any file but
the last a bad frame, a missing or foreign header, or an end that is not where the next file begins is damage.

Damage raises DamagedLog with file and offset and changes nothing. It is never skipped: a frame may have been acknowledged.

**Made durable.** What was read may have come from the page cache of a killed process and be gone after a power cut. So before
anything is replayed or served the good part of the last file is written byte for byte to `NAME.tmp`, synced, renamed over it,
and the folder synced. Left-over `.tmp` files are removed first. A crash at any point leaves either the old file or the new
one, and both lead here again with the same head. A torn tail is in the quarantine folder, synced, before it leaves the log.

**Not done here.** Files that end below `verify_from_lsn` are checked by header and chain of names only. That an index ahead of
the head is damage too, the caller says by giving its applied LSN as a witness. No log file is ever deleted.
"""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from blake3 import blake3

from fasterstore.errors import DamagedLog, StorageFull, VolumeSuspect
from fasterstore.storage import wal_format
from fasterstore.storage.disk import NO_SPACE, Disk, read_file
from fasterstore.storage.wal import ROTATE_BYTES, STEP_BYTES, Tail, WalWriter, list_files
from fasterstore.storage.wal_format import FILE_HEADER_BYTES, NO_HASH, FileHeader, FileWalk

__all__ = ["FIRST_LSN", "Recovered", "damaged", "list_files", "read_from", "recover"]

RandomBytes = Callable[[int], bytes]

FIRST_LSN = 1
_WRITE_BYTES = 1 << 20
_NAME_HASH_BYTES = 8


class Recovered(NamedTuple):
    """The log, ready. `torn_bytes` counts what was copied aside to `torn_copy_path` (0 and None: nothing was torn)."""

    writer: WalWriter
    head_lsn: int
    torn_bytes: int
    torn_copy_path: str | None


class _Verdict(NamedTuple):
    """What the last file shall hold, and what of it is torn (from `torn_offset` on)."""

    header: FileHeader
    content: bytes
    head_lsn: int
    previous_hash: bytes
    torn: bytes
    torn_offset: int


def recover(
    disk: Disk,
    folder: str,
    log_uuid: bytes | None,
    witness_lsn: int,
    random_bytes: RandomBytes,
    *,
    quarantine: str | None = None,
    verify_from_lsn: int = FIRST_LSN,
    rotate_bytes: int = ROTATE_BYTES,
    step_bytes: int = STEP_BYTES,
) -> Recovered:
    """Recover the log in `folder` as the module's contract says; an empty folder becomes a new log that begins at LSN 1.

    `log_uuid` (16 bytes; None: take the one found, or make one) must be that of every file. `witness_lsn` is the highest LSN known
    to have been durable (the larger of the witness's and the index's applied LSN), 0 if none. `quarantine` is the folder for torn
    tails, by default `quarantine` beside `folder`. Give `verify_from_lsn` = applied LSN + 1 to re-read only the files to be replayed.
    Raises DamagedLog; UnsupportedFormat: a later version; StorageFull: no room for the copy, the log is as it was;
    VolumeSuspect: any other failure of the disk.
    """
    if quarantine is None:
        quarantine = os.path.join(os.path.dirname(folder), "quarantine")
    try:
        for name in disk.listdir(folder):
            if name.endswith(".wal.tmp"):
                disk.unlink(os.path.join(folder, name))
        firsts = list_files(disk, folder)
        verdict = _Judge(disk, folder, log_uuid, witness_lsn, random_bytes).judge(firsts, verify_from_lsn)
        path = os.path.join(folder, wal_format.file_name(verdict.header.first_lsn))
        copy_path = _copy_aside(disk, quarantine, path, verdict) if verdict.torn else None
        fd = _settle(disk, folder, path, verdict.content)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(f"{folder}: {error}") from error
        raise VolumeSuspect(f"{folder}: {error}") from error
    end = len(verdict.content)
    tail = Tail(fd, verdict.header, end, end, verdict.head_lsn, verdict.previous_hash)
    writer = WalWriter(
        disk, folder, verdict.header.log_uuid, random_bytes, tail, rotate_bytes=rotate_bytes, step_bytes=step_bytes
    )
    return Recovered(writer, verdict.head_lsn, len(verdict.torn), copy_path)


def read_from(disk: Disk, folder: str, lsn: int, *, upto_lsn: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Each entry from `lsn` on, verified, as (LSN, entry bytes); none if `lsn` is above the head.

    Files that end below `lsn` are not opened. With `upto_lsn` it ends after that entry and looks at nothing behind it: needed
    while a writer is at work, with its durable_lsn. One file at a time is held in memory.
    Raises DamagedLog: a bad frame, a gap, or the oldest file begins above `lsn`. Raises UnsupportedFormat, OSError.
    """
    firsts = list_files(disk, folder)
    if firsts and firsts[0] > lsn:
        raise damaged(os.path.join(folder, wal_format.file_name(firsts[0])), 0, f"the log begins at LSN {firsts[0]}, after LSN {lsn}")
    before: FileWalk | None = None
    for first, following in zip(firsts, [*firsts[1:], None], strict=True):
        if following is not None and following <= lsn:
            continue
        if upto_lsn is not None and first > upto_lsn:
            return
        path = os.path.join(folder, wal_format.file_name(first))
        data = read_file(disk, path)
        header = wal_format.unpack_file_header(data)
        if header is None or header.first_lsn != first:
            raise damaged(path, 0, "the file header is unreadable or of another file")
        if before is not None and (before.next_lsn != first or before.previous_hash != header.previous_hash):
            raise damaged(path, 0, f"the file does not follow LSN {before.next_lsn - 1}, where the one before it ends")
        before = FileWalk(data, header)
        for frame in before:
            if frame.last_lsn < lsn:
                continue
            entries = wal_format.entries_of(data, frame)
            if entries is None:
                raise damaged(path, frame.offset, "the frame verifies but its entries do not fill it")
            for number, entry in enumerate(entries, frame.first_lsn):
                if number >= lsn:
                    yield number, entry
                if number == upto_lsn:
                    return
        if before.reason:
            raise damaged(path, before.end, before.reason)


def damaged(path: str, offset: int, reason: str) -> DamagedLog:
    """The refusal that names file and offset."""
    return DamagedLog(f"{path} at offset {offset}: {reason}")


class _Judge:
    """Reads the log and decides what its last file shall hold; changes nothing. Raises as `recover`, and OSError."""

    def __init__(self, disk: Disk, folder: str, log_uuid: bytes | None, witness_lsn: int, random_bytes: RandomBytes) -> None:
        self._disk = disk
        self._folder = folder
        self._log_uuid = log_uuid
        self._witness_lsn = witness_lsn
        self._random_bytes = random_bytes

    def judge(self, firsts: list[int], verify_from_lsn: int) -> _Verdict:
        """The verdict on the files that begin at `firsts`, ascending."""
        if not firsts:
            if self._witness_lsn:
                raise damaged(self._folder, 0, f"there is no log file, but LSN {self._witness_lsn} was durable")
            return self._new_file(FIRST_LSN, NO_HASH, 0)
        headers: list[FileHeader] = []
        for first in firsts[:-1]:
            path = self._path(first)
            headers.append(self._check_header(path, _read_header(self._disk, path), first, headers))
        last = firsts[-1]
        path = self._path(last)
        data = read_file(self._disk, path)
        found = wal_format.unpack_file_header(data)
        if found is not None:
            self._check_header(path, found, last, headers)
        before: FileWalk | None = None
        for header, following in zip(headers, firsts[1:], strict=True):
            # To make a header again, the end of the file before it must be known.
            needed = following > verify_from_lsn or (following == last and found is None)
            before = self._verify_whole(header, following, before) if needed else None
        if found is None:
            return self._judge_creation(path, data, last, headers[-1] if headers else None, before)
        _check_follows(path, found, before)
        return self._judge_tail(path, data, found)

    def _judge_tail(self, path: str, data: bytes, header: FileHeader) -> _Verdict:
        walk = FileWalk(data, header).finish()
        head_lsn = walk.next_lsn - 1
        if walk.misplaced:
            raise damaged(path, walk.end, walk.reason)
        if walk.reason and (evidence := walk.durable_evidence()) is not None:
            raise damaged(path, walk.end, f"{walk.reason}, and the frame at offset {evidence} says LSN {walk.next_lsn} was durable")
        if self._witness_lsn > head_lsn:
            reason = walk.reason or "the log ends"
            raise damaged(path, walk.end, f"{reason} after LSN {head_lsn}, but LSN {self._witness_lsn} was durable")
        torn = data[walk.end : walk.content_bytes]
        return _Verdict(header, data[: walk.end], head_lsn, walk.previous_hash, torn, walk.end)

    def _judge_creation(self, path: str, data: bytes, first: int, header: FileHeader | None, before: FileWalk | None) -> _Verdict:
        """The verdict on a last file without a readable header; `header` and `before` are those of the file before it."""
        content = wal_format.content_bytes(data)
        if content > FILE_HEADER_BYTES:
            raise damaged(path, 0, "the file header is unreadable, and there is something behind it")
        if self._witness_lsn >= first:
            raise damaged(path, 0, f"the file header is unreadable, and LSN {self._witness_lsn} was durable")
        if header is not None and before is not None:
            made = self._new_file(first, before.previous_hash, header.first_lsn)
        elif first == FIRST_LSN:
            made = self._new_file(first, NO_HASH, 0)
        else:
            raise damaged(path, 0, f"the file header is unreadable, and no file leads up to LSN {first}")
        return made._replace(torn=data[:content])

    def _new_file(self, first: int, previous_hash: bytes, previous_first: int) -> _Verdict:
        log_uuid = self._log_uuid or self._random_bytes(wal_format.UUID_BYTES)
        salt = self._random_bytes(wal_format.SALT_BYTES)
        header = wal_format.make_file_header(log_uuid, salt, first, previous_hash, previous_first)
        return _Verdict(header, wal_format.pack_file_header(header), first - 1, previous_hash, b"", 0)

    def _check_header(self, path: str, header: FileHeader | None, first: int, headers: list[FileHeader]) -> FileHeader:
        if header is None:
            raise damaged(path, 0, "the file header is unreadable")
        if self._log_uuid is None:
            self._log_uuid = header.log_uuid
        if header.log_uuid != self._log_uuid:
            raise damaged(path, 0, f"the file belongs to the log {header.log_uuid.hex()}, not to {self._log_uuid.hex()}")
        if header.first_lsn != first:
            raise damaged(path, 0, f"the file begins at LSN {header.first_lsn}, not where its name says")
        # The oldest file may name one that was retired; that no other is missing the caller knows from the index (`Journal.replay`).
        if headers and header.previous_first_lsn != headers[-1].first_lsn:
            raise damaged(path, 0, f"the file before it, {wal_format.file_name(header.previous_first_lsn)}, is missing")
        return header

    def _verify_whole(self, header: FileHeader, following: int, before: FileWalk | None) -> FileWalk:
        path = self._path(header.first_lsn)
        _check_follows(path, header, before)
        walk = FileWalk(read_file(self._disk, path), header).finish()
        if walk.reason:
            raise damaged(path, walk.end, walk.reason)
        if walk.next_lsn != following:
            raise damaged(path, walk.end, f"the file ends at LSN {walk.next_lsn - 1}, but the next one begins at LSN {following}")
        return walk

    def _path(self, first_lsn: int) -> str:
        return os.path.join(self._folder, wal_format.file_name(first_lsn))


def _check_follows(path: str, header: FileHeader, before: FileWalk | None) -> None:
    if before is not None and before.previous_hash != header.previous_hash:
        raise damaged(path, 0, f"the file does not follow the end of the file before it, LSN {header.first_lsn - 1}")


def _read_header(disk: Disk, path: str) -> FileHeader | None:
    fd = disk.open(path, read_only=True)
    try:
        return wal_format.unpack_file_header(disk.pread(fd, FILE_HEADER_BYTES, 0))
    finally:
        disk.close(fd)


def _copy_aside(disk: Disk, quarantine: str, path: str, verdict: _Verdict) -> str:
    """Put the torn bytes into the quarantine folder, durably. The name says whence and what, so a repeated start writes it again."""
    if not disk.exists(quarantine):
        disk.mkdir(quarantine)
    disk.fsync_dir(os.path.dirname(quarantine))
    mark = blake3(verdict.torn).hexdigest(length=_NAME_HASH_BYTES)
    copy_path = os.path.join(quarantine, f"{os.path.basename(path)}-{verdict.torn_offset}-{mark}.torn")
    fd = disk.open(copy_path, create=True)
    try:
        _write_all(disk, fd, verdict.torn)
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.fsync_dir(quarantine)
    return copy_path


def _settle(disk: Disk, folder: str, path: str, content: bytes) -> int:
    """Make `path` hold exactly `content`; on return that, and every name in the folder, is on stable storage."""
    temporary = path + ".tmp"
    fd = disk.open(temporary, create=True)
    try:
        _write_all(disk, fd, content)
        disk.fsync(fd)
        disk.rename(temporary, path)
        disk.fsync_dir(folder)
    except OSError:
        disk.close(fd)
        raise
    return fd


def _write_all(disk: Disk, fd: int, content: bytes) -> None:
    disk.truncate(fd, 0)
    view = memoryview(content)
    for start in range(0, len(content), _WRITE_BYTES):
        disk.pwrite(fd, view[start : start + _WRITE_BYTES], start)
