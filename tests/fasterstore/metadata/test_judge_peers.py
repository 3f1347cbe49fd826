"""Homes of buckets and where conditional writes are judged; peers; the end of tombstones."""

import pytest

from fasterstore.errors import ImpossibleChange, NoSuchBucket, NotHome, StoreError
from fasterstore.metadata import judge_peers
from fasterstore.metadata.judge import Identity, Rules
from fasterstore.model import CopyIntent, DeleteIntent, RenameIntent
from fasterstore.replication.merge import Create, Deletion, Registers, home_of
from fasterstore.replication.received import ReceivedBucket, ReceivedRemoval
from tests.storage_node import audit

PEER, PEER_LOG = b"P" * 16, b"p" * 16
DAY_MS = 86_400_000


@pytest.fixture
def away(lab):
    """A lab with a peer, at which the bucket "theirs" was created first; it holds an object `k`."""
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    registers = Registers((Create((lab.now_ms - 50) << 16, PEER, 5),))
    lab.now(lambda: lab.ask.replication.apply(PEER_LOG, [ReceivedBucket("theirs", registers)], [], [], lab.now_ms))
    lab.now(lambda: lab.put(b"k", b"x", bucket="theirs"))
    return lab


def conditional(lab, bucket):
    """A conditional write of each kind; the condition holds."""
    etag = lab.object(b"k", bucket).etag
    row = lab.object(b"k", bucket)
    copied = lab.intent(b"new", b"x", bucket=bucket, if_none_match="*")
    ask, now_ms = lab.ask, lab.now_ms
    upload = lab.upload(b"k", bucket)
    lab.now(lambda: lab.put(b"k", b"part", bucket=bucket, upload=upload, part=1))
    return {
        "put if-match": lambda: lab.put(b"k", b"x", bucket=bucket, if_match=etag),
        "put if-none-match": lambda: lab.put(b"absent", b"x", bucket=bucket, if_none_match="*"),
        "append": lambda: lab.put(b"k", b"more", bucket=bucket, append_at=1),
        "copy": lambda: ask.copy(CopyIntent(copied, bucket, b"k", lab.object(b"k", bucket).stamp), now_ms),
        "complete": lambda: lab.complete(upload, bucket=bucket, if_match="*"),
        "rename": lambda: ask.rename(RenameIntent(bucket, b"k", b"renamed", if_none_match="*"), now_ms),
        "rename source": lambda: ask.rename(RenameIntent(bucket, b"k", b"renamed", source_if_match="*"), now_ms),
        "delete if-match": lambda: ask.delete(bucket, DeleteIntent(b"k", if_match=row.etag), now_ms),
        "delete if-size": lambda: ask.delete(bucket, DeleteIntent(b"k", if_size=1), now_ms),
        "delete if-modified": lambda: ask.delete(bucket, DeleteIntent(b"k", if_modified_secs=row.modified_ms // 1000), now_ms),
    }


KINDS = (
    "put if-match", "put if-none-match", "append", "copy", "complete", "rename", "rename source", "delete if-match", "delete if-size",
    "delete if-modified",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_conditional_write_away_from_home_is_refused_with_the_homes_id(away, kind):
    steps = conditional(away, "theirs")
    assert steps.keys() == set(KINDS)
    applied = away.index.state.applied_lsn
    (answer,) = away.batch(steps[kind])
    assert isinstance(answer, NotHome) and answer.detail == PEER.hex()
    assert away.index.state.applied_lsn == applied


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_judged_where_the_bucket_is_at_home_and_without_peers_everywhere(away, kind):
    away.now(lambda: away.ask.replication.set_home("theirs", away.who.node_id, away.now_ms))
    (answer,) = away.batch(conditional(away, "theirs")[kind])
    assert not isinstance(answer, StoreError), answer


def test_without_peers_or_with_conditions_judged_anywhere_the_home_does_not_matter(away):
    away.now(lambda: away.ask.replication.set_peers([], away.now_ms))
    away.now(lambda: away.put(b"k", b"x", bucket="theirs", if_match="*"))
    away.now(lambda: away.ask.replication.set_peers(["http://p"], away.now_ms))
    away.ask._who = Identity(away.who.node_id, away.who.log_uuid, Rules(conditions_anywhere=True))
    away.now(lambda: away.put(b"k", b"x", bucket="theirs", if_match="*"))


def test_unconditional_writes_are_taken_everywhere(away):
    away.now(
        lambda: away.put(b"k", b"y", bucket="theirs"),
        lambda: away.ask.rename(RenameIntent("theirs", b"k", b"l"), away.now_ms),
        lambda: away.ask.delete("theirs", DeleteIntent(b"l"), away.now_ms),
        lambda: away.put(b"first append", b"y", bucket="theirs", append_at=0),
    )


def test_a_bucket_made_here_is_at_home_here_and_one_that_is_not_there_where_it_is_made(away):
    away.now(lambda: away.put(b"k", b"x", if_none_match="*"))
    away.now(lambda: away.put(b"k", b"x", bucket="unheard-of", create_bucket=True, if_none_match="*"))
    assert home_of(away.index.replication.registers("unheard-of")) == away.who.node_id


def test_a_home_is_moved_once_and_only_to_a_node_and_of_a_bucket(away):
    assert away.now(lambda: away.ask.replication.set_home("b", PEER, away.now_ms))
    assert home_of(away.index.replication.registers("b")) == PEER
    assert away.now(lambda: away.ask.replication.set_home("b", PEER, away.now_ms)) == 0
    for bucket, node_id, error in (("nobucket", PEER, NoSuchBucket), ("b", b"short", ImpossibleChange)):
        (answer,) = away.batch(lambda: away.ask.replication.set_home(bucket, node_id, away.now_ms))  # noqa: B023
        assert type(answer) is error
    away.now(lambda: away.ask.delete_bucket("b", away.now_ms), lambda: away.ask.create_bucket("b", away.now_ms))
    assert home_of(away.index.replication.registers("b")) == away.who.node_id  # what was set before the delete is void
    audit(away.path)


def test_peers_are_logged_once_in_order_and_a_node_that_had_none_owes_its_deletes(lab):
    lab.now(lambda: lab.put(b"k", b"x"))
    set_ms = lab.now_ms
    assert lab.now(lambda: lab.ask.replication.set_peers(["http://b", "http://a", "http://b"], lab.now_ms))
    state = lab.index.replication.state
    assert (state.peers, state.horizon_ms) == (("http://a", "http://b"), set_ms)
    assert lab.now(lambda: lab.ask.replication.set_peers(["http://a", "http://b"], lab.now_ms)) == 0
    lab.now(lambda: lab.put(b"k", b"y"), lambda: lab.ask.replication.set_peers(["http://a"], lab.now_ms))
    assert lab.index.replication.state.horizon_ms == set_ms


def test_tombstones_end_in_slices_and_the_time_of_the_last_is_kept(lab, monkeypatch):
    monkeypatch.setattr(judge_peers, "EXPIRE_TOMBSTONES", 3)
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    keys = [b"%d" % number for number in range(8)]
    lab.now(*(lambda key=key: lab.put(key, b"x") for key in keys))
    for key in keys:
        lab.now(lambda key=key: lab.delete(key))
    lab.now(lambda: lab.ask.create_bucket("gone", lab.now_ms), lambda: lab.ask.delete_bucket("gone", lab.now_ms))
    seventh_ms = lab.index.replication.tombstone("b", keys[6]).noted_ms
    assert lab.now(lambda: lab.ask.replication.expire_tombstones(seventh_ms - DAY_MS, lab.now_ms)) == 0
    slices = 0
    while lab.now(lambda: lab.ask.replication.expire_tombstones(seventh_ms, lab.now_ms)):
        slices += 1
    assert slices == 3
    assert [lab.index.replication.tombstone("b", key) is None for key in keys] == [True] * 7 + [False]
    assert lab.index.replication.state.horizon_ms == seventh_ms
    assert lab.index.replication.registers("gone").deleted.stamp
    while lab.now(lambda: lab.ask.replication.expire_tombstones(lab.now_ms, lab.now_ms)):
        pass
    assert lab.index.replication.registers("gone") == Registers()
    assert lab.index.replication.state.tombstones == 0
    audit(lab.path)


def test_a_tombstone_noted_by_a_clock_in_the_future_stays_and_does_not_move_the_horizon_there(lab):
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    far = (lab.now_ms + 900 * DAY_MS) << 16
    lab.now(lambda: lab.ask.replication.apply(PEER_LOG, [], [], [ReceivedRemoval("b", b"k", far, PEER, far >> 16)], lab.now_ms))
    assert lab.index.replication.tombstone("b", b"k").noted_ms == lab.now_ms - 1  # by this node's clock, whatever the peer's says
    assert lab.now(lambda: lab.ask.replication.expire_tombstones(lab.now_ms, lab.now_ms))
    assert lab.index.replication.state.horizon_ms <= lab.now_ms
    lab.now(lambda: lab.put(b"k", b"x"), lambda: lab.delete(b"k"))
    lab.now_ms += 60 * DAY_MS
    lab.now(lambda: lab.ask.replication.expire_tombstones(lab.now_ms - 30 * DAY_MS, lab.now_ms))
    assert lab.now_ms - 60 * DAY_MS < lab.index.replication.state.horizon_ms < lab.now_ms - 58 * DAY_MS, "a day for a clock that is stepped"


def test_without_peers_a_deleted_bucket_leaves_nothing(lab):
    lab.now(lambda: lab.ask.create_bucket("gone", lab.now_ms), lambda: lab.ask.delete_bucket("gone", lab.now_ms))
    assert lab.index.replication.registers("gone") == Registers()
    lab.now(lambda: lab.ask.replication.set_peers(["http://p"], lab.now_ms))
    lab.now(lambda: lab.ask.create_bucket("gone", lab.now_ms), lambda: lab.ask.delete_bucket("gone", lab.now_ms))
    assert lab.index.replication.registers("gone").deleted > Deletion(0, b"")
    audit(lab.path)
