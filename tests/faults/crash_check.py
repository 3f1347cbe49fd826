"""Takes a finished workload to every kind of power cut, restarts the engine on what is left, and judges what it finds.

A recovered store must hold exactly the contents after some LSN that is no lower than any acknowledged before the cut, and no
higher than anything asked for by then: so acknowledged writes are there, others are there whole or not at all, and nothing that was
overwritten or deleted comes back. A second restart, orderly, by kill or by another power cut, must find the same.
"""

import os
import random
from collections.abc import Iterator
from typing import NamedTuple

from actors import messages as m
from fasterstore.errors import StoreError
from fasterstore.model import SegmentId
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.memory_disk import SECTOR_BYTES, MemoryDisk
from fasterstore.storage.record import record_bytes
from fasterstore.storage.segment import segment_name
from tests.faults.contents import OpenUpload, State, Version
from tests.faults.engine import Clock, Engine, make_intent, split
from tests.faults.reading import Found
from tests.faults.timeline import Timeline
from tests.faults.violation import Violation
from tests.faults.workload import STORE, IndexFiles, Workload, put_index
from tests.faults.workload_requests import BUCKETS, KEYS, completion
from tests.storage_node import audit

WORKS_SHARE = 0.5
COMPACTS_SHARE = 0.3


class Crash(NamedTuple):
    """One possible state after a power cut: the disk, the index's files, and when the power went."""

    disk: MemoryDisk
    index_files: IndexFiles
    at_op: int


class Survivor(NamedTuple):
    """A crash state that was judged sound, with the LSN to which it recovers."""

    crash: Crash
    lsn: int


def crashes(run: Workload, rng: random.Random, states_per_moment: int) -> Iterator[Crash]:
    """Power cuts at moments of the run in random order, each with some of the states it may leave; ends after each moment had its turn."""
    ops = run.disk.ops
    moments = list(range(len(ops) + 1))
    # Most can go wrong between a write and its sync.
    moments += [at_op for at_op in moments if at_op and ops[at_op - 1].kind == "write"] * 3
    rng.shuffle(moments)
    for at_op in moments:
        for disk in run.disk.crash_states(at_op, rng, states_per_moment, sample=states_per_moment):
            yield Crash(disk, _pick_index(run, at_op, rng), at_op)


