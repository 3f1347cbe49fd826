"""The fold of uploads, parts and manifests: who holds which bytes after each change, and how many rows it touches."""

import pytest

from fasterstore.errors import DamagedRow, InvariantError
from fasterstore.metadata import fold
from fasterstore.metadata.entries import BlobSource, ObjectAppended, PartPut, PartsReleased, UploadAborted, UploadCompleted
from fasterstore.metadata.journal import FoldFailed
from fasterstore.metadata.judge_uploads import RELEASE_PARTS
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import Slice
from tests.storage_node import audit, change, dump, rows


def count(lab, table):
    return rows(lab.path, f"SELECT count(*) FROM {table}")[0][0]


def refs(lab):
    """References of each blob, by number."""
    return {number: lab.index.blob(number).refs for number in range(1, lab.index.state.last_blob + 1)}


def abort(lab, upload):
    lab.now(lambda: lab.ask.abort_upload("b", b"k", upload, lab.now_ms))


def statements(lab, step):
    """How many statements of SQLite carrying out the step takes."""
    seen = []
    lab.index._connection.trace_v2(1, seen.append)
    try:
        lab.journal.begin()
        step()
        lab.journal.write()
    finally:
        lab.index._connection.trace_v2(0)
    lab.now_ms += 1
    return len(seen)


# ---- parts


def test_a_part_that_is_sent_again_replaces_the_first_and_lets_its_bytes_go(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"), lambda: lab.part(upload, 1, b"another"))
    assert refs(lab) == {1: 0, 2: 1}
    assert lab.index.blob(1).zero_since_ms > 0
    audit(lab.path)


def test_a_part_that_is_sent_again_with_the_same_bytes_never_drops_them_to_zero(lab, monkeypatch):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    seen = []
    change_blob = lab.index.change_blob
    monkeypatch.setattr(lab.index, "change_blob", lambda row: (seen.append(row.refs), change_blob(row)))
    lab.now(lambda: lab.part(upload, 1, b"one", blob=1))
    assert seen == [2, 1]
    audit(lab.path)


def test_an_empty_part_has_no_slice(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b""))
    assert lab.index.uploads.part(upload, 1).slices == ()
    lab.now(lambda: lab.complete(upload))
    assert (lab.object(b"k").size_bytes, lab.object(b"k").manifest, lab.read(b"k")) == (0, upload, b"")
    audit(lab.path)


def test_each_slice_of_a_blob_is_a_reference_of_its_own(lab):
    lab.now(lambda: lab.put(b"source", b"source"))
    upload = lab.upload()
    lab.now(lambda: lab.copy_part(upload, 1, (Slice(1, 0, 2), Slice(1, 4, 2), Slice(1, 0, 1)), b"source"))
    assert refs(lab) == {1: 4}
    lab.now(lambda: lab.copy_part(upload, 1, (Slice(1, 3, 3),), b"source"))
    assert refs(lab) == {1: 2}
    lab.now(lambda: lab.complete(upload), lambda: lab.delete(b"source"))
    assert (refs(lab), lab.read(b"k")) == ({1: 1}, b"rce")
    audit(lab.path)


# ---- the ends of an upload


def test_completing_gives_the_parts_to_the_object_and_changes_none(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 2, b"two"), lambda: lab.part(upload, 9, b"nine"))
    before = dump(lab.path)
    lab.now(lambda: lab.complete(upload))
    after = dump(lab.path)
    assert (after["parts"], after["blobs"], after["releases"]) == (before["parts"], before["blobs"], [])
    assert after["uploads"] == []
    assert (lab.read(b"k"), lab.usage()) == (b"twonine", (1, 7))
    audit(lab.path)


def test_completing_lets_go_what_the_key_had(lab):
    lab.now(lambda: lab.put(b"k", b"old"))
    first = lab.manifest(b"a", b"b")
    assert refs(lab) == {1: 0, 2: 1, 3: 1}
    lab.manifest(b"new")
    assert lab.index.uploads.manifest(first).refs == 0
    assert lab.usage() == (1, 3)
    lab.release_all()
    assert refs(lab) == {1: 0, 2: 0, 3: 0, 4: 1}
    audit(lab.path)


