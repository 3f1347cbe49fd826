"""Random requests of every kind against a lab: most succeed, some are refused. What they need to know they read when their turn comes."""

import hashlib

from fasterstore.metadata.judge_space import Relocation
from fasterstore.metadata.upload_schema import pack_map, unpack_map
from fasterstore.model import (
    CompleteIntent,
    CopyIntent,
    DeleteIntent,
    PartCopyIntent,
    PutIntent,
    RenameIntent,
    Slice,
    UploadIntent,
)
from fasterstore.storage.record import record_bytes
from tests.fasterstore.metadata.random_changes import RandomChanges

BUCKETS = "bcd"
KEYS = tuple(b"key-%d" % number for number in range(12))


class RandomRequests:
    """`one(rng)` draws a request now and returns what carries it out later, inside a batch of the lab. `peers`: also changes of peers."""

    def __init__(self, lab, peers=True):
        self.peers = peers
        self.lab = lab
        self.changes = RandomChanges(lab, [(bucket, key) for bucket in BUCKETS for key in KEYS])
        self.uploads = []  # (bucket, key, number) of every upload there ever was

    def one(self, rng):
        kinds = (
            (30, self.put), (8, self.delete), (6, self.create_bucket), (1, self.delete_bucket), (4, self.damage), (3, self.repair),
            (8, self.copy), (8, self.rename), (10, self.append), (3, self.amend), (3, self.configure), (6, self.create_upload),
            (25, self.part), (8, self.part_copy), (8, self.complete), (2, self.abort), (6, self.release), (1, self.expire),
            (6, self.forget), (6, self.move), (6, self.retire), (3, self.remove), (2, self.punch),
            *(self.changes.kinds() if self.peers else ()),
        )  # fmt: skip
        (draw,) = rng.choices([draw for _, draw in kinds], [weight for weight, _ in kinds])
        return draw(rng)

    # ---- objects and buckets

    def put(self, rng):
        bucket, key, body, blob = rng.choice(BUCKETS), rng.choice(KEYS), self._body(rng), self._blob(rng)
        matching = {"if_match": hashlib.md5(body).hexdigest()}
        more = rng.choice(
            ({}, {}, {}, {"if_none_match": "*"}, matching, {"create_bucket": True}, {"tags": {"a": "b"}, "acl": "public-read"})
        )
        written = rng.random() < 0.8
        return lambda: self.lab.put(key, body, blob or self.lab.find(body), written=written, bucket=bucket, **more)

    def delete(self, rng):
        bucket, key = rng.choice(BUCKETS), rng.choice(KEYS)
        return lambda: self._ask.delete(bucket, DeleteIntent(key), self.lab.now_ms)

    def create_bucket(self, rng):
        bucket = rng.choice(BUCKETS)
        return lambda: self._ask.create_bucket(bucket, self.lab.now_ms)

    def delete_bucket(self, rng):
        """Empties it first, or it would hardly ever succeed."""
        bucket = rng.choice(BUCKETS)

        def delete_all():
            for key in KEYS:
                self._ask.delete(bucket, DeleteIntent(key), self.lab.now_ms)
            return self._ask.delete_bucket(bucket, self.lab.now_ms)

        return delete_all

    def damage(self, rng):
        blob = self._blob(rng)

        def mark():
            row = self.lab.index.blob(blob)
            return 0 if row is None else self.lab.mark_damaged(row)

        return mark

    def repair(self, rng):
        """A peer's bytes for a damaged blob if there is one, else for any; now and then wrong ones."""
        blob, wrong = self._any_blob(rng), rng.random() < 0.1

        def give_back():
            rows = [row for number in range(1, self.lab.index.state.last_blob + 1) if (row := self.lab.index.blob(number)) is not None]
            row = next((row for row in rows if row.damaged or row.number == blob), None)
            if row is None:
                return 0
            body = self.lab.bodies[row.blob_id] + b"!" * wrong
            return self._ask.put(PutIntent("", b"", len(body), "", {}, {}, {}, repairs=row.number), self.lab.claim(body), self.lab.now_ms)

        return give_back

    def copy(self, rng):
        bucket, key, source, source_key = (*self._place(rng), *self._place(rng))
        stale = rng.random() < 0.1

        def copy():
            row = self._object(source, source_key)
            size_bytes, etag, stamp = (0, "", 0) if row is None else (row.size_bytes, row.etag, row.stamp - stale)
            target = PutIntent(bucket, key, size_bytes, etag, {}, {}, {}, tags={"copied": "yes"})
            return self._ask.copy(CopyIntent(target, source, source_key, stamp), self.lab.now_ms)

        return copy

    def rename(self, rng):
        bucket, key = self._place(rng)
        intent = RenameIntent(bucket, key, rng.choice(KEYS), None, rng.choice((None, None, "*")))
        return lambda: self._ask.rename(intent, self.lab.now_ms)

    def append(self, rng):
        bucket, key = self._place(rng)
        body, wrong = self._body(rng), rng.random() < 0.1

        def append():
            row = self._object(bucket, key)
            size_bytes = (0 if row is None else row.size_bytes) + wrong
            return self.lab.put(key, body, self.lab.find(body), bucket=bucket, append_at=size_bytes)

        return append

    def amend(self, rng):
        bucket, key = self._place(rng)
        tags, acl = rng.choice(({"colour": "red"}, {}, None)), rng.choice(("public-read", "", None))
        return lambda: self._ask.amend(bucket, key, tags, acl, self.lab.now_ms)

    def configure(self, rng):
        bucket, document = rng.choice(BUCKETS), rng.choice((None, b"<one/>", b"<two/>"))
        return lambda: self._ask.configure(bucket, "cors", document, self.lab.now_ms)

    # ---- uploads

    def create_upload(self, rng):
        bucket, key = self._place(rng)

        def create():
            intent = UploadIntent(bucket, key, "token", {"content-type": "a/b"}, {}, {"t": "u"}, "", "", "")
            number = self._ask.create_upload(intent, self.lab.now_ms)
            self.uploads.append((bucket, key, number))
            return number

        return create

    def part(self, rng):
        body, part, which = self._body(rng), rng.randrange(1, 6), rng.random()

        def put():
            bucket, key, number = self._upload(which)
            claim = self.lab.find(body)
            return self.lab.put(key, body, claim, bucket=bucket, upload=number, part=part)

        return put

    def part_copy(self, rng):
        source, source_key = self._place(rng)
        part, which, share = rng.randrange(1, 6), rng.random(), sorted((rng.random(), rng.random()))

        def copy():
            bucket, key, number = self._upload(which)
            row = self._object(source, source_key)
            slices, stamp = ((), 0) if row is None else (self._slices(row, *(int(row.size_bytes * end) for end in share)), row.stamp)
            # Twice the same bytes: a part may use one blob many times.
            target = PutIntent(bucket, key, 2 * sum(piece.length for piece in slices), "e" * 32, {}, {}, {}, upload=number, part=part)
            return self._ask.copy_part(PartCopyIntent(target, slices + slices, source, source_key, stamp), self.lab.now_ms)

        return copy

    def complete(self, rng):
        which, drops, stale = rng.random(), rng.choice((0, 0, 1, 2)), rng.random() < 0.1

        def complete():
            bucket, key, number = self._upload(which)
            row = self.lab.index.bucket(bucket)
            upload = None if row is None else self.lab.index.uploads.upload(row.bucket_id, key, number)
            numbers = [part for part, _ in self.lab.index.uploads.part_sizes(number, 0, 100)]
            listed = [(part, self.lab.index.uploads.part(number, part).size_bytes) for part in numbers[drops:] or numbers]
            intent = CompleteIntent(bucket, key, number, upload.version - stale if upload else 0, pack_map(listed), "e" * 32 + "-1", {})
            return self._ask.complete_upload(intent, self.lab.now_ms)

        return complete

    def abort(self, rng):
        which = rng.random()

        def abort():
            bucket, key, number = self._upload(which)
            return self._ask.abort_upload(bucket, key, number, self.lab.now_ms)

        return abort

    def release(self, rng):
        age_ms = rng.choice((0, 5, 50))
        return lambda: self._ask.release_parts(self.lab.now_ms - age_ms, self.lab.now_ms)

    def expire(self, rng):
        age_ms = rng.choice((20, 100))
        return lambda: self._ask.expire_uploads(self.lab.now_ms - age_ms, self.lab.now_ms)

    # ---- space

    def forget(self, rng):
        age_ms = rng.choice((0, 5, 50))
        return lambda: self._ask.forget_blobs(self.lab.now_ms - age_ms, 3, self.lab.now_ms)

    def move(self, rng):
        """Two blobs move into the open segment; now and then one that is not where the mover thinks."""
        blobs, stale = (self._any_blob(rng), self._any_blob(rng)), rng.random() < 0.2

        def move():
            relocations = []
            for number in dict.fromkeys(blobs):
                row = self.lab.index.blob(number)
                if row is not None:
                    new = row.location._replace(segment_id=self.lab.segment, offset=self.lab.end)
                    self.lab.end += record_bytes(new.stored_bytes)
                    relocations.append(Relocation(number, row.location._replace(offset=1) if stale else row.location, new))
            return self._ask.move_blobs(relocations)

        return move

    def retire(self, _rng):
        return lambda: self._ask.retire_segments(range(1, self.lab.segment + 2))

    def remove(self, rng):
        share = rng.choice((1, 2))
        return lambda: self._ask.segments_removed(range(1, self.lab.segment + 2, share))

    def punch(self, rng):
        """A place that was given to a record which is never named, or one where something lies."""
        back = rng.choice((0, 64, 4096))

        def punch():
            offset = max(self.lab.end - back, 64)
            self.lab.end = max(self.lab.end, offset + 512)
            return self._ask.punch_range(self.lab.segment, offset, 512)

        return punch

    # ---- what they are about

    @property
    def _ask(self):
        return self.lab.journal.requests

    def _place(self, rng):
        return rng.choice(BUCKETS), rng.choice(KEYS)

    def _body(self, rng):
        return b"x%d" % rng.randrange(8) * rng.choice((0, 1, 1, 1, 200))

    def _blob(self, rng):
        """A number, 0 for the one with the right bytes."""
        return 0 if rng.random() < 0.6 else rng.randrange(self.lab.index.state.last_blob + 2)

    def _any_blob(self, rng):
        return rng.randrange(1, self.lab.index.state.last_blob + 2)

    def _object(self, bucket, key):
        row = self.lab.index.bucket(bucket)
        return None if row is None else self.lab.index.object(row.bucket_id, key)

    def _upload(self, which):
        """One of the last few that were begun, open or not."""
        last = self.uploads[-4:]
        return last[int(which * len(last))] if last else ("b", b"none", 1)

    def _slices(self, row, first, end):
        """Where the bytes first .. end of an object lie."""
        if row.blob:
            pieces = [Slice(row.blob, 0, row.size_bytes)]
        elif row.manifest:
            parts = [item.part for item in unpack_map(self.lab.index.uploads.map(row.manifest))]
            pieces = [piece for part in parts for piece in self.lab.index.uploads.part(row.manifest, part).slices]
        else:
            pieces = []
        found, start = [], 0
        for blob, offset, length in pieces:
            low, high = max(first, start), min(end, start + length)
            if low < high:
                found.append(Slice(blob, offset + low - start, high - low))
            start += length
        return tuple(found)
