"""A record that rots on one of two nodes gets its bytes from the other, whichever of the two they were put to."""

import random

import pytest

from actors.repairer import RepairByPeers, RepairCounts
from fasterstore.storage.segment import segment_name
from tests.probe.eventually import eventually
from tests.web.app.peers import Pair
from tools.repairing import start_repairer
from tools.scrubbing import make_report, start_scrubber

SMALL = b"bytes that are worth keeping"
LARGE = random.Random(7).randbytes(3_000_000)


@pytest.fixture
def pair(new_store):
    """Node a with two objects, which b has from it."""
    made = Pair(new_store)
    made.a.store.make_bucket("box")
    for key, body in (("small", SMALL), ("large", LARGE)):
        assert made.a.store.send("PUT", f"/box/{key}", body).status == 200
        assert made.ship(made.a.state("box", key.encode())) == ["applied"]
    yield made
    made.close()


@pytest.fixture
def repairing():
    """Starts a node's repairer; ended after the test."""
    refs = []

    def start(node):
        store, counts = node.store, RepairCounts()
        refs.append(start_repairer(store.settings, store.disk, store.datadir, store.directory, store.keyring, counts))
        return refs[-1], counts

    yield start
    for ref in refs:
        ref.kill()


def rot(node, key):
    found = node.worker.index.locate("box", key.encode())
    place = found.blob.location
    with open(f"{node.store.datadir.segments_dir}/{segment_name(place.segment_id)}", "r+b") as file:
        file.seek(place.offset + 130)
        file.write(b"rot")
    return found.blob.number


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize(("key", "body"), [("small", SMALL), ("large", LARGE)], ids=["small", "large"])
def test_a_read_that_meets_rot_is_refused_and_the_next_one_gets_the_right_bytes(pair, repairing, side, key, body):
    node = getattr(pair, side)
    _, counts = repairing(node)
    number = rot(node, key)
    first = node.store.send("GET", f"/box/{key}")
    assert first.status == 500 or first.failure is not None
    eventually(lambda: counts.repaired == 1, "the blob is repaired")
    again = node.store.send("GET", f"/box/{key}")
    assert (again.status, again.body, again.failure) == (200, body, None)
    assert node.worker.index.uploads.blob(number).blob.damaged is False
    assert node.worker.index.damaged_blobs() == 0


def test_a_scrub_repairs_what_nobody_reads(pair, repairing):
    node = pair.b
    ref, counts = repairing(node)
    rot(node, "small")
    store = node.store
    store.scrubber.stop()
    report = make_report(store.settings)
    store.scrubber = start_scrubber(store.settings, store.disk, store.datadir, store.directory, report, RepairByPeers(ref))
    assert store.send("POST", "/_admin/scrub").status == 202
    eventually(lambda: counts.repaired >= 1, "the blob is repaired")
    assert store.send("GET", "/box/small").body == SMALL
    eventually(lambda: report.progress.finished, "the round has ended")


def test_while_the_other_node_is_away_reads_are_refused_and_the_blob_waits(pair, repairing):
    _, counts = repairing(pair.b)
    rot(pair.b, "small")
    pair.a.server.drain(0)
    assert pair.b.store.send("GET", "/box/small").status == 500
    eventually(lambda: len(counts.waiting) == 1, "the blob waits")
    assert pair.b.store.send("GET", "/box/small").status == 500
    assert counts.repaired == 0
