"""metadata-journal: the one place where changes get their order. A shell of state and order round `fasterstore.metadata.journal`.

Owns the WAL, the index's only writing connection and the witness; serialises preconditions, dedup, group commit, fold, checkpoint.
No reply of a batch, refusals included, leaves before the batch's WAL frame is on stable storage and the index has committed.
It only ever *tells* (or forwards to) segment-writer, which asks it: the other way round both would wait for ever.
"""

import logging
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from actors import messages as m
from actors import snapshot_messages as snapshot
from actors import space_messages as space
from actors.directory import Directory
from actors.durable_head import DurableHead
from actors.journal_replication import ReplicationJudges
from actors.journal_retirement import LogRetirement
from actors.journal_space import SpaceJudges
from actors.runtime import Envelope, GeventActor, NativeThread, sleep, spawn, tell
from fasterstore.compaction import punchable
from fasterstore.errors import StorageFull, StoreError, VolumeSuspect
from fasterstore.metadata.entries import SegmentOpened, SegmentSealed
from fasterstore.metadata.index_file import is_damage
from fasterstore.metadata.index_writer import IndexFullError, IndexIOError, SqliteError
from fasterstore.metadata.journal import CHECKPOINT_LOG_BYTES, FoldFailed, Journal
from fasterstore.metadata.judge import Claim, ClaimGone
from fasterstore.model import ManifestNumber
from fasterstore.storage.record import record_bytes

logger = logging.getLogger("fasterstore.journal")

BATCH_MAX_ENTRY_BYTES = 256 * 1024
TICK_SECS = 1.0


class Observe(Protocol):
    """What the journal reports after each batch; times in seconds."""

    def batch(self, requests: int, write_secs: float, sync_secs: float) -> None:
        """A batch of that many requests took `write_secs` for WAL write, sync and index commit, `sync_secs` of it for the fdatasync."""


