"""--repair: what is derivable is put right, what was there is in a report first, everything else is left as it is."""

import json

import pytest

from fasterstore.check import repair as repair_module
from fasterstore.check.finding import Kind
from fasterstore.check.repair import plan, repair
from fasterstore.errors import DamagedRow
from fasterstore.metadata import schema
from fasterstore.metadata import upload_schema as uploads
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.index_mark import index_damage
from tests.fasterstore.check.test_planted import blob_of, put_blob
from tests.storage_node import audit, dump, rows


def mend(store):
    """Repair what a check finds; return (changes, the report's changes)."""
    findings, _ = store.check()
    changes, path = repair(RealDisk(), store.datadir, findings, 1_700_000_000_000, bytes)
    if not path:
        return changes, []
    with open(path, encoding="utf-8") as file:
        return changes, json.load(file)["changes"]


def plant_counters(store):
    """Every counter wrong, and the two blobs whose references are."""
    one, other = blob_of(store, b"same"), blob_of(store, b"key-1")
    put_blob(store, one._replace(refs=7))
    put_blob(store, other._replace(refs=0, zero_since_ms=5))
    number, value = rows(store.index_path, "SELECT number, value FROM manifests ORDER BY number")[0]
    store.change("UPDATE manifests SET value = ?", uploads.pack_manifest(uploads.unpack_manifest(number, value)._replace(refs=4)))
    bucket_id = rows(store.index_path, "SELECT min(bucket_id) FROM usage")[0][0]
    store.change("UPDATE usage SET value = ? WHERE bucket_id = ?", schema.pack_usage(bucket_id, 1, 1), bucket_id)
    segment = schema.unpack_segment(1, rows(store.index_path, "SELECT value FROM segments WHERE segment_id = 1")[0][0])
    store.change("UPDATE segments SET value = ? WHERE segment_id = 1", schema.pack_segment(segment._replace(live_bytes=5)))
    store.change("INSERT INTO meta VALUES('damaged', ?)", schema.pack_damaged(3))
    return one, other


def test_every_counter_is_put_right_and_the_old_values_are_kept(store):
    store.change("DELETE FROM manifests WHERE number > (SELECT min(number) FROM manifests)")
    store.change("DELETE FROM maps WHERE manifest NOT IN (SELECT number FROM manifests)")
    one, other = plant_counters(store)
    changes, report = mend(store)
    assert {change.kind for change in changes} == {
        Kind.REFS, Kind.MANIFEST_REFS, Kind.USAGE, Kind.LIVE_BYTES, Kind.DAMAGED_COUNT,
    }  # fmt: skip
    assert {"kind": "refs", "where": f"blob {one.number}", "was": "7", "is": "2"} in report
    assert {"kind": "refs", "where": f"blob {other.number}", "was": "0", "is": "1"} in report
    assert not store.kinds() & {change.kind for change in changes}
    assert blob_of(store, b"key-1").zero_since_ms == 0


def test_a_store_that_was_only_miscounted_is_what_it_was(store):
    before = dump(store.index_path)
    put_blob(store, blob_of(store, b"same")._replace(refs=7))
    mend(store)
    assert dump(store.index_path) == before
    audit(store.index_path)
    assert store.kinds() == set()
    assert mend(store) == ([], [])


def test_a_blob_that_nothing_names_gets_its_grace_from_now(store):
    blob = blob_of(store, b"key-1")
    store.change("DELETE FROM objects WHERE key = ?", b"key-1")
    mend(store)
    row = rows(store.index_path, "SELECT number, prefix, segment, value FROM blobs WHERE number = ?", (blob.number,))[0]
    assert schema.unpack_blob(*row)[2::2] == (0, 1_700_000_000_000)


def test_a_damaged_index_is_marked_and_not_touched(store):
    store.change("UPDATE usage SET value = x'00'")
    put_blob(store, blob_of(store, b"same")._replace(refs=7))
    before = dump(store.index_path)
    changes, report = mend(store)
    assert len(changes) == len(report) == 1
    assert "usage" in index_damage(RealDisk(), store.datadir)
    assert dump(store.index_path) == before


def test_what_is_evidence_is_left_alone(store):
    blob = blob_of(store, b"key-4")
    store.flip(f"{store.path}/segments/{blob.location.segment_id:016x}.seg", blob.location.offset + 10)
    store.change("DELETE FROM buckets WHERE name = x'6f74686572'")
    findings, _ = store.check()
    assert {found.kind for found in findings} >= {Kind.RECORD_DAMAGED, Kind.DANGLING}
    assert not [change for change in plan(findings) if change.kind in (Kind.RECORD_DAMAGED, Kind.DANGLING)]


def test_a_repair_that_fails_half_way_changes_nothing(store, monkeypatch):
    put_blob(store, blob_of(store, b"same")._replace(refs=7))
    put_blob(store, blob_of(store, b"key-2")._replace(refs=7))
    before = dump(store.index_path)
    plain, done = repair_module._write, []

    def fail_second(index, found, now_ms):
        if done:
            raise DamagedRow("made to fail")
        done.append(found)
        plain(index, found, now_ms)

    monkeypatch.setattr(repair_module, "_write", fail_second)
    with pytest.raises(DamagedRow):
        mend(store)
    assert dump(store.index_path) == before
