"""A machine of rules about objects, buckets, time and accidents, driven by Hypothesis; those about copies and uploads are beside it.

Storage is stopped, killed and restarted on the way, loses what its index had not checkpointed, finds full disks and rot.
"""

import os
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from actors.runtime import sleep
from fasterstore.model import SMALL_BODY_MAX_BYTES
from fasterstore.storage.record import record_bytes
from tests.faults.agreement import buckets, choices, condition_draws, etags, keys, no_conditions, pick
from tests.faults.engine import MULTIPART_TTL_SECS, SEGMENT_TARGET_BYTES, fill, make_intent
from tests.faults.machine_bodies import bodies, large_bodies
from tests.faults.machine_copies import CopyRules
from tests.faults.machine_uploads import UploadRules
from tests.faults.model import Expected

creates = st.sampled_from([True, True, True, False])

FULL_DISK_TRIES = 40
"""Enough for the log to need its next step of preallocation."""


class EngineAgainstModel(CopyRules, UploadRules):
    """See the module."""

    # ---- buckets

    @rule(bucket=buckets)
    def create_bucket(self, bucket: str) -> None:
        self._agree(self._engine.create_bucket(bucket).get(), self._model.create_bucket(bucket))

    @rule(bucket=buckets)
    def delete_bucket(self, bucket: str) -> None:
        self._agree(self._engine.delete_bucket(bucket).get(), self._model.delete_bucket(bucket))

    @rule(bucket=buckets)
    def empty_and_delete_a_bucket(self, bucket: str) -> None:
        self._delete_all(bucket)

    # ---- objects

    @rule(bucket=buckets, key=keys, body=bodies, drawn=condition_draws, create=creates)
    def put(self, bucket: str, key: bytes, body: bytes, drawn: tuple, create: bool) -> None:
        self._put(bucket, key, body, self._conditions(bucket, key, drawn), create)

    @precondition(lambda self: self._model.blobs)
    @rule(bucket=buckets, key=keys, choice=choices)
    def put_bytes_that_are_there(self, bucket: str, key: bytes, choice: int) -> None:
        body = pick(sorted(self._model.blobs), choice)
        if len(body) <= SMALL_BODY_MAX_BYTES:
            self._put(bucket, key, body, no_conditions, True)

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
    @rule(choice=choices)
    def delete_what_is_there(self, choice: int) -> None:
        bucket, key = pick(self._there(), choice)
        self._agree(self._engine.delete(bucket, key).get(), self._model.delete(bucket, key, no_conditions))

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
        seen = [self._model.find(bucket, key)]
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
    def a_second_passes(self) -> None:
        self._sweep()

    @rule()
    def more_than_half_of_an_uploads_time_passes(self) -> None:
        self._now_ms.ahead_ms += MULTIPART_TTL_SECS * 600
        self._sweep()

    @rule()
    def compact(self) -> None:
        self._compact()

    @rule(turns=st.integers(0, 12))
    def kill_while_it_compacts(self, turns: int) -> None:
        self._engine.compact()
        for _ in range(turns):
            sleep(0.0003)
        self._engine.abandon()
        self._engine = self._start()
        self._compact()

    @rule()
    def kill_while_it_sweeps(self) -> None:
        self._engine.tick()
        self._engine.abandon()
        self._engine = self._start()
        self._sweep()
        self._check_all()

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

    @precondition(lambda self: any(made.blobs() for held in self._model.buckets.values() for made in held.values()))
    @rule(choice=choices, share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def rot(self, choice: int, share: float, bit: int) -> None:
        users = {
            number: (bucket, key)
            for bucket, held in self._model.buckets.items()
            for key, made in held.items()
            if not made.blobs() & self._model.rotten
            for number in made.blobs()
        }
        if not users:
            return
        number = pick(sorted(users), choice)
        bucket, key = users[number]
        found = self._engine.read(bucket, key)
        assert found is not None
        blob = next(blob for blob in found.blobs if blob.number == number)
        self._engine.rot(blob, int(share * record_bytes(blob.location.stored_bytes)), bit)
        self._model.rotten.add(number)
        self._check_object(bucket, key)
