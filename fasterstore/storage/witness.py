"""The witness: a small file, apart from the log, that says how far the log is known to be on stable storage.

A log cannot tell by itself a tail that was never synced from one that was and has rotted. Recovery refuses a log that ends
below the witness. It is written after the sync it speaks of, about once a second and at each checkpoint, so it may lag and never
leads. Two slots are written in turn: a write that is cut short leaves the other.

The file is 8192 bytes: slot 0 at offset 0, slot 1 at 4096; the next write goes to slot (counter mod 2). Slot, little-endian:

    offset  size  type   field
         0     4  bytes  magic "FSWT"
         4     2  u16    version, 1
         6     2  u16    0
         8     8  u64    counter, from 1, higher is newer
        16    16  bytes  log_uuid
        32     8  u64    durable_lsn
        40     4  u32    CRC32C of bytes 0..39
        44  4052  bytes  zeros

Owns that file. It never raises for a slot that fails its CRC (the other one speaks), and its absence never excuses damage.
"""

import os
import struct
from typing import NamedTuple

from fasterstore.digests import crc32c
from fasterstore.errors import StorageFull, UnsupportedFormat, VolumeSuspect
from fasterstore.storage.disk import NO_SPACE, Disk

MAGIC = b"FSWT"
VERSION = 1
SLOT_BYTES = 4096
SLOTS = 2
SLOT_FIELDS_BYTES = 44

_SLOT = struct.Struct("<4sHHQ16sQI")
_CRC_OFFSET = SLOT_FIELDS_BYTES - 4
assert _SLOT.size == SLOT_FIELDS_BYTES


class Slot(NamedTuple):
    """One slot as read: `durable_lsn` was on stable storage when it was written."""

    counter: int
    log_uuid: bytes
    durable_lsn: int


def pack_slot(counter: int, log_uuid: bytes, durable_lsn: int) -> bytes:
    """The fields of a slot, 44 bytes; the rest of its 4 KiB is zeros. `log_uuid` is 16 bytes."""
    packed = _SLOT.pack(MAGIC, VERSION, 0, counter, log_uuid, durable_lsn, 0)[:_CRC_OFFSET]
    return packed + struct.pack("<I", crc32c(packed))


def unpack_slot(data: bytes) -> Slot | None:
    """The slot in `data`, or None if it is empty, cut short or fails its CRC. Raises UnsupportedFormat: a later version."""
    if len(data) < SLOT_FIELDS_BYTES:
        return None
    magic, version, _zero, counter, log_uuid, durable_lsn, crc = _SLOT.unpack_from(data)
    if magic != MAGIC or crc32c(data[:_CRC_OFFSET]) != crc:
        return None
    if version != VERSION:
        raise UnsupportedFormat(f"witness version {version}; this version knows {VERSION}")
    return Slot(counter, log_uuid, durable_lsn)


class Witness:
    """The witness file at `path`. Blocking; used by one thread at a time."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._fd = -1
        self._counter = 0
        self._fault = ""

    def read(self, log_uuid: bytes) -> int:
        """The highest LSN that a valid slot says was durable in the log `log_uuid` (16 bytes); 0 if none does.

        Raises OSError; UnsupportedFormat: written by a later version.
        """
        return max((slot.durable_lsn for slot in self._slots() if slot.log_uuid == log_uuid), default=0)

    def write(self, log_uuid: bytes, lsn: int) -> None:
        """Record that every entry up to `lsn` is on stable storage; on return this is so after a power cut too.

        Raises StorageFull: the file did not exist and there is no room to make it; nothing was written.
        Raises VolumeSuspect: the write or its sync failed (and at every call after that).
        """
        if self._fault:
            raise VolumeSuspect(self._fault)
        try:
            if self._fd < 0:
                self._open()
            counter = self._counter + 1
            self._disk.pwrite(self._fd, pack_slot(counter, log_uuid, lsn), counter % SLOTS * SLOT_BYTES)
            self._disk.fdatasync(self._fd)
        except OSError as error:
            self._fault = f"{self._path}: {error}"
            raise VolumeSuspect(self._fault) from error
        self._counter = counter

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._counter = max((slot.counter for slot in self._slots()), default=0)
        fd = self._create()
        try:
            if self._disk.size(fd) < SLOTS * SLOT_BYTES:
                self._allocate(fd)
            self._disk.fsync(fd)
            self._disk.fsync_dir(os.path.dirname(self._path))
        except (OSError, StorageFull):
            self._disk.close(fd)
            raise
        self._fd = fd

    def _create(self) -> int:
        try:
            return self._disk.open(self._path, create=True)
        except OSError as error:
            if error.errno in NO_SPACE:  # of inodes, before the first write: nothing is in doubt
                raise StorageFull(f"{self._path}: {error}") from error
            raise

    def _allocate(self, fd: int) -> None:
        # All its space at once, so that a full disk never stops a witness that exists.
        try:
            self._disk.fallocate(fd, 0, SLOTS * SLOT_BYTES)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StorageFull(f"{self._path}: {error}") from error
            raise

    def _slots(self) -> list[Slot]:
        if not self._disk.exists(self._path):
            return []
        fd = self._disk.open(self._path, read_only=True)
        try:
            found = [unpack_slot(self._disk.pread(fd, SLOT_FIELDS_BYTES, index * SLOT_BYTES)) for index in range(SLOTS)]
        finally:
            self._disk.close(fd)
        return [slot for slot in found if slot is not None]
