"""Nodes of real storage actors that replicate to each other in one process: the peer's HTTP is replaced by calls, and nothing else.

`Link` is the way to a second node: it decodes what was sent, has it joined by that node's own actors, and answers. `BadLink` loses, doubles
and reorders what goes over it.
"""

import random
import time

from blake3 import blake3

from actors import messages as m
from actors.durable_head import DurableHead
from actors.peer import PeerStatus, PeerUnreachable
from actors.replication_messages import ApplyChanges, ChangesApplied, SetPeers
from actors.replicator import PeerLink, ReplicationPlan, Replicator
from actors.runtime import sleep, spawn
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.model import PutIntent, Replica
from fasterstore.replication.board import ReplicationBoard
from fasterstore.replication.change import (
    APPLIED,
    SUPERSEDED,
    BatchAnswer,
    BlobContent,
    BucketState,
    ManifestContent,
    ObjectState,
    Tombstone,
    encode_answer,
    refused,
)
from fasterstore.replication.change_reading import decode_answer, decode_batch
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval
from fasterstore.replication.shipment import address_of
from tests.storage_node import Node
from tools.replicating import open_readers

SETTLE_SECS = 20.0


class ReplicatingNode(Node):
    """A Node with a replicator. `links` are its ways to its peers, set before `start`; `ack` is FS_REPLICATION_ACK."""

    def __init__(self, path, disk=None, *, ack="async", timeout_secs=30.0, degrade_secs=0.0, keyring=None, **more):
        super().__init__(path, disk, **more, **({} if keyring is None else {"keyring": keyring}))
        self.name = path.name
        self.made_at = time.monotonic()
        self.plan = ReplicationPlan(ack == "one", timeout_secs, degrade_secs)
        self.links = []
        self.replicator = None
        self.keyring = keyring or Keyring(self.datadir.blob_key)

    def more_settings(self):
        self.durable = DurableHead(self.directory, [link.address for link in self.links], waits_for_ack=self.plan.waits_for_ack)
        return {"durable": self.durable}

    def start(self):
        super().start()
        self.view = IndexView(self.index_path)
        addresses = [link.address for link in self.links]
        self.journal.ask(SetPeers(addresses))
        self.board = ReplicationBoard(addresses)
        self.replicator = Replicator.start(
            [PeerLink(link, link.back()) for link in self.links], self.datadir, self.disk, self.durable, self.board,
            lambda: open_readers(self.disk, self.datadir, self.keyring), self.plan,
            now_ms=self.moving_ms, monotonic=time.monotonic,
        )  # fmt: skip
        self.directory.register(Replicator.name, self.replicator)
        return self

    def moving_ms(self):
        """The replicator compares times of both clocks, so its wall clock moves on by itself; the journal's stands until it is set."""
        return self.now_ms + round((time.monotonic() - self.made_at) * 1000)

    def stop(self):
        if self.replicator is not None:
            self.replicator.stop()
            self.replicator = None
        super().stop()

    def crash(self):
        actor = self.replicator._actor_weakref()
        self.replicator.kill()
        actor._thread.close()
        self.replicator = None
        super().crash()

    def link_to(self, other, make=None):
        self.links.append((make or Link)(self, other))

    def states(self):
        """Everything that peers are to agree on: keys with their pairs and contents, buckets with their registers."""
        states = {}
        after = ("", None)
        while rows := self.view.replication.states_after(*after, 100):
            for row in rows:
                states[row.bucket, row.key] = _shown(row)
            after = rows[-1].bucket, rows[-1].key
        registers = {row.name: row.registers for row in self.view.replication.registers_after("", 1000)}
        return states, registers

    def peer_status(self, number=0):
        from actors.replicator_messages import ReplicationStatus

        return self.replicator.ask(ReplicationStatus())["peers"][number]


def _shown(state):
    row = state.object
    if row is None:
        return "gone", state.tombstone.stamp, state.tombstone.origin
    return row.stamp, row.origin, row.size_bytes, row.etag, row.modified_ms, row.system, row.user, row.tags, row.acl


