"""One granted extent: a record that is being written by this worker, until it is finished or given back.

Payload and chunk table are hashed, encrypted where that is to be, and written in native threads; header and commit are segment-writer's.
An extent is given back after the last write into it returned, never before: its space may be granted anew. Never looks at what the bytes
are for.
"""

import logging
from typing import Any

from blake3 import blake3

from actors.messages import AbortExtent, BlobFoundDamaged, ExtentGranted, FinishExtent, Refused, ReserveExtent, Stored, WriteFailed
from actors.runtime import offload, spawn
from fasterstore.errors import DamagedRecord, DamagedRow
from fasterstore.model import NO_BLOB, BlobNumber, PutIntent
from fasterstore.s3.errors import from_store
from fasterstore.storage.disk import NO_SPACE
from fasterstore.storage.open_segments import OpenSegment
from fasterstore.storage.record import HEADER_BYTES, ChunkTableBuilder, table_digest
from fasterstore.storage.sealed_record import ExtentSeal, stored_bytes
from web.download import verified_blob_id
from web.worker import Worker

logger = logging.getLogger(__name__)

BUFFER_BYTES = 1024 * 1024
"""What is written at once."""
WRITE_BACK_BYTES = 4 * 1024 * 1024
"""So much is left to the page cache before its write-back is started: a sync of small records must not wait behind a large body."""


def _in_thread(function: Any, *arguments: Any) -> OSError | None:
    """The outcome of a write or update as a value: a greenlet that raises would print a traceback besides."""
    try:
        outcome: OSError | None = offload(function, *arguments)
    except OSError as error:
        return error
    return outcome


