"""The kept copies of the index: their names in `snapshots/`. The names alone say what log is still needed.

    LLLLLLLLLLLLLLLL-MMMMMMMMMMMM-UUUUUUUU.copy      a whole copy, checked and synced
    the same with .roll                              one that is being brought up to date, SQLite's -wal and -shm beside it
    the same with .roll.tmp                          bytes on their way to become a .roll; nobody needs it

    L   the LSN up to which it had every entry when it got that name, 16 hex digits (a .roll may have more by now)
    M   when it got that name, Unix milliseconds, 12 hex digits
    U   the first four bytes of the log's uuid, 8 hex digits: a copy of another log is left alone

A copy is an SQLite database as `index.db` is, out of WAL mode, with the uuid of the file it came from. Two are kept; the older one is
renamed to .roll, gets the entries it lacks, is checked and synced, and gets a new name: so there is a whole copy at every moment, and
the log that either needs begins above the lower L of the two. Owns the names; opens no copy.
"""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from fasterstore.storage.disk import Disk

KEPT = 2
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{12})-([0-9a-f]{8})\.(copy|roll|roll\.tmp)\Z")
_BESIDE = ("", "-wal", "-shm")
_COPY_BYTES = 1 << 20


class KeptCopy(NamedTuple):
    """One copy by its name; `mark` is of the log's uuid, `kind` copy, roll or roll.tmp."""

    lsn: int
    made_ms: int
    mark: str
    kind: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.lsn:016x}-{self.made_ms:012x}-{self.mark}.{self.kind}"


def log_mark(log_uuid: bytes) -> str:
    """What names of that log's copies carry."""
    return log_uuid[:4].hex()


def list_copies(disk: Disk, folder: str, log_uuid: bytes | None = None) -> list[KeptCopy]:
    """The copies of that log (None: of any), of every kind, the lowest LSN first. Raises OSError."""
    found = []
    for name in disk.listdir(folder):
        match = _NAME.match(name)
        if match and (log_uuid is None or match.group(3) == log_mark(log_uuid)):
            found.append(KeptCopy(int(match.group(1), 16), int(match.group(2), 16), match.group(3), match.group(4)))
    return sorted(found)


def whole(copies: list[KeptCopy]) -> list[KeptCopy]:
    """Those that are whole, the lowest LSN first."""
    return [copy for copy in copies if copy.kind == "copy"]


def newest_lsn(copies: list[KeptCopy]) -> int:
    """The highest LSN that a copy's name says was durable; 0 if there is none."""
    return max((copy.lsn for copy in copies), default=0)


def older_lsn(copies: list[KeptCopy]) -> int:
    """The LSN up to which the log is no longer needed by the two newest copies; 0 while there are fewer than two.

    A copy that is being brought up to date counts with the LSN in its name: cut short, it is taken up from there or earlier.
    """
    lsns = sorted(copy.lsn for copy in copies if copy.kind in {"copy", "roll"})
    return lsns[-KEPT] if len(lsns) >= KEPT else 0


def files_of(disk: Disk, path: str) -> list[str]:
    """The database file and what SQLite keeps beside it, as far as they exist."""
    return [path + suffix for suffix in _BESIDE if disk.exists(path + suffix)]


def move_aside(disk: Disk, path: str, quarantine: str, name: str) -> str:
    """Move a database file and what lies beside it into the quarantine folder, durably; return where it went. Raises OSError.

    The database goes first: what SQLite finds beside a file it takes for that file's.
    """
    target, number = os.path.join(quarantine, name), 0
    while files_of(disk, target):
        number += 1
        target = os.path.join(quarantine, f"{name}.{number}")
    for source in files_of(disk, path):
        disk.rename(source, target + source.removeprefix(path))
    disk.fsync_dir(quarantine)
    disk.fsync_dir(os.path.dirname(path))
    return target


def copy_file(disk: Disk, source: str, target: str) -> Iterator[tuple[int, int]]:
    """Copy the bytes of `source` to `target` and sync it; yields (bytes done, bytes in all). Its name is not synced. Raises OSError."""
    reading = disk.open(source, read_only=True)
    try:
        total = disk.size(reading)
        writing = disk.open(target, create=True)
        try:
            disk.truncate(writing, 0)
            done = 0
            while data := disk.pread(reading, _COPY_BYTES, done):
                disk.pwrite(writing, data, done)
                done += len(data)
                yield done, total
            disk.fsync(writing)
        finally:
            disk.close(writing)
    finally:
        disk.close(reading)
