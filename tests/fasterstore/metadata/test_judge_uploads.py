"""Judging uploads: what is open, what was looked at, conditions of a completion, when an upload expires, and what is let go at once."""

import hashlib

import pytest

from fasterstore.clock import WRONG_CLOCK_MS
from fasterstore.errors import (
    DamagedRecord,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
    SourceChanged,
    StaleEpoch,
    StoreError,
    TooManyParts,
    UploadChanged,
)
from fasterstore.metadata import judge_uploads
from fasterstore.metadata.entries import UploadAborted, decode
from fasterstore.metadata.judge import CLAIM_GONE
from fasterstore.metadata.requests import PutResult
from fasterstore.model import SLICES_MAX, Slice, UploadIntent
from fasterstore.storage.wal_recovery import read_from
from tests.storage_node import audit, dump, rows


def names(answers):
    return [type(answer) if isinstance(answer, StoreError) else None for answer in answers]


def refused(lab, *steps):
    """What refused each step; none of them may leave a trace."""
    before = dump(lab.path)
    found = names(lab.batch(*steps))
    assert dump(lab.path) == before
    return found


def logged(lab, kind):
    return [entry for entry in (decode(data) for _, data in read_from(lab.disk, "/journal", 1)) if isinstance(entry, kind)]


def test_an_upload_is_numbered_by_its_lsn_and_keeps_what_was_asked_for(lab):
    upload = lab.upload()
    assert upload == lab.journal.head_lsn
    lab.now(lambda: lab.part(upload, 1, b"one"))
    lab.now(lambda: lab.complete(upload))
    row = lab.object(b"k")
    assert (row.system, row.user, row.tags, row.acl) == ({"content-type": "a/b"}, {"m": "u"}, {"t": "u"}, "public-read")
    assert (row.manifest, row.blob, row.size_bytes, row.etag) == (upload, 0, 3, "e" * 32 + "-1")


def test_an_upload_needs_its_bucket(lab):
    intent = UploadIntent("nobucket", b"k", "", {}, {}, {}, "", "", "")
    assert refused(lab, lambda: lab.ask.create_upload(intent, lab.now_ms)) == [NoSuchBucket]


def test_what_is_not_open_takes_no_part_and_is_neither_completed_nor_aborted(lab):
    upload = lab.upload()
    lab.now(lambda: lab.put(b"source", b"source"))
    slices = (Slice(1, 0, 6),)
    for number, key, bucket in ((upload + 1, b"k", "b"), (upload, b"other", "b"), (upload, b"k", "nobucket")):
        error = NoSuchBucket if bucket == "nobucket" else NoSuchUpload
        steps = (
            lambda number=number, key=key, bucket=bucket: lab.part(number, 1, b"x", key, bucket=bucket),
            lambda number=number, key=key, bucket=bucket: lab.complete(number, [], key=key, bucket=bucket),
            lambda number=number, key=key, bucket=bucket: lab.ask.abort_upload(bucket, key, number, lab.now_ms),
        )
        assert refused(lab, *steps) == [error] * 3
    assert refused(lab, lambda: lab.copy_part(upload + 1, 1, slices, b"source")) == [NoSuchUpload]


@pytest.mark.parametrize("end", ["complete", "abort"])
def test_an_upload_ends_once_also_within_one_batch(lab, end):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    steps = {"complete": lambda: lab.complete(upload), "abort": lambda: lab.ask.abort_upload("b", b"k", upload, lab.now_ms)}
    answers = lab.batch(steps[end], lambda: lab.part(upload, 2, b"two"), steps["complete"], steps["abort"])
    assert names(answers) == [None, NoSuchUpload, NoSuchUpload, NoSuchUpload]
    audit(lab.path)


def test_a_part_of_another_epoch_is_refused(lab):
    upload = lab.upload()
    claim = lab.claim(b"one", epoch=lab.journal.epoch - 1)
    intent = lab.intent(b"k", b"one", upload=upload, part=1)
    assert refused(lab, lambda: lab.ask.put(intent, claim, lab.now_ms)) == [StaleEpoch]


