"""repairer: bytes from a peer are stored only if they are the blob's own, at any size, and what cannot be had now is asked for again."""

import errno
import random

import pytest
from blake3 import blake3

from actors import messages as m
from actors.extent_writer import ExtentWriter
from actors.peer import PeerRefused, PeerUnreachable
from actors.repairer import RepairByPeers, RepairCounts, Repairer
from actors.runtime import sleep
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.model import PutIntent
from fasterstore.replication.blob_frames import FRAME_BYTES
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.record import record_bytes
from fasterstore.storage.sealed_record import is_sealed, plaintext_of
from fasterstore.storage.segment import segment_name
from tests.actors.test_segment_writer import located
from tests.probe.eventually import eventually
from tests.storage_node import audit

SMALL = b"seven bytes and some more"
LARGE = random.Random(5).randbytes(2 * FRAME_BYTES + 70_001)


class Stream:
    """The bytes of one blob in frames; breaks off before the end if told so."""

    def __init__(self, body, breaks=False):
        self._body = memoryview(body)
        self._breaks = breaks
        self.closed = False

    def read_frame(self, buffer):
        if self._breaks and len(self._body) <= FRAME_BYTES:
            raise PeerUnreachable("the peer ended the bytes of a blob too soon")
        frame = self._body[: min(FRAME_BYTES, len(buffer))]
        buffer[: len(frame)] = frame
        self._body = self._body[len(frame) :]
        return len(frame)

    def close(self):
        self.closed = True


class Peer:
    """A peer that knows the bytes under some (log uuid, number) pairs. `says` is raised instead while it is set."""

    address = "http://peer"

    def __init__(self, bodies):
        self.bodies = bodies
        self.says = None
        self.breaks = False
        self.asked = []
        self.streams = []

    def open_blob(self, blob_id, number, log_uuid, first, length):
        self.asked.append((log_uuid, number, blob_id))
        if self.says is not None:
            raise self.says
        body = self.bodies.get((log_uuid, number))
        if body is None:
            raise PeerRefused("the peer refused with 404")
        self.streams.append(Stream(body[first : first + length], self.breaks))
        return self.streams[-1]


@pytest.fixture
def filled(node):
    """Blob 1 is small, and two keys share it; blob 2 takes an extent."""
    node.put(b"small", SMALL)
    node.put(b"same", SMALL)
    put_large(node, b"large", LARGE)
    node.settle()
    return node


def keyring_of(node):
    return node.settings.get("keyring") or Keyring(node.datadir.blob_key)


def put_large(node, key, body):
    """As a worker does: an extent."""
    segments = OpenSegments(node.disk, node.datadir.segments_dir)
    extent = ExtentWriter(node.directory, node.disk, segments, keyring_of(node), len(body), timeout_secs=10)
    for position in range(0, len(body), FRAME_BYTES):
        extent.write(memoryview(body)[position : position + FRAME_BYTES], position)
    answer = extent.finish(PutIntent("b", key, len(body), "e" * 32, {}, {}, {}), blake3(body, key=node.datadir.blob_key).digest())
    assert isinstance(answer, m.Stored)


@pytest.fixture
def repairing(request):
    """Starts a repairer over a node's files, by default those of `filled`; stopped at the end."""
    started = []

    def start(*peers, again_secs=1000.0, node=None):
        node = node or request.getfixturevalue("filled")
        counts = RepairCounts()
        ref = Repairer.start(
            node.directory, IndexView(node.index_path), node.disk, node.datadir.segments_dir, keyring_of(node), node.datadir.log_uuid,
            peers, counts, timeout_secs=10, again_secs=again_secs,
        )  # fmt: skip
        node.directory.register("repairer", ref)
        started.append(ref)
        return ref, counts

    yield start
    for ref in started:
        ref.stop()


def rot(node, key):
    """Spoil the record and have it reported, as a reader that stumbles over it does."""
    row = located(node, key).blob
    fd = node.disk.open(f"{node.datadir.segments_dir}/{segment_name(row.location.segment_id)}")
    node.disk.pwrite(fd, b"rot", row.location.offset + 140)
    node.disk.close(fd)
    node.journal.tell(m.BlobFoundDamaged.of(row))
    node.settle()
    return row


def stored(node, key):
    """The record's plaintext as it lies where the index says, verified."""
    place = located(node, key).blob.location
    data = node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(place.segment_id)}")
    return bytes(plaintext_of(data[place.offset : place.offset + record_bytes(place.stored_bytes)], place, keyring_of(node)))


def settled(node, ref):
    """When the repairer has done what it was told so far."""
    ref.ask(None)
    node.settle()


@pytest.mark.parametrize(("key", "body"), [(b"small", SMALL), (b"large", LARGE)], ids=["small", "large"])
def test_what_a_reader_finds_damaged_gets_its_bytes_back_under_its_own_number(filled, repairing, key, body):
    number = located(filled, key).blob.number
    peer = Peer({(filled.datadir.log_uuid, number): body})
    ref, counts = repairing(peer)
    before = rot(filled, key)
    settled(filled, ref)
    after = located(filled, key).blob
    assert (after.number, after.damaged, after.refs) == (before.number, False, before.refs)
    assert after.location != before.location
    assert stored(filled, key) == body
    assert (counts.repaired, counts.waiting) == (1, set())
    assert peer.asked == [(filled.datadir.log_uuid, number, before.blob_id)]
    assert all(stream.closed for stream in peer.streams)
    audit(filled.index_path)


