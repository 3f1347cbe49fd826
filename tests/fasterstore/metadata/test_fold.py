"""The fold: each entry changes exactly the rows it says, counters stay exact, and nothing is judged."""

import random

import pytest

from fasterstore.errors import DamagedRow, InvariantError
from fasterstore.metadata import fold, judge_uploads
from fasterstore.metadata.entries import (
    BlobDamaged,
    BlobSource,
    BucketCreated,
    BucketDeleted,
    EpochStarted,
    Kind,
    ObjectDeleted,
    ObjectPut,
    SegmentIdsLeased,
    SegmentOpened,
    SegmentSealed,
    decode,
)
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.model import BlobLocation
from fasterstore.storage.wal_recovery import read_from
from tests.fasterstore.metadata.random_requests import BUCKETS, KEYS
from tests.storage_node import audit, change, dump

NODE, LOG = b"N" * 16, b"L" * 16
RECORD_BYTES = 128 + 10 + 16


class Folded:
    """An index with bucket `b`, segments 1 and 2, and a way to apply entries."""

    def __init__(self, path):
        self.path = path
        self.index = IndexWriter(path, LOG)
        self.apply(BucketCreated("b", 1, 1 << 16, NODE), SegmentOpened(1, 1, b"1" * 16), SegmentOpened(2, 1, b"2" * 16))

    def apply(self, *entries):
        self.index.begin()
        for entry in entries:
            fold.apply(self.index, self.index.state.applied_lsn + 1, entry)
        self.index.flush()
        self.index.commit()

    def put(self, key, blob, source=BlobSource.NEW, *, at=(1, 64), size=10, now_ms=1000, bucket="b"):
        place = BlobLocation(at[0], at[1], size, size, b"R" * 16) if source in (BlobSource.NEW, BlobSource.REPAIRED) else None
        return ObjectPut(
            bucket, key, size, "e" * 32, now_ms, {}, {}, {}, {}, "", now_ms << 16, NODE, LOG, blob, 0, blob, source, b"i" * 32, place, 0
        )

    def delete(self, key, now_ms=2000):
        return ObjectDeleted("b", key, now_ms, now_ms << 16, NODE)

    def usage(self):
        return self._held(self.index._execute("SELECT bucket_id FROM buckets WHERE name = 'b'").get or 1)

    def _held(self, bucket_id):
        self.index.add_usage(bucket_id, 0, 0)
        return self.index._usage.pop(bucket_id)


@pytest.fixture
def folded(tmp_path):
    made = Folded(str(tmp_path / "index.db"))
    yield made
    made.index.close()


def test_there_is_a_rule_for_every_kind():
    assert len(fold._APPLY) == len(Kind)


def test_a_new_blob_has_one_reference_and_live_bytes(folded):
    folded.apply(folded.put(b"a", 1))
    row = folded.index.blob(1)
    assert (row.refs, row.zero_since_ms, row.damaged) == (1, 0, False)
    assert folded.index.segment(1).live_bytes == RECORD_BYTES
    assert folded.usage() == (1, 10)
    audit(folded.path)


def test_a_claim_counts_a_reference_and_no_bytes(folded):
    folded.apply(folded.put(b"a", 1), folded.put(b"b", 1, BlobSource.CLAIMED))
    assert folded.index.blob(1).refs == 2
    assert folded.index.segment(1).live_bytes == RECORD_BYTES
    audit(folded.path)


def test_an_empty_body_has_no_blob(folded):
    folded.apply(folded.put(b"a", 0, BlobSource.EMPTY, size=0))
    assert folded.index.object(1, b"a").blob == 0
    assert folded.index.state.last_blob == 0
    folded.apply(folded.delete(b"a"))
    assert folded.usage() == (0, 0)
    audit(folded.path)


def test_overwriting_a_key_releases_what_it_had(folded):
    folded.apply(folded.put(b"a", 1), folded.put(b"a", 2, at=(1, 500), now_ms=3000))
    assert (folded.index.blob(1).refs, folded.index.blob(1).zero_since_ms) == (0, 3000)
    assert folded.index.blob(2).refs == 1
    assert folded.index.segment(1).live_bytes == 2 * RECORD_BYTES  # dead only once a compactor has logged it
    assert folded.usage() == (1, 10)
    audit(folded.path)


def test_overwriting_with_the_same_bytes_never_drops_their_references_to_zero(folded, monkeypatch):
    seen = []
    change_blob = folded.index.change_blob
    folded.apply(folded.put(b"a", 1))
    monkeypatch.setattr(folded.index, "change_blob", lambda row: (seen.append(row), change_blob(row)))
    folded.apply(folded.put(b"a", 1, BlobSource.CLAIMED, now_ms=3000))
    assert [(row.refs, row.zero_since_ms) for row in seen] == [(2, 0), (1, 0)]
    audit(folded.path)


