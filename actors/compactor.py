"""compactor: gives the space of deleted and overwritten objects back. Owns when segments are rewritten, and at what pace.

Rounds run in a greenlet of the actor's own, so that it answers while one is under way: each interval, on demand, and at once when space
gets short. A round leaves the disk alone for most of the time (`disk_share`), except while space is short; then the read grace is given
up as well, since a download that breaks off is better than a node that cannot take a delete. It asks segment-writer and
metadata-journal, which never ask it.
"""

import errno
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from actors import space_messages as m
from actors.compaction_round import CannotGoOn, Round, Stopped, Tools
from actors.compaction_state import CompactionState
from actors.directory import Directory
from actors.runtime import ActorDeadError, ActorFailure, Event, GeventActor, NativeThread, sleep, spawn
from fasterstore.compaction import pause_secs
from fasterstore.errors import DamagedRow, InvariantError, VolumeSuspect
from fasterstore.keyring import NO_KEYS, Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments

logger = logging.getLogger("fasterstore.compactor")

OPEN_SEGMENTS = 8
WATCH_SECS = 5.0
"""How often free space is looked at."""
SHORT_FACTOR = 2
"""Space is short below so many times FS_MIN_FREE_MB: before PUTs are refused, not after."""
PAUSE_MAX_SECS = 1.0
_FAILED_VOLUME = (errno.EIO, errno.EROFS)
"""A write, sync or unlink that fails so; reads that fail are damaged records. Any other error ends the round and no more."""


class CompactionPlan(NamedTuple):
    """Settings. `interval_secs` 0: only on demand. `disk_share` of the disk's time, above 0 to 1."""

    interval_secs: float
    read_grace_secs: float
    disk_share: float
    min_free_bytes: int
    segment_target_bytes: int


