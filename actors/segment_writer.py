"""segment-writer: puts bytes on stable storage before anything names them. A shell of order round `fasterstore.storage.appender`.

Owns the active segments and their ends; serialises append, extent grants, groups of fdatasync, roll and seal. Small bodies come in
the message and are appended many at once; large ones are written by the worker into an extent granted here, and finished here: the
record header last, one sync for a group. What is synced is forwarded to metadata-journal, which answers the worker.
It may ask metadata-journal (down the layers); the journal only tells it or forwards to it.
"""

import errno
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from actors import messages as m
from actors import space_messages as space
from actors.directory import Directory
from actors.regions import RegionDesk
from actors.runtime import Envelope, GeventActor, NativeThread, spawn
from fasterstore.errors import DamagedRecord, DamagedRow, StorageFull, VolumeSuspect
from fasterstore.keyring import NO_KEYS, Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.model import NO_BLOB, BlobRow
from fasterstore.storage.appender import Extent, Finished, SegmentAppender
from fasterstore.storage.disk import BAD_MEDIUM, Disk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.record import record_bytes
from fasterstore.storage.sealed_record import plaintext_of

logger = logging.getLogger("fasterstore.segments")

_UNREADABLE = {*BAD_MEDIUM, errno.ENOENT}
"""A read that fails with one of these says something of the record; any other (no descriptor, no memory) only of this process."""

BATCH_MAX_PAYLOAD_BYTES = 4 << 20
IDS_LOW = 16
"""Below this many segment ids the next lease is asked for: before a roll could find none."""
ID_LEASE = 64
IDS_MIN = 8
"""Below this many nothing is placed: one group of small appends may roll so often, and a full disk refuses the next lease."""