def test_a_blob_at_zero_is_revived_by_a_claim(folded):
    folded.apply(folded.put(b"a", 1), folded.delete(b"a", 2000))
    assert (folded.index.blob(1).refs, folded.index.blob(1).zero_since_ms) == (0, 2000)
    folded.apply(folded.put(b"b", 1, BlobSource.CLAIMED))
    assert (folded.index.blob(1).refs, folded.index.blob(1).zero_since_ms) == (1, 0)
    audit(folded.path)


def test_a_repair_moves_the_blob_for_every_object_that_shares_it(folded):
    folded.apply(folded.put(b"a", 1), folded.put(b"b", 1, BlobSource.CLAIMED), BlobDamaged(1, b"R" * 16))
    assert folded.index.blob(1).damaged
    folded.apply(folded.put(b"c", 1, BlobSource.REPAIRED, at=(2, 4096)))
    row = folded.index.blob(1)
    assert (row.refs, row.damaged, row.location.segment_id, row.location.offset) == (3, False, 2, 4096)
    assert (folded.index.segment(1).live_bytes, folded.index.segment(2).live_bytes) == (0, RECORD_BYTES)
    audit(folded.path)


def test_epochs_leases_and_seals_move_their_counters(folded):
    folded.apply(EpochStarted(4, 1), SegmentIdsLeased(3, 64), SegmentSealed(1, 999))
    assert (folded.index.state.epoch, folded.index.state.last_segment_id) == (4, 66)
    row = folded.index.segment(1)
    assert (row.sealed, row.length_bytes) == (True, 999)
    assert [row.segment_id for row in folded.index.unsealed_segments()] == [2]


def test_the_last_stamp_and_blob_never_go_back(folded):
    folded.apply(folded.put(b"a", 5, now_ms=9000), folded.put(b"b", 3, at=(1, 500), now_ms=10))
    assert (folded.index.state.last_blob, folded.index.state.last_stamp) == (5, 9000 << 16)


def test_a_bucket_that_is_deleted_and_made_again_starts_empty(folded):
    folded.apply(folded.put(b"a", 1), folded.delete(b"a"), BucketDeleted("b", 1, 5 << 16, NODE), BucketCreated("b", 2, 6 << 16, NODE))
    assert folded.index.bucket("b").bucket_id == folded.index.state.applied_lsn
    assert folded.usage() == (0, 0)
    audit(folded.path)


@pytest.mark.parametrize("gap", [0, 2, -1])
def test_a_gap_in_the_log_is_never_applied(folded, gap):
    before = dump(folded.path)
    folded.index.begin()
    with pytest.raises(InvariantError, match="gap"):
        fold.apply(folded.index, folded.index.state.applied_lsn + gap, EpochStarted(9, 1))
    folded.index.rollback()
    assert dump(folded.path) == before


@pytest.mark.parametrize(
    "wrong",
    [
        lambda folded: folded.delete(b"nothing"),
        lambda folded: BucketDeleted("nobucket", 1, 1, NODE),
        lambda folded: folded.put(b"a", 9, BlobSource.CLAIMED),
        lambda folded: folded.put(b"a", 1, bucket="nobucket"),
        lambda folded: folded.put(b"a", 1)._replace(location=None),
        lambda folded: BlobDamaged(9, b"R" * 16),
    ],
)
def test_a_log_that_contradicts_itself_is_a_defect_and_not_a_guess(folded, wrong):
    folded.index.begin()
    with pytest.raises(InvariantError):
        fold.apply(folded.index, folded.index.state.applied_lsn + 1, wrong(folded))
    folded.index.rollback()


def test_a_damaged_row_in_the_way_is_reported_as_such(folded):
    folded.apply(folded.put(b"a", 1))
    change(folded.path, "UPDATE objects SET value = zeroblob(50)")
    folded.index.begin()
    with pytest.raises(DamagedRow):
        fold.apply(folded.index, folded.index.state.applied_lsn + 1, folded.delete(b"a"))
    folded.index.rollback()


@pytest.mark.parametrize("seed", range(6))
def test_refs_live_bytes_and_usage_are_exact_after_any_sequence(lab, seed, monkeypatch):
    for limit, value in (("RELEASE_PARTS", 2), ("RELEASE_LOOK_AT", 3), ("EXPIRE_UPLOADS", 2)):
        monkeypatch.setattr(judge_uploads, limit, value)
    rng = random.Random(seed)
    for number in range(400):
        lab.batch(*(lab.random_step(rng) for _ in range(rng.randrange(1, 9))))
        if number % 20 == 19:
            lab.seal_segment()
            audit(lab.path)
    lab.batch(lambda: lab.journal.retire_log(1))
    kinds = {type(decode(data)) for _, data in read_from(lab.disk, "/journal", 1)}
    assert kinds == set(fold._APPLY)
    for bucket in BUCKETS:
        for key in KEYS:
            row = lab.object(key, bucket)
            assert row is None or row.size_bytes == len(lab.read(key, bucket))
    lab.release_all()
    audit(lab.path)
