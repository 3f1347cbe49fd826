"""The engine and the model side by side: every answer, every counter and every byte must agree. The rules are in `machine*.py`.

On real files. Owns the engine's lives; a machine that is made of this moves both, and asks here whether they still agree.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from actors import messages as m
from fasterstore.errors import StoreError
from fasterstore.model import PutIntent
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.disk import RealDisk
from tests.faults.engine import MULTIPART_TTL_SECS, CountingClock, Engine, fill, laboratory, make_intent
from tests.faults.model import Conditions, Expected, Model
from tests.faults.violation import Violation
from tests.memory_folder import memory_folder
from tests.storage_node import audit

BUCKETS = ("alpha", "beta")
KEYS = (b"a", b"a/b", "ключ".encode(), b"z" * 1024)
buckets = st.sampled_from(BUCKETS)
keys = st.sampled_from(KEYS)
etags = st.one_of(st.none(), st.none(), st.sampled_from(["*", "current", "quoted", "other"]))
condition_draws = st.one_of(st.just((None, None)), st.just((None, None)), st.tuples(etags, st.none()), st.tuples(st.none(), etags))
no_conditions = Conditions()
choices = st.integers(0, 999)
"""Which of the things that are there. Nothing that is drawn may depend on what is: how much a disk takes is not the same each time."""


def pick(there: Iterable[Any], choice: int) -> Any:
    """One of them, which must be in an order."""
    held = list(there)
    return held[choice % len(held)]


class FullableDisk(RealDisk):
    """A disk that may have no room for the files of one folder."""

    __slots__ = ("full_folder",)

    def __init__(self) -> None:
        self.full_folder = ""

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        if self.full_folder and f"/{self.full_folder}/" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().fallocate(fd, offset, length)


class Agreement(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._stack.enter_context(laboratory())
        folder = self._stack.enter_context(memory_folder())
        self._disk = FullableDisk()
        self._path = os.path.join(folder, "data")
        self._now_ms = CountingClock()
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

    # ---- what may be asked in several ways

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

    def _send_body(self, intent: PutIntent, body: bytes, by_extent: bool) -> Any:
        """The reply to these bytes, in the message or by an extent that claims nothing."""
        if not by_extent or not body:
            return self._engine.put(intent, body).get()
        fd, grant, _body = self._reserve(body)
        os.close(fd)
        return self._engine.finish(grant, intent, body).get()

    def _blob_of(self, body: bytes, by_extent: bool) -> tuple[int, bool]:
        """The blob that bytes sent so must end up with, and whether it is deduplicated."""
        if by_extent and body:
            return self._model.blob_of_append(body), False
        return self._model.blob_of_claim(body)

    def _reserve(self, body: bytes) -> tuple[int, m.ExtentGranted, bytes]:
        grant = self._engine.reserve(body)
        fd = self._engine.open_segment(grant)
        fill(self._disk, fd, grant, body)
        return fd, grant, body

    def _delete_all(self, bucket: str) -> None:
        """Every object of the bucket, then the bucket."""
        for key in sorted(self._model.buckets.get(bucket, {})):
            self._agree(self._engine.delete(bucket, key).get(), self._model.delete(bucket, key, no_conditions))
        self._agree(self._engine.delete_bucket(bucket).get(), self._model.delete_bucket(bucket))

    def _sweep(self) -> None:
        """One second passes, and whatever that lets go has gone."""
        self._engine.sweep()
        self._model.sweep(self._now_ms() - MULTIPART_TTL_SECS * 1000)
        self._check_references()

    def _compact(self) -> None:
        """A round: what is unused is forgotten, what lies elsewhere now is read as before. It may find rot, and nothing but rot."""
        error = self._engine.compact_and_wait()
        assert not error, f"the round ended early: {error}"
        self._model.forget_unused()
        found = self._engine.damaged_blobs()
        assert self._model.noticed <= found <= self._model.rotten, (self._model.noticed, found, self._model.rotten)
        self._model.noticed = found
        assert self._engine.blob_numbers() == {number for held in self._model.blobs.values() for number in held}
        self._check_all()

    def _there(self) -> list[tuple[str, bytes]]:
        """Bucket and key of every object there is."""
        return sorted((name, key) for name, held in self._model.buckets.items() for key in held)

    def _tag(self) -> str:
        self._tags += 1
        return f"put-{self._tags}"

    def _conditions(self, bucket: str, key: bytes, drawn: tuple) -> Conditions:
        current = self._model.find(bucket, key)
        etag = current.etag if current else "0" * 32
        header = {None: None, "*": "*", "current": etag, "quoted": f'"{etag}"', "other": "f" * 32}
        return Conditions(header[drawn[0]], header[drawn[1]])

    # ---- agreement

    @invariant()
    def counters_agree(self) -> None:
        view, model = self._engine.view, self._model
        assert [tuple(row) for row in view.usage()] == model.usage()
        rows = {row.name: row for row in view.buckets("", "", 10)}
        assert {name: row.settings for name, row in rows.items()} == model.settings
        for name, row in rows.items():
            opened = [(upload.key, upload.number) for upload in view.uploads.uploads_after(row.bucket_id, b"", 0, 1000)]
            assert opened == sorted((upload.key, upload.number) for upload in model.uploads.values() if upload.bucket == name)

    def _agree(self, reply: Any, refusal: str) -> None:
        if refusal:
            assert isinstance(reply, m.Refused) and reply.error == refusal, f"answered {reply}, expected {refusal}"
        else:
            assert not isinstance(reply, m.Refused), reply

    def _stored(self, reply: Any, bucket: str, key: bytes, made: Expected, deduplicated: bool) -> None:
        self._logged(reply, made.etag, deduplicated)
        self._model.put(bucket, key, made)
        self._check_object(bucket, key)

    def _logged(self, reply: Any, etag: str, deduplicated: bool) -> None:
        assert isinstance(reply, m.Stored), reply
        assert (reply.etag, reply.deduplicated) == (etag, deduplicated), (reply, etag, deduplicated)
        assert reply.lsn > self._last_lsn, (reply, self._last_lsn)
        self._last_lsn = reply.lsn

    def _forget_appended(self, body: bytes) -> None:
        """A refused PUT changes nothing but what its comparison found out."""
        found = self._model.claimable(body)
        if found in self._model.rotten:
            self._model.noticed.add(found)

    def _check_object(self, bucket: str, key: bytes) -> None:
        made = self._model.find(bucket, key)
        if made is not None and made.blobs() & self._model.rotten:
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
        assert found.row.etag == made.etag
        if made.manifest is None:
            assert made.etag == hashlib.md5(made.body, usedforsecurity=False).hexdigest()
        assert (found.row.user, found.row.tags, found.row.size_bytes) == ({"tag": made.tag}, made.tags, len(made.body))
        assert [tuple(piece) for piece in self._engine.slices(found.row)] == [tuple(piece) for piece in made.pieces()]
        uses = self._model.uses()
        for blob in found.blobs:
            wanted = (uses[blob.number], blob.number in self._model.noticed)
            assert (blob.refs, blob.damaged) == wanted, f"{bucket}/{key!r}: {blob} should have (references, damage) {wanted}"

    def _check_references(self) -> None:
        found, wanted = self._engine.references(), self._model.uses()
        wrong = {
            number: (found.get(number, 0), wanted[number])
            for number in found.keys() | wanted.keys()
            if found.get(number, 0) != wanted[number]
        }
        assert not wrong, f"blobs are used (by the index, by the model): {wrong}"

    def _check_all(self) -> None:
        for bucket in BUCKETS:
            for key in KEYS:
                self._check_object(bucket, key)
        self._check_references()
        audit(self._engine.datadir.index_path)