class Compactor(GeventActor):
    """See the module. `fatal(reason, suspect)` must end the process and not return."""

    name = "compactor"

    def __init__(
        self,
        directory: Directory,
        view: IndexView,
        disk: Disk,
        segments_dir: str,
        plan: CompactionPlan,
        state: CompactionState,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        fatal: Callable[[str, bool], None],
        keyring: Keyring = NO_KEYS,
    ) -> None:
        super().__init__()
        self._keyring = keyring
        self._plan = plan
        self._directory = directory
        self._view = view
        self._disk = disk
        self._segments_dir = segments_dir
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._fatal = fatal
        self.state = state
        self._thread = NativeThread("compactor")
        self._segments = OpenSegments(disk, segments_dir, OPEN_SEGMENTS)
        self._due = monotonic() + plan.interval_secs
        self._running: Any = None
        self._watcher: Any = None
        self._asked = False
        self._stopping = Event()
        self._may_go_on = Event()
        self._may_go_on.set()

    def on_start(self) -> None:
        """Start the clock."""
        self._watcher = spawn(self._watch_for_ever)

    def on_stop(self) -> None:
        """Orderly stop: the current step is finished, the rest of the round is the next start's."""
        self._stopping.set()
        self._may_go_on.set()
        self._watcher.kill(block=False)
        if self._running is not None:
            self._running.join()
        self._thread.close()
        self._segments.forget_all()
        self._view.close()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Killed: the round ends at its next step; all that it did so far is logged or was never named."""
        self._stopping.set()
        self._may_go_on.set()
        for greenlet in (self._watcher, self._running):
            if greenlet is not None:
                greenlet.kill(block=False)

    def on_receive(self, message: Any) -> Any:
        """Answer CompactNow, PauseCompaction, DescribeCompaction; CompactionDue begins a round."""
        if isinstance(message, m.CompactNow):
            self._begin(any_age=True)
        elif isinstance(message, m.PauseCompaction):
            self.state.paused = message.paused
            if message.paused:
                self._may_go_on.clear()
            else:
                self._may_go_on.set()
        elif isinstance(message, m.CompactionDue):
            self._begin(any_age=self.state.short_of_space)
            return None
        elif not isinstance(message, m.DescribeCompaction):
            raise InvariantError(f"compactor does not know {type(message).__name__}")
        return m.CompactionStatus(self.state.as_dict())

    def _watch_for_ever(self) -> None:
        while not self._stopping.is_set():
            sleep(min(WATCH_SECS, self._plan.interval_secs or WATCH_SECS))
            try:
                self._look_at_space()
            except OSError as error:
                logger.error("free space: %s", error)
            due = self._plan.interval_secs and self._monotonic() >= self._due
            if (due or self.state.short_of_space) and self._running is None and self.actor_ref.is_alive():
                self.actor_ref.tell(m.CompactionDue())

    def _look_at_space(self) -> None:
        free_bytes = self._disk.free_bytes(self._segments_dir)
        short = free_bytes < SHORT_FACTOR * self._plan.min_free_bytes
        if short != self.state.short_of_space:
            self.state.short_of_space = short
            what = "short: deleted bytes are given back at once" if short else "enough again"
            logger.warning("space is %s; %d MiB free", what, free_bytes >> 20)
            self._directory.get("metadata-journal").tell(m.SetReadGrace(0 if short else round(self._plan.read_grace_secs * 1000)))

    # ---- a round ----

    def _begin(self, *, any_age: bool) -> None:
        if self._running is not None:
            self._asked = self._asked or any_age
            return
        self._due = self._monotonic() + self._plan.interval_secs
        self.state.state = "running"
        self._running = spawn(self._run, any_age)

    def _run(self, any_age: bool) -> None:
        while True:
            self._asked = False
            self._run_once(any_age)
            if not self._asked or self._stopping.is_set():
                break
            any_age = True  # asked for while the last one was under way: what was deleted since counts too
        self._running = None

    def _run_once(self, any_age: bool) -> None:
        state, started_ms = self.state, self._now_ms()
        before = (state.moved_bytes, state.freed_bytes)
        error = ""
        state.state = "running"
        grace_ms = 0 if state.short_of_space else round(self._plan.read_grace_secs * 1000)
        try:
            self._pace(0.0)
            self._round(started_ms - grace_ms, any_age).run()
        except Stopped:
            error = "the node stops"
        except CannotGoOn as why:
            error = str(why)
        except (DamagedRow, VolumeSuspect) as why:
            error = why.detail
        except (ActorDeadError, ActorFailure) as why:
            error = repr(why)
        except OSError as why:
            if why.errno in _FAILED_VOLUME:
                self._fatal(f"compaction: {why}", True)
            error = str(why)
        except Exception as why:  # a defect: it must not keep every later round from beginning
            logger.exception("a compaction round failed")
            error = f"{type(why).__name__}: {why}"
        state.rounds += 1
        state.state = "failed" if error else "idle"
        if error and (state.last_round is None or error != state.last_round["error"]):
            logger.warning("compaction round ended early: %s", error)
            self.vitals.record_error(error, 0)
        state.last_round = {
            "started_ms": started_ms,
            "ended_ms": self._now_ms(),
            "moved_bytes": state.moved_bytes - before[0],
            "freed_bytes": state.freed_bytes - before[1],
            "segments": state.segments_done,
            "error": error,
        }

    def _round(self, forget_before_ms: int, any_age: bool) -> Round:
        tools = Tools(
            self._directory, self._view, self._disk, self._segments, self._segments_dir, self._thread, self._keyring, self._monotonic,
            self._pace,
        )  # fmt: skip
        return Round(
            tools, self.state, target_bytes=self._plan.segment_target_bytes, forget_before_ms=forget_before_ms, any_age=any_age
        )

    def _pace(self, worked_secs: float) -> None:
        """Leave the disk alone as the share wants it; stand still while paused. Raises Stopped."""
        share = 1.0 if self.state.short_of_space else self._plan.disk_share
        if not self._stopping.wait(min(pause_secs(worked_secs, share), PAUSE_MAX_SECS)):
            self._may_go_on.wait()
        if self._stopping.is_set():
            raise Stopped