def test_on_an_encrypted_node_what_is_put_back_is_encrypted(make_node, repairing):
    node = make_node("sealed")
    node.settings["keyring"] = Keyring(node.datadir.blob_key, {1: bytes(range(32))})
    node.start()
    node.journal.ask(m.CreateBucket("b"))
    node.put(b"small", SMALL)
    put_large(node, b"large", LARGE)
    ref, counts = repairing(Peer({(node.datadir.log_uuid, 1): SMALL, (node.datadir.log_uuid, 2): LARGE}), node=node)
    for key, body in ((b"small", SMALL), (b"large", LARGE)):
        rot(node, key)
        settled(node, ref)
        assert is_sealed(located(node, key).blob.location)
        assert stored(node, key) == body
    assert counts.repaired == 2
    audit(node.index_path)


def test_bytes_that_are_not_the_blobs_own_are_not_taken(filled, repairing):
    liar = Peer({(filled.datadir.log_uuid, 1): b"x" * len(SMALL), (filled.datadir.log_uuid, 2): b"x" * len(LARGE)})
    ref, counts = repairing(liar)
    before = [rot(filled, key) for key in (b"small", b"large")]
    settled(filled, ref)
    assert [located(filled, key).blob.location for key in (b"small", b"large")] == [row.location for row in before]
    assert (counts.repaired, counts.waiting) == (0, {1, 2})
    assert "other bytes" in str(ref._actor_weakref().vitals.last_error)
    audit(filled.index_path)


def test_the_next_peer_is_asked_where_the_first_has_nothing_lies_or_is_away(filled, repairing):
    log_uuid = filled.datadir.log_uuid
    empty, liar, away, good = Peer({}), Peer({(log_uuid, 1): b"x" * len(SMALL)}), Peer({}), Peer({(log_uuid, 1): SMALL})
    away.says = PeerUnreachable("connection refused")
    ref, counts = repairing(empty, liar, away, good)
    rot(filled, b"small")
    settled(filled, ref)
    assert counts.repaired == 1
    assert stored(filled, b"same") == SMALL


def test_a_transfer_that_breaks_off_leaves_nothing_and_is_tried_again(filled, repairing):
    peer = Peer({(filled.datadir.log_uuid, 2): LARGE})
    peer.breaks = True
    ref, counts = repairing(peer, again_secs=0.05)
    rot(filled, b"large")
    settled(filled, ref)
    assert (counts.repaired, counts.waiting) == (0, {2})
    assert located(filled, b"large").blob.damaged
    peer.breaks = False
    eventually(lambda: counts.repaired == 1, "the blob is repaired")
    assert not counts.waiting
    assert stored(filled, b"large") == LARGE
    audit(filled.index_path)


def test_without_room_the_blob_waits_and_nothing_is_in_doubt(filled, repairing):
    peer = Peer({(filled.datadir.log_uuid, 2): LARGE})
    ref, counts = repairing(peer, again_secs=0.05)
    filled.fail_next("pwrite", errno.ENOSPC)
    ref.tell(m.RepairBlob(2))
    ref.ask(None)
    assert (counts.repaired, counts.waiting, filled.fatals) == (0, {2}, [])


def test_a_write_that_fails_makes_the_volume_suspect(filled, repairing):
    ref, counts = repairing(Peer({(filled.datadir.log_uuid, 2): LARGE}))
    filled.fail_next("pwrite", errno.EIO)
    ref.tell(m.RepairBlob(2))
    ref.ask(None)
    eventually(lambda: filled.fatals, "the process ends")
    assert filled.fatals[0][1] is True
    assert counts.repaired == 0


def test_what_a_new_put_has_repaired_meanwhile_is_not_asked_for_again(filled, repairing):
    peer = Peer({})
    ref, counts = repairing(peer, again_secs=0.05)
    rot(filled, b"small")
    settled(filled, ref)
    asked = len(peer.asked)
    filled.put(b"again", SMALL)
    eventually(lambda: not counts.waiting, "nothing waits")
    assert counts.repaired == 0
    assert len(peer.asked) <= asked + 1
    audit(filled.index_path)


def test_the_scrubber_passes_on_what_it_finds(filled, repairing):
    peer = Peer({(filled.datadir.log_uuid, 1): SMALL})
    ref, counts = repairing(peer)
    filled.directory.register("repairer", ref)
    row = located(filled, b"small").blob
    filled.journal.tell(m.BlobFoundDamaged.of(row))
    RepairByPeers(ref).wanted(row)
    settled(filled, ref)
    sleep(0)
    assert not located(filled, b"small").blob.damaged
    assert counts.samples()[0]["samples"][0][2] >= 1


def test_a_blob_that_is_gone_is_nobodys_concern(filled, repairing):
    ref, counts = repairing(Peer({}))
    ref.tell(m.RepairBlob(99))
    settled(filled, ref)
    assert (counts.repaired, counts.waiting) == (0, set())
