"""Making a large plain record anew as an encrypted one, a window at a time: what a relocation does once encryption is on.

The copy has a record id, a data key and a length of its own; the blob's number and id stay. Every chunk is verified before it is sealed.
Blocking; for a native thread. Small records are converted whole (`sealed_record.reencode`).
"""

from fasterstore.keyring import Keyring
from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage.disk import Buffer, Disk
from fasterstore.storage.record import HEADER_BYTES, record_bytes
from fasterstore.storage.relocation import LargeSource, Target
from fasterstore.storage.sealed_record import Reencoder, is_sealed, stored_bytes


def must_convert(location: BlobLocation, keyring: Keyring) -> bool:
    """Whether the record that lies there is plain, and new ones are encrypted."""
    return keyring.seals and not is_sealed(location)


def relocated_bytes(location: BlobLocation, keyring: Keyring) -> int:
    """How many bytes the copy of a record takes, header and table included."""
    return record_bytes(stored_bytes(keyring, location.plaintext_bytes) if must_convert(location, keyring) else location.stored_bytes)


class LargeConversion:
    """One large plain record; as `relocation.LargeCopy`."""

    def __init__(self, disk: Disk, source_fd: int, row: BlobRow, target: Target, keyring: Keyring) -> None:
        self._disk = disk
        self._source = LargeSource(disk, source_fd, row.location)
        self._row = row
        self._target = target
        self._new = Reencoder(row.location.plaintext_bytes, keyring)
        self._written = 0

    def step(self) -> bool:
        """Convert the next window; return whether there is more. Raises DamagedRecord, OSError (but not a bad medium of a read)."""
        self._write(self._new.update(self._source.next_window()))
        if not self._source.is_read:
            return True
        ending = self._new.finish()
        self._write(ending.stored)
        self._write(ending.table)
        self._disk.pwrite(self._target.fd, ending.header, self._target.offset)
        return False

    @property
    def new_location(self) -> BlobLocation:
        """Where the new record lies."""
        target, new = self._target, self._new
        return BlobLocation(target.segment_id, target.offset, self._row.location.plaintext_bytes, new.stored_bytes, new.record_id)

    def _write(self, stored: Buffer) -> None:
        if len(stored):
            position = self._target.offset + HEADER_BYTES + self._written
            self._disk.pwrite(self._target.fd, stored, position)
            self._disk.start_writeback(self._target.fd, position, len(stored))
            self._written += len(stored)
