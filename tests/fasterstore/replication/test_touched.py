"""What a sender learns from its log: every entry that changes a state names its key or bucket, and no other entry names anything."""

import random
from typing import get_args

import pytest

from fasterstore.metadata import fold
from fasterstore.metadata.entries import Entry, decode
from fasterstore.replication.touched import TouchedBucket, TouchedKey, touched
from fasterstore.storage.wal_recovery import read_from
from tests.fasterstore.metadata.conftest import Lab
from tests.fasterstore.metadata.linked_labs import states_of
from tests.fasterstore.metadata.test_entries import SAMPLES

KEY = TouchedKey("photos", b"a/\xc3\xa9\x00")
BUCKET = TouchedBucket("photos")
NAMES = {
    "bucket_created": [BUCKET],
    "bucket_deleted": [BUCKET],
    "bucket_configured": [BUCKET],
    "bucket_removed_setting": [BUCKET],
    "bucket_joined": [BUCKET],
    "bucket_joined_gone": [BUCKET],
    "bucket_homed": [BUCKET],
    "object_deleted": [KEY],
    "object_amended": [KEY],
    "object_renamed": [KEY, None],
    "upload_completed": [KEY],
    "object_removed": [KEY],
}


@pytest.mark.parametrize("name", SAMPLES)
def test_an_entry_names_what_it_may_have_changed(name):
    found = list(touched(SAMPLES[name]))
    if name.startswith(("object_put", "object_appended", "object_replicated")):
        assert found == [KEY]
    else:
        expected = next((names for prefix, names in NAMES.items() if name.startswith(prefix)), [])
        assert len(found) == len(expected)
        assert all(named is None or named == one for named, one in zip(expected, found, strict=True))


def test_every_kind_of_entry_was_looked_at():
    assert {type(entry) for entry in SAMPLES.values()} == set(fold._APPLY) == set(get_args(Entry))


@pytest.mark.parametrize("seed", range(4))
def test_no_state_changes_without_being_named(tmp_path, seed):
    """Random requests and peers' changes: whatever differs afterwards was named by an entry."""
    lab = Lab(tmp_path / "index.db").start()
    rng = random.Random(seed)
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    for _ in range(60):
        before, first = {_place(state): state for state in states_of(lab)}, lab.index.state.applied_lsn + 1
        lab.batch(*(lab.random_step(rng) for _ in range(4)))
        lab.batch(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
        after = {_place(state): state for state in states_of(lab)}
        named, expired = set(), set()
        for _lsn, data in read_from(lab.disk, "/journal", first):
            entry = decode(data)
            named |= set(touched(entry))
            if type(entry).__name__ == "TombstonesExpired":
                expired |= {TouchedKey(*key) for key in entry.tombstones} | {TouchedBucket(bucket) for bucket in entry.buckets}
        changed = {place for place in before.keys() | after.keys() if _told(before.get(place)) != _told(after.get(place))}
        assert changed <= named | expired
    lab.close()


def _place(state):
    return TouchedKey(state.bucket, state.key) if hasattr(state, "key") else TouchedBucket(state.name)


def _told(state):
    """What peers are told of a state."""
    if state is None:
        return None
    if not hasattr(state, "key"):
        return state.registers
    if state.object is None:
        return state.tombstone.stamp, state.tombstone.origin
    return state.object._replace(blob=0, manifest=0)