def test_parts_that_a_completion_leaves_out_are_let_go_and_the_others_stay(lab):
    upload = lab.upload()
    lab.now(*(lambda part=part: lab.part(upload, part, b"body %d" % part) for part in range(1, 6)))
    lab.now(lambda: lab.complete(upload, [2, 4]))
    audit(lab.path)
    assert set(refs(lab).values()) == {1}
    lab.release_all()
    assert refs(lab) == {1: 0, 2: 1, 3: 0, 4: 1, 5: 0}
    assert (lab.read(b"k"), count(lab, "manifests"), count(lab, "maps")) == (b"body 2body 4", 1, 1)
    audit(lab.path)


def test_without_its_map_no_part_of_an_object_is_let_go_and_nothing_is_appended(lab):
    """Every part would seem to be left out, and the object to have no bytes."""
    upload = lab.upload()
    lab.now(*(lambda part=part: lab.part(upload, part, b"body %d" % part) for part in range(1, 6)))
    lab.now(lambda: lab.complete(upload, [2, 4]))
    change(lab.path, "DELETE FROM maps")
    (refused,) = lab.batch(lambda: lab.ask.release_parts(lab.now_ms, lab.now_ms))
    assert isinstance(refused, DamagedRow)
    assert (set(refs(lab).values()), count(lab, "parts")) == ({1}, 5)
    lab.journal.begin()
    with pytest.raises(FoldFailed, match="no row of manifest"):
        lab.append(b"k", b"more")
    lab.journal.abandon()


def test_an_object_that_goes_while_left_out_parts_wait_takes_all_with_it(lab, monkeypatch):
    monkeypatch.setattr("fasterstore.metadata.judge_uploads.RELEASE_PARTS", 1)
    upload = lab.upload()
    lab.now(*(lambda part=part: lab.part(upload, part, b"body %d" % part) for part in range(1, 6)))
    lab.now(lambda: lab.complete(upload, [1, 5]))
    lab.now(lambda: lab.ask.release_parts(lab.now_ms, lab.now_ms))
    audit(lab.path)
    lab.now(lambda: lab.delete(b"k"))
    audit(lab.path)
    lab.release_all()
    assert set(refs(lab).values()) == {0}
    assert [count(lab, table) for table in ("parts", "manifests", "maps", "releases")] == [0, 0, 0, 0]
    audit(lab.path)


def test_the_parts_of_an_aborted_upload_are_let_go(lab):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"), lambda: lab.part(upload, 2, b"two"))
    abort(lab, upload)
    assert (count(lab, "uploads"), refs(lab)) == (0, {1: 1, 2: 1})
    lab.release_all()
    assert (count(lab, "parts"), refs(lab)) == (0, {1: 0, 2: 0})
    audit(lab.path)


def test_an_upload_without_parts_leaves_nothing(lab):
    abort(lab, lab.upload())
    lab.release_all()
    assert [count(lab, table) for table in ("uploads", "parts", "releases")] == [0, 0, 0]


def test_the_open_uploads_of_a_deleted_bucket_go_with_it_however_many(lab):
    number = lab.bucket_id()
    for upload in [lab.upload() for _ in range(40)]:
        lab.now(lambda upload=upload: lab.part(upload, 1, b"body %d" % upload))
    assert statements(lab, lambda: lab.ask.delete_bucket("b", lab.now_ms)) < 20
    audit(lab.path)
    lab.now(lambda: lab.ask.create_bucket("b", lab.now_ms))
    kept = lab.upload()
    lab.now(lambda: lab.part(kept, 1, b"kept"))
    assert lab.release_all() > 3
    assert [row[0] for row in rows(lab.path, "SELECT * FROM uploads")] == [lab.bucket_id()] != [number]
    assert [held for held in refs(lab).values() if held] == [1]
    lab.now(lambda: lab.complete(kept))
    assert lab.read(b"k") == b"kept"
    audit(lab.path)


def test_uploads_of_a_deleted_bucket_may_also_expire(lab):
    lab.upload()
    lab.now(lambda: lab.ask.delete_bucket("b", lab.now_ms))
    lab.now(lambda: lab.ask.expire_uploads(lab.now_ms, lab.now_ms))
    audit(lab.path)
    lab.release_all()
    assert (count(lab, "uploads"), count(lab, "releases")) == (0, 0)


# ---- manifests that are shared


def test_a_copy_of_a_manifest_is_one_more_reference_and_the_last_one_to_go_takes_the_parts(lab):
    number = lab.manifest(b"one", b"two")
    lab.now(lambda: lab.copy(b"k", b"l"))
    lab.now(lambda: lab.copy(b"l", b"m"))
    assert (lab.index.uploads.manifest(number).refs, count(lab, "parts")) == (3, 2)
    assert lab.usage() == (3, 18)
    for key in (b"k", b"m"):
        lab.now(lambda key=key: lab.delete(key))
        assert lab.release_all() == 0
    assert lab.read(b"l") == b"onetwo"
    audit(lab.path)
    lab.now(lambda: lab.delete(b"l"))
    lab.release_all()
    assert (count(lab, "parts"), count(lab, "manifests"), set(refs(lab).values())) == (0, 0, {0})
    audit(lab.path)


