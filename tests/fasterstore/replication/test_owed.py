"""What is owed to a peer: tried again fairly, without holding up the rest, and never taken for what the peer has."""

import pytest

from fasterstore.replication import owed, shipping
from fasterstore.replication.board import PeerState
from fasterstore.replication.cursor import START, Address
from fasterstore.replication.owed import Owed
from fasterstore.replication.shipping import Shipping
from fasterstore.replication.work import LogRange, Meet, OwedKeys, Read, Save, ScanPage

NODE, LOG, PEER, PEER_LOG, OTHER_LOG = (bytes([number]) * 16 for number in range(1, 6))


def addresses(count):
    return [Address("b", b"%04d" % number) for number in range(count)]


def work_of(actions):
    (work,) = [action.work for action in actions if isinstance(action, Read)]
    return work


def level(head=10):
    peer = Shipping(NODE, LOG, head, head * 10, None, 0.0)
    peer.start(0.0)
    page = work_of(peer.met(PEER, PEER_LOG, 0, 0.0))
    peer.was_read(page.number, None, 0, 0, 0.0)
    return peer


def grow(peer, lsn, now=0.0):
    return peer.head_moved(lsn, lsn * 10, lsn * 100, now)


def acked(peer, work, now, refused=(), why=""):
    return peer.acked(work.number, refused, why, PEER, PEER_LOG, now)


def test_what_is_refused_for_ever_does_not_keep_the_others_from_being_tried():
    held = Owed(addresses(6), 0.0)
    held.refused(held.first(3), 1.0)
    assert held.first(3) == tuple(addresses(6)[3:])
    assert held.due_at == 1.0 + owed.PAUSE_MIN_SECS


def test_pauses_get_longer_up_to_a_bound_until_nothing_is_owed():
    held = Owed((), 0.0)
    pauses = []
    for _ in range(10):
        held.refused(addresses(1), 0.0)
        pauses.append(held.due_at)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (owed.PAUSE_MIN_SECS, owed.PAUSE_MAX_SECS)
    held.taken(addresses(1))
    assert not held
    held.refused(addresses(1), 0.0)
    assert held.due_at == owed.PAUSE_MIN_SECS


def test_room_is_counted_without_what_is_owed_already():
    held = Owed(addresses(owed.OWED_MAX), 0.0)
    assert held.room == 0
    assert held.has_room_for(addresses(5))
    assert not held.has_room_for([Address("other", None)])


@pytest.mark.parametrize("count", [1, 2, 300])
def test_a_peer_that_refuses_all_that_is_owed_is_still_sent_the_log(count):
    """Two damaged objects made the peer count as unreachable, again and again, and each time the log stood still."""
    peer, now = level(), 0.0
    queue = list(peer.owe(addresses(count), now))
    tried = set()
    for lsn in range(11, 61):
        queue += grow(peer, lsn, now)
        while queue:
            action = queue.pop(0)
            if isinstance(action, Meet):
                queue += peer.met(PEER, PEER_LOG, 0, now)
            elif isinstance(action, Read) and isinstance(action.work, OwedKeys):
                sent = action.work.addresses
                tried.update(sent)
                queue += peer.was_read(action.work.number, len(sent), 50, len(sent), now)
                queue += acked(peer, action.work, now, sent, "BytesGone")
            elif isinstance(action, Read):
                assert isinstance(action.work, LogRange)
                queue += peer.was_read(action.work.number, action.work.last_lsn, 50, 1, now)
                queue += acked(peer, action.work, now)
            assert peer.state is PeerState.SHIPPING
        assert peer.acked_lsn == lsn
        now += 0.5
    assert sorted(peer.owed) == sorted(tried) == addresses(count)


@pytest.mark.parametrize("why", sorted(shipping.OF_THE_CHANGE))
def test_a_page_of_nothing_but_damaged_objects_does_not_end_the_scan(why):
    peer = level()
    page = work_of(peer.resync("asked for", 0.0))
    peer.was_read(page.number, None, 50, 2, 0.0)
    acked(peer, page, 0.0, addresses(2), why)
    assert peer.scan_reason == ""
    assert peer.owed == tuple(addresses(2))


