"""The part of a round that reads every finished journal file from the medium: its header, each frame, the chain from file to file.

The last file is the writer's and is left alone. A file that goes meanwhile has been retired: that is no damage. A file that fails is read
once more before it is called damaged. Changes nothing.
"""

import itertools
import os
from collections.abc import Generator, Iterator

from fasterstore.errors import UnsupportedFormat
from fasterstore.scrub.damage import Damage, Step, What
from fasterstore.scrub.progress import Counts, Position
from fasterstore.storage import wal_format
from fasterstore.storage.cold_reading import PIECE_BYTES, read_cold
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_format import FileHeader, FileWalk

PHASE = "log"
FRAMES = 256


class LogScrub:
    """See the module."""

    def __init__(self, disk: Disk, folder: str, log_uuid: bytes) -> None:
        self._disk = disk
        self._folder = folder
        self._log_uuid = log_uuid

    def steps(self, position: Position) -> Iterator[Step]:
        """Read the files behind the one that begins at LSN `position.after`. Raises OSError."""
        firsts = list_files(self._disk, self._folder)
        before: FileWalk | None = None
        for first, following in itertools.pairwise(firsts):
            if first <= position.after:
                continue
            walk, reason = None, ""
            for _ in range(2):
                try:
                    walk, reason = yield from self._file(first, following, before)
                except FileNotFoundError:
                    walk, reason = None, ""
                if not reason:
                    break
            before = walk
            damage = (Damage(What.LOG, f"{wal_format.file_name(first)}: {reason}"),) if reason else ()
            yield Step(Position(PHASE, "", first), Counts(damaged=len(damage)), damage)

    def _file(self, first: int, following: int, before: FileWalk | None) -> Generator[Step, None, tuple[FileWalk | None, str]]:
        """Read one file; return its walk and what is wrong with it."""
        here = Position(PHASE, "", first - 1)
        pieces: list[bytes] = []
        fd = self._disk.open(os.path.join(self._folder, wal_format.file_name(first)), read_only=True)
        try:
            for offset in range(0, self._disk.size(fd), PIECE_BYTES):
                pieces.append(read_cold(self._disk, fd, PIECE_BYTES, offset))
                yield Step(here, Counts(bytes=len(pieces[-1])))
        finally:
            self._disk.close(fd)
        data = b"".join(pieces)
        try:
            header = wal_format.unpack_file_header(data)
        except UnsupportedFormat as error:
            return None, error.detail
        reason = self._header_reason(header, first, before)
        if header is None or reason:
            return None, reason
        walk = FileWalk(data, header)
        frames = iter(walk)
        while part := list(itertools.islice(frames, FRAMES)):
            for frame in part:
                if wal_format.entries_of(data, frame) is None:
                    return None, f"offset {frame.offset}: the frame verifies but its entries do not fill it"
            yield Step(here)
        if walk.reason:
            return None, f"offset {walk.end}: {walk.reason}"
        if walk.next_lsn != following:
            return None, f"it ends at LSN {walk.next_lsn - 1}, but the next one begins at LSN {following}"
        return walk, ""

    def _header_reason(self, header: FileHeader | None, first: int, before: FileWalk | None) -> str:
        if header is None:
            return "the file header is unreadable"
        if header.log_uuid != self._log_uuid or header.first_lsn != first:
            return "the file header is that of another file"
        if before is not None and header.previous_hash != before.previous_hash:
            return "the file does not follow the one before it"
        return ""
