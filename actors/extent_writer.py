"""One record written into a granted extent from within the storage process, where its bytes come from elsewhere than a client.

The same way as an upload's: granted by segment-writer, filled here, named by the journal once segment-writer has synced it. Owns the
extent until it is finished or given back, which only happens after the last write into it returned. Blocks its greenlet.
"""

import logging
from typing import Any

from actors.directory import Directory
from actors.messages import AbortExtent, ExtentGranted, FinishExtent, Refused, ReserveExtent, WriteFailed
from actors.runtime import ask, offload, tell
from fasterstore.errors import DamagedRecord
from fasterstore.keyring import Keyring
from fasterstore.model import NO_BLOB, PutIntent
from fasterstore.storage.disk import NO_SPACE, Disk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.record import HEADER_BYTES, ChunkTableBuilder, table_digest
from fasterstore.storage.sealed_record import ExtentSeal, stored_bytes

logger = logging.getLogger("fasterstore.extents")

BUFFER_BYTES = 1 << 20
"""What is written at once, a multiple of an encrypted chunk."""
STORAGE = 0
"""The worker number of the storage process itself."""


class ExtentRefused(Exception):
    """No extent, or no room in it; the text is the refusal's."""


class ExtentWriter:
    """Fed in order by `write`, then `finish`; `abort` instead at any time before. Raises ExtentRefused where nothing is granted."""

    def __init__(
        self, directory: Directory, disk: Disk, segments: OpenSegments, keyring: Keyring, plaintext_bytes: int, *, timeout_secs: float
    ) -> None:
        """`segments` opens the granted file; `timeout_secs` bounds each wait for segment-writer."""
        self._writer = directory.get("segment-writer")
        self._disk = disk
        self._timeout_secs = timeout_secs
        self._stored_bytes = stored_bytes(keyring, plaintext_bytes)
        self._table = ChunkTableBuilder()
        grant = ask(self._writer, ReserveExtent(plaintext_bytes, self._stored_bytes, STORAGE), timeout_secs)
        if not isinstance(grant, ExtentGranted):
            raise ExtentRefused(_refusal_text(grant))
        self._grant = grant
        self._start = grant.offset + HEADER_BYTES
        self._seal = ExtentSeal(keyring, grant.record_id, plaintext_bytes, BUFFER_BYTES) if keyring.seals else None
        try:
            self._segment = segments.writer(grant.segment_id, grant.file_uuid)
        except (OSError, DamagedRecord) as error:
            self.abort()
            raise ExtentRefused(f"segment {grant.segment_id:016x} cannot be opened: {error}") from error

    def write(self, data: memoryview, position: int) -> None:
        """Store `data`, which begins at `position` of the plaintext (a multiple of BUFFER_BYTES). Raises ExtentRefused, OSError."""
        self._checked(self._seal_and_write, data, position)

    def finish(self, intent: PutIntent, blob_id: bytes) -> Any:
        """Have the record synced and named; the answer is the journal's: Stored or Refused. Raises ExtentRefused, OSError."""
        table = self._table.finish()
        self._checked(self._pwrite, table, self._stored_bytes)
        grant = self._grant
        message = FinishExtent(intent, grant.extent, grant.epoch, blob_id, table_digest(table), NO_BLOB)
        if self._seal is not None:
            message = message._replace(key_epoch=self._seal.key.epoch, wrapped_key=self._seal.key.wrapped)
        return ask(self._writer, message, self._timeout_secs)

    def abort(self) -> None:
        """Give the extent back. After `finish` it changes nothing."""
        tell(self._writer, AbortExtent(self._grant.extent, self._grant.epoch))

    def _seal_and_write(self, data: memoryview, position: int) -> None:
        stored, stored_position = (data, position) if self._seal is None else self._seal.seal(data, position)
        self._table.update(stored)
        self._pwrite(stored, stored_position)

    def _pwrite(self, data: Any, position: int) -> None:
        self._disk.pwrite(self._segment.fd, data, self._start + position)

    def _checked(self, write: Any, data: Any, position: int) -> None:
        try:
            offload(write, data, position)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise ExtentRefused("StorageFull") from error
            tell(self._writer, WriteFailed(f"a write into segment {self._grant.segment_id:016x}: {error}"))
            raise


def _refusal_text(answer: Any) -> str:
    return f"{answer.error}: {answer.detail}".rstrip(": ") if isinstance(answer, Refused) else repr(answer)