class MetadataJournal(GeventActor):
    """See the module. `fatal(reason, suspect)` must end the process and not return; it is given by the node.

    `index_damaged(reason)` makes the next start rebuild the index.
    """

    name = "metadata-journal"
    max_batch: ClassVar[int] = 512

    def __init__(
        self,
        journal: Journal,
        directory: Directory,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        fatal: Callable[[str, bool], None],
        checkpoint_interval_secs: float,
        multipart_ttl_secs: float = 86400,
        tombstone_ttl_secs: float = 30 * 86400,
        read_grace_secs: float = 600,
        observe: Observe | None = None,
        index_damaged: Callable[[str], None] = lambda reason: None,
        durable: DurableHead | None = None,
    ) -> None:
        super().__init__()
        self._journal = journal
        self._requests = journal.requests
        self._directory = directory
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._fatal = fatal
        self._checkpoint_interval_secs = checkpoint_interval_secs
        self._multipart_ttl_ms = round(multipart_ttl_secs * 1000)
        self._tombstone_ttl_ms = round(tombstone_ttl_secs * 1000)
        self._read_grace_ms = round(read_grace_secs * 1000)
        self._checkpoint_due = monotonic() + checkpoint_interval_secs
        self._checkpointed_lsn = journal.head_lsn
        self._observe = observe
        self._index_damaged = index_damaged
        self._durable = durable
        self._unlogged: list[m.SegmentOpened | m.SegmentSealed] = []
        """Told when there was no room to log it; first in the next batch, since commits rest on it."""
        self._unlogged_why = m.Refused("StorageFull")
        self._sweep_waits = False
        """A ReleaseParts of its own is in the mailbox: never two, however often the clock ticks."""
        self._sweep_error = ""
        self._thread = NativeThread("journal")
        self._retirement = LogRetirement(journal, self._thread, self._checkpoint, lambda: self._write([]))
        self._ticker: Any = None
        self._judges: dict[type, Callable[[Any, int], Any]] = {
            m.CommitPut: self._put,
            m.DeleteObject: self._delete,
            m.CreateBucket: self._create_bucket,
            m.DeleteBucket: self._delete_bucket,
            m.SegmentOpened: self._segment_opened,
            m.SegmentSealed: self._segment_sealed,
            m.LeaseSegmentIds: self._lease_segment_ids,
            m.BlobFoundDamaged: self._blob_found_damaged,
            m.DeleteObjects: self._delete_many,
            m.CopyObject: self._copy,
            m.RenameObject: self._rename,
            m.AmendObject: self._amend,
            m.ConfigureBucket: self._configure,
            m.CreateUpload: self._create_upload,
            m.CopyPart: self._copy_part,
            m.CompleteUpload: self._complete_upload,
            m.AbortUpload: self._abort_upload,
            m.ReleaseParts: self._sweep,
            m.Tick: self._sweep,
            m.Checkpoint: self._nothing,
            snapshot.RetireLog: self._nothing,
            snapshot.ReadLogState: self._retirement.state,
            space.SetReadGrace: self._set_read_grace,
            **SpaceJudges(self._requests, journal.index).by_message,
            **ReplicationJudges(self._requests.replication).by_message,
        }

    def on_start(self) -> None:
        """Start the clock of witness and checkpoint."""
        self._ticker = spawn(self._tick_for_ever)

    def on_stop(self) -> None:
        """Orderly stop: everything acknowledged is on stable storage already; a checkpoint makes the next start quick."""
        self._ticker.kill(block=False)
        self._checkpoint()
        self._thread.run(self._journal.close)
        self._thread.close()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Killed: a batch may stand half-way, so the process starts anew and replays."""
        self._fatal(f"metadata-journal was killed: {exception_value!r}", False)

    def _tick_for_ever(self) -> None:
        while self.actor_ref.is_alive():
            sleep(TICK_SECS)
            if self.actor_ref.is_alive():
                self.actor_ref.tell(m.Tick())

    # ---- a batch ----

    def on_batch(self, envelopes: list[Envelope]) -> None:
        """Commit the envelopes in order, in as many frames as the cap makes of them; then do what is due between batches."""
        pending = [*map(Envelope, self._unlogged), *envelopes]
        self._unlogged.clear()
        if any(type(envelope.message) is m.ReleaseParts for envelope in envelopes):
            self._sweep_waits = False
        start = 0
        while start < len(pending):
            if self._unlogged:
                self._refuse_all(pending[start:], self._unlogged_why)
                break
            start = self._commit_some(pending, start)
        if self._journal.index_log_bytes >= CHECKPOINT_LOG_BYTES:
            self._checkpoint()
        for envelope in envelopes:
            if type(envelope.message) is m.Tick:
                self._on_tick()
            elif type(envelope.message) is m.Checkpoint:
                envelope.reply(self._checkpoint())
            elif type(envelope.message) is snapshot.RetireLog:
                self._retire_log(envelope.message)

    def _commit_some(self, envelopes: list[Envelope], start: int) -> int:
        """Judge envelopes from `start` until the cap ends the batch, write it, answer; return where the next one starts."""
        now_ms = self._now_ms()
        answers: list[tuple[Envelope, Any]] = []
        place = start
        try:
            self._journal.begin()
            for place in range(start, len(envelopes)):
                message = envelopes[place].message
                answers.append((envelopes[place], self._judge(message, now_ms)))
                if self._journal.batch_bytes >= BATCH_MAX_ENTRY_BYTES:
                    break
        except (SqliteError, FoldFailed) as error:
            self._check_index_error(error)
            self._journal.abandon()
            if place == start:
                self._refuse(envelopes[start], error)
                return start + 1
            # One request's damaged row must not refuse its neighbours: commit those before it, then meet it alone.
            return self._commit_some(envelopes[:place], start)
        except Exception:
            self._journal.abandon()  # a defect: no later batch may stand in this one's transaction
            self._keep_unlogged(envelopes[start:], m.Refused("StorageFailure", "a defect in an earlier request of the batch"))
            raise
        if self._write([envelope for envelope, _ in answers]):
            for envelope, answer in answers:
                self._answer(envelope, answer)
        return place + 1

    def _judge(self, message: Any, now_ms: int) -> Any:
        judge = self._judges.get(type(message))
        if judge is None:
            return m.Refused("StorageFailure", f"metadata-journal does not know {type(message).__name__}")
        try:
            return judge(message, now_ms)
        except StoreError as error:
            return m.Refused(error.name, error.detail)

    def _write(self, envelopes: list[Envelope]) -> bool:
        """Put the judged batch on stable storage and return True; when that fails answer for it, or end the process."""
        if not self._journal.has_entries:
            self._journal.abandon()
            return True
        started = self._monotonic()
        written = False
        try:
            self._thread.run(self._journal.write)
            written = True
        except StorageFull as error:
            self._journal.abandon()
            self._refuse_all(envelopes, m.Refused(error.name, error.detail))
        except FoldFailed as error:
            self._check_index_error(error)
            self._journal.abandon()
            self._refuse_all(envelopes, m.Refused("StorageFailure", str(error)))
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
        except Exception as error:
            self._fatal(f"index commit after the WAL's sync: {type(error).__name__}: {error}", False)
        if written and self._durable is not None:
            self._durable.moved(self._journal.head_lsn, self._journal.index.state.last_stamp, self._journal.batch_bytes)
        if self._observe is not None:
            self._observe.batch(len(envelopes), self._monotonic() - started, self._journal.last_sync_secs)
        return written

    def _answer(self, envelope: Envelope, answer: Any) -> None:
        if type(envelope.message) in (m.Tick, m.ReleaseParts):
            if answer is True:
                self._sweep_on()
        elif type(envelope.message) is m.BlobFoundDamaged:
            if answer is True and (repairer := self._directory.find("repairer")) is not None:
                tell(repairer, m.RepairBlob(envelope.message.blob))
        elif type(envelope.message) is space.PunchRange:
            if type(answer) is space.RangeGivenBack:
                tell(self._directory.get("segment-writer"), answer)
        elif type(envelope.message) is m.Checkpoint or envelope.answered:
            return
        elif isinstance(answer, ClaimGone):
            envelope.forward(self._directory.get("segment-writer"), envelope.message.resend._replace(must_append=True))
        else:
            if self._durable is None or not self._durable.hold(envelope, answer):
                envelope.reply(answer)
            if type(envelope.message) is m.CommitPut:
                self._give_back_unnamed(envelope.message, answer)

    def _give_back_unnamed(self, commit: m.CommitPut, answer: Any) -> None:
        """A record that was written for nothing: refused, or its bytes were there already."""
        place = commit.location
        if place is not None and (type(answer) is m.Refused or answer.deduplicated):
            hole = punchable(place.offset, record_bytes(place.stored_bytes))
            if hole is not None:
                tell(self.actor_ref, space.PunchRange(place.segment_id, *hole))

    def _refuse(self, envelope: Envelope, error: Exception) -> None:
        name = "StorageFull" if isinstance(error, IndexFullError) else "StorageFailure"
        logger.error("%s rolled back: %s: %s", type(envelope.message).__name__, type(error).__name__, error)
        self.vitals.record_error(str(error), 1)
        refusal = m.Refused(name, "the index refused the change; nothing was written")
        if isinstance(error, FoldFailed):
            envelope.reply(refusal)
        else:
            self._refuse_all([envelope], refusal)

    def _refuse_all(self, envelopes: list[Envelope], refusal: m.Refused) -> None:
        """Answer a batch that was not written. What segment-writer told is kept for the next one: it will not say it again."""
        self._keep_unlogged(envelopes, refusal)
        for envelope in envelopes:
            if type(envelope.message) is not m.Checkpoint:
                envelope.reply(refusal)

    def _keep_unlogged(self, envelopes: list[Envelope], why: m.Refused) -> None:
        """Keep what segment-writer told and was not logged."""
        told = [envelope.message for envelope in envelopes if type(envelope.message) in (m.SegmentOpened, m.SegmentSealed)]
        if told:
            self._unlogged += told
            self._unlogged_why = why

    def _check_index_error(self, error: BaseException | None) -> None:
        """End the process if the index cannot be gone on with: damaged pages are for the next start to rebuild, the rest is the volume."""
        if isinstance(error, FoldFailed):
            error = error.__cause__
        if isinstance(error, SqliteError) and is_damage(error):
            self._index_damaged(f"found by the journal: {error}")
            self._fatal(f"the index is damaged and will be rebuilt: {error}", False)
        elif isinstance(error, IndexIOError):
            self._fatal(f"index: {error}", True)

    # ---- requests ----

    def _put(self, message: m.CommitPut, now_ms: int) -> Any:
        claim = Claim(message.epoch, message.blob_id, message.location, message.claim)
        result = self._requests.put(message.intent, claim, now_ms)
        if isinstance(result, ClaimGone):
            return result
        return m.Stored(result.etag, result.modified_ms, result.lsn, result.deduplicated)

    def _delete(self, message: m.DeleteObject, now_ms: int) -> m.Deleted:
        return m.Deleted(self._requests.delete(message.bucket, message.intent, now_ms))

    def _delete_many(self, message: m.DeleteObjects, now_ms: int) -> m.DeletedMany:
        errors = []
        for intent in message.intents:
            try:
                self._requests.delete(message.bucket, intent, now_ms)
                errors.append("")
            except StoreError as error:
                errors.append(error.name)
        return m.DeletedMany(errors)

    def _copy(self, message: m.CopyObject, now_ms: int) -> m.Stored:
        return m.Stored(message.intent.target.etag, now_ms, self._requests.copy(message.intent, now_ms), True)

    def _rename(self, message: m.RenameObject, now_ms: int) -> m.Done:
        self._requests.rename(message.intent, now_ms)
        return m.Done()

    def _amend(self, message: m.AmendObject, now_ms: int) -> m.Done:
        self._requests.amend(message.bucket, message.key, message.tags, message.acl, now_ms)
        return m.Done()

    def _configure(self, message: m.ConfigureBucket, now_ms: int) -> m.Done:
        self._requests.configure(message.bucket, message.name, message.document, now_ms)
        return m.Done()

    def _create_upload(self, message: m.CreateUpload, now_ms: int) -> m.UploadMade:
        return m.UploadMade(ManifestNumber(self._requests.create_upload(message.intent, now_ms)))

    def _copy_part(self, message: m.CopyPart, now_ms: int) -> m.Stored:
        return m.Stored(message.intent.target.etag, now_ms, self._requests.copy_part(message.intent, now_ms), True)

    def _complete_upload(self, message: m.CompleteUpload, now_ms: int) -> m.Stored:
        return m.Stored(message.intent.etag, now_ms, self._requests.complete_upload(message.intent, now_ms))

    def _abort_upload(self, message: m.AbortUpload, now_ms: int) -> m.Done:
        self._requests.abort_upload(message.bucket, message.key, message.upload, now_ms)
        return m.Done()

    def _sweep(self, _message: m.Tick | m.ReleaseParts, now_ms: int) -> bool:
        """Give up a few uploads, let a few parts and tombstones go; return whether there was anything, hence perhaps more."""
        found = 0
        for sweep, age_ms in (
            (self._requests.expire_uploads, self._multipart_ttl_ms),
            (self._requests.release_parts, self._read_grace_ms),
            (self._requests.replication.expire_tombstones, self._tombstone_ttl_ms),
        ):
            try:
                found += sweep(now_ms - age_ms, now_ms)
            except StoreError as error:  # a damaged row: what lies behind it stays until the index is rebuilt
                if str(error) != self._sweep_error:  # once, not each second
                    self._sweep_error = str(error)
                    logger.error("unused parts stay: %s", error)
                    self.vitals.record_error(str(error), 1)
        return found > 0

    def _sweep_on(self) -> None:
        """Go on after those who have asked for something meanwhile."""
        if not self._sweep_waits:
            self._sweep_waits = True
            tell(self.actor_ref, m.ReleaseParts())

    def _create_bucket(self, message: m.CreateBucket, now_ms: int) -> m.BucketMade:
        self._requests.create_bucket(message.bucket, now_ms, message.settings)
        return m.BucketMade(now_ms)

    def _delete_bucket(self, message: m.DeleteBucket, now_ms: int) -> m.Done:
        self._requests.delete_bucket(message.bucket, now_ms)
        return m.Done()

    def _segment_opened(self, message: m.SegmentOpened, _now_ms: int) -> None:
        self._requests.segment_opened(SegmentOpened(*message))

    def _segment_sealed(self, message: m.SegmentSealed, _now_ms: int) -> None:
        self._requests.segment_sealed(SegmentSealed(*message))

    def _lease_segment_ids(self, message: m.LeaseSegmentIds, _now_ms: int) -> m.SegmentIdsLeased:
        return m.SegmentIdsLeased(*self._requests.lease_segment_ids(message.id_count))

    def _blob_found_damaged(self, message: m.BlobFoundDamaged, _now_ms: int) -> bool:
        marked = self._requests.mark_damaged(*message) > 0
        if marked:
            logger.error("blob %d failed verification; it is kept, and no longer used for new objects", message.blob)
        return marked

    def _set_read_grace(self, message: space.SetReadGrace, _now_ms: int) -> None:
        self._read_grace_ms = message.grace_ms

    def _nothing(self, _message: Any, _now_ms: int) -> None:
        return None

    # ---- between batches ----

    def _on_tick(self) -> None:
        try:
            if self._monotonic() >= self._checkpoint_due and self._journal.head_lsn != self._checkpointed_lsn:
                self._checkpoint()
            else:
                self._thread.run(self._journal.witness)
        except VolumeSuspect as error:
            self._fatal(error.detail, True)

    def _retire_log(self, message: snapshot.RetireLog) -> None:
        try:
            self._retirement.retire(message)
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
        except (SqliteError, FoldFailed, StoreError) as error:
            self._check_index_error(error)
            self._journal.abandon()
            logger.error("log files are kept: %s", error)

    def _checkpoint(self) -> m.Checkpointed:
        try:
            applied, busy = self._thread.run(self._journal.checkpoint)
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
            return m.Checkpointed(0, True)
        if not busy:  # else it stays due, and the next tick tries again
            self._checkpointed_lsn = applied
            self._checkpoint_due = self._monotonic() + self._checkpoint_interval_secs
        return m.Checkpointed(applied, busy)
