"""One fault at one place of a fixed trace: the Nth write or sync of one thread of a node fails with EIO, once, as a disk fails.

A node in one process is warmed up, so that its threads exist, and traced; a fixed script of requests follows, then an orderly stop with
its checkpoint. The threads are told apart by the order in which they were started, which is the same each time. What was acknowledged is
looked for afterwards with the engine itself, on the files that are left. strace is attached to the one thread: its counter is then that
thread's alone.
"""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import gevent
import requests

from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.disk import RealDisk
from tests.faults.engine import CountingClock, Engine, laboratory
from tests.node import RunningNode, child_pids
from tests.probe.eventually import gone
from tests.probe.ledger import Key, Ledger
from tests.probe.upload import Upload, checked
from tools.client import ResponseError

BUCKET = "trace"
CALLS = "pwrite64,pwritev,pwritev2,fdatasync,fsync"
SETTINGS = {"FS_SEGMENT_TARGET_SIZE_MB": "1", "FS_READ_GRACE_SECS": "0", "FS_CACHE_CAPACITY_MB": "0"}
ATTACH_SECS = 20.0
END_SECS = 20.0
PROMPT_SECS = 10.0
"""It takes milliseconds; the rest is for a busy machine."""
REQUEST_TIMEOUT_SECS = 20.0
AFTERWARDS_TIMEOUT_SECS = 0.3
"""For requests after the one that failed, none of which may be acknowledged: nobody waits for the process that comes next."""


class Thread(NamedTuple):
    """The `number`-th, from 0, of those of a name: of a pool there are several."""

    name: str
    number: int


class Place(NamedTuple):
    """The `number`-th call, from 1, of that system call by that thread: strace counts so. `file` is the one it met when it was measured."""

    thread: Thread
    call: str
    number: int
    file: str


class Outcome(NamedTuple):
    """What came of one fault. `call`: which call failed, and of what file; empty if the trace ended before it."""

    place: Place
    call: str
    complaints: list[str]
    acknowledged: int
    stopped_secs: float
    """From the fault to the end of the process."""