class Link:
    """The way from one node to another, as a PeerClient."""

    def __init__(self, here, there):
        self.here, self.there = here, there
        self.address = f"http://{there.name}"
        self.down = False
        self.sent = 0
        """Changes."""
        self.batches = 0

    def back(self):
        """The node itself, as the other one reaches it."""
        return Link(self.there, self.here)

    def close(self):
        pass

    def status(self):
        self._require_up()
        datadir = self.there.datadir
        replication = self.there.view.replication
        known_blob = replication.highest_peer_blob(self.here.datadir.log_uuid)
        return PeerStatus(datadir.node_id, datadir.log_uuid, known_blob, replication.state().horizon_ms)

    def send_objects(self, body, changes):
        return self._send(body, changes, {ObjectState, BucketState})

    def send_deletes(self, body, changes):
        return self._send(body, changes, {Tombstone, BucketState})

    def digest(self, ranges):
        self._require_up()
        return self._own_states().digests(ranges)

    def snapshot_page(self, asked, limit):
        self._require_up()
        datadir = self.there.datadir
        return self._own_states().page(asked)._replace(node_id=datadir.node_id, log_uuid=datadir.log_uuid)

    def _own_states(self):
        return open_readers(self.there.disk, self.there.datadir, self.there.keyring).own

    def _require_up(self):
        if self.down or self.there.replicator is None:
            raise PeerUnreachable(f"{self.address} is away")

    def _send(self, body, changes, kinds):
        self._require_up()
        batch = decode_batch(body)
        assert {type(change) for change in batch.changes} <= kinds
        assert len(batch.changes) == changes
        self.sent += changes
        self.batches += 1
        outcomes = join(self.there, batch, self.here)
        datadir = self.there.datadir
        return decode_answer(encode_answer(BatchAnswer(datadir.node_id, datadir.log_uuid, tuple(outcomes))), changes)


class BadLink(Link):
    """Loses a batch, or its answer, or does it twice, or keeps it back so that later ones overtake it."""

    def __init__(self, here, there, seed=0):
        super().__init__(here, there)
        self.chance = random.Random(seed)
        self.bad = True

    def _send(self, body, changes, kinds):
        fate = self.chance.random() if self.bad else 1.0
        if fate < 0.15:
            raise PeerUnreachable("lost on its way")
        if fate < 0.3:
            sleep(self.chance.random() * 0.1)
        answer = super()._send(body, changes, kinds)
        if fate < 0.4:
            raise PeerUnreachable("the answer was lost")
        if fate < 0.5:
            spawn(self._late, body)
        return answer

    def _late(self, body):
        sleep(0.05)
        if self.there.replicator is not None:
            join(self.there, decode_batch(body), self.here)


def join(node, batch, source):
    """Have a batch of `source` joined by a node; an outcome for each change. Only short bytes are pulled if they did not come along."""
    outcomes = []
    for change in batch.changes:
        body = _bytes_of(change)
        name = _apply(node, batch, change) if body is None else _put(node, batch, change, body)
        if name == "BytesMissing":
            body = _bytes_of(open_readers(source.disk, source.datadir, source.keyring).states.change_at(address_of(change)))
            name = name if body is None else _put(node, batch, change, body)
        outcomes.append(APPLIED if not name else SUPERSEDED if name == "Superseded" else refused(name))
    return outcomes


def _bytes_of(change):
    return change.content.inline if isinstance(change, ObjectState) and isinstance(change.content, BlobContent) else None


def _put(node, batch, change, body):
    replica = Replica(change.stamp, change.origin, change.modified_ms, batch.log_uuid, change.content.piece.number)
    intent = PutIntent(
        change.bucket, change.key, change.size_bytes, change.etag, change.system, change.user, change.checksums, tags=change.tags,
        acl=change.acl, overhead_bytes=len(body) - change.size_bytes, replica=replica,
    )  # fmt: skip
    answer = node.writer.ask(m.PutObject(intent, blake3(body, key=node.keyring.blob_key).digest(), body))
    return answer.error if isinstance(answer, m.Refused) else ""


def _apply(node, batch, change):
    buckets, objects, removals = [], [], []
    if isinstance(change, BucketState):
        buckets.append(ReceivedBucket(*change))
    elif isinstance(change, Tombstone):
        removals.append(ReceivedRemoval(*change))
    else:
        content = change.content
        blob = content.piece.number if isinstance(content, BlobContent) else 0
        record_bytes = content.piece.record_bytes if isinstance(content, BlobContent) else 0
        manifest = content.number if isinstance(content, ManifestContent) else 0
        objects.append(
            ReceivedObject(
                change.bucket, change.key, change.size_bytes, change.etag, change.modified_ms, change.system, change.user, change.checksums,
                change.tags, change.acl, change.stamp, change.origin, blob, record_bytes, manifest,
            )  # fmt: skip
        )
    answer = node.journal.ask(ApplyChanges(batch.log_uuid, buckets, objects, removals))
    assert isinstance(answer, ChangesApplied), answer
    (name,) = (*answer.buckets, *answer.objects, *answer.removals)
    return name


def in_step(*nodes):
    """Whether every peer of every node has everything, and all hold the same."""
    level = all(
        peer["state"] == "shipping" and not peer["lag_entries"] and not peer["owed"]
        for node in nodes
        for number in range(len(node.links))
        for peer in [node.peer_status(number)]
    )
    return level and len({repr(node.states()) for node in nodes}) == 1


def settle(*nodes, secs=SETTLE_SECS):
    """Wait until the nodes are in step; how they stand if they do not come to it."""
    deadline = time.monotonic() + secs
    while not in_step(*nodes):
        assert time.monotonic() < deadline, [node.peer_status(number) for node in nodes for number in range(len(node.links))]
        sleep(0.02)
