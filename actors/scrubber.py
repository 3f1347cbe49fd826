"""scrubber: reads everything that is stored, at a bounded rate, and reports what fails its checksums. A shell round `fasterstore.scrub`.

Owns the round and its progress file; serialises steps and orders. One native thread of its own does the reading, a piece at a time; in
between it rests (`scrub/progress.py`), longer while segment-writer or the journal have work waiting. It deletes nothing: a bad record is
copied to quarantine and told to the journal, which takes it out of dedup until the same bytes are put again; a damaged index is marked,
so that the next start makes it again.

It only ever tells the journal, and nobody waits for it but operators.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Protocol

from actors import messages as m
from actors.directory import Directory
from actors.runtime import GeventActor, NativeThread, spawn_later, tell
from fasterstore.errors import DamagedRow, StoreError, VolumeSuspect
from fasterstore.metadata.index import says_damage
from fasterstore.model import BlobRow
from fasterstore.scrub.damage import Damage, Step, What
from fasterstore.scrub.progress import PHASES, Counts, Position, pack, unpack
from fasterstore.scrub.report import ScrubReport
from fasterstore.scrub.round import Round
from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk, read_file
from fasterstore.storage.index_mark import index_damage, mark_index_damaged
from fasterstore.storage.quarantine import Quarantine

logger = logging.getLogger("fasterstore.scrub")

PROGRESS_NAME = "scrub.json"
FIRST_STEP_SECS = 30.0
"""After a start others come first."""
RETRY_SECS = 60.0
AGAIN_SECS = 1.0
SAVE_SECS = 60.0
IDLE_SECS = 60.0
SAVE_IDLE_SECS = 3600.0
"""Between rounds, so that a node that is killed now and then does not wait for its next round for ever."""
YIELD_SECS = 0.05
YIELDS_MAX = 20
"""So often a step is put off for others: at most a second, or a busy node would never finish a round."""


class Repair(Protocol):
    """Where the bytes of a bad record can be had again, such as a replication peer."""

    def wanted(self, blob: BlobRow) -> None:
        """That blob's record is damaged. Returns at once; the bytes, once there and verified, are put back as every PUT is."""


