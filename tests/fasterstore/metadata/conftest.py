"""A journal on a memory disk with a real index, and a source of random requests."""

import gc
import hashlib
import random

import pytest

from fasterstore.errors import StoreError
from fasterstore.metadata.entries import SegmentOpened, SegmentSealed
from fasterstore.metadata.index import IndexView, load_cksumvfs
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.journal import Journal
from fasterstore.metadata.judge import Claim, Identity
from fasterstore.metadata.upload_schema import pack_map, unpack_map
from fasterstore.model import BlobLocation, CompleteIntent, CopyIntent, DeleteIntent, PartCopyIntent, PutIntent, Slice, UploadIntent
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.record import record_bytes
from fasterstore.storage.wal_recovery import recover
from fasterstore.storage.witness import Witness
from tests.fasterstore.metadata.random_requests import RandomRequests
from tests.storage_node import FaultyVfs

LOG = b"L" * 16
WHO = Identity(b"N" * 16, LOG)


class Lab:
    """One journal. `wal` lies on `disk`, the index at `path`; `who` is its node, log and rules."""

    def __init__(self, path, disk=None, rotate_bytes=1 << 20, who=WHO):
        self.who = who
        self.path = str(path)
        self.disk = disk or MemoryDisk()
        if disk is None:
            self.disk.mkdir("/journal")
            self.disk.mkdir("/quarantine")
        self.rng = random.Random(3)
        self.rotate_bytes = rotate_bytes
        self.now_ms = 1_700_000_000_000
        self.reserve = 1
        self.bodies = {}  # by blob id: whatever was ever written
        self.random_requests = RandomRequests(self)
        self.open()

    def open(self):
        recovered = recover(
            self.disk, "/journal", self.who.log_uuid, 0, self.rng.randbytes, quarantine="/quarantine", rotate_bytes=self.rotate_bytes,
            step_bytes=1 << 16,
        )  # fmt: skip
        self.index = IndexWriter(self.path, self.who.log_uuid, self.rng.randbytes, node_id=self.who.node_id)
        witness = Witness(self.disk, "/journal/witness")
        self.journal = Journal(self.index, recovered.writer, witness, self.who, free_reserve=self.free_reserve, timer=lambda: 0.0)
        return self.journal

    def free_reserve(self):
        self.reserve -= 1
        return self.reserve >= 0

    def start(self):
        """Replay, begin the epoch, open segment 1."""
        list(self.journal.replay(self.disk, "/journal"))
        self.journal.start_epoch(self.now_ms, lambda _id: 4096)
        self.segment = self.open_segment()
        return self

    def open_segment(self):
        self.journal.begin()
        number = self.journal.requests.lease_segment_ids(1).first
        self.journal.requests.segment_opened(SegmentOpened(number, self.journal.epoch, self.rng.randbytes(16)))
        self.journal.write()
        self.end = 64
        return number

    def seal_segment(self):
        self.journal.begin()
        self.journal.requests.segment_sealed(SegmentSealed(self.segment, self.end))
        self.journal.write()
        self.segment = self.open_segment()

    def close(self):
        self.journal.close()

    def intent(self, key, body, **more):
        return PutIntent(more.pop("bucket", "b"), key, len(body), hashlib.md5(body).hexdigest(), more.pop("system", {}), {}, {}, **more)

    def claim(self, body, blob=0, *, written=True, epoch=None):
        """A synced record with `body` at a place of its own, and perhaps a claim."""
        place = None
        self.bodies[hashlib.sha256(body).digest()] = body
        if written:
            place = BlobLocation(self.segment, self.end, len(body), len(body), self.rng.randbytes(16))
            self.end += record_bytes(len(body))
        return Claim(self.journal.epoch if epoch is None else epoch, hashlib.sha256(body).digest(), place, blob)

    def put(self, key, body, blob=0, *, written=True, **intent):
        return self.journal.requests.put(self.intent(key, body, **intent), self.claim(body, blob, written=written), self.now_ms)

    @property
    def ask(self):
        """What the running batch may be asked for."""
        return self.journal.requests

    def now(self, *steps):
        """Run the callables in one batch; what the last one returned. Fails if any was refused."""
        answers = self.batch(*steps)
        assert not [answer for answer in answers if isinstance(answer, StoreError)], answers
        return answers[-1]

    def batch(self, *steps):
        """Run the callables in one batch and write it; what each returned, a StoreError as a value."""
        self.journal.begin()
        answers = []
        for step in steps:
            try:
                answers.append(step())
            except StoreError as error:
                answers.append(error)
        self.journal.write()
        self.now_ms += 1
        return answers

    def find(self, body):
        """The highest number of a blob with that content, sound or not; 0 if there is none."""
        blob_id = hashlib.sha256(body).digest()
        rows = [self.index.blob(number) for number in range(1, self.index.state.last_blob + 1)]
        found = [row.number for row in rows if row is not None and row.blob_id == blob_id]
        return max(found, default=0)

    # ---- uploads, copies, and what is stored

    def upload(self, key=b"k", bucket="b"):
        """Begin an upload; its number."""
        intent = UploadIntent(bucket, key, f"token {self.now_ms}", {"content-type": "a/b"}, {"m": "u"}, {"t": "u"}, "public-read", "", "")
        return self.now(lambda: self.ask.create_upload(intent, self.now_ms))

    def part(self, upload, number, body, key=b"k", **more):
        return self.put(key, body, upload=upload, part=number, **more)

    def completion(self, upload, parts=None, key=b"k", version=None, bucket="b", **conditions):
        """What web would ask for: these part numbers, by default all of them."""
        row = self.index.uploads.upload(self.bucket_id(bucket), key, upload)
        held = self.index.uploads
        listed = [number for number, _ in held.part_sizes(upload, 0, 10_001)] if parts is None else parts
        part_map = pack_map([(number, held.part(upload, number).size_bytes) for number in listed])
        known = row.version if version is None and row else version or 0
        return CompleteIntent(bucket, key, upload, known, part_map, "e" * 32 + f"-{len(listed)}", {}, **conditions)

    def complete(self, upload, parts=None, **more):
        return self.ask.complete_upload(self.completion(upload, parts, **more), self.now_ms)

    def manifest(self, *bodies, key=b"k"):
        """Store an object of these parts; the manifest's number."""
        upload = self.upload(key)
        self.now(*(lambda n=n, body=body: self.part(upload, n + 1, body, key) for n, body in enumerate(bodies)))
        self.now(lambda: self.complete(upload, key=key))
        return upload

    def copy(self, key, new_key, *, stamp=None, **more):
        row = self.object(key)
        target = PutIntent("b", new_key, row.size_bytes, row.etag, {}, {}, {}, **more)
        return self.ask.copy(CopyIntent(target, "b", key, row.stamp if stamp is None else stamp), self.now_ms)

    def copy_part(self, upload, number, slices, source, key=b"k", stamp=None):
        row = self.object(source)
        target = PutIntent("b", key, sum(piece.length for piece in slices), "e" * 32, {}, {}, {}, upload=upload, part=number)
        intent = PartCopyIntent(target, tuple(slices), "b", source, (row.stamp if row else 0) if stamp is None else stamp)
        return self.ask.copy_part(intent, self.now_ms)

    def append(self, key, body, at=None, **more):
        return self.put(key, body, append_at=self.object(key).size_bytes if at is None else at, **more)

    def delete(self, key, **more):
        return self.ask.delete("b", DeleteIntent(key, **more), self.now_ms)

    def mark_damaged(self, row):
        """The report that the record of that blob, as looked up, failed verification."""
        place = row.location
        return self.ask.mark_damaged(row.number, place.segment_id, place.offset, place.record_id)

    def release_all(self):
        """Let everything go that nothing uses; how many entries it took."""
        taken = 0
        while self.now(lambda: self.ask.release_parts(self.now_ms, self.now_ms)):
            taken += 1
        return taken

    def bucket_id(self, bucket="b"):
        row = self.index.bucket(bucket)
        return row.bucket_id if row else 0

    def object(self, key, bucket="b"):
        return self.index.object(self.bucket_id(bucket), key)

    def usage(self, bucket="b"):
        view = IndexView(self.path)
        found = {row.bucket: (row.objects, row.size_bytes) for row in view.usage()}
        view.close()
        return found[bucket]

    def read(self, key, bucket="b"):
        """The object's bytes, put together from rows, as a reader would; None if there is no object."""
        row = self.object(key, bucket)
        if row is None:
            return None
        slices = [Slice(row.blob, 0, row.size_bytes)] if row.blob else []
        for part, end in unpack_map(self.index.uploads.map(row.manifest)) if row.manifest else ():
            slices += self.index.uploads.part(row.manifest, part).slices
            assert end == sum(piece.length for piece in slices)
        pieces = [(self.bodies[self.index.blob(piece.blob).blob_id], piece) for piece in slices]
        return b"".join(body[piece.first : piece.first + piece.length] for body, piece in pieces)

    def random_step(self, rng):
        """A request of any kind: most succeed, some are refused."""
        return self.random_requests.one(rng)


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path / "index.db").start()
    made.batch(lambda: made.journal.requests.create_bucket("b", made.now_ms))
    return made


@pytest.fixture
def make_lab():
    return Lab


@pytest.fixture
def faulty_vfs():
    load_cksumvfs()
    vfs = FaultyVfs()
    yield vfs
    gc.collect()
    vfs.unregister()
