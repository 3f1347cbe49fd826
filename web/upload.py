"""The way of an uploaded body to the storage process: in a message if it is small, else into an extent.

    up to 64 KiB                              one PutObject with the bytes
    up to FS_SMALL_OBJECT_THRESHOLD_BYTES     collected in memory, hashed, then written into an extent at once; but above 1 MiB only while
                                              there is room for it
    above                                     an extent first; each piece is hashed and written in native threads while the next arrives

Memory is bounded at any size and number: an upload holds two pieces of at most 1 MiB, and all of them take room (`web/body_memory.py`).
On a node with a master key the plaintext is hashed and its ciphertext written, from a buffer as large as the piece (a small body is
encrypted by segment-writer). What the client said of the bytes is verified before
FinishExtent, so nothing that differs is ever named. An extent is given back after the last write into it returned, never before: its
space may be granted anew.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from blake3 import blake3

from actors.messages import AbortExtent, BlobFoundDamaged, ExtentGranted, FinishExtent, PutObject, ReserveExtent, Stored, WriteFailed
from actors.runtime import offload, spawn
from fasterstore.digests import BodyDigests, Digests
from fasterstore.errors import DamagedRecord, DamagedRow
from fasterstore.model import NO_BLOB, SMALL_BODY_MAX_BYTES, BlobNumber, PutIntent
from fasterstore.s3.errors import from_store
from fasterstore.storage.disk import NO_SPACE
from fasterstore.storage.open_segments import OpenSegment
from fasterstore.storage.record import HEADER_BYTES, ChunkTableBuilder, table_digest
from fasterstore.storage.sealed_record import ExtentSeal, stored_bytes
from web.body import BodyPlan, BodyReader
from web.body_memory import PIECE_MAX_BYTES
from web.context import Request
from web.download import verified_blob_id
from web.pieces import Pieces
from web.worker import Worker

logger = logging.getLogger(__name__)

STREAMED_UPLOADS_MAX = 128
"""At once in one worker; past it the client is told to slow down before it sends the body."""
WRITE_BACK_BYTES = 4 * 1024 * 1024
"""So much is left to the page cache before its write-back is started: a sync of small records must not wait behind a large body."""


class StoredBody(NamedTuple):
    """What was stored: ETag and time (Unix milliseconds) as the journal answered, and the verified checksums as ObjectRow's."""

    etag: str
    modified_ms: int
    checksums: dict[str, str]


def with_digests(intent: PutIntent, digests: Digests) -> PutIntent:
    """The intent with the ETag and checksums of a body that is stored as it came."""
    return intent._replace(etag=digests.etag, checksums=digests.checksums)


Named = Callable[[PutIntent, Digests], PutIntent]


def store_body(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named = with_digests) -> StoredBody:
    """Receive the body, verify it, store it and have it named.

    Args: `intent` with everything but `etag` and `checksums`, which `named` fills in once the body was verified.
    Raises: S3Error, and what reading the body raises; nothing is named then.
    """
    if plan.size_bytes <= SMALL_BODY_MAX_BYTES:
        return _store_small(worker, request, plan, intent, named)
    if plan.size_bytes <= worker.settings.small_object_threshold_bytes and _may_collect(worker, request, plan):
        return _store_collected(worker, request, plan, intent, named)
    return _store_streamed(worker, request, plan, intent, named)


def _may_collect(worker: Worker, request: Request, plan: BodyPlan) -> bool:
    """Whether the body is short enough to wait for room for all of it, or there is that room."""
    return plan.size_bytes <= PIECE_MAX_BYTES or request.account.memory.has_room(plan.size_bytes * (1 + worker.keyring.seals))


