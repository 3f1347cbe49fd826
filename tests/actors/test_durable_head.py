"""What the journal hands on to the replicator: one message however much is logged, and only answers to changes that peers are told of."""

import pytest

from actors import messages as m
from actors.directory import Directory
from actors.durable_head import REPLICATOR, DurableHead
from actors.replication_messages import AdoptUpload, ApplyChanges, SetHome
from actors.replicator_messages import DurableMoved, HoldForAck
from actors.runtime import Envelope, GeventActor, Reply
from fasterstore.model import DeleteIntent, PutIntent, Replica


class Recorder(GeventActor):
    name = REPLICATOR
    max_batch = 100

    def __init__(self):
        super().__init__()
        self.got = []

    def on_batch(self, envelopes):
        for envelope in envelopes:
            self.got.append(envelope.message)
            envelope.reply("from the replicator")


@pytest.fixture
def replicator():
    ref = Recorder.start()
    yield ref
    ref.stop()


def got(ref):
    ref.ask("flush")
    return [message for message in ref._actor_weakref().got if message != "flush"]


def make_head(replicator=None, *, waits=True):
    directory = Directory()
    if replicator is not None:
        directory.register(REPLICATOR, replicator)
    return DurableHead(directory, ["http://a", "http://b"], waits_for_ack=waits)


def test_one_message_waits_however_many_batches_are_logged(replicator):
    head = make_head(replicator)
    for lsn in range(1, 6):
        head.moved(lsn, lsn * 10, 100)
    assert got(replicator) == [DurableMoved()]
    assert (head.lsn, head.stamp, head.log_bytes) == (5, 50, 500)
    head.seen()
    head.moved(6, 60, 100)
    assert got(replicator) == [DurableMoved()] * 2


def test_before_there_is_a_replicator_nothing_is_lost():
    head = make_head()
    head.begin(7, 70)
    head.moved(8, 80, 100)
    assert (head.lsn, head.stamp) == (8, 80)
    assert head.wanted_after() == [0, 0], "until it is known what peers have, all of the log is wanted"


PUT = PutIntent("b", b"k", 1, "e", {}, {}, {})
STORED = m.Stored("e", 1, 5)


@pytest.mark.parametrize(
    ("message", "answer", "held"),
    [
        (m.CommitPut(PUT, 1, b"", None, 0), STORED, True),
        (m.CommitPut(PUT._replace(upload=4, part=1), 1, b"", None, 0), STORED, False),
        (m.CommitPut(PUT._replace(replica=Replica(1, b"", 1, b"", 1)), 1, b"", None, 0), STORED, False),
        (m.CommitPut(PUT._replace(bucket="", key=b"", repairs=9), 1, b"", None, 0), STORED, False),
        (m.CommitPut(PUT, 1, b"", None, 0), m.Refused("PreconditionFailed"), False),
        (m.DeleteObject("b", DeleteIntent(b"k")), m.Deleted(5), True),
        (m.DeleteObject("b", DeleteIntent(b"k")), m.Deleted(0), True),
        (m.DeleteObjects("b", []), m.DeletedMany([]), True),
        (m.CreateBucket("b"), m.BucketMade(1), True),
        (SetHome("b", bytes(16)), m.Done(), True),
        (ApplyChanges(b"", [], [], []), None, False),
        (AdoptUpload(PUT, 1, b""), STORED, False),
        (m.LeaseSegmentIds(64), m.SegmentIdsLeased(1, 64), False),
    ],
)
def test_only_answers_to_changes_that_peers_are_told_of_wait_for_them(replicator, message, answer, held):
    head = make_head(replicator)
    head.moved(5, 50, 1)
    reply = Reply()
    assert head.hold(Envelope(message, reply), answer) is held
    holds = [one for one in got(replicator) if type(one) is HoldForAck]
    assert holds == ([HoldForAck(5, answer)] if held else [])
    if held:
        assert reply.get(timeout=5) == "from the replicator"


def test_nothing_waits_where_no_ack_is_wanted_or_nobody_could_give_it(replicator):
    message = m.CommitPut(PUT, 1, b"", None, 0)
    assert not make_head(replicator, waits=False).hold(Envelope(message), STORED)
    assert not make_head().hold(Envelope(message), STORED)
