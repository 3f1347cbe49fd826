"""The process that brings copies of the index up to date: what it makes, how it fails, and that it can be ended."""

import os

import pykka
import pytest

from actors import messages as m
from actors.runtime import sleep, spawn
from actors.snapshot_messages import ReadLogState
from fasterstore.errors import StorageFull, StoreError, Unavailable
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.kept_copies import list_copies
from tests.storage_node import Node, dump
from tools.copy_process import CopyProcess
from tools.journal_start import places_of

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data", RealDisk()).start()
    made.journal.ask(m.CreateBucket("b"))
    for number in range(30):
        made.put(b"key %d" % number, b"body %d" % number)
    made.head = made.journal.ask(ReadLogState()).head_lsn
    yield made
    made.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def process(node, keep_free_bytes=0):
    return CopyProcess(places_of(node.disk, node.datadir), keep_free_bytes=keep_free_bytes, now_ms=lambda: 5)


def test_it_rolls_a_copy_and_says_how_far_it_is(node):
    told = []
    process(node).roll(node.head, told.append)
    copies = list_copies(RealDisk(), node.datadir.snapshots_dir)
    assert [(copy.lsn, copy.kind) for copy in copies] == [(node.head, "copy")]
    assert told
    found = dump(os.path.join(node.datadir.snapshots_dir, copies[0].name))
    assert found["objects"] == dump(node.index_path)["objects"]


def test_it_brings_any_index_file_up_to_date(node, tmp_path):
    path = str(tmp_path / "index.db")
    process(node).bring(path, node.head, lambda step: None)
    assert dump(path)["objects"] == dump(node.index_path)["objects"]
    assert not os.path.exists(path + "-wal")


def test_its_failure_is_the_callers(node):
    with pytest.raises(StorageFull, match="MiB are needed"):
        process(node, keep_free_bytes=1 << 60).roll(node.head, lambda step: None)
    with pytest.raises(StoreError):
        process(node).bring("/nowhere/index.db", node.head, lambda step: None)


def test_it_can_be_ended_and_starts_no_more(node):
    ending = process(node)
    outcome = []

    def run():
        try:
            ending.roll(node.head, lambda step: None)
        except StoreError as error:
            outcome.append(error)

    running = spawn(run)
    sleep(0.05)
    ending.stop()
    running.join(timeout=10)
    assert running.dead
    with pytest.raises(Unavailable):
        ending.roll(node.head, lambda step: None)
