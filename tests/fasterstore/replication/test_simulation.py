"""Two and three replicators under writes, losses, cuts, crashes, restores and wrong clocks: afterwards all nodes are the same.

What runs is the code of a node: `shipping`, `outgoing`, `state_reading`, `merge`, `digest`, `anti_entropy`, the judges, the fold, the
journal on a memory disk, the index. Simulated are the network, the clocks and the segment files. A failing seed fails again:

    python -m pytest "tests/fasterstore/replication/test_simulation.py" -k "seed and 171"

The planted bugs show that the judgement can tell a bad run from a good one.
"""

import os
import random
import shutil
import tempfile

import pytest

from fasterstore.errors import Superseded
from fasterstore.metadata import judge, judge_buckets, judge_replication, judge_uploads
from fasterstore.replication import shipment
from fasterstore.replication.change import BATCH_MAX_CHANGES
from fasterstore.replication.cursor import Address
from tests.fasterstore.replication import journal_store
from tests.fasterstore.replication.journal_store import JournalStore, Pinned
from tests.fasterstore.replication.simulated_link import Link
from tests.fasterstore.replication.simulated_load import Op
from tests.fasterstore.replication.simulated_store import ModelStore
from tests.fasterstore.replication.simulation import Simulation

SEEDS = 1_000 * int(os.environ.get("FAULT_SCALE", "1"))
PLANTED_SEEDS = 100
"""So many seeds at most may a planted bug escape."""


@pytest.fixture
def folder():
    """In memory where there is such a file system: what is tested is not the disk."""
    path = tempfile.mkdtemp(prefix="simulation-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield path
    shutil.rmtree(path)


def run(seed, folder, store=JournalStore, **more):
    """The faults of one seed as text, and what led to them; none for a good run."""
    simulation = Simulation(seed, store=lambda node_id, log_uuid, rng: store(node_id, log_uuid, folder, rng), **more)
    try:
        faults = simulation.run()
        return [*faults, f"seed {seed}: {simulation.story()}"] if faults else []
    finally:
        simulation.close()
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))


def check(seed, folder, monkeypatch):
    """Every third seed with batches that are often full."""
    monkeypatch.setattr(shipment, "BATCH_MAX_CHANGES", 3 if seed % 3 == 2 else BATCH_MAX_CHANGES)
    faults = run(seed, folder)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("seed", [*range(40), 157, 169, 171, 255, 495])
def test_nodes_agree_and_nothing_acknowledged_is_lost(seed, folder, monkeypatch):
    check(seed, folder, monkeypatch)


@pytest.mark.faults
@pytest.mark.parametrize("first", range(40, SEEDS + 40, 50))
def test_nodes_agree_over_many_seeds(first, folder, monkeypatch):
    for seed in range(first, first + 50):
        check(seed, folder, monkeypatch)


@pytest.mark.parametrize("seed", range(60))
def test_the_same_holds_of_a_store_of_plain_dicts_that_follows_the_contract(seed, folder):
    faults = run(seed, folder, ModelStore)
    assert not faults, "\n".join(faults)


# ---- planted bugs


def found(like, folder, seeds=range(PLANTED_SEEDS), **more):
    """Whether one of the seeds shows a fault with one of these texts in it."""
    return any(text in fault for seed in seeds for fault in run(seed, folder, **more)[:-1] for text in like)


def test_without_tombstones_deletes_do_not_stay(folder, monkeypatch):
    monkeypatch.setattr(journal_store, "PEERS", ())
    assert found(["differ at", "acknowledged was"], folder)


@pytest.mark.parametrize("lacks", ["keeps_tombstones", "keeps_high_water_mark"])
def test_a_store_of_plain_dicts_is_caught_with_the_same_bugs(lacks, folder):
    assert found(["differ at", "acknowledged was"], folder, store=type("Planted", (ModelStore,), {lacks: False}))


class AcksBeforeAnswers(Link):
    """Takes for stored at the peer what was only sent."""

    acks_before_answers = True


def test_a_cursor_that_is_advanced_before_the_peer_has_applied_promises_what_is_not_true(folder):
    assert found(["takes"], folder, link=AcksBeforeAnswers)


def test_a_cursor_that_is_advanced_before_the_peer_has_applied_loses_changes(folder):
    assert found(["differ at"], folder, link=AcksBeforeAnswers)


def test_a_clock_that_is_stepped_back_without_a_high_water_mark_loses_changes(folder, monkeypatch):
    for module in (judge, judge_uploads):
        monkeypatch.setattr(module, "key_stamp", lambda _index, _bucket, _keys, now_ms, _after=0: now_ms << 16)
    monkeypatch.setattr(judge_buckets, "bucket_stamp", lambda _index, _bucket, now_ms: now_ms << 16)
    assert found(["acknowledged was", "lacks"], folder)


def test_comparing_stamps_without_their_origins_never_ends(folder, monkeypatch):
    monkeypatch.setattr(judge_replication, "wins", lambda stamp, _origin, over_stamp, _over_origin: stamp >= over_stamp)
    assert found(["changes go on"], folder)


class RelaysToOrigin(JournalStore):
    """Sends every change also to the node that made it."""

    def ship(self, work, _peer_node):
        return super().ship(work, b"")


def test_what_is_sent_back_to_its_origin_and_logged_there_again_never_ends(folder, monkeypatch):
    def need_not_older(index, bucket, key, stamp, origin):
        row = index.bucket(bucket)
        held = None if row is None else index.object(row.bucket_id, key)
        over = index.replication.tombstone(bucket, key) if held is None else held
        if over is not None and (stamp, origin) < (over.stamp, over.origin):
            raise Superseded

    monkeypatch.setattr(judge_replication, "_need_newer", need_not_older)
    assert found(["changes go on"], folder, store=RelaysToOrigin)


@pytest.mark.parametrize("leaps", [True, False])
def test_a_restored_node_gives_no_stamp_a_second_time(leaps, folder, monkeypatch):
    """B's clock was stepped back, so its stamps count one by one; it deletes a key, A hears of it, B is put back and changes the key."""
    monkeypatch.setattr(Pinned, "leaps_when_restored", leaps)
    first, second = (JournalStore(letter * 16, letter.lower() * 16, folder, random.Random(1)) for letter in (b"A", b"B"))
    before_ms, now_ms = 1_700_003_600_000, 1_700_000_000_000
    second.run(Op("put", "b", b"k", (True,), b"x"), before_ms)
    carry(second, first, now_ms)
    pin = second.pin()
    second.run(Op("delete", "b", b"k"), now_ms)
    carry(second, first, now_ms)
    second = pin.restored(b"r" * 16, now_ms)
    second.run(Op("amend", "b", b"k", ({"t": "1"}, None)), now_ms)
    carry(second, first, now_ms)
    carry(first, second, now_ms)
    there = [type(store.state(Address("b", b"k"))).__name__ for store in (first, second)]
    assert there == (["ObjectState", "ObjectState"] if leaps else ["Tombstone", "ObjectState"])
    for store in (first, second):
        store.close()


def carry(source, target, now_ms):
    """All that one node has joins what the other has."""
    target.apply(source.log_uuid, [source.state(address) for address in source.addresses()], {}, now_ms)