class SegmentWriter(GeventActor):
    """See the module. `view` and `segments` find and read blobs that a PUT may claim; `fatal` must end the process and not return."""

    name = "segment-writer"
    max_batch: ClassVar[int] = 512

    def __init__(
        self,
        appender: SegmentAppender,
        directory: Directory,
        view: IndexView,
        disk: Disk,
        segments: OpenSegments,
        *,
        fatal: Callable[[str, bool], None],
        keyring: Keyring = NO_KEYS,
    ) -> None:
        super().__init__()
        self._keyring = keyring
        self._appender = appender
        self._directory = directory
        self._view = view
        self._disk = disk
        self._segments = segments
        self._fatal = fatal
        self._thread = NativeThread("segments")
        self._finish_thread = NativeThread("extents")
        self._finishing: deque[tuple[Envelope, Finished]] = deque()
        self._finisher: Any = None
        self._lease_refusal = m.Refused("StorageFull")
        self._regions = RegionDesk(appender, directory, disk, segments, announce=self._announce, fatal=fatal)

    def on_stop(self) -> None:
        """Orderly stop: what is being finished is finished, then the files are closed."""
        if self._finisher is not None:
            self._finisher.join()
        self._regions.close()
        try:
            self._thread.run(self._appender.close)
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
        self._thread.close()
        self._finish_thread.close()
        self._segments.forget_all()
        self._view.close()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Killed: what is being written is unknown to everybody else, so the process starts anew."""
        self._fatal(f"segment-writer was killed: {exception_value!r}", False)

    def on_batch(self, envelopes: list[Envelope]) -> None:
        """Sort a batch by kind: grants first (workers wait for them to begin), then small appends, then extents to finish."""
        grants: list[Envelope] = []
        puts: list[Envelope] = []
        lost: list[int] = []
        regions: list[Envelope] = []
        sealing: list[Envelope] = []
        for envelope in envelopes:
            kind = type(envelope.message)
            if kind is m.PutObject:
                puts.append(envelope)
            elif kind is m.ReserveExtent:
                grants.append(envelope)
            elif kind is m.FinishExtent:
                self._finish(envelope)
            elif kind is m.AbortExtent:
                extent = self._appender.drop_extent(envelope.message.extent) if envelope.message.epoch == self._appender.epoch else None
                if extent is not None:
                    self._regions.give_back(extent)
            elif kind is m.WorkerLost:
                self._lose(envelope.message.worker)
                lost.append(envelope.message.worker)
            elif kind is space.ReserveRegion:
                regions.append(envelope)
            elif kind is space.FinishRegion:
                self._regions.finish(envelope, self.keep)
            elif kind is space.RangeGivenBack:
                self._regions.punch(envelope.message)
            elif kind is space.ListActive:
                envelope.reply(space.ActiveSegments([(segment.segment_id, segment.end) for segment in self._appender.active()]))
            elif kind is space.SealActive:
                self._appender.retire_active(envelope.message.segment_ids)
                sealing.append(envelope)
            elif kind is space.SegmentsGone:
                for segment_id in envelope.message.segment_ids:
                    self._segments.forget(segment_id)
            elif kind is m.WriteFailed:
                self._fatal(f"a worker's write failed: {envelope.message.reason}", True)
            else:
                envelope.reply(m.Refused("StorageFailure", f"segment-writer does not know {kind.__name__}"))
        self._renew_lease()
        if grants:
            self._grant(grants)
        for worker in lost:  # again after the grants: one that was asked for before the end of the worker is lost with it
            self._lose(worker)
        if puts:
            self._put(puts)
        for envelope in regions:  # last: the compactor can wait
            self._grant_region(envelope)
        self._seal()
        for envelope in sealing:  # the journal has been told by now
            envelope.reply(m.Done())

    def _lose(self, worker: int) -> None:
        for extent in self._appender.drop_worker(worker):
            self._regions.give_back(extent)

    # ---- small bodies ----

    def _put(self, envelopes: list[Envelope]) -> None:
        fresh: list[Envelope] = []
        payload_bytes = 0
        for envelope in self._without_claims(envelopes):
            fresh.append(envelope)
            payload_bytes += len(envelope.message.body)
            if payload_bytes >= BATCH_MAX_PAYLOAD_BYTES:
                self._append(fresh)
                self._renew_lease()
                fresh, payload_bytes = [], 0
        if fresh:
            self._append(fresh)

    def _append(self, envelopes: list[Envelope]) -> None:
        if self._appender.ids_left < IDS_MIN:
            self._refuse(envelopes, self._lease_refusal)
            return
        runs, locations = self._appender.place_small([envelope.message.body for envelope in envelopes])
        try:
            self._thread.run(self._appender.write, runs)
        except StorageFull as error:
            self._appender.undo(runs)
            self._refuse(envelopes, m.Refused(error.name, error.detail))
            return
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
            return
        for run in runs:
            self._announce(run.segment)
        journal = self._directory.get("metadata-journal")
        epoch = self._appender.epoch
        for envelope, location in zip(envelopes, locations, strict=True):
            put = envelope.message
            envelope.forward(journal, m.CommitPut(put.intent, epoch, put.blob_id, location, NO_BLOB))

    def _without_claims(self, envelopes: list[Envelope]) -> list[Envelope]:
        """Forward what needs no append: empty bodies, and bodies whose stored twin compares equal byte for byte."""
        fresh: list[Envelope] = []
        claims: list[tuple[Envelope, int]] = []
        candidates: list[tuple[Envelope, BlobRow, bytes]] = []
        for envelope, found in zip(envelopes, self._find_all([envelope.message for envelope in envelopes]), strict=True):
            put = envelope.message
            if len(put.body) != put.intent.size_bytes + put.intent.overhead_bytes:
                envelope.reply(m.Refused("StorageFailure", "the body is not as long as its intent says"))
                continue
            if not put.body:
                claims.append((envelope, NO_BLOB))
                continue
            if found is None:
                fresh.append(envelope)
            else:
                candidates.append((envelope, *found))
        if candidates:
            holds = self._thread.run(self._compare, [(row, uuid, envelope.message.body) for envelope, row, uuid in candidates])
            for (envelope, row, _), (sound, equal) in zip(candidates, holds, strict=True):
                if equal:
                    claims.append((envelope, row.number))
                    continue
                if not sound:
                    self._directory.get("metadata-journal").tell(m.BlobFoundDamaged.of(row))
                fresh.append(envelope)
        if claims:
            self._forward_claims(claims)
        return fresh

    def _find_all(self, puts: list[m.PutObject]) -> list[tuple[BlobRow, bytes] | None]:
        """For each body the blob with its id and the uuid of that segment file, if the index shows one that may be claimed."""
        found: list[tuple[BlobRow, bytes] | None] = []
        try:
            self._view.begin()  # one read transaction for the batch: its locks cost more than a look-up
            try:
                for put in puts:
                    row = None if put.must_append or not put.body else self._view.blob_by_id(put.blob_id, sealed=self._keyring.seals)
                    segment = None if row is None else self._view.segment(row.location.segment_id)
                    found.append(None if row is None or segment is None else (row, segment.file_uuid))
            finally:
                self._view.end()
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
        except DamagedRow as error:
            logger.error("no dedup for %d bodies: %s", len(puts) - len(found), error)
        return found + [None] * (len(puts) - len(found))

    def _compare(self, candidates: list[tuple[BlobRow, bytes, bytes]]) -> list[tuple[bool, bool]]:
        """In the native thread, for each stored record: is it sound as far as one can see, and does it hold exactly that body?

        A sound record with other bytes under this id is left alone: marked damaged it would be "repaired" with bytes that are not its own.
        """
        holds = []
        for row, file_uuid, body in candidates:
            place = row.location
            try:
                segment = self._segments.reader(place.segment_id, file_uuid)
                stored = self._disk.pread(segment.fd, record_bytes(place.stored_bytes), place.offset)
                equal = bytes(plaintext_of(stored, place, self._keyring)) == body
                if not equal:
                    logger.error("blob %d verifies and holds other bytes than a body with its id", row.number)
                holds.append((True, equal))
            except (DamagedRecord, OSError) as error:
                logger.error("blob %d cannot be claimed: %s", row.number, error)
                lost = isinstance(error, DamagedRecord) or error.errno in _UNREADABLE
                holds.append((not lost, False))
        return holds

    def _forward_claims(self, claims: list[tuple[Envelope, int]]) -> None:
        """A PUT that appends nothing still makes index and journal grow, whose reserve is for deletes."""
        try:
            self._thread.run(self._appender.check_reserve)
        except StorageFull as error:
            self._refuse([envelope for envelope, _ in claims], m.Refused(error.name, error.detail))
            return
        for envelope, number in claims:
            self._claim(envelope, number)

    def _claim(self, envelope: Envelope, number: int) -> None:
        put = envelope.message
        commit = m.CommitPut(put.intent, self._appender.epoch, put.blob_id, None, number, put)  # type: ignore[arg-type]
        envelope.forward(self._directory.get("metadata-journal"), commit)

    # ---- extents ----

    def _grant(self, envelopes: list[Envelope]) -> None:
        """One grant at a time: a body that does not fit must not refuse the smaller one behind it."""
        for envelope in envelopes:
            self._renew_lease()
            if self._appender.ids_left < IDS_MIN:
                self._refuse([envelope], self._lease_refusal)
                continue
            ask = envelope.message
            extent = self._appender.place_extent(ask.plaintext_bytes, ask.stored_bytes, ask.worker)
            try:
                self._thread.run(self._appender.prepare, [extent])
            except StorageFull as error:
                self._appender.undo_extent(extent)
                envelope.reply(m.Refused(error.name, error.detail))
                continue
            except VolumeSuspect as error:
                self._fatal(error.detail, True)
                return
            self._announce(extent.segment)
            place = extent.location
            grant = m.ExtentGranted(
                extent.number, self._appender.epoch, place.segment_id, extent.segment.file_uuid, place.offset, place.record_id
            )
            envelope.reply(grant)

    def _grant_region(self, envelope: Envelope) -> None:
        self._renew_lease()
        if self._appender.ids_left < IDS_MIN:
            envelope.reply(self._lease_refusal)
        else:
            self._regions.grant(envelope)

    def _finish(self, envelope: Envelope) -> None:
        """Queue an extent for its header and sync; a greenlet of its own does groups of them beside the small appends."""
        message = envelope.message
        extent = self._appender.extents.get(message.extent) if message.epoch == self._appender.epoch else None
        if extent is None or extent.finishing:
            envelope.reply(m.Refused("StaleEpoch", "this extent is not open in the running storage process"))
            return
        extent.finishing = True
        self.keep(envelope)
        self._finishing.append((envelope, Finished(extent, message.table_digest, message.key_epoch, message.wrapped_key)))
        if self._finisher is None:
            self._finisher = spawn(self._finish_queued)

    def _finish_queued(self) -> None:
        while self._finishing:
            group = list(self._finishing)
            self._finishing.clear()
            try:
                self._finish_thread.run(self._appender.finish, [finished for _, finished in group])
            except VolumeSuspect as error:
                self._fatal(error.detail, True)
                return
            except Exception as error:
                self._fatal(f"extents could not be finished: {type(error).__name__}: {error}", False)
                return
            for envelope, finished in group:
                self._commit_extent(envelope, finished.extent)
        self._finisher = None

    def _commit_extent(self, envelope: Envelope, extent: Extent) -> None:
        self._appender.finished(extent)
        message = envelope.message
        commit = m.CommitPut(message.intent, message.epoch, message.blob_id, extent.location, message.claim)
        envelope.forward(self._directory.get("metadata-journal"), commit)

    # ---- segments ----

    def _announce(self, segment: Any) -> None:
        """Tell the journal of a new file before the first record in it can be committed: mailboxes keep the order."""
        if not segment.announced:
            segment.announced = True
            opened = m.SegmentOpened(segment.segment_id, self._appender.epoch, segment.file_uuid)
            self._directory.get("metadata-journal").tell(opened)

    def _seal(self) -> None:
        if not self._appender.has_sealable:
            return
        try:
            sealed = self._thread.run(self._appender.seal)
        except VolumeSuspect as error:
            self._fatal(error.detail, True)
            return
        for segment in sealed:
            if segment.announced:
                self._directory.get("metadata-journal").tell(m.SegmentSealed(segment.segment_id, segment.end))

    def _renew_lease(self) -> None:
        if self._appender.ids_left < IDS_LOW:
            lease = self._directory.get("metadata-journal").ask(m.LeaseSegmentIds(ID_LEASE))
            if isinstance(lease, m.SegmentIdsLeased):
                self._appender.add_ids(lease.first, lease.id_count)
            else:
                self._lease_refusal = lease

    @staticmethod
    def _refuse(envelopes: list[Envelope], refusal: m.Refused) -> None:
        for envelope in envelopes:
            envelope.reply(refusal)