def test_a_part_is_deduplicated_as_an_object_is(lab):
    upload = lab.upload()
    lab.now(lambda: lab.put(b"object", b"same"))
    answer = lab.now(lambda: lab.part(upload, 1, b"same", blob=1))
    assert isinstance(answer, PutResult)
    assert answer.deduplicated
    assert answer.etag == hashlib.md5(b"same").hexdigest()
    assert lab.index.blob(1).refs == 2
    assert lab.batch(lambda: lab.part(upload, 2, b"gone", blob=1, written=False)) == [CLAIM_GONE]
    audit(lab.path)


def test_a_part_of_a_damaged_blobs_bytes_repairs_it(lab):
    lab.now(lambda: lab.put(b"object", b"same"))
    lab.now(lambda: lab.mark_damaged(lab.index.blob(1)))
    upload = lab.upload()
    assert not lab.now(lambda: lab.part(upload, 1, b"same", blob=1)).deduplicated
    assert (lab.index.blob(1).damaged, lab.index.blob(1).refs) == (False, 2)
    audit(lab.path)


# ---- completing


def test_a_part_that_came_after_the_look_makes_the_completion_look_again(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    seen = lab.index.uploads.upload(lab.bucket_id(), b"k", upload).version
    lab.now(lambda: lab.part(upload, 1, b"another"))
    assert refused(lab, lambda: lab.complete(upload, version=seen)) == [UploadChanged]
    lab.now(lambda: lab.complete(upload))
    assert lab.read(b"k") == b"another"


def test_a_part_in_the_same_batch_is_noticed_too(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    seen = lab.index.uploads.upload(lab.bucket_id(), b"k", upload).version
    assert names(lab.batch(lambda: lab.part(upload, 2, b"two"), lambda: lab.complete(upload, version=seen))) == [None, UploadChanged]


@pytest.mark.parametrize(
    ("there", "conditions", "error"),
    [
        (False, {"if_none_match": "*"}, None),
        (True, {"if_none_match": "*"}, PreconditionFailed),
        (True, {"if_match": hashlib.md5(b"there").hexdigest()}, None),
        (True, {"if_match": "0" * 32}, PreconditionFailed),
        (False, {"if_match": "0" * 32}, NoSuchKey),
    ],
)
def test_a_completion_is_conditional_as_a_put_is_and_may_be_tried_again(lab, there, conditions, error):
    if there:
        lab.now(lambda: lab.put(b"k", b"there"))
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    assert names(lab.batch(lambda: lab.complete(upload, **conditions))) == [error]
    if error is not None:
        lab.now(lambda: lab.complete(upload))
    assert lab.read(b"k") == b"one"
    audit(lab.path)


def test_of_two_completions_if_none_match_in_one_batch_exactly_one_wins(lab):
    first, second = lab.upload(), lab.upload()
    lab.now(lambda: lab.part(first, 1, b"one"), lambda: lab.part(second, 1, b"two"))
    answers = lab.batch(lambda: lab.complete(first, if_none_match="*"), lambda: lab.complete(second, if_none_match="*"))
    assert names(answers) == [None, PreconditionFailed]
    assert lab.read(b"k") == b"one"


# ---- parts by copy


def test_a_part_is_copied_only_from_the_version_that_was_looked_at(lab):
    upload = lab.upload()
    lab.now(lambda: lab.put(b"source", b"source"))
    seen = lab.object(b"source").stamp
    lab.now(lambda: lab.ask.amend("b", b"source", {"a": "b"}, None, lab.now_ms))
    slices = (Slice(1, 1, 3),)
    assert refused(
        lab, lambda: lab.copy_part(upload, 1, slices, b"source", stamp=seen), lambda: lab.copy_part(upload, 1, slices, b"nothing")
    ) == [SourceChanged, NoSuchKey]
    lab.now(lambda: lab.copy_part(upload, 1, slices, b"source"))
    lab.now(lambda: lab.complete(upload))
    assert lab.read(b"k") == b"our"


def test_a_damaged_blob_is_not_copied_into_a_part(lab):
    upload = lab.upload()
    lab.now(lambda: lab.put(b"source", b"source"), lambda: lab.put(b"sound", b"sound"))
    lab.now(lambda: lab.mark_damaged(lab.index.blob(1)))
    assert refused(lab, lambda: lab.copy_part(upload, 1, (Slice(2, 0, 5), Slice(1, 0, 1)), b"sound")) == [DamagedRecord]
    assert names(lab.batch(lambda: lab.copy_part(upload, 1, (Slice(2, 0, 5),), b"sound"))) == [None]


def test_a_part_has_no_more_slices_than_one_entry_may_count(lab):
    upload = lab.upload()
    lab.now(lambda: lab.put(b"source", b"x"))
    assert refused(lab, lambda: lab.copy_part(upload, 1, (Slice(1, 0, 1),) * (SLICES_MAX + 1), b"source")) == [TooManyParts]
    lab.now(lambda: lab.copy_part(upload, 1, (Slice(1, 0, 1),) * SLICES_MAX, b"source"))
    assert lab.index.blob(1).refs == SLICES_MAX + 1
    audit(lab.path)


# ---- expiry


def test_an_upload_expires_from_its_last_part_and_not_from_its_beginning(lab):
    started = lab.now_ms
    busy, idle = lab.upload(b"busy"), lab.upload(b"idle")
    lab.now_ms = started + 1000
    lab.now(lambda: lab.part(busy, 1, b"one", b"busy"))
    assert lab.now(lambda: lab.ask.expire_uploads(started + 1, lab.now_ms)) == 0
    lab.now(lambda: lab.ask.expire_uploads(started + 1000, lab.now_ms))
    assert [row[2] for row in rows(lab.path, "SELECT * FROM uploads")] == [busy]
    assert [entry.upload for entry in logged(lab, UploadAborted)] == [idle]
    lab.now(lambda: lab.ask.expire_uploads(started + 1001, lab.now_ms))
    assert rows(lab.path, "SELECT * FROM uploads") == []
    audit(lab.path)


def test_only_a_few_uploads_expire_at_once_the_oldest_first(lab):
    numbers = [lab.upload() for _ in range(judge_uploads.EXPIRE_UPLOADS + 3)]
    lab.now(lambda: lab.ask.expire_uploads(lab.now_ms, lab.now_ms))
    assert [row[2] for row in rows(lab.path, "SELECT * FROM uploads")] == numbers[-3:]
    lab.now(lambda: lab.ask.expire_uploads(lab.now_ms, lab.now_ms))
    assert lab.now(lambda: lab.ask.expire_uploads(lab.now_ms, lab.now_ms)) == 0


def test_an_upload_from_a_clock_that_was_wrong_by_years_expires_too(lab):
    right = lab.now_ms
    lab.now_ms = right + 10 * 365 * WRONG_CLOCK_MS
    wrong = lab.upload(b"from the future")
    lab.now_ms = right + WRONG_CLOCK_MS
    ahead = lab.upload(b"a little ahead")
    lab.now_ms = right
    lab.now(lambda: lab.ask.expire_uploads(right - WRONG_CLOCK_MS, right))
    assert [row[2] for row in rows(lab.path, "SELECT * FROM uploads")] == [ahead], "a small step back of the clock is waited out"
    assert [entry.upload for entry in logged(lab, UploadAborted)] == [wrong]
    assert lab.now(lambda: lab.ask.expire_uploads(right - WRONG_CLOCK_MS, right)) == 0
    audit(lab.path)


# ---- what is let go at once


def test_nothing_goes_before_its_time(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    lab.now(lambda: lab.ask.abort_upload("b", b"k", upload, lab.now_ms))
    aborted_ms = lab.now_ms - 1
    assert lab.now(lambda: lab.ask.release_parts(aborted_ms - 1, lab.now_ms)) == 0
    assert lab.now(lambda: lab.ask.release_parts(aborted_ms, lab.now_ms)) > 0
    assert lab.index.blob(1).refs == 0
    assert lab.now(lambda: lab.ask.release_parts(aborted_ms, lab.now_ms)) == 0
    audit(lab.path)


def test_parts_given_up_while_the_clock_stood_in_the_far_future_go_once_it_is_right_again(lab):
    number = lab.upload(b"a")
    lab.now(lambda: lab.part(number, 1, b"part", b"a"))
    right_ms = lab.now_ms
    lab.now_ms = right_ms + 10 * 365 * 86_400_000
    lab.now(lambda: lab.ask.abort_upload("b", b"a", number, lab.now_ms))
    lab.now_ms = right_ms
    assert lab.now(lambda: lab.ask.release_parts(right_ms - 1000, lab.now_ms)) > 0
    assert lab.index.uploads.release(number) is None
    audit(lab.path)


def test_what_has_been_unused_for_longest_goes_first(lab):
    first, second = lab.upload(b"first"), lab.upload(b"second")
    lab.now(lambda: lab.part(first, 1, b"one", b"first"), lambda: lab.part(second, 1, b"two", b"second"))
    lab.now(lambda: lab.ask.abort_upload("b", b"second", second, lab.now_ms))
    lab.now(lambda: lab.ask.abort_upload("b", b"first", first, lab.now_ms))
    lab.now(lambda: lab.ask.release_parts(lab.now_ms, lab.now_ms))
    assert (lab.index.blob(1).refs, lab.index.blob(2).refs) == (1, 0)


def test_parts_go_a_few_at_a_time_and_the_manifest_with_the_last(lab, monkeypatch):
    monkeypatch.setattr(judge_uploads, "RELEASE_PARTS", 2)
    number = lab.manifest(*(b"body %d" % part for part in range(5)))
    lab.now(lambda: lab.delete(b"k"))
    left = []
    while lab.now(lambda: lab.ask.release_parts(lab.now_ms, lab.now_ms)):
        left.append((len(rows(lab.path, "SELECT * FROM parts")), len(rows(lab.path, "SELECT * FROM manifests"))))
        audit(lab.path)
    assert left == [(3, 1), (1, 1), (0, 0)]
    assert rows(lab.path, "SELECT * FROM maps") == rows(lab.path, "SELECT * FROM releases") == []
    assert lab.index.uploads.release(number) is None


def test_a_part_that_is_longer_than_the_limit_goes_alone(lab, monkeypatch):
    monkeypatch.setattr(judge_uploads, "RELEASE_ROW_BYTES", 1)
    lab.manifest(b"one", b"two")
    lab.now(lambda: lab.delete(b"k"))
    assert lab.release_all() == 2
    audit(lab.path)


def test_parts_that_stay_are_skipped_and_never_looked_at_twice(lab, monkeypatch):
    monkeypatch.setattr(judge_uploads, "RELEASE_LOOK_AT", 4)
    upload = lab.upload()
    lab.now(*(lambda part=part: lab.part(upload, part, b"body %d" % part) for part in range(1, 11)))
    lab.now(lambda: lab.complete(upload, [1, 2, 3, 4, 5, 6, 9]))
    after = []
    while lab.now(lambda: lab.ask.release_parts(lab.now_ms, lab.now_ms)):
        row = lab.index.uploads.release(upload)
        after.append(row.after if row else None)
        audit(lab.path)
    assert after == [4, 8, None]
    assert [row[1] for row in rows(lab.path, "SELECT * FROM parts")] == [1, 2, 3, 4, 5, 6, 9]
    assert lab.read(b"k") == b"".join(b"body %d" % part for part in (1, 2, 3, 4, 5, 6, 9))
