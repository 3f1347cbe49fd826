"""What a peer's change becomes: applied, superseded, or refused by name; and what it costs a node without peers: nothing."""

import pytest

from fasterstore.errors import BytesMissing, ImpossibleChange, NoSuchUpload, StaleEpoch, Superseded, TooManyParts, UploadChanged
from fasterstore.metadata.judge import ClaimGone
from fasterstore.metadata.replication_schema import TombstoneRow
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import DeleteIntent, PutIntent, Replica, Slice, UploadIntent
from fasterstore.replication.hidden_upload import hidden_token
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval
from tests.storage_node import audit

PEER, PEER_LOG = b"P" * 16, b"p" * 16


def replica(lab, ahead_ms=0, **more):
    stamp = (lab.now_ms + ahead_ms) << 16
    return Replica(stamp, PEER, lab.now_ms, PEER_LOG, 7)._replace(**more)


def received(lab, key=b"k", size_bytes=5, blob=7, ahead_ms=0, **more):
    stamp = (lab.now_ms + ahead_ms) << 16
    return ReceivedObject(
        "b", key, size_bytes, "e" * 32, lab.now_ms, {}, {}, {}, {}, "", stamp, PEER, blob, size_bytes, 0
    )._replace(**more)  # fmt: skip


def outcome(lab, buckets=(), objects=(), removals=()):
    outcomes = lab.now(lambda: lab.ask.replication.apply(PEER_LOG, buckets, objects, removals, lab.now_ms))
    (name,) = (*outcomes.buckets, *outcomes.objects, *outcomes.removals)
    return name


def refused(lab, step):
    (answer,) = lab.batch(step)
    return type(answer)


# ---- objects


def test_a_peers_object_keeps_its_stamp_origin_and_time_and_its_number_is_known_afterwards(lab):
    lab.now(lambda: lab.put(b"k", b"bytes", replica=replica(lab, modified_ms=5), tags={"a": "b"}, acl="public-read"))
    row = lab.object(b"k")
    assert (row.origin, row.stamp, row.modified_ms, row.tags, row.acl) == (PEER, (lab.now_ms - 1) << 16, 5, {"a": "b"}, "public-read")
    assert lab.index.replication.local_blob(PEER_LOG, 7) == row.blob
    assert outcome(lab, objects=[received(lab, b"copy")]) == ""
    assert (lab.object(b"copy").blob, lab.index.blob(row.blob).refs) == (row.blob, 2)
    audit(lab.path)


def test_what_stands_there_already_with_an_equal_or_higher_stamp_supersedes_it(lab):
    first = replica(lab)
    lab.now(lambda: lab.put(b"k", b"bytes", replica=first))
    applied = lab.index.state.applied_lsn
    assert refused(lab, lambda: lab.put(b"k", b"bytes", replica=first)) is Superseded
    assert refused(lab, lambda: lab.put(b"k", b"bytes", replica=first._replace(origin=b"A" * 16))) is Superseded
    assert outcome(lab, objects=[received(lab, stamp=first.stamp)]) == "Superseded"
    assert outcome(lab, removals=[ReceivedRemoval("b", b"k", first.stamp, PEER, 5)]) == "Superseded"
    assert lab.index.state.applied_lsn == applied  # what changes nothing is not logged
    lab.now(lambda: lab.put(b"k", b"other", replica=first._replace(origin=b"Q" * 16, origin_blob=8)))
    assert lab.read(b"k") == b"other"


def test_no_condition_and_no_home_holds_a_peers_change_back(lab):
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    lab.now(lambda: lab.put(b"k", b"mine"))
    lab.now(lambda: lab.ask.replication.set_home("b", PEER, lab.now_ms))
    lab.now(lambda: lab.put(b"k", b"theirs", replica=replica(lab), if_none_match="*"))
    assert lab.read(b"k") == b"theirs"


