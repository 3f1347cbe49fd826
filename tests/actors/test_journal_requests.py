"""metadata-journal: what S3 asks of it beyond PUT and DELETE, through the real actors, each with the reply that its message promises."""

import hashlib

import pytest

from actors import messages as m
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import CompleteIntent, CopyIntent, DeleteIntent, PartCopyIntent, PutIntent, RenameIntent, Slice, UploadIntent
from tests.storage_node import audit


@pytest.fixture
def view(node):
    made = IndexView(node.index_path)
    yield made
    made.close()


def etag(body):
    return hashlib.md5(body).hexdigest()


def target(key, body, **more):
    return PutIntent("b", key, len(body), etag(body), {}, {}, {}, **more)


def begin(node, key=b"k", bucket="b"):
    return node.journal.ask(m.CreateUpload(UploadIntent(bucket, key, "token", {}, {}, {}, "", "", "")))


def complete(node, view, upload, sizes, key=b"k", **conditions):
    version = view.uploads.upload(view.bucket("b").bucket_id, key, upload).version
    return node.journal.ask(m.CompleteUpload(CompleteIntent("b", key, upload, version, pack_map(sizes), "e-2", {}, **conditions)))


def test_an_upload_is_made_filled_and_completed(node, view):
    made = begin(node)
    assert isinstance(made, m.UploadMade)
    for number, body in ((1, b"first"), (2, b"x" * 70_000), (2, b"second")):
        stored = node.put(b"k", body, upload=made.number, part=number)
        assert (type(stored), stored.etag) == (m.Stored, etag(body))
    stored = complete(node, view, made.number, [(1, 5), (2, 6)])
    assert (type(stored), stored.etag, stored.lsn) == (m.Stored, "e-2", view.applied_lsn())
    row = view.locate("b", b"k").object
    assert (row.manifest, row.size_bytes, row.modified_ms) == (made.number, 11, stored.modified_ms)
    assert node.put(b"k", b"late", upload=made.number, part=3) == m.Refused("NoSuchUpload", str(made.number))
    audit(node.index_path)


def test_an_upload_is_aborted_once(node):
    upload = begin(node).number
    assert node.journal.ask(m.AbortUpload("b", b"k", upload)) == m.Done()
    assert node.journal.ask(m.AbortUpload("b", b"k", upload)) == m.Refused("NoSuchUpload", str(upload))


def test_a_part_that_claims_what_is_there_writes_nothing(node, view):
    node.put(b"other", b"same bytes")
    upload = begin(node).number
    assert node.put(b"k", b"same bytes", upload=upload, part=1).deduplicated
    assert node.put(b"k", b"", upload=upload, part=2).deduplicated is False
    assert view.uploads.part(upload, 1).slices == (Slice(1, 0, 10),)
    assert view.uploads.part(upload, 2).slices == ()
    audit(node.index_path)


def test_copies_take_the_bytes_and_answer_with_their_etag(node, view):
    node.put(b"source", b"source")
    stamp = view.locate("b", b"source").object.stamp
    stored = node.journal.ask(m.CopyObject(CopyIntent(target(b"copy", b"source"), "b", b"source", stamp)))
    assert (type(stored), stored.etag, stored.deduplicated) == (m.Stored, etag(b"source"), True)
    upload = begin(node).number
    part = target(b"k", b"our", upload=upload, part=1)
    stored = node.journal.ask(m.CopyPart(PartCopyIntent(part, (Slice(1, 1, 3),), "b", b"source", stamp)))
    assert (type(stored), stored.etag) == (m.Stored, etag(b"our"))
    assert view.locate("b", b"copy").blob.refs == 3
    node.put(b"source", b"another")
    assert node.journal.ask(m.CopyObject(CopyIntent(target(b"copy", b"source"), "b", b"source", stamp))).error == "SourceChanged"
    assert node.journal.ask(m.CopyPart(PartCopyIntent(part, (Slice(1, 1, 3),), "b", b"source", stamp))).error == "SourceChanged"
    audit(node.index_path)


def test_a_body_is_appended_and_the_answer_has_the_new_etag(node, view):
    node.put(b"k", b"one")
    stored = node.put(b"k", b"two", append_at=3)
    assert stored.etag == view.locate("b", b"k").object.etag != etag(b"two")
    assert node.put(b"k", b"x", append_at=3) == m.Refused("WrongOffset", "6")
    empty = node.put(b"k", b"", append_at=6)
    assert (empty.etag, empty.lsn) == (stored.etag, 0)
    audit(node.index_path)


def test_objects_are_renamed_and_amended_and_buckets_configured(node, view):
    node.put(b"k", b"one")
    assert node.journal.ask(m.RenameObject(RenameIntent("b", b"k", b"l"))) == m.Done()
    assert node.journal.ask(m.AmendObject("b", b"l", {"a": "b"}, None)) == m.Done()
    assert node.journal.ask(m.ConfigureBucket("b", "cors", b"<x/>")) == m.Done()
    row = view.locate("b", b"l")
    assert (row.object.tags, row.bucket.settings) == ({"a": "b"}, {"cors": b"<x/>"})
    assert node.journal.ask(m.RenameObject(RenameIntent("b", b"k", b"l"))).error == "NoSuchKey"
    assert node.journal.ask(m.AmendObject("b", b"k", {}, None)).error == "NoSuchKey"
    assert node.journal.ask(m.ConfigureBucket("nobucket", "cors", None)).error == "NoSuchBucket"
    audit(node.index_path)


def test_many_keys_are_deleted_in_order_and_each_has_its_own_answer(node, view):
    node.put(b"a", b"one")
    node.put(b"b", b"two")
    intents = [DeleteIntent(b"a", etag(b"two")), DeleteIntent(b"a"), DeleteIntent(b"a"), DeleteIntent(b"b"), DeleteIntent(b"nothing")]
    assert node.journal.ask(m.DeleteObjects("b", intents)) == m.DeletedMany(["PreconditionFailed", "", "", "", ""])
    assert view.usage()[0].objects == 0
    assert node.journal.ask(m.DeleteObjects("nobucket", intents[:2])) == m.DeletedMany(["NoSuchBucket"] * 2)
    audit(node.index_path)


def test_of_many_who_complete_and_put_if_none_match_at_once_exactly_one_wins(node, view):
    uploads = [begin(node).number for _ in range(5)]
    for upload in uploads:
        node.put(b"k", b"from %d" % upload, upload=upload, part=1)
    bucket_id = view.bucket("b").bucket_id
    asks = []
    for upload in uploads:
        version = view.uploads.upload(bucket_id, b"k", upload).version
        part_map = pack_map([(1, len(b"from %d" % upload))])
        asks.append(m.CompleteUpload(CompleteIntent("b", b"k", upload, version, part_map, f"{upload}-1", {}, None, "*")))
    answers = node.ask_together(node.journal, asks)
    assert [type(answer) for answer in answers].count(m.Stored) == 1
    assert {answer.error for answer in answers if isinstance(answer, m.Refused)} == {"PreconditionFailed"}
    assert view.locate("b", b"k").object.manifest == uploads[0]
    audit(node.index_path)
