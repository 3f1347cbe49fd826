"""A node of real storage actors on a memory disk."""

import gc

import pykka
import pytest

from actors.messages import CreateBucket
from fasterstore.metadata.index import load_cksumvfs
from tests.storage_node import FaultyVfs, Node


@pytest.fixture(autouse=True)
def no_ticks(monkeypatch):
    """The journal's clock ticks when the test says so: a tick between two lines of a test, on a busy machine, would be its luck."""
    monkeypatch.setattr("actors.metadata_journal.TICK_SECS", 1e6)


@pytest.fixture
def make_node(tmp_path):
    made = []

    def make(name="data", **settings):
        node = Node(tmp_path / name, **settings)
        made.append(node)
        return node

    yield make
    for node in made:
        if node.fatals:
            continue
        node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


@pytest.fixture
def node(make_node):
    """Started, with bucket `b`."""
    made = make_node().start()
    made.journal.ask(CreateBucket("b"))
    return made


@pytest.fixture
def faulty_vfs():
    load_cksumvfs()
    vfs = FaultyVfs()
    yield vfs
    gc.collect()
    vfs.unregister()