def test_bytes_that_are_not_known_or_damaged_or_of_another_length_are_to_be_pulled(lab):
    assert outcome(lab, objects=[received(lab)]) == "BytesMissing"
    lab.now(lambda: lab.put(b"k", b"bytes", replica=replica(lab)))
    assert outcome(lab, objects=[received(lab, b"other", blob=8)]) == "BytesMissing"
    assert outcome(lab, objects=[received(lab, b"other", record_bytes=6)]) == "BytesMissing"
    lab.now(lambda: lab.mark_damaged(lab.index.blob(lab.object(b"k").blob)))
    assert outcome(lab, objects=[received(lab, b"other")]) == "BytesMissing"
    assert outcome(lab, objects=[received(lab, b"other", blob=0, manifest=4)]) == "BytesMissing"
    assert lab.object(b"other") is None
    lab.now(lambda: lab.put(b"k", b"bytes", replica=replica(lab)))  # the same bytes again repair it
    assert outcome(lab, objects=[received(lab, b"other")]) == ""
    audit(lab.path)


def test_an_empty_object_needs_no_bytes(lab):
    assert outcome(lab, objects=[received(lab, size_bytes=0, blob=0)]) == ""
    assert (lab.object(b"k").size_bytes, lab.object(b"k").blob) == (0, 0)


def test_a_claim_that_has_gone_is_appended_after_all(lab):
    (answer,) = lab.batch(lambda: lab.put(b"k", b"bytes", 99, written=False, replica=replica(lab)))
    assert isinstance(answer, ClaimGone)
    stale = lab.claim(b"bytes", epoch=lab.journal.epoch + 1)
    intent = lab.intent(b"k", b"bytes", replica=replica(lab))
    assert refused(lab, lambda: lab.ask.put(intent, stale, lab.now_ms)) is StaleEpoch
    parts = intent._replace(upload=5, part=1)
    assert refused(lab, lambda: lab.ask.put(parts, stale, lab.now_ms)) is StaleEpoch


def test_an_object_for_no_bucket_makes_it_above_its_last_delete(lab):
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    assert outcome(lab, buckets=[ReceivedBucket("new", Registers(deleted=Deletion((lab.now_ms + 1000) << 16, PEER)))]) == ""
    lab.now(lambda: lab.put(b"k", b"bytes", bucket="new", replica=replica(lab)))
    registers = lab.index.replication.registers("new")
    assert registers.creates == (Create(((lab.now_ms + 998) << 16) + 1, lab.who.node_id, lab.now_ms - 1),)
    assert lab.read(b"k", "new") == b"bytes"
    audit(lab.path)


@pytest.mark.parametrize(
    "change", [{"stamp": 0}, {"stamp": -1}, {"stamp": 1 << 62}, {"origin": b"short"}, {"blob": 0}, {"blob": 0, "record_bytes": 0}]
)
def test_what_no_node_can_have_made_is_refused_and_the_others_of_its_batch_are_not(lab, change):
    wrong, right = received(lab)._replace(**change), received(lab, b"right", size_bytes=0, blob=0)
    outcomes = lab.now(lambda: lab.ask.replication.apply(PEER_LOG, [], [wrong, right], [], lab.now_ms))
    assert outcomes.objects == ["ImpossibleChange", ""]
    assert lab.object(b"k") is None and lab.object(b"right") is not None


def test_a_put_without_its_pair_is_refused(lab):
    assert refused(lab, lambda: lab.put(b"k", b"bytes", replica=replica(lab, stamp=0))) is ImpossibleChange
    intent = PutIntent("b", b"k", 1, "e" * 32, {}, {}, {}, upload=3)
    assert refused(lab, lambda: lab.ask.replication.adopt(intent, 3, b"", lab.now_ms)) is ImpossibleChange


# ---- removals


def test_a_tombstone_takes_the_object_away_and_stands_there_even_where_nothing_was(lab):
    lab.now(lambda: lab.put(b"k", b"bytes"))
    stamp = (lab.now_ms + 5) << 16
    assert outcome(lab, removals=[ReceivedRemoval("b", b"k", stamp, PEER, 77)]) == ""
    assert outcome(lab, removals=[ReceivedRemoval("nobucket", b"x", stamp, PEER, 77)]) == ""
    assert lab.object(b"k") is None
    assert lab.index.replication.tombstone("b", b"k") == TombstoneRow("b", b"k", stamp, PEER, 77, lab.now_ms - 2)
    assert lab.index.replication.state.tombstones == 2
    assert refused(lab, lambda: lab.put(b"k", b"older", replica=replica(lab))) is Superseded
    assert outcome(lab, removals=[ReceivedRemoval("b", b"k", stamp + 1, PEER, 78)]) == ""
    assert (lab.index.replication.tombstone("b", b"k").stamp, lab.index.replication.state.tombstones) == (stamp + 1, 2)
    lab.now(lambda: lab.put(b"k", b"newer", replica=replica(lab, 50)))
    assert (lab.index.replication.tombstone("b", b"k"), lab.index.replication.state.tombstones) == (None, 1)
    audit(lab.path)