class CrashCheck:
    """Judges crash states of one workload. Uses `folder` for the index."""

    def __init__(self, folder: str, timeline: Timeline, rng: random.Random, now_ms: Clock) -> None:
        self._index_path = os.path.join(folder, "index.db")
        self._timeline = timeline
        self._rng = rng
        self._now_ms = now_ms

    def judge(self, crash: Crash) -> Survivor:
        """Restart on a crash state, twice. Raises Violation."""
        disk = _copy(crash.disk)
        put_index(self._index_path, crash.index_files)
        engine = self._start(disk)
        lsn = engine.recovered_lsn
        promised = self._timeline.promised_lsn(crash.at_op)
        if lsn < promised:
            raise Violation(f"LSN {promised} was acknowledged, the log now ends at {lsn}")
        if lsn > self._timeline.head_lsn or self._timeline.asked_at(lsn) > crash.at_op:
            raise Violation(f"the log ends at LSN {lsn}, which nobody had asked for yet")
        state = self._timeline.state(lsn)
        _compare(engine, state)
        back = [number for number in self._timeline.removed_at(lsn) if disk.exists(f"{STORE}/segments/{segment_name(SegmentId(number))}")]
        if back:
            raise Violation(f"files of segments {back} are there again, and the log says that they are gone")
        engine = self._again(disk, crash.index_files, engine)
        _compare(engine, state)
        if self._rng.random() < COMPACTS_SHARE:
            _compact(engine, state)
        if self._rng.random() < WORKS_SHARE:
            self._check_it_works(engine, state)
        engine.abandon()
        return Survivor(crash, lsn)

    def _again(self, disk: MemoryDisk, index: IndexFiles, engine: Engine) -> Engine:
        way = self._rng.choice(("stop", "kill", "cut"))
        if way == "stop":
            engine.stop()
            return self._start(disk)
        engine.abandon()
        if way == "cut":
            at_op = self._rng.randint(0, len(disk.ops))
            (disk,) = disk.crash_states(at_op, self._rng, 2, sample=1)
            put_index(self._index_path, index)
        return self._start(disk)

    def _start(self, disk: MemoryDisk) -> Engine:
        try:
            datadir = split(open_datadir(disk, STORE, os.urandom), self._index_path)
            return Engine(disk, datadir, os.urandom, self._now_ms)
        except Exception as error:
            raise Violation(f"the node does not start: {type(error).__name__}: {error}") from error

    def _check_it_works(self, engine: Engine, state: State) -> None:
        """A new write is kept and read; rot is never served; a PUT of the same bytes heals it; an open upload can be completed."""
        body = self._rng.randbytes(self._rng.randint(1, 600))
        _store(engine, BUCKETS[0], b"new", body)
        found = engine.read(BUCKETS[0], b"new")
        if found is None or found.body != body:
            raise Violation(f"a write after the restart reads as {found}")
        bucket, key = self._rng.choice([(BUCKETS[0], b"new"), *((name, key) for name, key, _ in state.objects())])
        found = engine.read(bucket, key)
        if found is not None and found.row.blob:
            self._check_it_heals(engine, bucket, key, found)
        opened = sorted(number for number, upload in state.uploads.items() if upload.parts and not upload.orphan)
        if opened:
            number = self._rng.choice(opened)
            self._check_it_completes(engine, number, state.uploads[number])

    def _check_it_heals(self, engine: Engine, bucket: str, key: bytes, found: Found) -> None:
        engine.rot(found.blobs[0], self._rng.randrange(record_bytes(len(found.body))), self._rng.randrange(8))
        if not engine.is_damaged(bucket, key):
            raise Violation(f"a flipped bit in the record of {bucket}/{key!r} went unnoticed")
        _store(engine, bucket, key, found.body)
        if engine.is_damaged(bucket, key):
            raise Violation(f"{bucket}/{key!r} was stored anew, but the damaged record is still the one that is read")

    def _check_it_completes(self, engine: Engine, number: int, upload: OpenUpload) -> None:
        listed = sorted(self._rng.sample(sorted(upload.parts), self._rng.randint(1, len(upload.parts))))
        intent = completion(engine, upload.bucket, upload.key, number, listed)
        reply = engine.change(m.CompleteUpload(intent)).get()
        if not isinstance(reply, m.Stored):
            raise Violation(f"upload {number} cannot be completed after the restart: {reply}")
        engine.sweep()
        if engine.is_damaged(upload.bucket, upload.key):
            return  # by the test itself
        found = engine.read(upload.bucket, upload.key)
        if found is None or found.body != b"".join(upload.parts[part] for part in listed):
            raise Violation(f"upload {number} of {upload} became {found}")
        audit_or_violation(engine)


def _compact(engine: Engine, state: State) -> None:
    """Give back what can be; the same is there afterwards, and no file that nothing is in. Raises Violation."""
    error = engine.compact_and_wait()
    if error:
        raise Violation(f"compaction after the restart ended early: {error}")
    _compare(engine, state)
    empty = [row for row in engine.view.segments() if row.retired or (row.sealed and not row.live_bytes)]
    if empty:
        raise Violation(f"segments that hold nothing are still there after a round: {empty}")


def _store(engine: Engine, bucket: str, key: bytes, body: bytes) -> None:
    reply = engine.put(make_intent(bucket, key, body, "after", create_bucket=True), body).get()
    if not isinstance(reply, m.Stored):
        raise Violation(f"a PUT after the restart was answered {reply}")


