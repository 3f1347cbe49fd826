"""Blocking calls outside the loop: a thread of its own for calls that must not overlap, and the process's pool for all others.

A call costs two hand-overs between threads. gevent's ThreadPool adds a queue with Python locks and a watcher per call; here one watcher
serves the thread's life (17 us of CPU a call against 21, 43 against 66 on busy cores: each batch makes two).
A native thread must never touch an actor ref: gevent's loop is not safe across threads.
"""

import ctypes
from _queue import SimpleQueue  # the C one: gevent's patched queue would switch greenlets
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

from gevent import get_hub, getcurrent
from gevent.monkey import get_original

from fasterstore.errors import InvariantError

T = TypeVar("T")

_libc = ctypes.CDLL(None)
_PR_SET_NAME = 15
_start_new_thread, _allocate_lock = get_original("_thread", ["start_new_thread", "allocate_lock"])


class _Job:
    __slots__ = ("arguments", "done", "error", "function", "value", "waiter")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.waiter: Any = None


class NativeThread:
    """One native thread for blocking calls that must not overlap (one SQLite connection, one file's fdatasync).

    Calls run one after another in the order they came, also when the greenlet that waits for one is killed: the call goes on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._hub = get_hub()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._finished: deque[_Job] = deque()
        # The one thing of the loop that another thread may call is an async watcher's send().
        self._wake = self._hub.loop.async_()
        self._wake.start(self._deliver)
        self._closed = False
        self._running = _allocate_lock()
        self._running.acquire()
        _start_new_thread(self._work, ())

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` in the thread; only the calling greenlet waits. Raises: what `function` raises; InvariantError once closed."""
        if self._closed:
            raise InvariantError(f"a call in the thread {self.name} after its close")
        job = _Job(function, args)
        self._jobs.put(job)
        try:
            while not job.done:
                job.waiter = getcurrent()
                self._hub.switch()
        finally:
            job.waiter = None
        if job.error is not None:
            raise job.error
        return cast(T, job.value)

    def close(self) -> None:
        """Wait until what is queued is finished and the thread has ended. Once."""
        self.run(lambda: None)
        self._closed = True
        self._jobs.put(None)
        # Blocks the loop, for the moment in which the thread leaves: it may still be inside the watcher's send().
        self._running.acquire()
        self._wake.stop()
        self._wake.close()

    def _work(self) -> None:
        # For a person's eyes: top -H, perf and py-spy show it. The kernel keeps 15 bytes.
        _libc.prctl(_PR_SET_NAME, self.name.encode()[:15], 0, 0, 0)
        while (job := self._jobs.get()) is not None:
            try:
                job.value = job.function(*job.arguments)
            except BaseException as error:
                job.error = error
            self._finished.append(job)
            self._wake.send()
        self._running.release()

    def _deliver(self) -> None:
        while self._finished:
            job = self._finished.popleft()
            job.done = True
            waiter, job.waiter = job.waiter, None
            if waiter is not None:
                waiter.switch()


def _caught(function: Callable[..., T], args: tuple[Any, ...]) -> tuple[T | None, BaseException | None]:
    # gevent's pool prints a traceback for what leaves the function, besides raising it in the caller.
    try:
        return function(*args), None
    except BaseException as error:
        return None, error


def offload(function: Callable[..., T], *args: Any) -> T:
    """`function(*args)` in the process's pool of ten threads; only the calling greenlet waits. Raises: what `function` raises."""
    outcome: tuple[T | None, BaseException | None] = get_hub().threadpool.spawn(_caught, function, args).get()
    value, error = outcome
    if error is not None:
        raise error
    return cast(T, value)
