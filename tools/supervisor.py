"""The supervisor: the parent of the storage process and the web workers. Forks, watches, restarts, stops. Serves nothing.

It imports the standard library and our own pure modules only, so that nothing is patched and no hub exists at a fork. It holds the
data dir's lock and the listening socket for the node's life. Children hear from it through a pipe each (commands are lines) and die
with it (PR_SET_PDEATHSIG); they ignore SIGTERM, SIGINT and SIGHUP, which a terminal or systemd sends to the whole group: the order of
a stop is the supervisor's, and SIGHUP it passes on as the command `reload`. Storage says its last word through a pipe of its own: why it
gave up.

After the exit code "volume suspect" or "log damaged" storage is not started again: workers answer reads from the last committed
index and 503 to every write until an operator acts. The mark survives a restart of the node (`SUSPECT_NAME` in the data dir).
"""

import contextlib
import ctypes
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

logger = logging.getLogger("fasterstore.supervisor")

EXIT_VOLUME_SUSPECT = 70
EXIT_LOG_DAMAGED = 71
EXIT_REFUSED = 72
"""The data dir cannot be served by this build or this configuration: the node stops."""

SUSPECT_NAME = "volume-suspect"
RESTART_DELAY_MIN_SECS = 0.05
RESTART_DELAY_MAX_SECS = 5.0
STEADY_SECS = 10.0
"""A child that lived this long is restarted at once; one that dies sooner waits longer each time."""
DRAIN_GRACE_SECS = 5.0
"""A child that drains resets what is left after `drain_secs` and ends by itself; only one that hangs is killed, so much later."""
STORAGE_STOP_SECS = 30.0
PR_SET_PDEATHSIG = 1
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


class Child(NamedTuple):
    """What a child process is given: its slot, its number (0: storage; workers count up and are never reused), its two pipe ends."""

    slot: int
    number: int
    commands_fd: int
    report_fd: int


class _Running:
    """A child as the supervisor sees it."""

    __slots__ = ("commands_fd", "number", "pid", "report_fd", "slot", "started")

    def __init__(self, slot: int, number: int, pid: int, commands_fd: int, report_fd: int) -> None:
        self.slot = slot
        self.number = number
        self.pid = pid
        self.commands_fd = commands_fd
        self.report_fd = report_fd
        self.started = time.monotonic()