def audit_or_violation(engine: Engine) -> None:
    """Raises Violation unless every counter of the index is that of the rows it counts."""
    try:
        audit(engine.datadir.index_path)
    except AssertionError as error:
        raise Violation(f"the index contradicts itself: {error}") from error


def _compare(engine: Engine, state: State) -> None:
    """Raises Violation unless the store holds exactly `state`, readable and verified, with right counters."""
    found = {row.name: row for row in engine.view.buckets("", "", 100)}
    settings = {name: row.settings for name, row in found.items()}
    if settings != {name: bucket.settings for name, bucket in state.buckets.items()}:
        raise Violation(f"the buckets are {settings}, not those of {state}")
    for bucket in BUCKETS:
        for key in KEYS:
            made = state.buckets[bucket].objects.get(key) if bucket in state.buckets else None
            try:
                _compare_object(engine, bucket, key, made)
            except (StoreError, OSError) as error:
                raise Violation(f"{bucket}/{key!r} is unreadable: {type(error).__name__}: {error}; it should be {made}") from error
    for name, row in found.items():
        _compare_uploads(engine, row.bucket_id, {number: upload for number, upload in state.uploads.items() if upload.bucket == name})
    usage = [
        (name, len(bucket.objects), sum(len(made.body) for made in bucket.objects.values()))
        for name, bucket in sorted(state.buckets.items())
    ]
    if [tuple(row) for row in engine.view.usage()] != usage:
        raise Violation(f"usage is {engine.view.usage()}, not {usage}")
    audit_or_violation(engine)


def _compare_object(engine: Engine, bucket: str, key: bytes, made: Version | None) -> None:
    found = engine.read(bucket, key)
    if made is None:
        if found is not None:
            raise Violation(f"{bucket}/{key!r} should not be there: {found}")
        return
    if found is None or Version(found.row.user["tag"], found.body, found.row.etag, found.row.tags) != made:
        raise Violation(f"{bucket}/{key!r} is {found}, not {made}")
    if not found.row.manifest and found.row.etag != make_intent(bucket, key, made.body, "").etag:
        raise Violation(f"{bucket}/{key!r} has the ETag {found.row.etag}")


def _compare_uploads(engine: Engine, bucket_id: int, opened: dict[int, OpenUpload]) -> None:
    """`opened`: all that were ever begun in a bucket of that name and have not ended."""
    wanted = {number: upload for number, upload in opened.items() if not upload.orphan}
    rows = {row.number: row for row in engine.view.uploads.uploads_after(bucket_id, b"", 0, 10_000)}
    if rows.keys() != wanted.keys():
        raise Violation(f"the open uploads are {sorted(rows)}, not {wanted}")
    for number, upload in wanted.items():
        parts = {part.number: engine.part_body(part) for part in engine.view.uploads.parts_after(number, 0, 10_000)}
        if (rows[number].key, rows[number].user, parts) != (upload.key, {"tag": upload.tag}, upload.parts):
            raise Violation(f"upload {number} is {rows[number]} with {parts}, not {upload}")


def _pick_index(run: Workload, at_op: int, rng: random.Random) -> IndexFiles:
    """One that may be left: none, or any copy from before the cut, its own log torn somewhere."""
    copies = [copy for copy in run.indexes if copy.at_op <= at_op]
    if rng.random() < 0.2:
        return {}
    _at_op, files, may_tear = copies[-1] if rng.random() < 0.4 else rng.choice(copies)
    log = files.get("-wal", b"")
    if log and may_tear and rng.random() < 0.4:
        torn = bytearray(log)
        start = rng.randrange(len(log)) // SECTOR_BYTES * SECTOR_BYTES
        end = rng.choice((len(log), start + SECTOR_BYTES))
        torn[start:end] = bytes(min(end, len(log)) - start)
        files = files | {"-wal": bytes(torn)}
    return files


def _copy(disk: MemoryDisk) -> MemoryDisk:
    (kept,) = disk.crash_states(0, random.Random(0), 0)
    return kept
