"""Judging what makes an object out of another or changes one: copy, rename, append, tags and ACL, conditional delete."""

import hashlib

import pytest

from fasterstore.customer_key import CHECK_NAME
from fasterstore.errors import (
    DamagedRecord,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    SourceChanged,
    StaleEpoch,
    StoreError,
    TooManyParts,
    WrongOffset,
)
from fasterstore.metadata import judge
from fasterstore.metadata.judge import CLAIM_GONE
from fasterstore.metadata.requests import PutResult
from fasterstore.model import CopyIntent, PutIntent, RenameIntent
from tests.storage_node import audit, dump


def names(answers):
    return [type(answer) if isinstance(answer, StoreError) else None for answer in answers]


def etag(body):
    return hashlib.md5(body).hexdigest()


def refused(lab, *steps):
    """What refused each step; none of them may leave a trace."""
    before = dump(lab.path)
    found = names(lab.batch(*steps))
    assert dump(lab.path) == before
    return found


def rename(lab, key, new_key, bucket="b", **conditions):
    return lab.ask.rename(RenameIntent(bucket, key, new_key, **conditions), lab.now_ms)


# ---- copy


def test_a_copy_has_the_bytes_of_the_source_and_its_own_time_stamp_tags_and_headers(lab):
    lab.now(lambda: lab.put(b"k", b"one", tags={"old": "tag"}, acl="public-read"))
    lab.now_ms += 5000
    lab.now(lambda: lab.copy(b"k", b"l", tags={"new": "tag"}))
    old, new = lab.object(b"k"), lab.object(b"l")
    assert (new.blob, new.size_bytes, new.etag) == (old.blob, old.size_bytes, old.etag)
    assert (new.tags, new.acl, new.modified_ms) == ({"new": "tag"}, "", old.modified_ms + 5001)
    assert new.stamp > old.stamp
    assert lab.index.blob(1).refs == 2
    audit(lab.path)


def test_a_copy_of_an_empty_object_is_empty(lab):
    lab.now(lambda: lab.put(b"k", b"", written=False))
    lab.now(lambda: lab.copy(b"k", b"l"))
    assert (lab.read(b"l"), lab.object(b"l").blob, lab.object(b"l").manifest) == (b"", 0, 0)
    audit(lab.path)


def test_a_copy_goes_from_bucket_to_bucket(lab):
    lab.now(lambda: lab.ask.create_bucket("c", lab.now_ms), lambda: lab.put(b"k", b"one"))
    target = PutIntent("c", b"l", 3, etag(b"one"), {}, {}, {})
    lab.now(lambda: lab.ask.copy(CopyIntent(target, "b", b"k", lab.object(b"k").stamp), lab.now_ms))
    assert (lab.read(b"l", "c"), lab.usage("c"), lab.usage("b")) == (b"one", (1, 3), (1, 3))
    audit(lab.path)


@pytest.mark.parametrize(
    ("bucket", "source_bucket", "source_key", "stale", "error"),
    [
        ("nobucket", "b", b"k", False, NoSuchBucket),
        ("b", "nobucket", b"k", False, NoSuchBucket),
        ("b", "b", b"nothing", False, NoSuchKey),
        ("b", "b", b"k", True, SourceChanged),
    ],
)
def test_a_copy_needs_both_buckets_and_the_version_that_was_looked_at(lab, bucket, source_bucket, source_key, stale, error):
    lab.now(lambda: lab.put(b"k", b"one"))
    target = PutIntent(bucket, b"l", 3, etag(b"one"), {}, {}, {})
    intent = CopyIntent(target, source_bucket, source_key, lab.object(b"k").stamp - stale)
    assert refused(lab, lambda: lab.ask.copy(intent, lab.now_ms)) == [error]


def test_the_same_bytes_put_again_are_another_version_to_a_copy(lab):
    lab.now(lambda: lab.put(b"k", b"one"))
    seen = lab.object(b"k").stamp
    lab.now(lambda: lab.put(b"k", b"one", blob=1))
    assert refused(lab, lambda: lab.copy(b"k", b"l", stamp=seen)) == [SourceChanged]


def test_a_copy_is_conditional_on_what_its_new_name_holds(lab):
    lab.now(lambda: lab.put(b"k", b"one"), lambda: lab.put(b"l", b"two"))
    assert refused(
        lab,
        lambda: lab.copy(b"k", b"l", if_none_match="*"),
        lambda: lab.copy(b"k", b"l", if_match=etag(b"one")),
        lambda: lab.copy(b"k", b"new", if_match="*"),
    ) == [PreconditionFailed, PreconditionFailed, NoSuchKey]
    lab.now(lambda: lab.copy(b"k", b"l", if_match=etag(b"two")), lambda: lab.copy(b"k", b"new", if_none_match="*"))
    audit(lab.path)