class Extent:
    """One granted extent, until it is finished or given back, and the jobs in native threads that work for it."""

    def __init__(self, worker: Worker, size_bytes: int, buffer_bytes: int = BUFFER_BYTES) -> None:
        """`buffer_bytes`: what is written at once at most. Raises: S3Error if nothing is granted."""
        self._worker = worker
        self._disk = worker.disk
        self._size_bytes = size_bytes
        self._stored_bytes = stored_bytes(worker.keyring, size_bytes)
        self._table = ChunkTableBuilder()
        self._seal: ExtentSeal | None = None
        self._written_back = 0
        self._settled = False
        self._jobs: list[Any] = []
        reserve = ReserveExtent(size_bytes, self._stored_bytes, worker.number)
        grant: ExtentGranted = worker.ask("segment-writer", reserve, self._granted_too_late)
        self._grant = grant
        self._start = grant.offset + HEADER_BYTES
        if worker.keyring.seals:
            self._seal = ExtentSeal(worker.keyring, grant.record_id, size_bytes, buffer_bytes)
        try:
            self._segment: OpenSegment = worker.segments.writer(grant.segment_id, grant.file_uuid)
        except (OSError, DamagedRecord) as error:
            logger.error("granted segment %016x cannot be opened: %s", grant.segment_id, error)
            self.abort()
            raise from_store("StaleEpoch") from None

    def _granted_too_late(self, answer: Any) -> None:
        if isinstance(answer, ExtentGranted):
            self._worker.tell("segment-writer", AbortExtent(answer.extent, answer.epoch))

    def write(self, data: Any, position: int) -> OSError | None:
        """Write stored bytes at `position` behind the header. In a native thread; the error is a value. Touches no actor."""
        try:
            self._disk.pwrite(self._segment.fd, data, self._start + position)
            end = position + len(data)
            if end - self._written_back >= WRITE_BACK_BYTES:
                self._disk.start_writeback(self._segment.fd, self._start + self._written_back, end - self._written_back)
                self._written_back = end
        except OSError as error:
            return error
        return None

    def hash_and_write(self, updates: list[Any], data: memoryview, position: int) -> OSError | None:
        """Feed every digest of this lane, encrypt where that is to be, and write. In a native thread; calls come in the body's order.

        `position` is that of `data` in the plaintext, a multiple of BUFFER_BYTES.
        """
        for update in updates:
            update(data)
        stored, stored_position = (data, position) if self._seal is None else self._seal.seal(data, position)
        self._table.update(stored)
        return self.write(stored, stored_position)

    def start(self, function: Any, *arguments: Any) -> None:
        """Begin a job; what it is given must stay unchanged until `join`."""
        self._jobs.append(spawn(_in_thread, function, *arguments))

    def join(self) -> None:
        """Wait for all jobs. Raises S3Error after a failed write, which says that the volume cannot be trusted any more.

        Except for want of room: a copy-on-write file system may refuse what was allocated before, and nothing is in doubt then.
        """
        while self._jobs:
            error = self._jobs[-1].get()
            self._jobs.pop()
            if error is not None and error.errno in NO_SPACE:
                raise from_store("StorageFull")
            if error is not None:
                logger.error("write into segment %016x failed: %s", self._grant.segment_id, error)
                reason = f"a worker's write into segment {self._grant.segment_id:016x}: {error}"
                self._worker.tell("segment-writer", WriteFailed(reason))
                raise from_store("VolumeSuspect")

    def finish(self, intent: PutIntent, blob_id: bytes) -> Stored:
        """Write the chunk table and have the record synced and named. Raises: S3Error."""
        answer = self.finish_or_not(intent, blob_id)
        if isinstance(answer, Refused):
            raise self._worker.refusal_of(answer)
        return answer

    def finish_or_not(self, intent: PutIntent, blob_id: bytes) -> Stored | Refused:
        """The same; that the record may not be named is an answer. Raises: S3Error if it cannot be written."""
        self.join()
        table = self._table.finish()
        self.start(self.write, table, self._stored_bytes)
        self.join()
        claim = NO_BLOB if intent.overhead_bytes else _find_claim(self._worker, blob_id, self._size_bytes)
        grant = self._grant
        message = FinishExtent(intent, grant.extent, grant.epoch, blob_id, table_digest(table), claim)
        if self._seal is not None:
            message = message._replace(key_epoch=self._seal.key.epoch, wrapped_key=self._seal.key.wrapped)
        # From here the storage process knows what becomes of the extent; should the message not get there, AbortExtent does.
        answer: Stored | Refused = self._worker.answer_of("segment-writer", message)
        self._settled = not isinstance(answer, Refused)
        return answer

    def abort(self) -> None:
        """Give the extent back once its jobs have returned; does not wait. After FinishExtent arrived it changes nothing."""
        if not self._settled:
            self._settled = True
            # A greenlet of its own: this request's may just be being killed.
            spawn(self._give_back)

    def _give_back(self) -> None:
        for job in self._jobs:
            job.get()
        self._worker.tell("segment-writer", AbortExtent(self._grant.extent, self._grant.epoch))


def _find_claim(worker: Worker, blob_id: bytes, size_bytes: int) -> BlobNumber:
    """The number of a stored blob with this id whose bytes were just read and hashed to it, NO_BLOB if there is none."""
    index = worker.index
    if index is None:
        return NO_BLOB
    try:
        row = index.blob_by_id(blob_id, sealed=worker.keyring.seals)
        segment_row = None if row is None else index.segment(row.location.segment_id)
    except DamagedRow as error:
        logger.error("no dedup for this body: %s", error)
        return NO_BLOB
    if row is None or segment_row is None or row.location.plaintext_bytes != size_bytes:
        return NO_BLOB
    key, keyring = worker.blob_key, worker.keyring
    try:
        segment = worker.segments.reader(row.location.segment_id, segment_row.file_uuid)
        if offload(verified_blob_id, segment, row.location, keyring, lambda: blake3(key=key)) == blob_id:
            return row.number
    except OSError as error:
        logger.error("blob %d cannot be claimed: %s", row.number, error)
        return NO_BLOB
    except DamagedRecord as error:
        logger.error("blob %d cannot be claimed: %s", row.number, error)
    worker.tell("metadata-journal", BlobFoundDamaged.of(row))
    return NO_BLOB