def test_tombstones_are_written_only_while_the_node_has_peers(lab):
    lab.now(lambda: lab.put(b"k", b"x"), lambda: lab.delete(b"k"))
    assert lab.index.replication.tombstone("b", b"k") is None
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    lab.now(lambda: lab.put(b"k", b"x"), lambda: lab.delete(b"k"))
    row = lab.index.replication.tombstone("b", b"k")
    assert (row.origin, row.deleted_ms, row.noted_ms) == (lab.who.node_id, lab.now_ms - 1, lab.now_ms - 1)
    lab.now(lambda: lab.ask.delete_bucket("b", lab.now_ms))
    assert lab.index.replication.tombstone("b", b"k") == row  # it survives its bucket
    lab.now(lambda: lab.ask.create_bucket("b", lab.now_ms), lambda: lab.put(b"k", b"again"))
    assert lab.index.replication.tombstone("b", b"k") is None
    audit(lab.path)


# ---- buckets


def test_registers_are_joined_and_the_buckets_row_follows(lab):
    now = lab.now_ms << 16
    made = Registers((Create(now, PEER, 5),), settings=(Setting("cors", b"<x/>", now, PEER),), home=Home(now, PEER, PEER))
    assert outcome(lab, buckets=[ReceivedBucket("new", made)]) == ""
    row = lab.index.bucket("new")
    assert (row.created_ms, row.settings, row.bucket_id) == (5, {"cors": b"<x/>"}, lab.index.state.applied_lsn)
    assert outcome(lab, buckets=[ReceivedBucket("new", made)]) == "Superseded"
    assert outcome(lab, buckets=[ReceivedBucket("new", Registers(deleted=Deletion(now, PEER)))]) == ""
    assert lab.index.bucket("new") is None
    assert lab.index.replication.registers("new") == Registers(deleted=Deletion(now, PEER))
    assert outcome(lab, buckets=[ReceivedBucket("x", Registers((Create(1 << 62, PEER, 5),)))]) == "ImpossibleChange"
    assert outcome(lab, buckets=[ReceivedBucket("x", Registers(deleted=Deletion(1 << 63, PEER)))]) == "ImpossibleChange"
    assert outcome(lab, buckets=[ReceivedBucket("x", Registers((Create(5, b"short", 5),)))]) == "ImpossibleChange"
    audit(lab.path)


def test_a_delete_that_meets_live_objects_does_not_delete(lab):
    lab.now(lambda: lab.put(b"k", b"x"))
    created_ms = lab.index.bucket("b").created_ms
    stamp = (lab.now_ms + 1000) << 16
    assert outcome(lab, buckets=[ReceivedBucket("b", Registers(deleted=Deletion(stamp, PEER)))]) == ""
    assert lab.index.replication.registers("b").creates == (Create(stamp + 1, lab.who.node_id, created_ms),)
    assert lab.read(b"k") == b"x"
    audit(lab.path)


def test_uploads_that_are_open_go_with_a_bucket_that_a_peer_deleted(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"bytes"))
    assert outcome(lab, buckets=[ReceivedBucket("b", Registers(deleted=Deletion((lab.now_ms + 5) << 16, PEER)))]) == ""
    lab.release_all()
    assert not lab.index.uploads.part_count(upload)
    audit(lab.path)


# ---- the clock


