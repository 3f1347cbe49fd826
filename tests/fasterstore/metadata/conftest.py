"""A journal on a memory disk with a real index, and a source of random requests."""

import gc
import hashlib
import random

import pytest

from fasterstore.errors import StoreError
from fasterstore.metadata.entries import SegmentOpened, SegmentSealed
from fasterstore.metadata.index import load_cksumvfs
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.journal import Journal
from fasterstore.metadata.judge import Claim, Identity
from fasterstore.model import BlobLocation, PutIntent
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.record import record_bytes
from fasterstore.storage.wal_recovery import recover
from fasterstore.storage.witness import Witness
from tests.storage_node import FaultyVfs

LOG = b"L" * 16


class Lab:
    """One journal. `wal` lies on `disk`, the index at `path`; `body(n)` is the n-th content."""

    def __init__(self, path, disk=None, rotate_bytes=1 << 20):
        self.path = str(path)
        self.disk = disk or MemoryDisk()
        if disk is None:
            self.disk.mkdir("/journal")
            self.disk.mkdir("/quarantine")
        self.rng = random.Random(3)
        self.rotate_bytes = rotate_bytes
        self.now_ms = 1_700_000_000_000
        self.reserve = 1
        self.open()

    def open(self):
        recovered = recover(
            self.disk, "/journal", LOG, 0, self.rng.randbytes, quarantine="/quarantine", rotate_bytes=self.rotate_bytes, step_bytes=1 << 16
        )
        self.index = IndexWriter(self.path, LOG, self.rng.randbytes)
        who = Identity(b"N" * 16, LOG)
        witness = Witness(self.disk, "/journal/witness")
        self.journal = Journal(self.index, recovered.writer, witness, who, free_reserve=self.free_reserve, timer=lambda: 0.0)
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
        number = self.journal.lease_segment_ids(1).first
        self.journal.segment_opened(SegmentOpened(number, self.journal.epoch, self.rng.randbytes(16)))
        self.journal.write()
        self.end = 64
        return number

    def seal_segment(self):
        self.journal.begin()
        self.journal.segment_sealed(SegmentSealed(self.segment, self.end))
        self.journal.write()
        self.segment = self.open_segment()

    def close(self):
        self.journal.close()

    def intent(self, key, body, **more):
        return PutIntent(more.pop("bucket", "b"), key, len(body), hashlib.md5(body).hexdigest(), {}, {}, {}, **more)

    def claim(self, body, blob=0, *, written=True, epoch=None):
        """A synced record with `body` at a place of its own, and perhaps a claim."""
        place = None
        if written:
            place = BlobLocation(self.segment, self.end, len(body), len(body), self.rng.randbytes(16))
            self.end += record_bytes(len(body))
        return Claim(self.journal.epoch if epoch is None else epoch, hashlib.sha256(body).digest(), place, blob)

    def put(self, key, body, blob=0, *, written=True, **intent):
        return self.journal.put(self.intent(key, body, **intent), self.claim(body, blob, written=written), self.now_ms)

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
        found = [number for number in range(1, self.index.state.last_blob + 1) if self.index.blob(number).blob_id == blob_id]
        return max(found, default=0)

    def random_step(self, rng):
        """A request of any kind: most succeed, some are refused."""
        bucket = rng.choice("bcd")
        key = b"key-%d" % rng.randrange(12)
        body = b"x%d" % rng.randrange(8) * rng.choice((0, 1, 1, 1, 200))
        blob = self.find(body) if rng.random() < 0.6 else rng.randrange(self.index.state.last_blob + 2)
        what = rng.randrange(12)
        if what < 6:
            matching = {"if_match": hashlib.md5(body).hexdigest()}
            conditions = rng.choice(({}, {}, {}, {"if_none_match": "*"}, matching, {"create_bucket": True}))
            return lambda: self.put(key, body, blob, written=rng.random() < 0.8, bucket=bucket, **conditions)
        if what < 9:
            return lambda: self.journal.delete(bucket, key, None, self.now_ms)
        if what == 9:
            return lambda: self.journal.create_bucket(bucket, self.now_ms)
        if what == 10:
            return lambda: self.journal.delete_bucket(bucket, self.now_ms)
        return lambda: self._damage(blob)

    def _damage(self, blob):
        row = self.index.blob(blob)
        return 0 if row is None else self.journal.mark_damaged(blob, row.location.record_id)


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path / "index.db").start()
    made.batch(lambda: made.journal.create_bucket("b", made.now_ms))
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