class Supervisor:
    """Slot 0 is storage, slots 1 .. workers are web workers. With `single`, slot 0 is one process that does everything."""

    def __init__(
        self,
        *,
        data_dir: str,
        workers: int,
        storage_main: Callable[[Child], None],
        worker_main: Callable[[Child], None],
        drain_secs: float,
        worker_ended: Callable[[int], None] = lambda slot: None,
    ) -> None:
        """`*_main` run in the child and return at an orderly stop. `workers` 0: storage_main serves HTTP too.

        `worker_ended` is told the slot of each worker that is gone.
        """
        self._data_dir = data_dir
        self._workers = workers
        self._storage_main = storage_main
        self._worker_main = worker_main
        self._drain_secs = drain_secs
        self._worker_ended = worker_ended
        self._children: dict[int, _Running] = {}
        self._due: dict[int, float] = {}
        self._delay: dict[int, float] = {}
        self._last_number = 0
        self._read_only = self._marked_suspect()
        self._stop_deadline: float | None = None
        self._storage_told = False
        self._exit_code = 0

    # ---- the loop ----

    def run(self) -> int:
        """Start all children, serve until a stop, return the exit code."""
        # A launcher may leave it ignored; the kernel would then reap children itself and tell nobody.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        now = time.monotonic()
        if self._read_only:
            logger.error("starting read-only: %s", self._read_only)
        else:
            self._due[0] = now
        for slot in range(1, max(self._workers, 1 if self._read_only else 0) + 1):
            self._due[slot] = now
        while True:
            self._start_due()
            if self._stop_deadline is not None and not self._children:
                return self._exit_code
            self._wait_for_signal()
            self._reap()
            if self._stop_deadline is not None:
                self._go_on_stopping()

    def _wait_for_signal(self) -> None:
        now = time.monotonic()
        times = list(self._due.values())
        if self._stop_deadline is not None:
            times.append(min(self._stop_deadline, now + 0.5))
        if times:
            got = signal.sigtimedwait(_SIGNALS, max(min(times) - now, 0))
        else:
            got = signal.sigwaitinfo(_SIGNALS)
        if got is None or got.si_signo == signal.SIGCHLD:
            return
        if got.si_signo == signal.SIGHUP:
            for child in self._children.values():
                self._tell(child, "reload")
            return
        if self._stop_deadline is None:
            logger.info("stopping: requests in flight are finished first")
            self._stop()
        else:
            logger.warning("stopping at once")
            self._kill_all()

    # ---- starting ----

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, due in self._due.items() if due <= now]:
            del self._due[slot]
            if self._stop_deadline is None:
                self._start(slot)

    def _start(self, slot: int) -> None:
        if slot:
            self._last_number += 1
        number = self._last_number if slot else 0
        commands_read, commands_write = os.pipe()
        report_read, report_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(commands_write)
            os.close(report_read)
            for other in self._children.values():
                os.close(other.commands_fd)
                os.close(other.report_fd)
            _run_child(self._worker_main if slot else self._storage_main, Child(slot, number, commands_read, report_write), parent)
        os.close(commands_read)
        os.close(report_write)
        self._children[slot] = _Running(slot, number, pid, commands_write, report_read)
        if self._read_only and slot:
            self._tell(self._children[slot], f"read-only {self._read_only}")

    # ---- ends ----

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((child for child in self._children.values() if child.pid == pid), None)
            if child is not None:
                del self._children[child.slot]
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Running, code: int) -> None:
        report = _read_all(child.report_fd)
        os.close(child.report_fd)
        os.close(child.commands_fd)
        name = f"worker {child.number}" if child.slot else "storage process"
        if child.slot:
            self._worker_ended(child.slot)
        if child.slot and 0 in self._children:
            self._tell(self._children[0], f"lost {child.number}")
        if self._stop_deadline is not None:
            if code:
                self._exit_code = 1
            if child.slot == 0 and code == EXIT_VOLUME_SUSPECT:
                self._mark_suspect(report or "the last writes of a stop failed")  # the next start must not take it for sound
            return
        if child.slot == 0 and code in (EXIT_VOLUME_SUSPECT, EXIT_LOG_DAMAGED):
            self._become_read_only(report or f"storage process ended with code {code}", code)
            return
        if child.slot == 0 and code == EXIT_REFUSED:
            print(report or "the data dir was refused", file=sys.stderr, flush=True)
            self._exit_code = 1
            self._stop()
            return
        self._restart_later(child, name, code)

    def _restart_later(self, child: _Running, name: str, code: int) -> None:
        lived_secs = time.monotonic() - child.started
        before = self._delay.get(child.slot, 0.0)
        delay = 0.0 if lived_secs >= STEADY_SECS else min(max(before * 2, RESTART_DELAY_MIN_SECS), RESTART_DELAY_MAX_SECS)
        self._delay[child.slot] = delay
        cause = f"signal {-code}" if code < 0 else f"code {code}"
        logger.error("%s (pid %d) ended with %s after %.1f s; restarting in %.2f s", name, child.pid, cause, lived_secs, delay)
        self._due[child.slot] = time.monotonic() + delay

    # ---- read-only ----

    def _marked_suspect(self) -> str:
        path = os.path.join(self._data_dir, SUSPECT_NAME)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                reason = " ".join(file.read(1000).split())
        except FileNotFoundError:
            return ""
        except OSError as error:
            reason = f"the mark cannot be read: {error}"
        return f"{reason} (after the cause is removed: delete {path} and restart)"

    def _become_read_only(self, reason: str, code: int) -> None:
        reason = " ".join(reason.split())
        if code == EXIT_VOLUME_SUSPECT:
            reason = self._mark_suspect(reason)
        self._read_only = reason
        logger.critical("read-only until an operator acts: %s", reason)
        for child in self._children.values():
            self._tell(child, f"read-only {reason}")
        if not self._workers:
            self._due[1] = time.monotonic()

    def _mark_suspect(self, reason: str) -> str:
        """Leave the mark that outlives this node; return the reason with what the operator is to do."""
        path = os.path.join(self._data_dir, SUSPECT_NAME)
        # The volume may refuse this too; the running workers are told through their pipes in any case.
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
            file.write(" ".join(reason.split()) + "\n")
            file.flush()
            os.fsync(file.fileno())
            folder_fd = os.open(self._data_dir, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder_fd)
            finally:
                os.close(folder_fd)
        return f"{reason} (after the cause is removed: delete {path} and restart)"

    # ---- stopping ----

    def _stop(self) -> None:
        """Workers first; storage once they are gone, so that what they have in flight is answered."""
        self._due.clear()
        self._stop_deadline = time.monotonic() + self._drain_secs + DRAIN_GRACE_SECS
        for slot, child in self._children.items():
            if slot:
                self._tell(child, "stop")
        self._go_on_stopping()

    def _go_on_stopping(self) -> None:
        workers = [child for slot, child in self._children.items() if slot]
        if not workers and 0 in self._children and not self._storage_told:
            self._storage_told = True
            self._stop_deadline = time.monotonic() + STORAGE_STOP_SECS + (0.0 if self._workers else self._drain_secs)
            self._tell(self._children[0], "stop")
        elif self._stop_deadline is not None and time.monotonic() >= self._stop_deadline:
            logger.error("%d processes did not stop in time and are killed", len(workers) or len(self._children))
            for child in workers or list(self._children.values()):
                os.kill(child.pid, signal.SIGKILL)
            self._stop_deadline = time.monotonic() + STORAGE_STOP_SECS

    def _kill_all(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)

    def _tell(self, child: _Running, line: str) -> None:
        # A child that has just died, or reads nothing, must not stop the supervisor: the pipe holds far more than it is ever told.
        if select.select([], [child.commands_fd], [], 0)[1]:
            with contextlib.suppress(OSError):
                os.write(child.commands_fd, line.encode() + b"\n")


def _run_child(main: Callable[[Child], None], child: Child, parent: int) -> NoReturn:
    code = 1
    try:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        main(child)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        logger.exception("a child process ended by an exception")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _read_all(fd: int) -> str:
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 4096).decode(errors="replace").strip()
    except BlockingIOError:
        return ""
