"""snapshots: keeps two copies of the index up to date, lets the log be shortened by it, and makes and drops pins. Owns `snapshots/`.

One thing at a time, in a greenlet of its own, so that it answers while one is under way. The long work, folding and checking, is done by
another process of low priority (`CopyWorker`); this one links, renames and counts. It asks metadata-journal for its durable head and tells
it what the copies no longer need; the journal never asks it. A copy is rolled each interval if the log has grown, and at once while the
older copy keeps a finished log file from going. However large the index is, rolls take at most one part in `SHARE` of the time, one in
`SHARE_TO_SHORTEN` while a log file waits.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from actors import snapshot_messages as m
from actors.directory import Directory
from actors.messages import Refused
from actors.runtime import Envelope, Event, GeventActor, offload, sleep, spawn
from actors.snapshot_state import SnapshotState
from fasterstore.errors import StorageFull, StoreError, Unavailable
from fasterstore.metadata.pinning import Pinning, SegmentGone
from fasterstore.metadata.roll import Places, Progress
from fasterstore.storage import pins
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.kept_copies import KEPT, list_copies, older_lsn, whole
from fasterstore.storage.wal import list_files, log_files

logger = logging.getLogger("fasterstore.snapshots")

SHARE = 10
SHARE_TO_SHORTEN = 3
WATCH_SECS = 1.0
FIRST_ROLL_SECS = 5.0
"""After a start the node serves first."""
TRIES = 3


class CopyWorker(Protocol):
    """Another process that folds and checks. Both wait, raise a StoreError or OSError, and tell how far they are."""

    def roll(self, upto_lsn: int, tell: Callable[[Progress], None]) -> None:
        """Bring the older kept copy up to that LSN (`roll.roll`)."""

    def bring(self, path: str, upto_lsn: int, tell: Callable[[Progress], None]) -> None:
        """Bring the index file at `path` up to that LSN (`roll.bring_upto`)."""

    def stop(self) -> None:
        """End what is under way; nothing is lost by it."""


class SnapshotPlan(NamedTuple):
    """Settings. `interval_secs` 0: only on demand. `pin_max_bytes` 0: a quarter of the file system."""

    interval_secs: float
    retention_bytes: int
    pin_max_bytes: int
    min_free_bytes: int


class Snapshots(GeventActor):
    """See the module. `cursors` gives the LSNs up to which each peer of the node has everything."""

    name = "snapshots"

    def __init__(
        self,
        directory: Directory,
        places: Places,
        datadir: DataDir,
        worker: CopyWorker,
        plan: SnapshotPlan,
        state: SnapshotState,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        cursors: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        super().__init__()
        self._directory = directory
        self._places = places
        self._datadir = datadir
        self._worker = worker
        self._plan = plan
        self.state = state
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._cursors = cursors
        self._jobs: deque[Envelope | None] = deque()
        self._wake = Event()
        self._stopping = False
        self._due = monotonic() + min(plan.interval_secs, FIRST_ROLL_SECS)
        self._rolled_at = 0.0
        self._short = False
        self._runner: Any = None
        self._watcher: Any = None

    def on_start(self) -> None:
        """Start the clock."""
        self._runner = spawn(self._run)
        self._watcher = spawn(self._watch)

    def on_stop(self) -> None:
        """Orderly stop: a roll under way is ended, and taken up by the next start."""
        self._stopping = True
        self._watcher.kill(block=False)
        self._worker.stop()
        self._wake.set()
        self._runner.join()
        for envelope in self._jobs:
            if envelope is not None:
                envelope.reply(Refused("Unavailable", "the node stops"))

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Killed: the other process must not outlive this actor."""
        self._stopping = True
        self._worker.stop()
        for greenlet in (self._runner, self._watcher):
            greenlet.kill(block=False)

    def on_batch(self, envelopes: list[Envelope]) -> None:
        """Answer what is known, queue what takes time."""
        for envelope in envelopes:
            if type(envelope.message) is m.DescribeSnapshots:
                envelope.reply(self._described())
            elif type(envelope.message) in (m.RollCopies, m.TakeSnapshot, m.DropSnapshot):
                self.keep(envelope)
                self._queue(envelope)
            else:
                envelope.reply(Refused("StorageFailure", f"snapshots does not know {type(envelope.message).__name__}"))

    def _described(self) -> m.CopiesState:
        state = self.state
        held_bytes = 0
        with suppress(OSError):  # the folder's own trouble shows elsewhere
            held_bytes = self._held_while_short_bytes()
        return m.CopiesState(state.copy_lsns, state.doing, state.done, state.total, held_bytes)

    def _queue(self, job: Envelope | None) -> None:
        self._jobs.append(job)
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopping:
            sleep(WATCH_SECS)
            now = self._monotonic()
            if not self._plan.interval_secs or self._jobs or self.state.doing:
                continue
            waits = self._log_file_waits()
            rest_secs = self.state.roll_secs * ((SHARE_TO_SHORTEN if waits else SHARE) - 1)
            if now >= self._rolled_at + rest_secs and (now >= self._due or waits):
                self._due = now + self._plan.interval_secs
                self._queue(None)

    def _log_file_waits(self) -> bool:
        """Whether the older copy lacks entries of a log file that is finished."""
        try:
            files = list_files(self._places.log_disk, self._places.journal)
        except OSError:
            return False
        older = self.state.copy_lsns[-KEPT] if len(self.state.copy_lsns) >= KEPT else 0
        return len(files) > 1 and files[-1] > older + 1

    # ---- one job after another ----

    def _run(self) -> None:
        self._settle(lambda: offload(pins.remove_unfinished, self._places.disk, self._places.snapshots))
        self._settle(self._look)
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            while self._jobs and not self._stopping:
                self._do(self._jobs.popleft())

    def _do(self, envelope: Envelope | None) -> None:
        self.state.last_error = ""
        message = None if envelope is None else envelope.message
        answer = self._settle(lambda: self._answer(message))
        self.state.doing, self.state.done, self.state.total = "", 0, 0
        self._settle(self._look)
        if envelope is not None:
            envelope.reply(self._described() if answer is None else answer)

    def _settle(self, step: Callable[[], Any]) -> Any:
        """What `step` returns, or the refusal that stands for its error."""
        try:
            return step()
        except StoreError as error:
            refused = Refused(error.name, error.detail)
        except OSError as error:
            found = pins.refusal(error)
            refused = Refused(found.name, found.detail)
        except Exception as error:  # a defect, or the journal is gone: the node goes on without new copies, and says so
            logger.exception("a job of snapshots failed")
            refused = Refused("StorageFailure", f"{type(error).__name__}: {error}")
        if not self._stopping:
            logger.warning("%s: %s", refused.error, refused.detail)
            self.vitals.record_error(f"{refused.error}: {refused.detail}", 0)
            self.state.last_error = refused.detail
        return refused

    def _answer(self, message: Any) -> Any:
        if isinstance(message, m.TakeSnapshot):
            return self._take(message.name)
        if isinstance(message, m.DropSnapshot):
            freed = offload(pins.drop_pin, self._places.disk, self._places.snapshots, message.name)
            logger.info("snapshot %s dropped; %d bytes were held by nothing else", message.name, freed)
            return m.SnapshotDropped(freed)
        self._roll()
        return None

    def _head(self) -> int:
        found = self._directory.get("metadata-journal").ask(m.ReadLogState())
        if not isinstance(found, m.LogState):
            raise StoreError(f"the journal answered {found}")
        self.state.head_lsn, self.state.log_start = found.head_lsn, found.log_start
        return found.head_lsn

    def _tell(self, step: Progress) -> None:
        self.state.doing, self.state.done, self.state.total = step

    def _roll(self) -> None:
        started = self._monotonic()
        head = self._head()
        if len(self.state.copy_lsns) < KEPT or self.state.copy_lsns[-1] < head:
            self._tell(Progress("bringing a copy of the index up to date", 0, 0))
            try:
                self._worker.roll(head, self._tell)
            finally:
                self._rolled_at = self._monotonic()
                self.state.roll_secs = self._rolled_at - started
            self.state.rolls += 1
        self._retire()

    def _retire(self) -> None:
        """Tell the journal what the copies, pins and peers still need."""
        copies = offload(list_copies, self._places.disk, self._places.snapshots, self._datadir.log_uuid)
        kept = offload(pins.list_pins, self._places.disk, self._places.snapshots)
        wanted = [pin.lsn for pin in kept if pin.log_uuid == self._datadir.log_uuid]
        message = m.RetireLog(older_lsn(copies), [*wanted, *self._cursors()], self._plan.retention_bytes)
        self._directory.get("metadata-journal").tell(message)

    # ---- pins ----

    def _take(self, name: str) -> m.SnapshotTaken:
        pinning = Pinning(self._places, self._datadir, name)
        if not self.state.copy_lsns:
            self._roll()
        self._require_cap()
        try:
            offload(pinning.begin)
            pin = self._finish(pinning)
        except BaseException:
            offload(pinning.abandon)
            raise
        logger.info("snapshot %s holds everything up to LSN %d", pin.name, pin.lsn)
        return m.SnapshotTaken(pin.name, pin.lsn)

    def _finish(self, pinning: Pinning) -> pins.Pin:
        tries = TRIES
        self._drain(pinning.base(self._plan.min_free_bytes))
        while True:
            self._worker.bring(pinning.index_path, self._head(), self._tell)
            try:
                return offload(pinning.finish, self._now_ms())
            except SegmentGone:
                tries -= 1
                if not tries:
                    raise

    def _drain(self, steps: Iterator[Progress]) -> None:
        while (step := offload(next, steps, None)) is not None:
            self._tell(step)
            if self._stopping:
                raise Unavailable("the node stops")

    def _require_cap(self) -> None:
        folder = self._places.snapshots
        cap = pins.cap_bytes(folder, self._plan.pin_max_bytes)
        held = offload(pins.held_bytes, folder, self._datadir.segments_dir)
        if held >= cap:
            raise StorageFull(f"snapshots hold {held >> 20} MiB already, of {cap >> 20} MiB that they may: drop one (--drop NAME)")

    # ---- what there is ----

    def _look(self) -> None:
        """Bring what metrics show up to date."""
        state, disk, folder = self.state, self._places.disk, self._places.snapshots
        copies = whole(offload(list_copies, disk, folder, self._datadir.log_uuid))
        state.copy_lsns = [copy.lsn for copy in copies]
        state.newest_copy_ms = copies[-1].made_ms if copies else 0
        state.log_bytes = sum(file.size_bytes for file in offload(log_files, self._places.log_disk, self._places.journal))
        state.pins = len(offload(pins.list_pins, disk, folder))
        state.pin_bytes = offload(pins.held_bytes, folder, self._datadir.segments_dir) if state.pins else 0
        short = bool(self._held_while_short_bytes())
        if short and not self._short:
            logger.error("space is short, and snapshots hold %d MiB: drop one (fasterstore snapshot --drop NAME)", state.pin_bytes >> 20)
        self._short = short

    def _held_while_short_bytes(self) -> int:
        """What pins held when that was last looked at; 0 as long as there is free space enough now."""
        held_bytes = self.state.pin_bytes
        return held_bytes if held_bytes and self._places.disk.free_bytes(self._places.snapshots) < self._plan.min_free_bytes else 0