def test_a_damaged_blob_is_not_copied(lab):
    lab.now(lambda: lab.put(b"k", b"one"))
    lab.now(lambda: lab.mark_damaged(lab.index.blob(1)))
    assert refused(lab, lambda: lab.copy(b"k", b"l")) == [DamagedRecord]


# ---- rename


def test_a_rename_moves_name_and_bytes_and_keeps_the_rest(lab):
    lab.now(lambda: lab.put(b"k", b"one", tags={"a": "b"}, acl="public-read"))
    old = lab.object(b"k")
    lab.now(lambda: rename(lab, b"k", b"l"))
    new = lab.object(b"l")
    assert lab.object(b"k") is None
    assert new._replace(stamp=old.stamp) == old
    assert new.stamp > old.stamp
    assert (lab.index.blob(1).refs, lab.usage()) == (1, (1, 3))
    audit(lab.path)


@pytest.mark.parametrize("multipart", [False, True])
def test_a_rename_onto_a_key_lets_go_what_it_had(lab, multipart):
    if multipart:
        lab.manifest(b"one", key=b"k")
        lab.manifest(b"two", key=b"l")
    else:
        lab.now(lambda: lab.put(b"k", b"one"), lambda: lab.put(b"l", b"two"))
    lab.now(lambda: rename(lab, b"k", b"l"))
    lab.release_all()
    assert (lab.index.blob(1).refs, lab.index.blob(2).refs, lab.usage()) == (1, 0, (1, 3))
    assert (lab.object(b"k"), lab.read(b"l")) == (None, b"one")
    audit(lab.path)


def test_a_rename_between_two_names_of_the_same_bytes_keeps_them(lab):
    lab.manifest(b"one", key=b"k")
    lab.now(lambda: lab.copy(b"k", b"l"))
    lab.now(lambda: rename(lab, b"k", b"l"))
    assert (lab.release_all(), lab.read(b"l"), lab.usage()) == (0, b"one", (1, 3))
    audit(lab.path)


def test_a_rename_to_the_same_name_changes_nothing(lab):
    lab.now(lambda: lab.put(b"k", b"one"))
    before = dump(lab.path)
    assert lab.now(lambda: rename(lab, b"k", b"k")) == 0
    assert dump(lab.path) == before


def test_a_rename_needs_its_source_and_has_conditions_on_both_names(lab):
    lab.now(lambda: lab.put(b"k", b"one"), lambda: lab.put(b"l", b"two"))
    assert refused(
        lab,
        lambda: rename(lab, b"k", b"m", "nobucket"),
        lambda: rename(lab, b"nothing", b"l"),
        lambda: rename(lab, b"k", b"l", if_none_match="*"),
        lambda: rename(lab, b"k", b"l", if_match=etag(b"one")),
        lambda: rename(lab, b"k", b"m", if_match="*"),
        lambda: rename(lab, b"k", b"m", source_if_match=etag(b"two")),
        lambda: rename(lab, b"k", b"m", source_if_none_match=etag(b"one")),
    ) == [NoSuchBucket, NoSuchKey, PreconditionFailed, PreconditionFailed, NoSuchKey, PreconditionFailed, PreconditionFailed]
    lab.now(lambda: rename(lab, b"k", b"l", if_match=etag(b"two"), source_if_match=etag(b"one")))
    assert lab.read(b"l") == b"one"


# ---- append


def test_an_append_begins_where_the_object_ends_also_within_one_batch(lab):
    lab.now(lambda: lab.put(b"k", b"one"))
    answers = lab.batch(
        lambda: lab.append(b"k", b"-two", 3), lambda: lab.append(b"k", b"-again", 3), lambda: lab.append(b"k", b"-three", 7)
    )  # fmt: skip
    assert names(answers) == [None, WrongOffset, None]
    assert answers[1].detail == "7"
    assert lab.read(b"k") == b"one-two-three"
    assert answers[2].etag == lab.object(b"k").etag
    audit(lab.path)


@pytest.mark.parametrize(
    ("bucket", "create", "at", "error"),
    [
        ("b", False, 1, NoSuchKey),
        ("nobucket", False, 0, NoSuchBucket),
        ("nobucket", False, 1, NoSuchBucket),
        ("nobucket", True, 1, NoSuchBucket),
    ],
)
def test_an_append_to_nothing_begins_at_nothing(lab, bucket, create, at, error):
    assert refused(lab, lambda: lab.put(b"k", b"one", bucket=bucket, create_bucket=create, append_at=at)) == [error]


def test_a_first_append_may_make_its_bucket(lab):
    lab.now(lambda: lab.put(b"k", b"one", bucket="new", create_bucket=True, append_at=0))
    assert lab.read(b"k", "new") == b"one"


