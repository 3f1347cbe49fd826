"""Reading the log behind its writer, again and again from where the last reading ended, without reading a file from its start each time.

Only what the caller knows to be durable is looked at: what stands behind it may be half a frame. Every frame is verified, and that it
follows the one before it. Changes nothing; a file that is retired meanwhile stays readable while it is open.
"""

import os
from collections.abc import Iterator

from blake3 import blake3

from fasterstore.errors import StoreError
from fasterstore.storage import wal_format
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_format import FILE_HEADER_BYTES, FRAME_HEADER_BYTES, HASH_BYTES, FileHeader, FrameAt
from fasterstore.storage.wal_recovery import damaged


class LogGone(StoreError):
    """The log begins above the LSN that was asked for: it was retired."""


class WalTail:
    """See the module. One thread at a time."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        self._fd = -1
        self._path = ""
        self._header: FileHeader
        self._offset = 0
        self._next_lsn = 0
        self._previous_hash: bytes | None = None
        self._first_lsn = 0
        self._entries: list[bytes] = []

    def entries(self, lsn: int, upto_lsn: int) -> Iterator[tuple[int, bytes]]:
        """Each entry from `lsn` to `upto_lsn`, which is durable, as (LSN, its bytes).

        Raises LogGone, DamagedLog, UnsupportedFormat, OSError; a later call begins anew.
        """
        self._find(lsn)
        while lsn <= upto_lsn:
            if lsn >= self._next_lsn:
                self._read_frame()
                continue
            yield lsn, self._entries[lsn - self._first_lsn]
            lsn += 1

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            self._disk.close(self._fd)
        self._fd = -1
        self._next_lsn = self._first_lsn = 0
        self._entries = []

    def _find(self, lsn: int) -> None:
        """Stand so that the entry is in the frame at hand, or comes behind it."""
        if self._fd >= 0 and self._first_lsn <= lsn <= self._next_lsn:
            return
        firsts = [first for first in list_files(self._disk, self._folder) if first <= lsn]
        if not firsts:
            raise LogGone(f"{self._folder}: the log begins above LSN {lsn}")
        self.close()
        self._previous_hash = None
        self._open(firsts[-1])
        while (fields := self._frame_header()) is not None and fields.first_lsn + fields.entry_count <= lsn:
            self._offset += wal_format.FRAME_OVERHEAD_BYTES + fields.payload_bytes
            self._first_lsn = self._next_lsn = fields.first_lsn + fields.entry_count
            self._previous_hash = None  # it stands behind the frame that is passed over; the next one is believed by its own hash

    def _open(self, first_lsn: int) -> None:
        path = os.path.join(self._folder, wal_format.file_name(first_lsn))
        fd = self._disk.open(path, read_only=True)
        if self._fd >= 0:
            self._disk.close(self._fd)
        self._fd, self._path = fd, path
        header = wal_format.unpack_file_header(self._disk.pread(fd, FILE_HEADER_BYTES, 0))
        if header is None or header.first_lsn != first_lsn:
            raise damaged(path, 0, "the file header is unreadable or of another file")
        if self._previous_hash not in (None, header.previous_hash):
            raise damaged(path, 0, f"the file does not follow LSN {first_lsn - 1}, where the one before it ends")
        self._header = header
        self._offset = FILE_HEADER_BYTES
        self._first_lsn = self._next_lsn = first_lsn
        self._previous_hash = header.previous_hash
        self._entries = []

    def _frame_header(self) -> wal_format.FrameHeader | None:
        return wal_format.unpack_frame_header(self._disk.pread(self._fd, FRAME_HEADER_BYTES, self._offset), 0, self._header)

    def _read_frame(self) -> None:
        try:
            self._read_next()
        except BaseException:
            self.close()
            raise

    def _read_next(self) -> None:
        fields = self._frame_header()
        if fields is None and self._disk.exists(os.path.join(self._folder, wal_format.file_name(self._next_lsn))):
            self._open(self._next_lsn)
            fields = self._frame_header()
        if fields is None:
            # The file that is open was retired, and so was the one behind it.
            if all(first > self._next_lsn for first in list_files(self._disk, self._folder)):
                raise LogGone(f"{self._folder}: the log begins above LSN {self._next_lsn}")
            raise damaged(self._path, self._offset, f"the frame with LSN {self._next_lsn}, which is durable, is not there")
        if fields.first_lsn != self._next_lsn or self._previous_hash not in (None, fields.previous_hash) or not fields.entry_count:
            raise damaged(self._path, self._offset, f"the frame does not follow LSN {self._next_lsn - 1}")
        length = wal_format.FRAME_OVERHEAD_BYTES + fields.payload_bytes
        data = self._disk.pread(self._fd, length, self._offset)
        digest = data[length - HASH_BYTES :]
        if blake3(memoryview(data)[: length - HASH_BYTES], key=self._header.salt).digest() != digest:
            raise damaged(self._path, self._offset, "the frame fails its hash")
        last_lsn = fields.first_lsn + fields.entry_count - 1
        entries = wal_format.entries_of(data, FrameAt(0, length, fields.first_lsn, last_lsn))
        if entries is None:
            raise damaged(self._path, self._offset, "the frame verifies but its entries do not fill it")
        self._entries = entries
        self._first_lsn, self._next_lsn = fields.first_lsn, last_lsn + 1
        self._previous_hash = digest
        self._offset += length