def test_a_copy_onto_itself_keeps_manifest_and_blob(lab):
    number = lab.manifest(b"one", b"two")
    lab.now(lambda: lab.put(b"small", b"small"))
    lab.now(lambda: lab.copy(b"k", b"k", tags={"a": "b"}), lambda: lab.copy(b"small", b"small", tags={"a": "b"}))
    assert (lab.index.uploads.manifest(number).refs, count(lab, "releases")) == (1, 0)
    assert (lab.object(b"k").tags, lab.object(b"small").tags) == ({"a": "b"}, {"a": "b"})
    assert (lab.read(b"k"), lab.read(b"small"), lab.usage()) == (b"onetwo", b"small", (2, 11))
    audit(lab.path)


def test_a_copy_over_the_same_manifest_never_drops_it_to_zero(lab):
    lab.manifest(b"one", b"two")
    lab.now(lambda: lab.copy(b"k", b"l"))
    lab.now(lambda: lab.copy(b"k", b"l"))
    assert count(lab, "releases") == 0
    audit(lab.path)


def test_a_put_over_a_manifest_and_a_copy_over_a_blob_let_the_old_bytes_go(lab):
    lab.manifest(b"one", b"two")
    lab.now(lambda: lab.put(b"l", b"old"))
    lab.now(lambda: lab.copy(b"k", b"l"))
    assert refs(lab) == {1: 1, 2: 1, 3: 0}
    lab.now(lambda: lab.put(b"k", b"x"), lambda: lab.put(b"l", b"y"))
    lab.release_all()
    assert [number for number, held in refs(lab).items() if held] == [4, 5]
    audit(lab.path)


# ---- appends


def test_bytes_are_appended_to_nothing_to_a_blob_and_to_an_empty_object(lab):
    lab.now(lambda: lab.put(b"blob", b"abc"), lambda: lab.put(b"empty", b"", written=False))
    lab.now(lambda: lab.append(b"new", b"one", at=0), lambda: lab.append(b"blob", b"def"), lambda: lab.append(b"empty", b"x"))
    assert [lab.read(key) for key in (b"new", b"blob", b"empty")] == [b"one", b"abcdef", b"x"]
    assert [bool(lab.object(key).manifest) for key in (b"new", b"blob", b"empty")] == [False, True, True]
    assert lab.usage() == (3, 10)
    assert set(refs(lab).values()) == {1}
    audit(lab.path)


def test_an_append_keeps_what_the_object_was_stored_with_but_for_its_checksums(lab):
    intent = lab.intent(b"k", b"one", tags={"a": "b"}, acl="public-read")._replace(user={"u": "v"}, checksums={"CRC32": "AAAAAA=="})
    lab.now(lambda: lab.ask.put(intent, lab.claim(b"one"), lab.now_ms))
    old = lab.object(b"k")
    answer = lab.now(lambda: lab.append(b"k", b"two"))
    row = lab.object(b"k")
    assert (row.user, row.tags, row.acl, row.checksums) == (old.user, old.tags, old.acl, {})
    assert row.etag == answer.etag != old.etag
    assert row.etag.endswith("-2")
    assert row.stamp > old.stamp


def test_many_appends_grow_one_manifest(lab):
    lab.now(lambda: lab.put(b"k", b"0"))
    for number in range(1, 6):
        lab.now(lambda number=number: lab.append(b"k", b"%d" % number))
    assert (lab.read(b"k"), count(lab, "manifests"), count(lab, "parts")) == (b"012345", 1, 6)
    audit(lab.path)
    lab.now(lambda: lab.delete(b"k"))
    lab.release_all()
    assert set(refs(lab).values()) == {0}


