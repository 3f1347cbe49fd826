"""The judge: preconditions in order within one batch, dedup in the transaction, and every refusal by its name."""

import hashlib

import pytest

from fasterstore.errors import (
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    StaleEpoch,
    StoreError,
)
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.judge import CLAIM_GONE
from fasterstore.metadata.requests import PutResult
from fasterstore.model import DeleteIntent
from tests.storage_node import audit, dump


def names(answers):
    return [type(answer) if isinstance(answer, StoreError) else None for answer in answers]


def etag(body):
    return hashlib.md5(body).hexdigest()


def locate(lab, key, bucket="b"):
    view = IndexView(lab.path)
    try:
        return view.locate(bucket, key)
    finally:
        view.close()


def test_of_two_puts_if_none_match_in_one_batch_exactly_one_wins(lab):
    first, second = lab.batch(lambda: lab.put(b"k", b"one", if_none_match="*"), lambda: lab.put(b"k", b"two", if_none_match="*"))
    assert isinstance(first, PutResult)
    assert isinstance(second, PreconditionFailed)
    assert locate(lab, b"k").object.etag == etag(b"one")
    audit(lab.path)


def test_conditions_see_what_came_before_them_in_the_batch(lab):
    answers = lab.batch(
        lambda: lab.put(b"k", b"one"),
        lambda: lab.put(b"k", b"two", if_match=etag(b"one")),
        lambda: lab.put(b"k", b"three", if_match=etag(b"one")),
        lambda: lab.put(b"k", b"four", if_match=f'"{etag(b"two")}"'),
        lambda: lab.journal.requests.delete("b", DeleteIntent(b"k", etag(b"two")), lab.now_ms),
        lambda: lab.journal.requests.delete("b", DeleteIntent(b"k", etag(b"four")), lab.now_ms),
        lambda: lab.put(b"k", b"five", if_match="*"),
        lambda: lab.put(b"k", b"six", if_none_match="*"),
    )
    assert names(answers) == [None, None, PreconditionFailed, None, PreconditionFailed, None, NoSuchKey, None]
    assert locate(lab, b"k").object.etag == etag(b"six")
    audit(lab.path)


@pytest.mark.parametrize(
    ("conditions", "error"),
    [
        ({"if_match": "0" * 32}, PreconditionFailed),
        ({"if_none_match": etag(b"one")}, PreconditionFailed),
        ({"if_none_match": f'"{etag(b"one")}"'}, PreconditionFailed),
        ({"if_none_match": "0" * 32}, None),
        ({"if_match": f'"{"0" * 32}", "{etag(b"one")}"'}, None),
        ({"if_match": "*", "if_none_match": "*"}, PreconditionFailed),
    ],
)
def test_a_condition_holds_or_refuses_by_name(lab, conditions, error):
    lab.batch(lambda: lab.put(b"k", b"one"))
    assert names(lab.batch(lambda: lab.put(b"k", b"two", **conditions))) == [error]


def test_a_refused_put_leaves_no_entry_and_no_row(lab):
    lab.batch(lambda: lab.put(b"k", b"one"))
    before, head = dump(lab.path), lab.journal.head_lsn
    answers = lab.batch(
        lambda: lab.put(b"k", b"two", if_none_match="*"),
        lambda: lab.put(b"k", b"two", bucket="nobucket"),
        lambda: lab.put(b"x", b"two", if_match="*"),
        lambda: lab.journal.requests.delete("b", DeleteIntent(b"nothing", None), lab.now_ms),
    )
    assert names(answers) == [PreconditionFailed, NoSuchBucket, NoSuchKey, None]
    assert answers[3] == 0
    assert dump(lab.path) == before
    assert lab.journal.head_lsn == head


def test_buckets_are_made_and_deleted_by_their_rules_and_in_order(lab):
    now = lab.now_ms
    answers = lab.batch(
        lambda: lab.journal.requests.create_bucket("b", now),
        lambda: lab.journal.requests.create_bucket("c", now),
        lambda: lab.journal.requests.create_bucket("c", now),
        lambda: lab.put(b"k", b"one", bucket="c"),
        lambda: lab.journal.requests.delete_bucket("c", now),
        lambda: lab.journal.requests.delete("c", DeleteIntent(b"k", None), now),
        lambda: lab.journal.requests.delete_bucket("c", now),
        lambda: lab.journal.requests.delete_bucket("c", now),
        lambda: lab.put(b"k", b"one", bucket="c"),
        lambda: lab.journal.requests.create_bucket("c", now),
    )
    expected = [BucketAlreadyOwnedByYou, None, BucketAlreadyOwnedByYou, None, BucketNotEmpty, None, None, NoSuchBucket, NoSuchBucket, None]
    assert names(answers) == expected
    assert locate(lab, b"k", "c").object is None
    audit(lab.path)


def test_a_put_may_make_its_bucket_in_the_same_step(lab):
    first, second = lab.batch(
        lambda: lab.put(b"k", b"one", bucket="new", create_bucket=True, if_none_match="*"),
        lambda: lab.put(b"k", b"two", bucket="new", create_bucket=True, if_none_match="*"),
    )
    assert first.lsn > 0
    assert isinstance(second, PreconditionFailed)
    found = locate(lab, b"k", "new")
    assert found.object.stamp > 0
    assert found.bucket.bucket_id == first.lsn - 1