class Traced:
    """A node that was warmed up, with the ledger of what it acknowledged."""

    def __init__(self, folder: Path, more: Mapping[str, str] | None = None) -> None:
        self.node = RunningNode(folder / "data", SETTINGS | dict(more or {}), workers=0)
        self.ledger = Ledger()

    def __enter__(self) -> "Traced":
        self.node.start()
        self._client = self.node.client(timeout_secs=REQUEST_TIMEOUT_SECS)
        self._client.create_bucket(BUCKET)
        # Two at once: as many threads of the pool as the script can use.
        bodies = [os.urandom(400_000) for _ in range(2)]
        gevent.joinall([gevent.spawn(self.put, f"warm/{number}", body) for number, body in enumerate(bodies)], raise_error=True)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.node.kill()

    @property
    def process(self) -> int:
        """The one that serves and stores."""
        (pid,) = child_pids(self.node.pid)
        return pid

    def threads(self) -> dict[Thread, int]:
        """Their numbers for the kernel."""
        found: dict[Thread, int] = {}
        count = Counter[str]()
        for task in sorted(int(task) for task in os.listdir(f"/proc/{self.process}/task")):
            name = Path(f"/proc/{self.process}/task/{task}/comm").read_text().strip()
            found[Thread(name, count[name])] = task
            count[name] += 1
        return found

    # ---- the script ----

    def script(self) -> None:
        """Until the first request that is not acknowledged; then a few more of each kind, which must not be either."""
        steps = [
            lambda: self.put("small", b"small"),
            lambda: self.put("large", os.urandom(300_000)),
            lambda: self.put("collected", os.urandom(700_000)),
            lambda: self.in_parts("parts"),
            lambda: self.copy("large", "copy"),
            lambda: self.delete("large"),
            self.compact,
            lambda: self.put("last", b"last" * 1000),
        ]
        for number, step in enumerate(steps):
            if not step():
                self._client = self.node.client(timeout_secs=AFTERWARDS_TIMEOUT_SECS)
                sizes = (100, 100_000, 100)
                bodies = [(f"afterwards/{number}/{again}", os.urandom(size)) for again, size in enumerate(sizes)]
                gevent.joinall([gevent.spawn(self.put, *what) for what in bodies], raise_error=True)
                return
            self._read_back()

    def put(self, name: str, body: bytes) -> bool:
        value = hashlib.md5(body).hexdigest()
        return self._change(name, value, (), lambda: self._client.put(BUCKET, name, body))

    def delete(self, name: str) -> bool:
        return self._change(name, None, (), lambda: self._client.delete(BUCKET, name))

    def copy(self, source: str, name: str) -> bool:
        (value,) = self.ledger.key(source).possible
        headers = {"x-amz-copy-source": f"/{BUCKET}/{source}"}
        return self._change(name, value, (), lambda: checked(self._client.request("PUT", BUCKET, name, (), headers)))

    def in_parts(self, name: str) -> bool:
        body, upload = os.urandom(70_000), Upload(self._client, BUCKET, name)
        try:
            upload.begin()
            upload.put(2, b"left out")
            upload.put(1, body)
        except ResponseError as error:
            return self._refused(name, error)
        except requests.RequestException:
            return False
        etag = upload.etag((1,))
        return self._change(name, hashlib.md5(body).hexdigest(), {etag}, lambda: upload.complete((1,)))

    def compact(self) -> bool:
        """A round, and what it does: forgets, moves, unlinks. Returns when it is over or the node is."""
        try:
            answer = self._client.send("POST", "/_admin/compaction")
            while answer.status_code == requests.codes.ok and answer.json()["state"] == "running":
                gevent.sleep(0.01)
                answer = self._client.send("GET", "/_admin/compaction")
        except requests.RequestException:
            return False
        return answer.status_code == requests.codes.ok

    def _change(self, name: str, value: str | None, etags: Iterable[str], send: Callable[[], object]) -> bool:
        key, asked_at = self.ledger.key(name), time.time()
        self.ledger.begin(key, value, etags)
        try:
            send()
        except ResponseError as error:
            self.ledger.unknown(key, value)
            return self._refused(name, error)
        except requests.RequestException:
            self.ledger.unknown(key, value)
            return False
        self.ledger.acknowledged(key, value)
        key.acknowledged_at = asked_at
        return True

    def _refused(self, name: str, error: ResponseError) -> bool:
        if error.status not in {500, 503}:
            self.ledger.violations.append(f"{name}: answered {error}")
        return False

    def _read_back(self) -> None:
        for key in list(self.ledger.keys.values()):
            try:
                answer = self._client.request("GET", BUCKET, key.name)
            except requests.RequestException:
                return
            if answer.status_code == requests.codes.not_found:
                self.ledger.judge(key, None, b"", exact=True)
            elif answer.status_code == requests.codes.ok:
                self.ledger.judge(key, answer.headers["ETag"], answer.content, exact=True)


