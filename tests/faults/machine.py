"""The engine and the model side by side, driven by Hypothesis: every answer, every counter and every byte must agree.

On real files. Storage is stopped, killed and restarted on the way, loses what its index had not checkpointed, finds full disks and rot.
"""

import errno
import hashlib
import os
import random
from contextlib import ExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors import messages as m
from fasterstore.errors import StoreError
from fasterstore.model import SMALL_BODY_MAX_BYTES
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.record import record_bytes
from tests.faults.engine import SEGMENT_TARGET_BYTES, Engine, counting_clock, fill, laboratory, make_intent, scratch_folder
from tests.faults.model import Conditions, Expected, Model
from tests.faults.timeline import Violation

buckets = st.sampled_from(["alpha", "beta"])
keys = st.sampled_from([b"a", b"a/b", "ключ".encode(), b"z" * 1024])
pool = st.integers(0, 3).map(lambda number: random.Random(number).randbytes((17, 700, 5000, 1)[number]))
fresh = st.tuples(st.integers(0, 1 << 32), st.sampled_from([1, 100, 511, 4096, SEGMENT_TARGET_BYTES])).map(
    lambda drawn: random.Random(drawn[0]).randbytes(drawn[1])
)
bodies = st.one_of(st.just(b""), pool, pool, fresh)
two_chunks = st.just(1100).map(lambda times: bytes(range(256)) * times)
large_bodies = st.one_of(pool, fresh, two_chunks)
etags = st.one_of(st.none(), st.none(), st.sampled_from(["*", "current", "quoted", "other"]))
condition_draws = st.one_of(st.just((None, None)), st.just((None, None)), st.tuples(etags, st.none()), st.tuples(st.none(), etags))

creates = st.sampled_from([True, True, True, False])

FULL_DISK_TRIES = 40
"""Enough for the log to need its next step of preallocation."""


class FullableDisk(RealDisk):
    """A disk that may have no room for the files of one folder."""

    __slots__ = ("full_folder",)

    def __init__(self) -> None:
        self.full_folder = ""

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        if self.full_folder and f"/{self.full_folder}/" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().fallocate(fd, offset, length)