class Scrubber(GeventActor):
    """See the module. `busy` says whether others wait for the disk; `repair` is None while there is no peer."""

    name = "scrubber"

    def __init__(
        self,
        disk: Disk,
        datadir: DataDir,
        directory: Directory,
        report: ScrubReport,
        quarantine: Quarantine,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        busy: Callable[[], bool],
        repair: Repair | None = None,
        first_step_secs: float = FIRST_STEP_SECS,
    ) -> None:
        super().__init__()
        self._disk = disk
        self._datadir = datadir
        self._directory = directory
        self._report = report
        self._quarantine = quarantine
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._busy = busy
        self._repair = repair
        self._first_step_secs = first_step_secs
        self._thread = NativeThread("scrub")
        self._round: Round | None = None
        self._timer: Any = None
        self._turn = 0
        self._step_ended = 0.0
        self._saved_at = 0.0
        self._yields = 0
        self._index_failed = False
        """The last step could not read the index; once more, and it is damage."""

    @property
    def _path(self) -> str:
        return os.path.join(self._datadir.path, PROGRESS_NAME)

    # ---- life ----

    def on_start(self) -> None:
        """Take up where the last process was."""
        report = self._report
        try:
            report.index_damage = self._thread.run(index_damage, self._disk, self._datadir)
            if self._disk.exists(self._path):
                report.progress = unpack(self._thread.run(read_file, self._disk, self._path)) or report.progress
        except OSError as error:
            logger.error("the progress of scrubbing cannot be read, the round begins anew: %s", error)
        self._step_ended = self._saved_at = self._monotonic()
        if report.interval_secs:
            self._later(self._first_step_secs)

    def on_stop(self) -> None:
        """Orderly stop: note where the round stands."""
        self._cancel()
        self._save()
        self._drop_round()
        self._thread.close()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Killed: no step follows."""
        self._cancel()

    def on_receive(self, message: Any) -> Any:
        """ScrubAction: the state as a plain dict. ScrubOn: the next step."""
        if isinstance(message, m.ScrubOn):
            if message.turn == self._turn and not self._report.paused:
                self._go_on()
            return None
        if not isinstance(message, m.ScrubAction):
            return m.Refused("StorageFailure", f"scrubber does not know {type(message).__name__}")
        if message.action == "start":
            self._start_now()
        elif message.action == "pause":
            self._report.paused = True
            self._cancel()
        elif message.action == "resume" and self._report.paused:
            self._report.paused = False
            self._step_ended = self._monotonic()
            self._later(0.0)
        return self._report.status()

    # ---- when ----

    def _start_now(self) -> None:
        report = self._report
        report.paused = False
        report.full_speed = True
        self._drop_round()
        if report.progress.finished or report.progress.counts != Counts():
            report.progress = report.progress.next()
        self._begin()
        self._later(0.0)

    def _begin(self) -> None:
        self._report.running = True
        self._step_ended = self._monotonic()

    def _later(self, secs: float) -> None:
        self._cancel()
        if secs > 0:
            self._timer = spawn_later(secs, tell, self.actor_ref, m.ScrubOn(self._turn))
        else:
            tell(self.actor_ref, m.ScrubOn(self._turn))

    def _cancel(self) -> None:
        self._turn += 1
        if self._timer is not None:
            self._timer.kill(block=False)
            self._timer = None

    def _go_on(self) -> None:
        report = self._report
        if not report.running:
            waited = self._monotonic() - self._step_ended
            self._step_ended += waited
            report.progress = report.progress._replace(elapsed_ms=report.progress.elapsed_ms + round(waited * 1000))
            if report.progress.finished:
                left = report.interval_secs - report.progress.elapsed_ms / 1000
                if not report.interval_secs or left > 0:
                    if report.interval_secs:
                        if self._step_ended - self._saved_at >= SAVE_IDLE_SECS:
                            self._save()
                        self._later(min(left, IDLE_SECS))
                    return
                report.progress = report.progress.next()
            self._begin()
        if not report.full_speed and not report.late and self._yields < YIELDS_MAX and self._busy():
            self._yields += 1
            self._later(YIELD_SECS)
            return
        self._yields = 0
        self._step()

    # ---- a step ----

    def _step(self) -> None:
        report = self._report
        started = self._monotonic()
        try:
            step = self._thread.run(self._next_step)
        except (OSError, StoreError) as error:
            self._drop_round()
            if not (isinstance(error, DamagedRow | VolumeSuspect) and says_damage(error)):
                logger.error("scrubbing rests for %d s: %s", RETRY_SECS, error)
                self.vitals.record_error(str(error), 1)
                self._later(RETRY_SECS)
                return
            if not self._index_failed:
                self._index_failed = True
                self._later(AGAIN_SECS)
                return
            step = self._behind_index_damage(error.detail)
        self._index_failed = False
        ended = self._monotonic()
        if step is None:
            self._finish()
            return
        phase = report.progress.position.phase
        if step.position.phase != phase:
            report.enter(step.position.phase)
        report.add(step, ended - self._step_ended)
        self._step_ended = ended
        for damage in step.damage:
            self._found(damage)
        if step.damage or step.position.phase != phase or ended - self._saved_at >= SAVE_SECS:
            self._save()
        self._later(report.rest_secs(ended - started, step))

    def _next_step(self) -> Step | None:
        """In the native thread."""
        if self._round is None:
            self._round = Round(self._disk, self._datadir, self._quarantine, self._report.progress.position)
            self._report.total_bytes = self._round.total_bytes()
        return self._round.step()

    def _behind_index_damage(self, reason: str) -> Step | None:
        """Records cannot be found by a damaged index: the round goes on behind what needs it, and the next one reads all."""
        if self._report.progress.position.phase == PHASES[-1]:
            return None
        return Step(Position(PHASES[-1]), Counts(damaged=1), (Damage(What.INDEX, reason),))

    def _found(self, damage: Damage) -> None:
        blob = damage.blob
        text = self._report.findings[-1] if len(self._report.findings) else damage.reason
        self.vitals.record_error(text, 0)
        if blob is not None:
            logger.error("%s%s", text, f" (not copied aside: {damage.kept})" if damage.kept else "")
            self._directory.get("metadata-journal").tell(m.BlobFoundDamaged.of(blob))
            if self._repair is not None:
                self._repair.wanted(blob)
        else:
            logger.error("damage: %s: %s", damage.what, damage.reason)
            if damage.what is What.INDEX:
                self._mark_index(damage.reason)

    def _mark_index(self, reason: str) -> None:
        try:
            self._thread.run(mark_index_damaged, self._disk, self._datadir, reason)
        except OSError as error:
            logger.error("the index is damaged and cannot be marked for the next start: %s", error)

    def _finish(self) -> None:
        report = self._report
        report.progress = report.progress.ended(self._now_ms())
        report.running = report.full_speed = report.late = False
        counts = report.progress.counts
        logger.info("scrub round %d: %d records, %d bytes, %d damaged", report.progress.round, counts.records, counts.bytes, counts.damaged)
        self._drop_round()
        self._save()
        if report.interval_secs:
            self._later(IDLE_SECS)

    def _drop_round(self) -> None:
        held, self._round = self._round, None
        if held is not None:
            self._thread.run(held.close)

    def _save(self) -> None:
        self._saved_at = self._monotonic()
        try:
            self._thread.run(write_atomically, self._disk, self._path, pack(self._report.progress))
        except OSError as error:  # it is only where to go on from
            logger.warning("the progress of scrubbing is not saved: %s", error)