@contextlib.contextmanager
def attached(thread: int, record: Path, *injection: str) -> Iterator[None]:
    """strace on one thread while open; its record names files."""
    said = record.with_suffix(".err")
    with open(said, "wb") as errors:
        strace = subprocess.Popen(
            ["strace", "-ttt", "-y", "-p", str(thread), "-o", str(record), "-e", f"trace={CALLS}", *injection],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        deadline = time.monotonic() + ATTACH_SECS
        while "attached" not in said.read_text():
            assert strace.poll() is None and time.monotonic() < deadline, f"strace does not attach: {said.read_text()}"
            time.sleep(0.005)
        yield
    finally:
        if strace.poll() is None:
            strace.send_signal(signal.SIGTERM)
        strace.wait(ATTACH_SECS)


def measure(folder: Path) -> list[Place]:
    """Every place at which the trace can fail, as an undisturbed run has it."""
    records: dict[Thread, Path] = {}
    with Traced(folder) as traced, contextlib.ExitStack() as stack:
        for number, (thread, task) in enumerate(traced.threads().items()):
            records[thread] = folder / f"calls-{number}"
            stack.enter_context(attached(task, records[thread]))
        traced.script()
        assert traced.node.stop() == 0
        assert not traced.ledger.violations
    return [place for thread, record in records.items() for place in _places(thread, record.read_text())]


def _places(thread: Thread, record: str) -> Iterator[Place]:
    count = Counter[str]()
    for call, path in re.findall(r"^\d+\.\d+ (\w+)\(\d+<([^>]*)>", record, re.MULTILINE):
        count[call] += 1
        yield Place(thread, call, count[call], os.path.basename(path))


def run(folder: Path, place: Place, planted: Mapping[str, str] | None = None) -> Outcome:
    """Start, fail there, look at what is left. `planted`: variables of the node's environment."""
    record = folder / "strace"
    with Traced(folder, planted) as traced:
        task, process = traced.threads().get(place.thread), traced.process
        if task is None:  # a pool that has fewer threads this time
            return Outcome(place, "", [], 0, 0.0)
        with attached(task, record, "-e", f"inject={place.call}:error=EIO:when={place.number}"):
            end = gevent.spawn(_end_of, process)
            traced.script()
            found = _injected(record)
            if found is None:
                traced.node.stop(END_SECS)
                found = _injected(record)
            end.join(PROMPT_SECS)
        complaints = list(traced.ledger.violations)
        stopped_secs = 0.0
        if found is not None:
            failed_at, call = found
            stopped_secs = end.value - failed_at if end.successful() else float("inf")
            if not end.successful():
                complaints.append(f"{call} failed, and the process goes on")
            late = [key.name for key in traced.ledger.keys.values() if key.acknowledged_at > failed_at]
            complaints += [f"{name} was asked after {call} had failed, and acknowledged" for name in late]
        end.kill()
    complaints += _look(folder / "data", traced.ledger)
    return Outcome(place, found[1] if found else "", complaints, traced.ledger.counts.acknowledged, stopped_secs)


def _injected(record: Path) -> tuple[float, str] | None:
    """When the call failed (Unix seconds), and which it was."""
    found = re.search(r"^(\d+\.\d+) (\w+)\(\d+<([^>]*)>.*\(INJECTED\)", record.read_text(), re.MULTILINE)
    return None if found is None else (float(found[1]), f"{found[2]} of {os.path.basename(found[3])}")


def _end_of(process: int) -> float:
    """When it ended, in Unix seconds."""
    while not gone(process):
        gevent.sleep(0.002)
    return time.time()


def _look(data_dir: Path, ledger: Ledger) -> list[str]:
    """Start the engine on what is left, as an operator who has replaced the disk would, and compare."""
    ledger.violations.clear()
    disk = RealDisk()
    with laboratory():
        try:
            engine = Engine(disk, open_datadir(disk, str(data_dir), os.urandom), os.urandom, CountingClock())
        except Exception as error:
            return [f"does not start afterwards: {type(error).__name__}: {error}"]
        try:
            for key in ledger.keys.values():
                _look_at(engine, ledger, key)
        finally:
            engine.abandon()
    return ledger.violations


def _look_at(engine: Engine, ledger: Ledger, key: Key) -> None:
    try:
        found = engine.read(BUCKET, key.name.encode())
    except Exception as error:
        ledger.unreadable(key, error)
        return
    if found is None:
        ledger.judge(key, None, b"", exact=True)
    else:
        ledger.judge(key, found.row.etag, found.body, exact=True)


def summary(outcomes: list[Outcome]) -> str:
    """What failed how often, for the report that a run prints."""
    calls = Counter(re.sub(r"[0-9a-f]{16}", "*", outcome.call) for outcome in outcomes if outcome.call)
    slowest = max((outcome.stopped_secs for outcome in outcomes), default=0.0)
    acknowledged = sum(outcome.acknowledged for outcome in outcomes)
    return (
        f"{sum(calls.values())} faults of {len(outcomes)} places, {acknowledged} acknowledged, ended within {slowest:.2f} s: {dict(calls)}"
    )
