"""The journal without its mailbox: batches of entries, judged, logged, folded; restart, epochs, checkpoints. Owned by one actor.

A batch: `begin`, then `requests` in order (each judged and folded at once, so that the next one sees it), then `write` (blocking: WAL
frame, fdatasync, index commit), and only then may any reply of the batch leave, refusals too. What it promises: after `write`
returned, every entry of the batch is on stable storage and visible to every reader, and survives kill -9 and power loss.

If anything fails before the frame is handed to the disk, `abandon` leaves no trace. A failed WAL write or sync raises VolumeSuspect
and is never retried. A failed index commit after the WAL's sync is repaired by replay: the caller ends the process.
"""

import os
from collections.abc import Callable, Iterable, Iterator

from fasterstore.errors import DamagedLog, StorageFull, StoreError, VolumeSuspect
from fasterstore.metadata import fold
from fasterstore.metadata.entries import Entry, EpochStarted, SegmentIdsLeased, SegmentSealed, decode, encode
from fasterstore.metadata.index_file import is_damage
from fasterstore.metadata.index_writer import IndexFullError, IndexIOError, IndexWriter, SqliteError
from fasterstore.metadata.judge import Identity
from fasterstore.metadata.log_entries import LogRetired
from fasterstore.metadata.requests import Requests
from fasterstore.model import Epoch, SegmentId
from fasterstore.storage import wal_format
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal import WalWriter, list_files
from fasterstore.storage.wal_recovery import read_from
from fasterstore.storage.wal_retirement import retirable_below
from fasterstore.storage.witness import Witness

SEGMENT_ID_LEASE = 64
REPLAY_BATCH_ENTRIES = 1000
CHECKPOINT_LOG_BYTES = 16 << 20


class FoldFailed(Exception):
    """An entry could not be folded whole (a damaged row, an error of SQLite): abandon the batch."""