def test_an_append_to_a_shared_manifest_leaves_the_other_object_alone(lab):
    shared = lab.manifest(b"one", b"two")
    lab.now(lambda: lab.copy(b"k", b"copy"))
    lab.now(lambda: lab.append(b"copy", b"three"))
    assert (lab.read(b"k"), lab.read(b"copy")) == (b"onetwo", b"onetwothree")
    assert lab.object(b"copy").manifest != shared == lab.object(b"k").manifest
    assert (lab.index.uploads.manifest(shared).refs, refs(lab)) == (1, {1: 2, 2: 2, 3: 1})
    audit(lab.path)
    lab.now(lambda: lab.append(b"k", b"!"))
    assert (lab.object(b"k").manifest, lab.read(b"copy")) == (shared, b"onetwothree")
    audit(lab.path)


def test_an_append_takes_the_number_of_a_part_that_was_left_out(lab):
    upload = lab.upload()
    lab.now(*(lambda part=part: lab.part(upload, part, b"body %d" % part) for part in (1, 2, 3)))
    lab.now(lambda: lab.complete(upload, [1]))
    lab.now(lambda: lab.append(b"k", b"more"))
    assert refs(lab) == {1: 1, 2: 0, 3: 1, 4: 1}
    audit(lab.path)
    lab.release_all()
    assert (lab.read(b"k"), refs(lab)) == (b"body 1more", {1: 1, 2: 0, 3: 0, 4: 1})
    audit(lab.path)


def test_an_append_between_two_releases_of_left_out_parts_is_kept(lab, monkeypatch):
    monkeypatch.setattr("fasterstore.metadata.judge_uploads.RELEASE_PARTS", 1)
    upload = lab.upload()
    lab.now(*(lambda part=part: lab.part(upload, part, b"body %d" % part) for part in range(1, 7)))
    lab.now(lambda: lab.complete(upload, [3]))
    for number in range(5):
        lab.now(lambda: lab.ask.release_parts(lab.now_ms, lab.now_ms))
        lab.now(lambda number=number: lab.append(b"k", b"+%d" % number))
        audit(lab.path)
    lab.release_all()
    assert lab.read(b"k") == b"body 3+0+1+2+3+4"
    assert count(lab, "parts") == 6
    audit(lab.path)


# ---- however many parts


def test_copy_and_delete_of_the_largest_object_change_a_few_rows_and_it_goes_in_slices(lab):
    upload = lab.upload()
    for first in range(1, 10_001, 500):
        lab.now(*(lambda part=part: lab.part(upload, part, b"x", blob=lab.find(b"x")) for part in range(first, first + 500)))
    intent = lab.completion(upload)
    assert statements(lab, lambda: lab.ask.complete_upload(intent, lab.now_ms)) < 25
    assert lab.object(b"k").size_bytes == 10_000
    assert statements(lab, lambda: lab.copy(b"k", b"copy")) < 20
    assert statements(lab, lambda: lab.delete(b"k")) < 20
    assert statements(lab, lambda: lab.delete(b"copy")) < 20
    audit(lab.path)
    taken, most = 0, 0
    while lab.index.uploads.release_before(lab.now_ms):
        most = max(most, statements(lab, lambda: lab.ask.release_parts(lab.now_ms, lab.now_ms)))
        taken += 1
        lab.now(lambda taken=taken: lab.put(b"between", b"%d" % taken))
    assert taken == -(-10_000 // RELEASE_PARTS)
    assert most < 5 * RELEASE_PARTS
    assert (count(lab, "parts"), lab.index.blob(1).refs, lab.usage()[0]) == (0, 0, 1)
    audit(lab.path)


# ---- a log that contradicts itself


@pytest.mark.parametrize(
    "wrong",
    [
        lambda n: PartPut("b", b"k", n + 1, 1, 0, "e", {}, 1, 0, BlobSource.EMPTY, bytes(32), None, ()),
        lambda n: PartPut("b", b"k", n, 1, 3, "e", {}, 1, 0, BlobSource.SLICES, bytes(32), None, (Slice(77, 0, 3),)),
        lambda n: UploadCompleted("b", b"l", 3, "e", 1, {}, {}, {}, {}, "", 1, b"", b"", n, n, pack_map([(1, 3)]), False),
        lambda n: UploadAborted(77, b"k", n, 1),
        lambda n: PartsReleased(n, (1,), 1, True, True, 1),
        lambda _: ObjectAppended("b", b"none", 3, "e", 1, 1, b"", b"", 1, 3, "e", 1, BlobSource.CLAIMED, bytes(32), None),
    ],
)
def test_a_log_that_contradicts_itself_is_a_defect_and_not_a_guess(lab, wrong):
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    lab.index.begin()
    with pytest.raises(InvariantError):
        fold.apply(lab.index, lab.index.state.applied_lsn + 1, wrong(upload))
    lab.index.rollback()
