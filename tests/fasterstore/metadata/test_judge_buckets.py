"""Judging bucket settings: each by its name, under a version that moves with every change, and gone with the bucket."""

from fasterstore.errors import BucketAlreadyOwnedByYou, NoSuchBucket
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.judge_buckets import SETTINGS


def configure(lab, name, document, bucket="b"):
    return lab.ask.configure(bucket, name, document, lab.now_ms)


def test_settings_are_kept_apart_by_name_and_removed_one_by_one(lab):
    for name in sorted(SETTINGS):
        lab.now(lambda name=name: configure(lab, name, name.encode()))
    assert lab.index.bucket("b").settings == {name: name.encode() for name in SETTINGS}
    lab.now(lambda: configure(lab, "cors", None))
    assert lab.index.bucket("b").settings.keys() == SETTINGS - {"cors"}


def test_the_version_is_that_of_the_last_change_and_an_unchanged_setting_is_none(lab):
    made = lab.index.bucket("b").version
    lsn = lab.now(lambda: configure(lab, "cors", b"<x/>"))
    assert lab.index.bucket("b").version == lsn > made
    assert lab.now(lambda: configure(lab, "cors", b"<x/>")) == 0
    assert lab.now(lambda: configure(lab, "policy", None)) == 0
    lab.now(lambda: lab.put(b"k", b"one"))
    assert lab.index.bucket("b").version == lsn


def test_a_reader_sees_a_setting_as_soon_as_its_batch_is_written(lab):
    view = IndexView(lab.path)
    lab.now(lambda: configure(lab, "policy", b"{}"))
    assert view.bucket("b") == view.locate("b", b"k").bucket == lab.index.bucket("b")
    assert view.bucket("b").settings == {"policy": b"{}"}
    view.close()


def test_a_bucket_that_is_made_again_has_no_settings(lab):
    lab.now(lambda: configure(lab, "policy", b"{}"))
    old = lab.index.bucket("b").version
    lab.now(lambda: lab.ask.delete_bucket("b", lab.now_ms), lambda: lab.ask.create_bucket("b", lab.now_ms))
    assert lab.index.bucket("b").settings == {}
    assert lab.index.bucket("b").version > old


def test_a_setting_needs_its_bucket(lab):
    (answer,) = lab.batch(lambda: configure(lab, "policy", b"{}", "nobucket"))
    assert isinstance(answer, NoSuchBucket)


def test_a_bucket_has_its_first_settings_from_the_start_and_a_second_create_brings_none(lab):
    first = {"acl": b"public-read", "ownership": b"ObjectWriter"}
    lsn = lab.now(lambda: lab.ask.create_bucket("new", lab.now_ms, first))
    assert lab.index.bucket("new").settings == first
    assert lab.index.bucket("new").version == lsn
    (answer,) = lab.batch(lambda: lab.ask.create_bucket("new", lab.now_ms, {"cors": b"<x/>"}))
    assert isinstance(answer, BucketAlreadyOwnedByYou)
    assert lab.index.bucket("new").settings == first