def test_a_stamp_a_little_ahead_advances_the_clock_and_one_far_ahead_does_not(lab):
    lab.now(lambda: lab.put(b"near", b"x", replica=replica(lab, 300_000)))
    near = lab.index.state.last_stamp
    assert near == (lab.now_ms - 1 + 300_000) << 16
    lab.now(lambda: lab.put(b"far", b"x", replica=replica(lab, 301_000)))
    assert (lab.index.state.last_stamp, lab.index.replication.state.ahead_stamp) == (near, lab.object(b"far").stamp)
    lab.now(lambda: lab.put(b"far", b"mine"))
    assert lab.object(b"far").origin == lab.who.node_id
    assert (lab.index.state.last_stamp, lab.index.replication.state.ahead_stamp) == (near, lab.object(b"far").stamp)
    audit(lab.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda lab: lab.delete(b"k"),
        lambda lab: lab.ask.amend("b", b"k", {"a": "b"}, None, lab.now_ms),
        lambda lab: lab.append(b"k", b"more"),
        lambda lab: lab.copy(b"other", b"k"),
        lambda lab: lab.complete(lab.upload_of_k),
    ],
)
def test_every_local_change_is_above_what_a_clock_far_ahead_left_there(lab, change):
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    lab.now(lambda: lab.put(b"other", b"x"))
    lab.upload_of_k = lab.upload()
    lab.now(lambda: lab.part(lab.upload_of_k, 1, b"part"))
    lab.now(lambda: lab.put(b"k", b"x", replica=replica(lab, 3_600_000)))
    far, last = lab.object(b"k").stamp, lab.index.state.last_stamp
    lab.now(lambda: change(lab))
    row = lab.object(b"k") or lab.index.replication.tombstone("b", b"k")
    assert (row.stamp, row.origin) == (far + 1, lab.who.node_id)
    assert lab.index.state.last_stamp == last
    lab.now(lambda: lab.put(b"k", b"again"))
    assert lab.object(b"k").stamp == far + 2
    audit(lab.path)


def test_a_buckets_registers_are_changed_above_a_peers_that_are_far_ahead(lab):
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    far = (lab.now_ms + 3_600_000) << 16
    registers = Registers((Create(far, PEER, 5),), settings=(Setting("cors", b"<theirs/>", far + 1, PEER),))
    assert outcome(lab, buckets=[ReceivedBucket("theirs", registers)]) == ""
    last = lab.index.state.last_stamp
    lab.now(lambda: lab.ask.configure("theirs", "cors", b"<mine/>", lab.now_ms))
    assert lab.index.bucket("theirs").settings == {"cors": b"<mine/>"}
    lab.now(lambda: lab.ask.delete_bucket("theirs", lab.now_ms))
    lab.now(lambda: lab.put(b"k", b"x", bucket="theirs", create_bucket=True))
    assert lab.index.replication.registers("theirs").creates == (Create(far + 4, lab.who.node_id, lab.now_ms - 1),)
    assert lab.object(b"k", "theirs").stamp >> 16 == lab.now_ms - 1
    assert lab.index.state.last_stamp == max(last, lab.object(b"k", "theirs").stamp)
    audit(lab.path)


# ---- objects of parts


def begin(lab, manifest=4, bucket="b"):
    intent = UploadIntent(bucket, b"k", hidden_token(PEER_LOG, manifest), {}, {}, {}, "", "", "")
    return lab.now(lambda: lab.ask.create_upload(intent, lab.now_ms))


def adopt(lab, upload, sizes, version=None, **more):
    row = lab.index.uploads.upload(lab.bucket_id(), b"k", upload)
    named = replica(lab, origin_blob=0, origin_manifest=4)._replace(**more)
    intent = PutIntent("b", b"k", sum(size for _, size in sizes), "f" * 32 + "-2", {}, {}, {}, upload=upload, replica=named)
    known = row.version if version is None and row else version or 0
    return lambda: lab.ask.replication.adopt(intent, known, pack_map(sizes), lab.now_ms)


def test_a_hidden_upload_becomes_the_object_with_the_peers_etag(lab):
    upload = begin(lab)
    lab.now(lambda: lab.part(upload, 1, b"one", replica=replica(lab)))
    lab.now(lambda: lab.part(upload, 3, b"three", replica=replica(lab, origin_blob=8)))
    lab.now(lambda: lab.part(upload, 2, b"left out", replica=replica(lab, origin_blob=0)))
    assert refused(lab, adopt(lab, upload, [(1, 3), (3, 5)], version=upload)) is UploadChanged
    assert refused(lab, adopt(lab, upload, [(1, 3), (3, 5)], origin_manifest=5)) is UploadChanged
    assert refused(lab, adopt(lab, upload, [(1, 3), (3, 5), (4, 1), (5, 1)])) is UploadChanged  # parts that are not there
    lab.now(adopt(lab, upload, [(1, 3), (3, 5)]))
    row = lab.object(b"k")
    assert (row.etag, row.origin, row.manifest, lab.read(b"k")) == ("f" * 32 + "-2", PEER, upload, b"onethree")
    assert refused(lab, adopt(lab, upload, [(1, 3), (3, 5)])) is UploadChanged  # no longer open
    lab.release_all()
    assert lab.index.uploads.part_count(upload) == 2
    assert lab.index.replication.local_blob(PEER_LOG, 8) is not None
    again = received(lab, size_bytes=8, blob=0, etag=row.etag, manifest=4, tags={"a": "b"})
    assert outcome(lab, objects=[again]) == ""
    assert (lab.object(b"k").tags, lab.object(b"k").manifest, lab.index.uploads.manifest(upload).refs) == ({"a": "b"}, upload, 1)
    audit(lab.path)


