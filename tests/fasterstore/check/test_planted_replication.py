"""Each finding about the rows of replication is found where it was planted, and what is derivable is repaired."""

import os

import pytest

from fasterstore.check.finding import Kind
from fasterstore.check.repair import repair
from fasterstore.metadata import replication_schema as replication
from fasterstore.metadata import schema
from fasterstore.metadata.replication_schema import PeerBlobRow, RegistersRow, TombstoneRow
from fasterstore.replication.merge import NO_REGISTERS, Create, Registers
from fasterstore.storage.disk import RealDisk
from tests.storage_node import rows

NODE, LOG = b"N" * 16, b"p" * 16


def details(store, kind):
    """What the findings of that kind say; all of them are of it."""
    found = [one for one in store.check()[0] if not one.is_note]
    assert {one.kind for one in found} == {kind}, found
    return [f"{one.where}: {one.detail}" for one in found]


def state_of(store):
    return replication.unpack_replication_state(rows(store.index_path, "SELECT value FROM meta WHERE name = 'replication'")[0][0])


def put_state(store, state):
    store.change("UPDATE meta SET value = ? WHERE name = 'replication'", replication.pack_replication_state(state))


def put_registers(store, row):
    store.change("INSERT OR REPLACE INTO bucket_registers VALUES(?, ?, ?)", row.name.encode(), row.gone_ms or None,
                 replication.pack_registers(row))  # fmt: skip


def put_tombstone(store, row):
    store.change("INSERT INTO tombstones VALUES(?, ?, ?, ?)", row.bucket.encode(), row.key, row.noted_ms, replication.pack_tombstone(row))


def test_a_tombstone_where_an_object_is(store):
    put_tombstone(store, TombstoneRow("b", b"key-1", 5, NODE, 5, 5))
    put_state(store, state_of(store)._replace(tombstones=state_of(store).tombstones + 1))
    assert details(store, Kind.STRAY_ROW) == ["tombstone b/key-1: the key has an object"]


def test_a_count_of_tombstones_that_is_not_how_many_there_are_is_repaired(store):
    assert state_of(store).tombstones == 2
    put_state(store, state_of(store)._replace(tombstones=7))
    assert details(store, Kind.TOMBSTONE_COUNT) == ["count of tombstones: 7 tombstones are stored, 2 counted"]
    (found,) = [one for one in store.check()[0] if not one.is_note]
    assert (found.stored, found.counted, found.repairable) == ((7,), (2,), True)
    changes, path = repair(RealDisk(), store.datadir, [found], 5, os.urandom)
    assert [(change.was, change.now) for change in changes] == [("7", "2")] and os.path.exists(path)
    assert state_of(store).tombstones == 2
    assert store.kinds() == set()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (RegistersRow("b", Registers((Create(5, NODE, 5),))), "another time of creation"),
        (RegistersRow("b", NO_REGISTERS, 5), "gone by them, and has a row"),
        (RegistersRow("never", Registers((Create(5, NODE, 5),))), "exists by them, and has no row"),
        (RegistersRow("never", NO_REGISTERS), "exists by them, and has no row"),
        (RegistersRow("theirs", Registers((Create(5, NODE, 5),))), "other settings"),
    ],
)
def test_registers_that_say_something_else_than_the_buckets_row(store, row, says):
    put_registers(store, row)
    (said,) = details(store, Kind.REGISTERS)
    assert says in said


def test_a_bucket_without_registers(store):
    store.change("DELETE FROM bucket_registers WHERE name = ?", b"other")
    assert details(store, Kind.REGISTERS) == ["bucket other: it has no registers"]


def test_a_peers_number_of_a_blob_that_is_not_there(store):
    store.change("INSERT INTO peer_blobs VALUES(?, ?, ?, ?)", LOG, 99, 999, replication.pack_peer_blob(PeerBlobRow(LOG, 99, 999)))
    assert details(store, Kind.DANGLING) == [f"blob 99 of the log {LOG.hex()}: there is no blob 999"]


def test_a_stamp_that_is_above_the_logs_clock_and_not_known_to_be_ahead(store):
    stamp = schema.unpack_state(rows(store.index_path, "SELECT value FROM meta WHERE name = 'state'")[0][0]).last_stamp + 1
    put_tombstone(store, TombstoneRow("b", b"far", stamp, NODE, 5, 5))
    put_state(store, state_of(store)._replace(tombstones=3))
    (said,) = details(store, Kind.COUNTER)
    assert f"{stamp} is in use" in said
    put_state(store, state_of(store)._replace(ahead_stamp=stamp))
    assert store.kinds() == set()


@pytest.mark.parametrize("table", ["tombstones", "bucket_registers", "peer_blobs"])
def test_a_rotted_row(store, table):
    store.change(f"UPDATE {table} SET value = zeroblob(40)")
    assert Kind.INDEX_ROW in store.kinds()