def test_an_append_of_no_bytes_changes_nothing_and_says_what_is_there(lab):
    lab.now(lambda: lab.put(b"k", b"one"))
    before, row = dump(lab.path), lab.object(b"k")
    lab.now_ms += 1000
    assert lab.now(lambda: lab.append(b"k", b"")) == PutResult(0, row.modified_ms, False, row.etag)
    assert dump(lab.path) == before


def test_an_append_is_conditional_deduplicated_and_of_this_epoch(lab):
    lab.now(lambda: lab.put(b"k", b"one"), lambda: lab.put(b"other", b"two"))
    stale = lab.claim(b"two", epoch=lab.journal.epoch - 1)
    assert refused(
        lab,
        lambda: lab.append(b"k", b"two", if_match=etag(b"two")),
        lambda: lab.append(b"k", b"two", if_none_match="*"),
        lambda: lab.ask.put(lab.intent(b"k", b"two", append_at=3), stale, lab.now_ms),
    ) == [PreconditionFailed, PreconditionFailed, StaleEpoch]
    assert lab.batch(lambda: lab.append(b"k", b"new", blob=2, written=False)) == [CLAIM_GONE]
    assert lab.now(lambda: lab.append(b"k", b"two", blob=2, written=False, if_match=etag(b"one"))).deduplicated
    assert (lab.read(b"k"), lab.index.blob(2).refs) == (b"onetwo", 2)
    audit(lab.path)


@pytest.mark.parametrize(("of_object", "of_bytes"), [("", "A"), ("A", ""), ("A", "B")])
def test_an_append_that_is_sealed_unlike_its_object_is_refused(lab, of_object, of_bytes):
    """Web looked at another object: this one has come since, as long as that was."""
    system = {check: {CHECK_NAME: check} if check else {} for check in (of_object, of_bytes)}
    lab.now(lambda: lab.put(b"k", b"one", system=system[of_object]))
    assert refused(lab, lambda: lab.append(b"k", b"two", system=system[of_bytes])) == [SourceChanged]
    lab.now(lambda: lab.append(b"k", b"two", system=system[of_object]))
    assert (lab.read(b"k"), lab.object(b"k").system) == (b"onetwo", system[of_object])


def test_an_object_has_no_more_parts_than_s3_allows(lab, monkeypatch):
    monkeypatch.setattr(judge, "PARTS_MAX", 3)
    lab.now(lambda: lab.put(b"k", b"one"))
    answers = [lab.batch(lambda number=number: lab.append(b"k", b"%d" % number))[0] for number in range(3)]
    assert names(answers) == [None, None, TooManyParts]
    assert lab.read(b"k") == b"one01"


# ---- tags and ACL


def test_tags_and_acl_are_changed_apart_and_make_another_version(lab):
    lab.now(lambda: lab.put(b"k", b"one", tags={"a": "b"}, acl="private"))
    old = lab.object(b"k")
    lab.now(lambda: lab.ask.amend("b", b"k", {"c": "d"}, None, lab.now_ms))
    lab.now(lambda: lab.ask.amend("b", b"k", None, "public-read", lab.now_ms))
    row = lab.object(b"k")
    assert row == old._replace(tags={"c": "d"}, acl="public-read", stamp=row.stamp)
    assert row.stamp > old.stamp
    lab.now(lambda: lab.ask.amend("b", b"k", {}, "", lab.now_ms))
    assert (lab.object(b"k").tags, lab.object(b"k").acl) == ({}, "")
    audit(lab.path)


def test_what_is_not_there_has_no_tags(lab):
    assert refused(
        lab, lambda: lab.ask.amend("b", b"k", {}, None, lab.now_ms), lambda: lab.ask.amend("nobucket", b"k", {}, None, lab.now_ms)
    ) == [NoSuchKey, NoSuchBucket]  # fmt: skip


# ---- delete


@pytest.mark.parametrize(
    ("conditions", "error"),
    [
        ({"if_size": 3}, None),
        ({"if_size": 4}, PreconditionFailed),
        ({"if_modified_secs": 1_700_000_000}, None),
        ({"if_modified_secs": 1_700_000_001}, PreconditionFailed),
        ({"if_match": etag(b"one"), "if_size": 3, "if_modified_secs": 1_700_000_000}, None),
        ({"if_match": etag(b"one"), "if_size": 0}, PreconditionFailed),
    ],
)
def test_a_delete_is_conditional_on_etag_time_and_size(lab, conditions, error):
    lab.now(lambda: lab.put(b"k", b"one"))
    assert names(lab.batch(lambda: lab.delete(b"k", **conditions))) == [error]
    assert (lab.object(b"k") is None) == (error is None)


@pytest.mark.parametrize("condition", [{"if_size": 3}, {"if_modified_secs": 3}, {"if_match": "*"}, {"if_match": etag(b"one")}])
def test_a_delete_of_nothing_meets_any_condition(lab, condition):
    assert lab.batch(lambda: lab.delete(b"k", **condition)) == [0]