def test_an_adoption_whose_parts_are_not_as_long_as_the_object_is_refused(lab):
    upload = begin(lab)
    lab.now(lambda: lab.part(upload, 1, b"one", replica=replica(lab)))
    intent = PutIntent("b", b"k", 4, "f" * 32 + "-1", {}, {}, {}, upload=upload, replica=replica(lab, origin_manifest=4))
    version = lab.index.uploads.upload(lab.bucket_id(), b"k", upload).version
    assert refused(lab, lambda: lab.ask.replication.adopt(intent, version, pack_map([(1, 3)]), lab.now_ms)) is ImpossibleChange
    lab.now(lambda: lab.put(b"k", b"later", replica=replica(lab, 10)))
    assert refused(lab, adopt(lab, upload, [(1, 3)])) is Superseded


def test_parts_whose_bytes_are_known_are_claimed_and_others_refused_by_name(lab):
    lab.now(lambda: lab.put(b"other", b"bytes", replica=replica(lab)))
    upload, client = begin(lab), lab.upload()

    def claim(*slices, size_bytes=5, into=upload):
        intent = PutIntent("b", b"k", size_bytes, "e" * 32, {}, {}, {}, upload=into, part=1)
        return lambda: lab.ask.replication.claim_part(intent, PEER_LOG, slices, lab.now_ms)

    lab.now(claim(Slice(7, 1, 3), Slice(7, 0, 2)))
    lab.now(adopt(lab, upload, [(1, 5)]))
    assert lab.read(b"k") == b"yteby"
    another = begin(lab)
    assert refused(lab, claim(Slice(8, 0, 5), into=another)) is BytesMissing
    assert refused(lab, claim(Slice(7, 0, 5), into=another, size_bytes=6)) is ImpossibleChange
    for wrong in (Slice(7, -1, 5), Slice(7, 1, 5), Slice(7, 0, 0)):
        assert refused(lab, claim(wrong, into=another)) is ImpossibleChange
    assert refused(lab, claim(*[Slice(7, 0, 1)] * 65, into=another, size_bytes=65)) is TooManyParts
    assert refused(lab, claim(Slice(7, 0, 5), into=client)) is NoSuchUpload
    assert refused(lab, lambda: lab.part(client, 1, b"x", replica=replica(lab))) is NoSuchUpload
    audit(lab.path)


def test_a_hidden_upload_makes_its_bucket_if_there_is_none(lab):
    upload = begin(lab, bucket="nobucket")
    assert lab.index.uploads.upload(lab.bucket_id("nobucket"), b"k", upload) is not None
    audit(lab.path)


# ---- what it costs without peers


@pytest.mark.parametrize(
    ("step", "statements"),
    [
        (lambda lab: lab.put(b"new", b"1"), 10),
        (lambda lab: lab.put(b"there", b"22"), 12),
        (lambda lab: lab.delete(b"there"), 10),
        (lambda lab: lab.ask.amend("b", b"there", {"a": "b"}, None, lab.now_ms), 6),
        (lambda lab: lab.ask.delete("b", DeleteIntent(b"nothing"), lab.now_ms), 4),
    ],
)
def test_a_node_that_never_had_a_peer_runs_no_further_statement(lab, step, statements):
    """As many as before there was replication, counted on the last commit without it (5 where a batch has no entry)."""
    lab.now(lambda: lab.put(b"there", b"1"))
    seen = []
    lab.index._connection.exec_trace = lambda _cursor, statement, _values: seen.append(statement) or True
    lab.now(lambda: step(lab))
    assert len(seen) == statements, seen
    assert not [statement for statement in seen if "tombstones" in statement or "peer_blobs" in statement]