def test_a_refused_put_makes_no_bucket(lab):
    answers = lab.batch(lambda: lab.put(b"k", b"one", bucket="new", create_bucket=True, if_match="*"))
    assert names(answers) == [NoSuchKey]
    assert locate(lab, b"k", "new").bucket is None


def test_a_claim_of_a_live_blob_is_taken_and_its_record_is_not(lab):
    lab.batch(lambda: lab.put(b"a", b"one"))
    for written in (False, True):
        answer = lab.batch(lambda written=written: lab.put(b"b", b"one", 1, written=written))[0]
        assert answer.deduplicated
        assert locate(lab, b"b").blob.number == 1
    assert locate(lab, b"a").blob.refs == 2
    audit(lab.path)


@pytest.mark.parametrize("claimed", [0, 1, 77])
def test_a_claim_that_does_not_hold_says_that_the_bytes_are_needed(lab, claimed):
    lab.batch(lambda: lab.put(b"a", b"one"))  # blob 1 holds other bytes than what is claimed
    before = dump(lab.path)
    assert lab.batch(lambda: lab.put(b"b", b"two", claimed, written=False)) == [CLAIM_GONE]
    assert dump(lab.path) == before


def test_a_claim_that_does_not_hold_is_no_loss_if_the_bytes_were_written(lab):
    lab.batch(lambda: lab.put(b"a", b"one"))
    answer = lab.batch(lambda: lab.put(b"b", b"two", 1))[0]
    assert not answer.deduplicated
    assert locate(lab, b"b").blob.number == 2
    audit(lab.path)


def test_a_damaged_blob_is_no_dedup_target_and_a_put_of_its_bytes_repairs_it_for_all(lab):
    lab.batch(lambda: lab.put(b"a", b"one"), lambda: lab.put(b"b", b"one", 1, written=False))
    old = locate(lab, b"a").blob
    lab.batch(lambda: lab.mark_damaged(old))
    assert lab.batch(lambda: lab.put(b"c", b"one", 1, written=False)) == [CLAIM_GONE]
    answer = lab.batch(lambda: lab.put(b"c", b"one", 1))[0]
    assert not answer.deduplicated
    for key in (b"a", b"b", b"c"):
        found = locate(lab, key).blob
        assert (found.number, found.refs, found.damaged) == (1, 3, False)
        assert found.location.record_id != old.location.record_id
    audit(lab.path)


def test_two_repairs_in_one_batch_repair_once(lab):
    lab.batch(lambda: lab.put(b"a", b"one"))
    lab.batch(lambda: lab.mark_damaged(locate(lab, b"a").blob))
    lab.batch(lambda: lab.put(b"b", b"one"), lambda: lab.put(b"c", b"one"))
    assert {locate(lab, b"b").blob.number, locate(lab, b"c").blob.number} == {1, 2}
    audit(lab.path)


def test_a_report_of_damage_that_is_out_of_date_changes_nothing(lab):
    lab.batch(lambda: lab.put(b"a", b"one"))
    row = locate(lab, b"a").blob
    place = row.location
    stale = [place._replace(record_id=bytes(16)), place._replace(segment_id=77), place._replace(offset=65)]  # moved since, or made anew
    reports = [row._replace(location=moved) for moved in stale] + [row._replace(number=77)]
    assert lab.batch(*(lambda report=report: lab.mark_damaged(report) for report in reports)) == [0, 0, 0, 0]
    first, second = lab.batch(lambda: lab.mark_damaged(row), lambda: lab.mark_damaged(row))
    assert first > 0
    assert second == 0


def test_an_empty_body_needs_no_claim_and_no_record(lab):
    answer = lab.batch(lambda: lab.put(b"a", b"", written=False))[0]
    assert not answer.deduplicated
    found = locate(lab, b"a")
    assert (found.object.blob, found.blob, found.object.size_bytes) == (0, None, 0)


def test_a_commit_of_another_epoch_is_refused(lab):
    for epoch in (lab.journal.epoch - 1, lab.journal.epoch + 1):
        claim = lab.claim(b"one", epoch=epoch)
        answer = lab.batch(lambda claim=claim: lab.journal.requests.put(lab.intent(b"k", b"one"), claim, lab.now_ms))[0]
        assert isinstance(answer, StaleEpoch)
    assert locate(lab, b"k").object is None


def test_stamps_rise_within_a_millisecond_and_when_the_clock_jumps_back(lab):
    stamps = []
    for jump in (0, 0, -50_000, 0, 10):
        lab.now_ms += jump
        lab.batch(lambda: lab.put(b"k", b"one"), lambda: lab.put(b"l", b"one"))
        stamps += [locate(lab, b"k").object.stamp, locate(lab, b"l").object.stamp]
    assert stamps == sorted(set(stamps))


def test_leased_segment_ids_never_overlap(lab):
    leases = []
    lab.batch(*(lambda: leases.append(lab.journal.requests.lease_segment_ids(10)) for _ in range(3)))
    ids = [number for lease in leases for number in range(lease.first, lease.first + lease.id_count)]
    assert len(set(ids)) == 30
    assert min(ids) > lab.segment
