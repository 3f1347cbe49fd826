"""A stopped data dir of every kind of row, made by the real storage actors on the real disk, and what a check finds in it."""

import os
import shutil

import pykka
import pytest

from actors import messages as m
from actors import replication_messages as peer
from fasterstore.check.finding import Finding
from fasterstore.check.store import StoreCheck
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import CompleteIntent, DeleteIntent, Replica, UploadIntent
from fasterstore.replication.merge import Create, Deletion, Registers, Setting
from fasterstore.replication.received import ReceivedBucket, ReceivedRemoval
from fasterstore.storage.datadir import read_datadir
from fasterstore.storage.disk import RealDisk
from tests.storage_node import Node, change

PEER, PEER_LOG = b"P" * 16, b"p" * 16
BODIES = {b"key-%d" % number: b"%d," % number * (40 + 250 * number) for number in range(10)}


class Stopped:
    """A data dir, and hands to break it with."""

    def __init__(self, path):
        self.path = str(path)
        self.datadir = read_datadir(RealDisk(), self.path)

    @property
    def index_path(self):
        return self.datadir.index_path

    def change(self, statement, *values):
        change(self.index_path, statement, values)

    def check(self, *, full=False, running=False):
        """(findings, open comparisons) of a check."""
        check = StoreCheck(RealDisk(), self.datadir, running=running, full=full)
        found = [found for found in check.run() if isinstance(found, Finding)]
        return found, check.unconfirmed

    def kinds(self, **how):
        """The kinds of what is wrong."""
        return {found.kind for found in self.check(**how)[0] if not found.is_note}

    def notes(self):
        return {found.kind for found in self.check()[0] if found.is_note}

    def files(self, folder, ending):
        where = os.path.join(self.path, folder)
        return [os.path.join(where, name) for name in sorted(os.listdir(where)) if name.endswith(ending)]

    def write(self, path, offset, data):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def flip(self, path, offset):
        with open(path, "r+b") as file:
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1]))


def upload(node, key, parts, *, complete=True):
    """A multipart upload of `parts` (bodies), by hand."""
    number = node.journal.ask(m.CreateUpload(UploadIntent("b", key, "token", {}, {}, {}, "", "", ""))).number
    sizes, lsn = [], number
    for part, body in enumerate(parts, 1):
        put = node.small(key, body, upload=number, part=part)
        lsn = node.writer.ask(put).lsn
        sizes.append((part, len(body)))
    if complete:
        intent = CompleteIntent("b", key, number, lsn, pack_map(sizes), "etag-2", {})
        answer = node.journal.ask(m.CompleteUpload(intent))
        assert isinstance(answer, m.Stored), answer
    return number


def fill(node):
    """Every kind of row: objects, copies, empty ones, manifests, open uploads, releases, an unused blob, a damaged one."""
    node.journal.ask(m.CreateBucket("b"))
    node.journal.ask(m.CreateBucket("other"))
    for key, body in BODIES.items():
        node.put(key, body)
    node.put(b"same", BODIES[b"key-3"])
    node.put(b"empty", b"")
    node.put(b"elsewhere", b"in another bucket", bucket="other")
    node.put(b"gone", b"soon unused")
    node.journal.ask(peer.SetPeers(["http://peer:9000"]))
    node.journal.ask(m.DeleteObject("b", DeleteIntent(b"gone")))
    replica = Replica(node.now_ms << 16, PEER, node.now_ms, PEER_LOG, 7)
    assert isinstance(node.put(b"from a peer", b"replicated", replica=replica), m.Stored)
    removal = ReceivedRemoval("nobucket", b"a key", node.now_ms << 16, PEER, node.now_ms)
    made = Registers((Create(node.now_ms << 16, PEER, 5),), settings=(Setting("cors", b"<x/>", node.now_ms << 16, PEER),))
    gone = Registers(deleted=Deletion(node.now_ms << 16, PEER))
    buckets = [ReceivedBucket("theirs", made), ReceivedBucket("was", gone)]
    assert node.journal.ask(peer.ApplyChanges(PEER_LOG, buckets, [], [removal])) == peer.ChangesApplied(["", ""], [], [""])
    upload(node, b"multipart", [b"part one " * 100, b"part two " * 300])
    upload(node, b"open", [b"a part " * 50], complete=False)
    upload(node, b"overwritten", [b"old one " * 20, b"old two"])
    node.put(b"overwritten", b"plain now")
    node.settle()
    node.journal.ask(m.Checkpoint())


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """Made once; every test breaks a copy."""
    path = tmp_path_factory.mktemp("check") / "data"
    node = Node(path, disk=RealDisk(), segment_target_bytes=8 << 10, read_grace_secs=1e6).start()
    fill(node)
    node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()
    return path


@pytest.fixture
def store(pristine, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(pristine, copy)
    return Stopped(copy)


@pytest.fixture
def running(tmp_path):
    """A running node of the same, and its data dir."""
    node = Node(tmp_path / "running", disk=RealDisk(), segment_target_bytes=8 << 10, read_grace_secs=1e6).start()
    fill(node)
    yield node, Stopped(tmp_path / "running")
    node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


