"""What a random run asks for, one request at a time, without waiting for any answer; each is kept with the bytes that it brings.

Copies and completions rest on what the index shows when they are sent, as web's do; many are refused, having been overtaken.
"""

import hashlib
import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from actors import messages as m
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import CompleteIntent, CopyIntent, ManifestNumber, PartCopyIntent, PutIntent, RenameIntent, UploadIntent
from fasterstore.storage.memory_disk import MemoryDisk
from tests.faults.engine import Engine, Outcome, fill, make_intent
from tests.faults.reading import Found, cut
from tests.faults.request import Request

BUCKETS = ("alpha", "beta")
KEYS = tuple(b"key/%d" % number for number in range(7))
HELD_EXTENTS = 2
LAST_UPLOADS = 4
PART_NUMBERS = (1, 2, 3, 10_000)


class Grant(NamedTuple):
    """An extent that some worker holds, with its own descriptor of the file, and the bytes it is for."""

    fd: int
    grant: m.ExtentGranted
    body: bytes


class OpenedUpload(NamedTuple):
    """An upload that was begun once, whether or not it is still open."""

    bucket: str
    key: bytes
    number: int


class WorkloadRequests:
    """See the module. `requests` are all that were sent, in order; `uploads` those that are open when the run begins."""

    def __init__(self, disk: MemoryDisk, rng: random.Random, uploads: Iterable[OpenedUpload]) -> None:
        self.requests: list[Request] = []
        self._disk = disk
        self._rng = rng
        self._held: list[Grant] = []
        self._pool = [rng.randbytes(rng.randint(1, 900)) for _ in range(4)]
        self._uploads = list(uploads)
        self._begun: list[Request] = []

    def one(self, engine: Engine) -> Request:
        """Send a request of any kind."""
        for request in [request for request in self._begun if request.outcome.acknowledged_at is not None]:
            self._begun.remove(request)
            if request.lsn():
                self._uploads.append(OpenedUpload(request.bucket, request.key, request.lsn()))
        kinds: tuple[tuple[int, Callable[[Engine, str], Request | None]], ...] = (
            (5, self._make), (2, self._drop), (10, self._delete), (32, self._put), (8, self._copy), (4, self._rename), (8, self._append),
            (3, self._tag), (2, self._configure), (7, self._begin), (18, self._part), (6, self._part_copy), (9, self._complete),
            (2, self._abort),
        )  # fmt: skip
        (send,) = self._rng.choices([send for _, send in kinds], [weight for weight, _ in kinds])
        bucket = self._rng.choice(BUCKETS)
        return send(engine, bucket) or self._put(engine, bucket)

    def _note(self, engine: Engine, kind: str, bucket: str, sent_at: int, outcome: Outcome, **what: Any) -> Request:
        request = Request(kind, bucket, sent_at, engine.epoch, outcome, **what)
        self.requests.append(request)
        return request

    def _change(self, engine: Engine, kind: str, bucket: str, message: Any, **what: Any) -> Request:
        sent_at = len(self._disk.ops)
        return self._note(engine, kind, bucket, sent_at, engine.change(message), **what)

    def _unique(self) -> str:
        return f"{len(self.requests)}.{self._rng.getrandbits(48):x}"

    # ---- buckets ----

    def _make(self, engine: Engine, bucket: str) -> Request:
        return self._change(engine, "make", bucket, m.CreateBucket(bucket))

    def _drop(self, engine: Engine, bucket: str) -> Request:
        return self._change(engine, "drop", bucket, m.DeleteBucket(bucket))

    def _configure(self, engine: Engine, bucket: str) -> Request:
        document = self._unique().encode()
        return self._change(engine, "configure", bucket, m.ConfigureBucket(bucket, "cors", document), what=("cors", document))

    # ---- objects ----

    def _delete(self, engine: Engine, bucket: str) -> Request:
        key, sent_at = self._rng.choice(KEYS), len(self._disk.ops)
        return self._note(engine, "delete", bucket, sent_at, engine.delete(bucket, key), key=key)

    def _put(self, engine: Engine, bucket: str) -> Request:
        rng, sent_at = self._rng, len(self._disk.ops)
        key, tag = rng.choice(KEYS), self._unique()
        body = rng.choice((b"", *self._pool)) if rng.random() < 0.3 else rng.randbytes(rng.randint(1, 1500))
        conditions: dict[str, Any] = {"create_bucket": rng.random() < 0.7}
        if rng.random() < 0.15:
            conditions["if_none_match"] = "*"
        if rng.random() < 0.75 or not body:
            outcome = engine.put(make_intent(bucket, key, body, tag, **conditions), body)
            return self._note(engine, "put", bucket, sent_at, outcome, key=key, tag=tag, body=body)
        held = self._extent(engine, body)
        self._disk.close(held.fd)
        outcome = engine.finish(held.grant, make_intent(bucket, key, held.body, tag, **conditions), held.body)
        return self._note(engine, "put", bucket, sent_at, outcome, key=key, tag=tag, body=held.body)

    def _copy(self, engine: Engine, bucket: str) -> Request | None:
        source, found = self._look(engine)
        if found is None:
            return None
        key, tag, row = self._rng.choice(KEYS), self._unique(), found.row
        target = PutIntent(bucket, key, row.size_bytes, row.etag, {}, {"tag": tag}, {})
        return self._change(engine, "put", bucket, m.CopyObject(CopyIntent(target, *source, row.stamp)), key=key, tag=tag, body=found.body)

    def _rename(self, engine: Engine, bucket: str) -> Request:
        key, new_key = self._rng.sample(KEYS, 2)
        return self._change(engine, "rename", bucket, m.RenameObject(RenameIntent(bucket, key, new_key)), key=key, what=(new_key,))

    def _append(self, engine: Engine, _bucket: str) -> Request | None:
        (bucket, key), found = self._look(engine)
        if found is None or not found.body:
            return None
        body, sent_at = self._rng.choice((self._rng.randbytes(100), *self._pool)), len(self._disk.ops)
        outcome = engine.put(make_intent(bucket, key, body, "", append_at=len(found.body)), body)
        return self._note(engine, "append", bucket, sent_at, outcome, key=key, what=(_md5(body),), body=body)

    def _tag(self, engine: Engine, bucket: str) -> Request:
        key, tag = self._rng.choice(KEYS), self._unique()
        return self._change(engine, "tag", bucket, m.AmendObject(bucket, key, {"t": tag}, None), key=key, tag=tag)

    def _look(self, engine: Engine) -> tuple[tuple[str, bytes], Found | None]:
        """Some place, and what the index shows there now; None if there is nothing, or if it changes while one looks."""
        place = (self._rng.choice(BUCKETS), self._rng.choice(KEYS))
        try:
            return place, engine.read(*place)
        except Exception:
            return place, None  # storage goes on meanwhile, in threads of its own; whether it reads is the check's business

    # ---- uploads ----

    def _begin(self, engine: Engine, bucket: str) -> Request:
        key, tag = self._rng.choice(KEYS), self._unique()
        intent = UploadIntent(bucket, key, tag, {}, {"tag": tag}, {}, "", "", "")
        request = self._change(engine, "begin", bucket, m.CreateUpload(intent), key=key, tag=tag)
        self._begun.append(request)
        return request

    def _part(self, engine: Engine, _bucket: str) -> Request | None:
        upload, part, sent_at = self._upload(), self._rng.choice(PART_NUMBERS), len(self._disk.ops)
        if upload is None:
            return None
        body = self._rng.choice((b"", *self._pool, self._rng.randbytes(400), self._rng.randbytes(700)))
        if self._rng.random() < 0.75 or not body:
            intent = make_intent(upload.bucket, upload.key, body, "", upload=upload.number, part=part)
            outcome = engine.put(intent, body)
        else:
            held = self._extent(engine, body)
            self._disk.close(held.fd)
            body = held.body
            intent = make_intent(upload.bucket, upload.key, body, "", upload=upload.number, part=part)
            outcome = engine.finish(held.grant, intent, body)
        what = (upload.number, part, intent.etag)
        return self._note(engine, "part", upload.bucket, sent_at, outcome, key=upload.key, what=what, body=body)

    def _part_copy(self, engine: Engine, _bucket: str) -> Request | None:
        upload, (source, found) = self._upload(), self._look(engine)
        if upload is None or found is None:
            return None
        first, end = sorted(self._rng.randint(0, len(found.body)) for _ in range(2))
        body, part = found.body[first:end], self._rng.choice(PART_NUMBERS)
        target = PutIntent(upload.bucket, upload.key, len(body), _md5(body), {}, {}, {}, upload=ManifestNumber(upload.number), part=part)
        try:
            slices = cut(engine.slices(found.row), first, end)
        except Exception:
            return None
        intent = PartCopyIntent(target, slices, *source, found.row.stamp)
        what = (upload.number, part, target.etag)
        return self._change(engine, "part", upload.bucket, m.CopyPart(intent), key=upload.key, what=what, body=body)

    def _complete(self, engine: Engine, _bucket: str) -> Request | None:
        upload = self._upload()
        if upload is None:
            return None
        row = engine.view.bucket(upload.bucket)
        listed = [] if row is None else [part.number for part in engine.view.uploads.parts_after(upload.number, 0, 100)]
        if len(listed) > 1 and self._rng.random() < 0.5:
            listed.remove(self._rng.choice(listed))
        intent = completion(engine, *upload, listed)
        message, what = m.CompleteUpload(intent), (upload.number,)
        return self._change(engine, "complete", upload.bucket, message, key=upload.key, what=what, listed=tuple(listed))

    def _abort(self, engine: Engine, _bucket: str) -> Request | None:
        upload = self._upload()
        if upload is None:
            return None
        bucket, key, number = upload
        message = m.AbortUpload(bucket, key, ManifestNumber(number))
        return self._change(engine, "abort", "", message, key=key, what=(number,))

    def _upload(self) -> OpenedUpload | None:
        return self._rng.choice(self._uploads[-LAST_UPLOADS:]) if self._uploads else None

    # ---- extents ----

    def _extent(self, engine: Engine, body: bytes) -> Grant:
        """An extent to finish: mostly a new one, sometimes one that a worker has held for long, even of an earlier epoch."""
        rng = self._rng
        held = self._reserve(engine, body * rng.choice((1, 1, 2, 3, 12)))
        fate = rng.random()
        if fate < 0.1:
            engine.abort(held.grant)
            self._disk.close(held.fd)
            return self._reserve(engine, body)
        if fate < 0.7:
            # The oldest first: those of an earlier epoch are finished while extents with the same numbers are open in this one.
            self._held.append(held)
            if len(self._held) <= HELD_EXTENTS:
                return self._reserve(engine, body)
            held = self._held.pop(0)
            # A worker that outlived its storage process may still be writing.
            fill(self._disk, *held)
        return held

    def _reserve(self, engine: Engine, body: bytes) -> Grant:
        grant = engine.reserve(body)
        held = Grant(engine.open_segment(grant), grant, body)
        fill(self._disk, *held)
        return held


def completion(engine: Engine, bucket: str, key: bytes, number: int, listed: list[int]) -> CompleteIntent:
    """What web would ask for: these parts of the upload as the index shows it now; of what is not there, nothing."""
    row, uploads = engine.view.bucket(bucket), engine.view.uploads
    upload = None if row is None else uploads.upload(row.bucket_id, key, number)
    parts = [part for part in uploads.parts_after(number, 0, 10_000) if part.number in listed]
    part_map = pack_map([(part.number, part.size_bytes) for part in parts])
    etag = f"{_md5(b''.join(bytes.fromhex(part.etag) for part in parts))}-{len(parts)}"
    return CompleteIntent(bucket, key, ManifestNumber(number), 0 if upload is None else upload.version, part_map, etag, {})


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