def test_a_change_that_was_refused_in_a_scan_is_not_taken_for_had():
    """With FS_REPLICATION_ACK=one its writer would be told that the peer has it."""
    peer = level()
    work = work_of(grow(peer, 12))
    page = work_of(peer.met(PEER, OTHER_LOG, 0, 0.0))
    assert isinstance(page, ScanPage)
    peer.was_read(work.number, 12, 50, 2, 0.0)
    peer.was_read(page.number, None, 50, 2, 0.0)
    peer.acked(page.number, addresses(1), "StorageFull", PEER, OTHER_LOG, 0.0)
    assert peer.scan_reason == ""
    assert not peer.has(12)
    work = work_of(grow(peer, 13))
    peer.was_read(work.number, 13, 50, 1, 0.0)
    peer.acked(work.number, (), "", PEER, OTHER_LOG, 0.0)
    assert peer.has(13)


def test_however_often_changes_are_refused_none_of_them_is_taken_for_had(monkeypatch):
    monkeypatch.setattr(shipping, "WITHHELD_MAX", 4)
    peer = level()
    for lsn in range(11, 31):
        work = work_of(grow(peer, lsn))
        peer.was_read(work.number, lsn, 50, 1, 0.0)
        acked(peer, work, 0.0, addresses(1), "StorageFull")
    assert not any(peer.has(lsn) for lsn in range(11, 31))


def test_a_peer_that_is_always_a_little_behind_is_not_taken_for_one_that_was_away_since():
    """After a restart of the sender it would be sent everything, thirty days after the last moment without any write under way."""
    peer, now = level(), 0.0
    work = work_of(grow(peer, 11, now))
    for lsn in range(12, 100):
        grow(peer, lsn, now + 0.5)
        following = work_of(peer.was_read(work.number, work.last_lsn, 50, 1, now + 0.9))
        now += 1.0
        acked(peer, work, now)
        assert peer.acked_lsn == lsn - 1
        work = following
    assert 1_000_000 - 2000 <= peer.cursor(1_000_000, now).level_ms < 1_000_000


def test_a_peer_that_was_never_met_has_nothing():
    """With FS_REPLICATION_ACK=one every write was answered at once as long as a new peer had not answered."""
    peer = Shipping(NODE, LOG, 10, 100, None, 0.0)
    peer.start(0.0)
    grow(peer, 11)
    assert not any(peer.has(lsn) for lsn in (1, 10, 11))


def test_a_peer_that_is_away_has_nothing_new_once_it_is_to_be_sent_everything():
    peer = level()
    work = work_of(grow(peer, 11))
    peer.failed(work.number, "reset", 0.0)
    peer.resync("asked for", 0.0)
    grow(peer, 12)
    assert not any(peer.has(lsn) for lsn in (11, 12))
    page = work_of(peer.met(PEER, PEER_LOG, 0, 1.0))
    peer.was_read(page.number, None, 50, 1, 1.0)
    assert not peer.has(12)
    acked(peer, page, 1.0)
    assert peer.has(12)


def test_a_resync_that_waits_for_the_peer_is_not_ended_by_what_was_on_its_way_before():
    """The entries that came meanwhile, and those that had failed, were never sent."""
    peer = level()
    first = work_of(grow(peer, 11))
    grow(peer, 12)
    second = work_of(peer.was_read(first.number, 11, 50, 1, 0.0))
    peer.was_read(second.number, 12, 50, 1, 0.0)
    peer.failed(second.number, "reset", 0.0)
    peer.resync("asked for", 0.0)
    grow(peer, 13)
    acked(peer, first, 0.0)
    assert peer.scan_reason == "asked for"
    assert not any(peer.has(lsn) for lsn in (12, 13))
    assert isinstance(work_of(peer.met(PEER, PEER_LOG, 0, 1.0)), ScanPage)


def test_a_resync_that_waits_for_the_peer_is_kept_across_a_restart():
    peer = level()
    work = work_of(grow(peer, 11))
    peer.failed(work.number, "reset", 0.0)
    assert Save() in peer.resync("asked for", 0.0)
    grow(peer, 12)
    again = Shipping(NODE, LOG, 14, 140, peer.cursor(1, 0.0), 0.0)
    again.start(0.0)
    assert again.scan_reason == "asked for"
    assert not any(again.has(lsn) for lsn in (11, 12, 14))
    works = [action.work for action in again.met(PEER, PEER_LOG, -100.0, 0.0) if isinstance(action, Read)]
    while not isinstance(works[-1], ScanPage):
        works += [action.work for action in again.was_read(works[-1].number, works[-1].last_lsn, 0, 0, 0.0) if isinstance(action, Read)]
    assert works[-1][1:] == (START, None)