def _store_small(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    reader = BodyReader(request, plan)
    body = reader.read_all()
    trailers = reader.trailers()
    digests = plan.digests_of(body, worker.blob_key)
    plan.verify(digests, trailers)
    intent = named(intent, digests)
    answer: Stored = worker.ask("segment-writer", PutObject(intent, digests.blob_id, body, intent.overhead_bytes > 0))
    return StoredBody(answer.etag, answer.modified_ms, intent.checksums)


def _store_collected(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    seals = worker.keyring.seals
    request.account.take(plan.size_bytes * (1 + seals))
    reader = BodyReader(request, plan)
    body = bytearray(plan.size_bytes)
    reader.fill(memoryview(body))
    trailers = reader.trailers()
    digests = offload(plan.digests_of, body, worker.blob_key)
    plan.verify(digests, trailers)
    extent = _Extent(worker, plan.size_bytes)
    scratch = memoryview(bytearray(stored_bytes(worker.keyring, plan.size_bytes))) if seals else None
    try:
        extent.start(extent.hash_and_write, [], memoryview(body), scratch, 0)
        intent = named(intent, digests)
        answer = extent.finish(intent, digests.blob_id)
        return StoredBody(answer.etag, answer.modified_ms, intent.checksums)
    except BaseException:
        extent.abort()
        raise


def _store_streamed(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    if worker.streamed_uploads >= STREAMED_UPLOADS_MAX:
        raise from_store("Overloaded", "too many large uploads at once")
    worker.streamed_uploads += 1
    try:
        return _stream(worker, request, plan, intent, named)
    finally:
        worker.streamed_uploads -= 1


def _stream(worker: Worker, request: Request, plan: BodyPlan, intent: PutIntent, named: Named) -> StoredBody:
    reader = BodyReader(request, plan)
    extent = _Extent(worker, plan.size_bytes)
    try:
        digests = BodyDigests(worker.blob_key, plan.signed_hash, plan.checksums.names)
        # MD5 takes as long as everything else together: it has a lane of its own.
        md5_update, *updates = digests.parts()
        pieces = Pieces(request.account, worker.keyring.seals)
        offset = 0
        while offset < plan.size_bytes:
            piece = pieces.next(plan.size_bytes - offset)
            reader.fill(piece.view)
            # Only now is the piece before waited for: it was hashed and written while this one was received.
            extent.join()
            hashing = extent.start(md5_update, piece.view)
            writing = extent.start(extent.hash_and_write, updates, piece.view, piece.scratch, offset)
            offset += len(piece.view)
            piece.give_back_after((hashing, writing))
            del piece
        trailers = reader.trailers()
        extent.join()
        results = digests.results()
        plan.verify(results, trailers)
        intent = named(intent, results)
        answer = extent.finish(intent, results.blob_id)
        return StoredBody(answer.etag, answer.modified_ms, intent.checksums)
    except BaseException:
        extent.abort()
        raise


def _in_thread(function: Any, *arguments: Any) -> OSError | None:
    """The outcome of a write or update as a value: a greenlet that raises would print a traceback besides."""
    try:
        outcome: OSError | None = offload(function, *arguments)
    except OSError as error:
        return error
    return outcome


class _Extent:
    """One granted extent, until it is finished or given back, and the jobs in native threads that work for it."""

    def __init__(self, worker: Worker, size_bytes: int) -> None:
        """Raises: S3Error if nothing is granted."""
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
            self._seal = ExtentSeal(worker.keyring, grant.record_id, size_bytes)
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

    def hash_and_write(self, updates: list[Any], data: memoryview, scratch: memoryview | None, position: int) -> OSError | None:
        """Feed every digest of this lane, encrypt into `scratch` where that is to be, and write. In a native thread; calls come in the
        body's order.

        `position` is that of `data` in the plaintext, a multiple of 64 KiB.
        """
        for update in updates:
            update(data)
        stored, stored_position = data, position
        if self._seal is not None:
            assert scratch is not None
            stored, stored_position = self._seal.seal(data, position, scratch)
        self._table.update(stored)
        return self.write(stored, stored_position)

    def start(self, function: Any, *arguments: Any) -> Any:
        """Begin a job, and return it; what it is given must stay unchanged until it has ended."""
        job = spawn(_in_thread, function, *arguments)
        self._jobs.append(job)
        return job

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
        answer: Stored = self._worker.ask("segment-writer", message)
        self._settled = True
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
