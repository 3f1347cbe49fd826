"""Rules of multipart uploads: begun, filled by bytes and by copies, completed with all or some of their parts, aborted."""

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import CompleteIntent, PartCopyIntent, PutIntent, UploadIntent
from tests.faults.agreement import Agreement, buckets, choices, condition_draws, keys, pick
from tests.faults.engine import make_intent
from tests.faults.machine_bodies import bodies, large_bodies
from tests.faults.model_parts import Part, Piece, Upload
from tests.faults.reading import cut

LAST_UPLOADS = 4
part_numbers = st.sampled_from([1, 2, 3, 10_000])
subsets = st.integers(0, 15)


class UploadRules(Agreement):
    """See the module. Uploads that have ended are asked for, too."""

    def __init__(self) -> None:
        super().__init__()
        self._uploads: list[Upload] = []

    @rule(bucket=buckets, key=keys)
    def begin_an_upload(self, bucket: str, key: bytes) -> None:
        self._begin(bucket, key)

    @rule(
        bucket=buckets,
        key=keys,
        parts=st.lists(st.tuples(part_numbers, bodies), min_size=1, max_size=4),
        listed=subsets,
        ends=st.booleans(),
    )
    def store_in_parts(self, bucket: str, key: bytes, parts: list[tuple[int, bytes]], listed: int, ends: bool) -> None:
        """A whole upload at once, or all but its end; one part may replace another."""
        if bucket not in self._model.buckets:
            self._agree(self._engine.create_bucket(bucket).get(), self._model.create_bucket(bucket))
        upload = self._begin(bucket, key)
        assert upload is not None
        for part, body in parts:
            self._upload_part(upload, part, body, False)
        if ends:
            self._complete(upload, listed, (None, None), False)

    @rule(bucket=buckets, key=keys, part=part_numbers, body=bodies)
    def delete_a_bucket_with_an_open_upload(self, bucket: str, key: bytes, part: int, body: bytes) -> None:
        if bucket not in self._model.buckets:
            self._agree(self._engine.create_bucket(bucket).get(), self._model.create_bucket(bucket))
        upload = self._begin(bucket, key)
        assert upload is not None
        self._upload_part(upload, part, body, False)
        self._delete_all(bucket)
        self._sweep()

    def _begin(self, bucket: str, key: bytes) -> Upload | None:
        tag = self._tag()
        reply = self._engine.change(m.CreateUpload(UploadIntent(bucket, key, tag, {}, {"tag": tag}, {}, "", "", ""))).get()
        if bucket not in self._model.buckets:
            self._agree(reply, "NoSuchBucket")
            return None
        assert isinstance(reply, m.UploadMade) and reply.number > self._last_lsn, reply
        self._last_lsn = reply.number
        upload = Upload(bucket, key, reply.number, tag, self._now_ms())
        self._model.uploads[upload.number] = upload
        self._uploads = [*self._uploads, upload][-LAST_UPLOADS:]
        return upload

    @precondition(lambda self: self._uploads)
    @rule(choice=choices, part=part_numbers, body=st.one_of(bodies, large_bodies), by_extent=st.booleans())
    def upload_a_part(self, choice: int, part: int, body: bytes, by_extent: bool) -> None:
        self._upload_part(pick(self._uploads, choice), part, body, by_extent)

    def _upload_part(self, upload: Upload, part: int, body: bytes, by_extent: bool) -> None:
        intent = make_intent(upload.bucket, upload.key, body, "", upload=upload.number, part=part)
        by_extent = by_extent or len(body) > (1 << 16)
        reply = self._send_body(intent, body, by_extent)
        refusal = self._model.refusal_of_upload(upload.bucket, upload.number)
        if refusal:
            self._agree(reply, refusal)
            if not by_extent:
                self._forget_appended(body)
            return
        blob, deduplicated = self._blob_of(body, by_extent)
        self._logged(reply, intent.etag, deduplicated)
        self._keep_part(upload, part, Part(body, (Piece(blob, 0, len(body)),) if body else ()))

    @precondition(lambda self: self._uploads and any(self._model.buckets.values()))
    @rule(choice=choices, from_choice=choices, part=part_numbers, ends=st.tuples(st.integers(0, 4), st.integers(0, 4)), twice=st.booleans())
    def upload_a_part_by_copy(self, choice: int, from_choice: int, part: int, ends: tuple[int, int], twice: bool) -> None:
        opened = [self._model.uploads[number] for number in sorted(self._model.uploads)]
        upload, source = pick(opened or self._uploads, choice), pick(self._there(), from_choice)
        made = self._model.buckets[source[0]][source[1]]
        first, end = sorted(len(made.body) * quarter // 4 for quarter in ends)
        row = self._engine.view.locate(*source).object
        assert row is not None
        slices = cut(self._engine.slices(row), first, end) * (2 if twice else 1)
        body = made.body[first:end] * (2 if twice else 1)
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        target = PutIntent(upload.bucket, upload.key, len(body), etag, {}, {}, {}, upload=upload.number, part=part)
        reply = self._engine.change(m.CopyPart(PartCopyIntent(target, slices, *source, row.stamp))).get()
        refusal = self._model.refusal_of_upload(upload.bucket, upload.number)
        if not refusal and self._model.noticed & {piece.blob for piece in slices}:
            refusal = "DamagedRecord"
        if refusal:
            self._agree(reply, refusal)
            return
        self._logged(reply, etag, True)
        self._keep_part(upload, part, Part(body, tuple(Piece(*piece) for piece in slices)))

    def _keep_part(self, upload: Upload, part: int, made: Part) -> None:
        self._model.put_part(upload.number, part, made, self._now_ms())
        row = self._engine.view.uploads.part(upload.number, part)
        assert row is not None
        assert [tuple(piece) for piece in row.slices] == [tuple(piece) for piece in made.pieces]
        if not self._model.rotten & {piece.blob for piece in made.pieces}:
            assert self._engine.part_body(row) == made.body
        self._check_references()

    @precondition(lambda self: self._uploads)
    @rule(choice=choices, listed=subsets, drawn=condition_draws, stale=st.sampled_from([False, False, False, True]))
    def complete(self, choice: int, listed: int, drawn: tuple, stale: bool) -> None:
        self._complete(pick(self._uploads, choice), listed, drawn, stale)

    @precondition(lambda self: any(upload.parts for upload in self._model.uploads.values()))
    @rule(choice=choices, listed=subsets)
    def complete_what_is_open(self, choice: int, listed: int) -> None:
        there = sorted(number for number, upload in self._model.uploads.items() if upload.parts)
        self._complete(self._model.uploads[pick(there, choice)], listed, (None, None), False)

    def _complete(self, upload: Upload, subset: int, drawn: tuple, stale: bool) -> None:
        """With the parts whose places are the bits of `subset`, or with all of them if there is no such part."""
        parts = sorted(upload.parts)
        listed = [part for place, part in enumerate(parts) if subset >> place & 1] or parts
        bucket, key, number = upload.bucket, upload.key, upload.number
        conditions = self._conditions(bucket, key, drawn)
        bucket_row = self._engine.view.bucket(bucket)
        row = None if bucket_row is None else self._engine.view.uploads.upload(bucket_row.bucket_id, key, number)
        part_map = pack_map([(part, len(upload.parts[part].body)) for part in listed])
        etag = f"{hashlib.md5(part_map, usedforsecurity=False).hexdigest()}-{len(listed)}"
        version = 0 if row is None else row.version - stale
        if row is not None and not listed:
            return  # web refuses it
        reply = self._engine.change(m.CompleteUpload(CompleteIntent(bucket, key, number, version, part_map, etag, {}, *conditions))).get()
        refusal = self._model.refusal_of_upload(bucket, number) or ("UploadChanged" if stale else "")
        refusal = refusal or conditions.refusal(self._model.find(bucket, key))
        if refusal:
            self._agree(reply, refusal)
            return
        self._logged(reply, etag, False)
        self._model.complete(number, listed, etag)
        self._check_object(bucket, key)

    @precondition(lambda self: self._uploads)
    @rule(choice=choices)
    def abort_an_upload(self, choice: int) -> None:
        upload = pick(self._uploads, choice)
        reply = self._engine.change(m.AbortUpload(upload.bucket, upload.key, upload.number)).get()
        self._agree(reply, self._model.abort(upload.bucket, upload.number))