class Journal:
    """WAL, witness and index as one ordered thing. One caller at a time; `write` and `checkpoint` block and belong in a native thread."""

    def __init__(
        self,
        index: IndexWriter,
        wal: WalWriter,
        witness: Witness,
        who: Identity,
        *,
        free_reserve: Callable[[], bool],
        timer: Callable[[], float],
        need_room: Callable[[int], None] = lambda _frame_bytes: None,
    ) -> None:
        """`free_reserve` gives the preallocated reserve file's bytes back and says whether there were any; `timer` tells seconds.

        `need_room` raises StorageFull where the index might have no room for what a frame of so many bytes changes.
        """
        self._index = index
        self._wal = wal
        self._witness = witness
        self._who = who
        self._free_reserve = free_reserve
        self._need_room = need_room
        self._timer = timer
        self.last_sync_secs = 0.0
        """How long the last WAL fdatasync took."""
        self._entries: list[bytes] = []
        self._entry_bytes = 0
        self._first_lsn = 0
        self._witnessed_lsn = 0
        self.durable_applied = 0
        """The index file has every entry up to this LSN on stable storage: a completed checkpoint said so."""
        self.requests = Requests(index, who, self.record)
        """What the running batch may be asked for."""

    @property
    def index(self) -> IndexWriter:
        """The rows as of the running batch."""
        return self._index

    @property
    def index_uuid(self) -> bytes:
        """Identity of the index file (16 bytes)."""
        return self._index.index_uuid

    @property
    def epoch(self) -> Epoch:
        """The running epoch."""
        return Epoch(self._index.state.epoch)

    @property
    def head_lsn(self) -> int:
        """The last LSN on stable storage."""
        return self._wal.durable_lsn

    @property
    def applied_lsn(self) -> int:
        """The last LSN folded, within the running batch."""
        return self._index.state.applied_lsn

    @property
    def batch_bytes(self) -> int:
        """Bytes of entries in the running batch."""
        return self._entry_bytes

    @property
    def index_log_bytes(self) -> int:
        """Size of SQLite's own log: what the next checkpoint will copy."""
        return self._index.log_bytes

    # ---- start ----

    def replay(self, disk: Disk, wal_folder: str) -> Iterator[tuple[int, int]]:
        """Fold what the WAL holds above the index's applied_lsn; yield (LSN done, head LSN) on the way. Blocking.

        Raises DamagedLog if the index is ahead of the log or the log is damaged, UnsupportedFormat for an entry of a newer build,
        StorageFull if the index has no room.
        """
        applied, head = self._index.state.applied_lsn, self._wal.head_lsn
        if applied > head:
            raise DamagedLog(f"{wal_folder}: the log ends at LSN {head}, the index has applied {applied}: acknowledged entries are gone")
        if applied == head:
            self._check_log_start(disk, wal_folder)
            return
        self.begin()
        for lsn, data in read_from(disk, wal_folder, applied + 1):
            try:
                fold.apply(self._index, lsn, decode(data))
            except IndexFullError as error:
                raise StorageFull(f"no room to fold LSN {lsn} into the index: {error}") from error
            self._entries.append(data)  # what a commit that finds no room has to fold again
            if len(self._entries) == REPLAY_BATCH_ENTRIES:
                self._commit_index()
                if self._index.log_bytes >= CHECKPOINT_LOG_BYTES:
                    self._checkpoint_index()
                yield lsn, head
                self.begin()
        self._commit_index()
        if self._index.state.applied_lsn != head:
            raise DamagedLog(f"{wal_folder}: replay ended at LSN {self._index.state.applied_lsn}, the log's head is {head}")
        self._check_log_start(disk, wal_folder)
        yield head, head

    def _check_log_start(self, disk: Disk, wal_folder: str) -> None:
        """Raises DamagedLog if the log begins above what was given up by logged decisions: then a file of it was lost."""
        first = list_files(disk, wal_folder)[0]
        if first > self._index.log_start:
            lost = os.path.join(wal_folder, wal_format.file_name(self._index.log_start))
            kept_from = self._index.log_start
            raise DamagedLog(f"{lost} is missing: the log begins at LSN {first}, but only what is below {kept_from} was retired")

    def start_epoch(self, now_ms: int, segment_length: Callable[[SegmentId], int]) -> SegmentIdsLeased:
        """Log a new epoch, seal every segment of earlier ones at its file's length, lease ids; return the lease. Blocking.

        `segment_length` tells a segment file's length in bytes.
        """
        self.begin()
        self.record(EpochStarted(Epoch(self._index.state.epoch + 1), now_ms))
        for row in self._index.unsealed_segments():
            self.record(SegmentSealed(row.segment_id, segment_length(row.segment_id)))
        lease = self.requests.lease_segment_ids(SEGMENT_ID_LEASE)
        self.write()
        return lease

    # ---- a batch ----

    def begin(self) -> None:
        """Start a batch. Raises the index's errors."""
        self._index.begin()
        self._entries = []
        self._entry_bytes = 0
        self._first_lsn = self._index.state.applied_lsn + 1

    def record(self, entry: Entry) -> int:
        """Fold a judged entry and add it to the batch; return its LSN."""
        lsn = self._index.state.applied_lsn + 1
        try:
            fold.apply(self._index, lsn, entry)
        except StoreError as error:  # half of the entry's rows may be written: not a refusal of one request, the batch must go
            raise FoldFailed(str(error)) from error
        data = encode(entry)
        self._entries.append(data)
        self._entry_bytes += len(data)
        return lsn

    @property
    def has_entries(self) -> bool:
        """Whether the running batch changes anything."""
        return bool(self._entries)

    def write(self) -> None:
        """Write the batch's WAL frame, sync it, commit the index. Blocking; the order is the promise.

        A batch without entries writes no frame. Raises StorageFull or FoldFailed before anything is written (then call abandon),
        VolumeSuspect when what is on stable storage is unknown, any other error when the WAL has the batch and the index has not
        (end the process).
        """
        if not self._entries:
            self._index.rollback()
            return
        try:
            self._index.flush()
        except IndexFullError as error:
            raise StorageFull(f"index: {error}") from error
        except IndexIOError as error:
            if is_damage(error):
                raise FoldFailed(str(error)) from error
            raise VolumeSuspect(f"index: {error}") from error
        except SqliteError as error:
            raise FoldFailed(str(error)) from error
        frame = self._wal.build(self._entries, self._first_lsn)
        self._wal.reserve(len(frame.data))
        self._need_room(len(frame.data))
        self._wal.write(frame)
        started = self._timer()
        self._wal.sync()
        self.last_sync_secs = self._timer() - started
        self._commit_index()

    def _commit_index(self) -> None:
        self._index.flush()
        try:
            try:
                self._index.commit()
            except IndexFullError:
                if not self._free_reserve():
                    raise VolumeSuspect("the index has no room, and the reserve was given back before") from None
                self._fold_again()
        except IndexFullError as error:
            raise VolumeSuspect(f"the index has no room even after the reserve was given back: {error}") from error
        except IndexIOError as error:
            raise VolumeSuspect(f"index commit: {error}") from error

    def _fold_again(self) -> None:
        """Commit once more after SQLITE_FULL, which may have rolled the transaction back by itself."""
        self._index.rollback()
        self._index.begin()
        for place, data in enumerate(self._entries):
            fold.apply(self._index, self._first_lsn + place, decode(data))
        self._index.flush()
        self._index.commit()

    def abandon(self) -> None:
        """Undo a batch whose frame was not handed to the disk."""
        self._index.rollback()
        self._entries = []
        self._entry_bytes = 0

    # ---- between batches ----

    def checkpoint(self) -> tuple[int, bool]:
        """Fold SQLite's log into the index file, then witness the head. Blocking. Return (durable applied LSN, busy).

        The LSN is the one read before the checkpoint began; busy also says that there was no room: try again. Raises VolumeSuspect.
        """
        applied = self._index.state.applied_lsn
        done = self._checkpoint_index()
        if done:
            self.durable_applied = applied
        self.witness()
        return (applied, False) if done else (0, True)

    def _checkpoint_index(self) -> bool:
        try:
            return self._index.checkpoint()
        except IndexFullError:  # the file could not grow; SQLite's log still has every page
            return False
        except IndexIOError as error:
            raise VolumeSuspect(f"index checkpoint: {error}") from error

    @property
    def log_start(self) -> int:
        """The LSN below which the log was given up; 1 if nothing was."""
        return self._index.log_start

    def retirable_below(self, copy_lsn: int, wanted_after: Iterable[int], retention_bytes: int) -> int:
        """The LSN below which the log is needed no longer, as `wal_retirement.retirable_below`. Blocking. Raises VolumeSuspect."""
        try:
            files = self._wal.files()
        except OSError as error:
            raise VolumeSuspect(f"the log's files: {error}") from error
        return retirable_below(
            files, durable_applied=self.durable_applied, copy_lsn=copy_lsn, wanted_after=wanted_after, retention_bytes=retention_bytes
        )

    def retire_log(self, below_lsn: int) -> None:
        """Add to the running batch that the log below `below_lsn`, with which a file of it begins, is given up."""
        self.record(LogRetired(below_lsn))

    def remove_retired(self) -> int:
        """Remove the log files that were given up; return how many. Blocking, between batches. Raises VolumeSuspect."""
        return self._wal.remove_below(self._index.log_start)

    def witness(self) -> None:
        """Say in a second place what is known to be durable, if that has changed. Blocking. Raises VolumeSuspect."""
        lsn = self._wal.durable_lsn
        if lsn != self._witnessed_lsn:
            try:
                self._witness.write(self._who.log_uuid, lsn)
            except StorageFull:  # no room to make the file: it lags, as it may
                return
            except OSError as error:
                raise VolumeSuspect(f"witness: {error}") from error
            self._witnessed_lsn = lsn

    def close(self) -> None:
        """Close WAL, witness and index; everything acknowledged is already on stable storage."""
        self._wal.close()
        self._witness.close()
        self._index.close()