class EngineAgainstModel(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._stack.enter_context(laboratory())
        folder = self._stack.enter_context(scratch_folder())
        self._disk = FullableDisk()
        self._path = os.path.join(folder, "data")
        self._now_ms = counting_clock()
        self._model = Model()
        self._held: list[tuple[int, m.ExtentGranted, bytes]] = []
        self._last_lsn = 0
        self._tags = 0
        self._engine = self._start()

    def teardown(self) -> None:
        self._engine.abandon()
        for fd, _grant, _body in self._held:
            os.close(fd)
        self._stack.close()

    def _start(self) -> Engine:
        try:
            engine = Engine(self._disk, open_datadir(self._disk, self._path, os.urandom), os.urandom, self._now_ms)
        except Exception as error:
            raise Violation(f"the node does not start: {type(error).__name__}: {error}") from error
        if engine.recovered_lsn < self._last_lsn:
            raise Violation(f"LSN {self._last_lsn} was acknowledged, the log ends at {engine.recovered_lsn}")
        return engine

    # ---- buckets

    @rule(bucket=buckets)
    def create_bucket(self, bucket: str) -> None:
        self._agree(self._engine.create_bucket(bucket).get(), self._model.create_bucket(bucket))

    @rule(bucket=buckets)
    def delete_bucket(self, bucket: str) -> None:
        self._agree(self._engine.delete_bucket(bucket).get(), self._model.delete_bucket(bucket))

    # ---- objects

    @rule(bucket=buckets, key=keys, body=bodies, drawn=condition_draws, create=creates)
    def put(self, bucket: str, key: bytes, body: bytes, drawn: tuple, create: bool) -> None:
        self._put(bucket, key, body, self._conditions(bucket, key, drawn), create)

    @precondition(lambda self: self._model.uses())
    @rule(bucket=buckets, key=keys, data=st.data())
    def put_bytes_that_are_there(self, bucket: str, key: bytes, data: st.DataObject) -> None:
        there = sorted((name, held) for name, objects in self._model.buckets.items() for held, made in objects.items() if made.blob)
        name, held = data.draw(st.sampled_from(there))
        body = self._model.buckets[name][held].body
        if len(body) <= SMALL_BODY_MAX_BYTES:
            self._put(bucket, key, body, Conditions(), True)

    @rule(bucket=buckets, key=keys, body=large_bodies, drawn=condition_draws, create=creates, looks_up=st.booleans())
    def put_by_extent(self, bucket: str, key: bytes, body: bytes, drawn: tuple, create: bool, looks_up: bool) -> None:
        conditions = self._conditions(bucket, key, drawn)
        intent = make_intent(bucket, key, body, self._tag(), create_bucket=create, **conditions._asdict())
        claim = self._model.claimable(body) if looks_up else 0
        if claim in self._model.rotten:
            claim = 0
        fd, grant, _body = self._reserve(body)
        os.close(fd)
        reply = self._engine.finish(grant, intent, body, claim).get()
        refusal = self._model.refusal_of_put(bucket, key, conditions, create)
        if refusal:
            self._agree(reply, refusal)
            return
        blob = claim or self._model.blob_of_append(body)
        self._stored(reply, bucket, key, Expected(body, intent.user["tag"], intent.etag, blob), bool(claim))

    @rule(held=st.lists(large_bodies, min_size=1, max_size=3))
    def hold_extents(self, held: list[bytes]) -> None:
        self._held += [self._reserve(body) for body in held]

    @precondition(lambda self: len(self._held) > 2)
    @rule(bucket=buckets, key=keys)
    def finish_the_oldest_held_extent(self, bucket: str, key: bytes) -> None:
        self._finish_oldest(bucket, key)

    @precondition(lambda self: len(self._held) > 2)
    @rule()
    def give_up_a_held_extent(self) -> None:
        fd, grant, _body = self._held.pop()
        os.close(fd)
        self._engine.abort(grant)

    def _finish_oldest(self, bucket: str, key: bytes) -> None:
        fd, grant, body = self._held.pop(0)
        fill(self._disk, fd, grant, body)
        os.close(fd)
        intent = make_intent(bucket, key, body, self._tag(), create_bucket=True)
        reply = self._engine.finish(grant, intent, body).get()
        if grant.epoch != self._engine.epoch:
            self._agree(reply, "StaleEpoch")
            return
        blob = self._model.blob_of_append(body)
        self._stored(reply, bucket, key, Expected(body, intent.user["tag"], intent.etag, blob), False)

    @rule(body=large_bodies)
    def let_a_worker_outlive_storage(self, body: bytes) -> None:
        """Its extents are finished while this epoch has granted ones with the same numbers."""
        self._held = [self._reserve(body)] + self._held
        self.kill_and_start()
        self._held.append(self._reserve(body[::-1]))
        self._finish_oldest("alpha", b"a")

    @precondition(lambda self: any(self._model.buckets.values()))
    @rule(data=st.data())
    def delete_what_is_there(self, data: st.DataObject) -> None:
        bucket, key = data.draw(st.sampled_from(sorted((name, key) for name, held in self._model.buckets.items() for key in held)))
        self._agree(self._engine.delete(bucket, key).get(), self._model.delete(bucket, key, Conditions()))

    @rule(bucket=buckets, key=keys, drawn=etags)
    def delete(self, bucket: str, key: bytes, drawn: str | None) -> None:
        conditions = self._conditions(bucket, key, (drawn, None))
        reply = self._engine.delete(bucket, key, conditions.if_match).get()
        self._agree(reply, self._model.delete(bucket, key, conditions))

    @rule(bucket=buckets, key=keys, draws=st.lists(condition_draws, min_size=2, max_size=6))
    def put_many_at_once(self, bucket: str, key: bytes, draws: list[tuple]) -> None:
        """Whoever wins, some order must explain all answers; that of the successes is told by their LSNs."""
        sent = []
        for drawn in draws:
            tag = self._tag()
            conditions = self._conditions(bucket, key, drawn)
            intent = make_intent(bucket, key, tag.encode(), tag, create_bucket=True, **conditions._asdict())
            sent.append((intent, conditions, self._engine.put(intent, tag.encode())))
        answers = [(intent, conditions, outcome.get()) for intent, conditions, outcome in sent]
        seen = [self._model.buckets.get(bucket, {}).get(key)]
        for intent, conditions, reply in sorted((answer for answer in answers if isinstance(answer[2], m.Stored)), key=lambda a: a[2].lsn):
            assert not conditions.refusal(seen[-1]), f"{intent} went through after {seen[-1]}"
            blob = self._model.blob_of_append(intent.user["tag"].encode())
            seen.append(Expected(intent.user["tag"].encode(), intent.user["tag"], intent.etag, blob))
            assert reply.lsn > self._last_lsn, (reply, self._last_lsn)
            self._last_lsn = reply.lsn
        for intent, conditions, reply in answers:
            if isinstance(reply, m.Refused):
                assert reply.error in {conditions.refusal(current) for current in seen}, f"{intent} was answered {reply}, over {seen}"
        if seen[-1] is not None and len(seen) > 1:
            self._model.put(bucket, key, seen[-1])
            self._check_object(bucket, key)

    # ---- time, ends and accidents

    @rule()
    def checkpoint(self) -> None:
        assert not self._engine.checkpoint().busy

    @rule()
    def tick(self) -> None:
        self._engine.tick()

    @rule()
    def lose_a_worker(self) -> None:
        self._engine.lose_worker(2)

    @rule()
    def stop_and_start(self) -> None:
        self._engine.stop()
        self._engine = self._start()
        self._check_all()

    @rule()
    def kill_and_start(self) -> None:
        self._engine.abandon()
        self._engine = self._start()
        self._check_all()

    @rule()
    def lose_what_the_index_had_not_synced(self) -> None:
        """A power cut as the index may see it: it is back at its last checkpoint."""
        self._engine.abandon()
        log = self._engine.datadir.index_path + "-wal"
        if os.path.exists(log):
            os.unlink(log)
            os.unlink(self._engine.datadir.index_path + "-shm")
        self._engine = self._start()
        self._check_all()

    @rule(bucket=buckets, key=keys, folder=st.sampled_from(["segments", "journal"]))
    def find_the_disk_full(self, bucket: str, key: bytes, folder: str) -> None:
        """Writes go through until room is needed; the one refused changes nothing, and with room again all is well."""
        reply: Any = None
        self._disk.full_folder = folder
        for _ in range(FULL_DISK_TRIES):
            reply = self._put_new(bucket, key)
            if isinstance(reply, m.Refused):
                break
        self._disk.full_folder = ""
        self._agree(reply, "StorageFull")
        self._agree(self._put_new(bucket, key), "")

    def _put_new(self, bucket: str, key: bytes) -> Any:
        """PUT bytes that nobody has, half a segment of them; returns the reply, a full disk being one."""
        tag = self._tag()
        body = tag.encode().ljust(SEGMENT_TARGET_BYTES * 2 // 5, b".")
        intent = make_intent(bucket, key, body, tag, create_bucket=True)
        reply = self._engine.put(intent, body).get()
        if isinstance(reply, m.Stored):
            self._stored(reply, bucket, key, Expected(body, tag, intent.etag, self._model.blob_of_append(body)), False)
        return reply

    @precondition(lambda self: self._model.uses())
    @rule(data=st.data())
    def rot(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self._model.uses())))
        if number in self._model.rotten:
            return
        bucket, key = next((b, k) for b, held in self._model.buckets.items() for k, made in held.items() if made.blob == number)
        found = self._engine.read(bucket, key)
        assert found is not None and found.blob is not None
        place = data.draw(st.integers(0, record_bytes(len(found.body)) - 1))
        self._engine.rot(found.blob, place, data.draw(st.integers(0, 7)))
        self._model.rotten.add(number)
        self._check_object(bucket, key)

    # ---- agreement

    def _put(self, bucket: str, key: bytes, body: bytes, conditions: Conditions, create: bool) -> None:
        intent = make_intent(bucket, key, body, self._tag(), create_bucket=create, **conditions._asdict())
        reply = self._engine.put(intent, body).get()
        refusal = self._model.refusal_of_put(bucket, key, conditions, create)
        if refusal:
            self._agree(reply, refusal)
            self._forget_appended(body)
            return
        blob, deduplicated = self._model.blob_of_claim(body)
        self._stored(reply, bucket, key, Expected(body, intent.user["tag"], intent.etag, blob), deduplicated)

    @invariant()
    def counters_agree(self) -> None:
        assert [tuple(row) for row in self._engine.view.usage()] == self._model.usage()
        assert [row.name for row in self._engine.view.buckets("", "", 10)] == sorted(self._model.buckets)

    def _agree(self, reply: Any, refusal: str) -> None:
        if refusal:
            assert isinstance(reply, m.Refused) and reply.error == refusal, f"answered {reply}, expected {refusal}"
        else:
            assert not isinstance(reply, m.Refused), reply

    def _stored(self, reply: Any, bucket: str, key: bytes, made: Expected, deduplicated: bool) -> None:
        assert isinstance(reply, m.Stored), reply
        assert (reply.etag, reply.deduplicated) == (made.etag, deduplicated), (reply, made)
        assert reply.lsn > self._last_lsn, (reply, self._last_lsn)
        self._last_lsn = reply.lsn
        self._model.put(bucket, key, made)
        self._check_object(bucket, key)

    def _check_object(self, bucket: str, key: bytes) -> None:
        made = self._model.buckets.get(bucket, {}).get(key)
        if made is not None and made.blob in self._model.rotten:
            assert self._engine.is_damaged(bucket, key), f"rot of {bucket}/{key!r} went unnoticed"
            return
        try:
            found = self._engine.read(bucket, key)
        except (StoreError, OSError) as error:
            raise Violation(f"{bucket}/{key!r} is unreadable: {error}") from error
        if made is None or found is None:
            assert made is None and found is None, (made, found)
            return
        assert found.body == made.body
        assert found.row.etag == hashlib.md5(made.body, usedforsecurity=False).hexdigest()
        assert (found.row.user, found.row.size_bytes, found.row.blob) == ({"tag": made.tag}, len(made.body), made.blob)
        if found.blob is not None:
            assert found.blob.refs == self._model.uses()[made.blob]
            assert found.blob.damaged == (made.blob in self._model.noticed)

    def _check_all(self) -> None:
        for bucket in ("alpha", "beta"):
            for key in (b"a", b"a/b", "ключ".encode(), b"z" * 1024):
                self._check_object(bucket, key)

    def _conditions(self, bucket: str, key: bytes, drawn: tuple) -> Conditions:
        current = self._model.buckets.get(bucket, {}).get(key)
        etag = current.etag if current else "0" * 32
        header = {None: None, "*": "*", "current": etag, "quoted": f'"{etag}"', "other": "f" * 32}
        return Conditions(header[drawn[0]], header[drawn[1]])

    def _forget_appended(self, body: bytes) -> None:
        """A refused PUT changes nothing but what its comparison found out."""
        found = self._model.claimable(body)
        if found in self._model.rotten:
            self._model.noticed.add(found)

    def _reserve(self, body: bytes) -> tuple[int, m.ExtentGranted, bytes]:
        grant = self._engine.reserve(body)
        fd = self._engine.open_segment(grant)
        fill(self._disk, fd, grant, body)
        return fd, grant, body

    def _tag(self) -> str:
        self._tags += 1
        return f"put-{self._tags}"
