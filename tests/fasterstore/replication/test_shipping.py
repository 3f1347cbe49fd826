"""The sender's state machine of one peer: what it wants next, what it believes acknowledged, and that no crash loses anything."""

import random

import pytest

from fasterstore.replication import flights, shipping
from fasterstore.replication.board import PeerState
from fasterstore.replication.cursor import START, Address, Position
from fasterstore.replication.shipping import Shipping
from fasterstore.replication.work import LogRange, Meet, OwedKeys, Read, Save, ScanPage

NODE, LOG, PEER, PEER_LOG, OTHER_LOG = (bytes([number]) * 16 for number in range(1, 6))


def stamp_of(lsn):
    return lsn * 10


def shipping_of(head, cursor=None, now=0.0, **more):
    return Shipping(NODE, LOG, head, stamp_of(head), cursor, now, **more)


def works(actions):
    return [action.work for action in actions if isinstance(action, Read)]


def one_work(actions):
    (work,) = works(actions)
    return work


def level(head=10, now=0.0, **more):
    """A machine whose peer has everything up to `head`."""
    peer = shipping_of(head, now=now, **more)
    assert peer.start(now) == [Meet()]
    page = one_work(peer.met(PEER, PEER_LOG, 0, now))
    assert (page.after, page.upto) == (START, None)
    peer.was_read(page.number, None, 0, 0, now)
    assert peer.state is PeerState.SHIPPING
    assert peer.acked_lsn == head
    return peer


def grow(peer, lsn, now=0.0):
    return peer.head_moved(lsn, stamp_of(lsn), (lsn - 10) * 100, now)


def ack(peer, work, now=0.0, refused=(), why=""):
    return peer.acked(work.number, refused, why, PEER, PEER_LOG, now)


def test_nothing_is_read_before_the_peer_has_said_who_it_is():
    peer = shipping_of(10)
    assert peer.start(0.0) == [Meet()]
    assert grow(peer, 12) == []
    assert peer.tick(1.0) == []
    assert isinstance(one_work(peer.met(PEER, PEER_LOG, 0, 1.0)), ScanPage)


def test_the_cursor_stays_below_what_is_not_acknowledged_in_whatever_order_acks_come():
    peer = level(10)
    first = one_work(grow(peer, 12))
    assert first[1:] == (11, 12)
    assert grow(peer, 15) == []
    second = one_work(peer.was_read(first.number, 12, 50, 2, 0.0))
    assert second[1:] == (13, 15)
    peer.was_read(second.number, 15, 50, 3, 0.0)
    ack(peer, second)
    assert peer.acked_lsn == 10
    assert not peer.has(13)
    actions = ack(peer, first)
    assert Save() in actions
    assert (peer.acked_lsn, peer.acked_stamp) == (15, stamp_of(15))
    assert peer.has(15)


def test_a_range_that_does_not_fit_is_read_on_where_it_ended():
    peer = level(10)
    work = one_work(grow(peer, 100))
    following = one_work(peer.was_read(work.number, 40, 1 << 20, 30, 0.0))
    assert following[1:] == (41, 100)
    ack(peer, work)
    assert peer.acked_lsn == 40


def test_entries_that_hold_nothing_for_the_peer_are_done_when_they_are_read():
    peer = level(10)
    work = one_work(grow(peer, 12))
    peer.was_read(work.number, 12, 0, 0, 0.0)
    assert peer.acked_lsn == 12
    assert peer.flights == ()


def test_what_failed_is_read_again_when_the_peer_is_back_and_the_cursor_has_not_moved():
    peer = level(10)
    work = one_work(grow(peer, 12))
    peer.was_read(work.number, 12, 50, 2, 0.0)
    assert works(peer.failed(work.number, "refused connection", 1.0)) == []
    assert (peer.state, peer.reason, peer.acked_lsn) == (PeerState.UNREACHABLE, "refused connection", 10)
    assert works(grow(peer, 14, 1.0)) == []
    assert peer.tick(peer.wake_at) == [Meet()]
    again = one_work(peer.met(PEER, PEER_LOG, 0, 2.0))
    assert again[1:] == (11, 14)
    assert peer.state is PeerState.SHIPPING


def test_pauses_get_longer_up_to_a_bound_and_several_failures_of_one_outage_count_once():
    peer = level(10)
    numbers = []
    actions = grow(peer, 11)
    for lsn in (11, 12, 13):
        work = one_work(actions)
        numbers.append(work.number)
        peer.was_read(work.number, lsn, 50, 1, 0.0)
        actions = grow(peer, lsn + 1)
    pauses = []
    for number in numbers:
        peer.failed(number, "reset", 0.0)
    now = 0.0
    for _ in range(12):
        pauses.append(round(peer.wake_at - now, 6))
        now = peer.wake_at
        assert peer.tick(now) == [Meet()]
        peer.not_met("refused connection", now)
    assert pauses[0] == shipping.BACKOFF_MIN_SECS
    assert pauses == sorted(pauses)
    assert pauses[-1] == shipping.BACKOFF_MAX_SECS


def test_a_peer_that_answers_but_takes_nothing_is_not_asked_in_a_tight_loop():
    peer, now, asked = level(10), 0.0, 0
    actions = grow(peer, 11)
    while now < 60:
        for action in actions:
            if isinstance(action, Meet):
                actions = peer.met(PEER, PEER_LOG, 0, now)
                asked += 1
                break
            if isinstance(action, Read):
                peer.was_read(action.work.number, 11, 50, 1, now)
                actions = peer.failed(action.work.number, "503", now)
                break
        else:
            now = peer.wake_at
            actions = peer.tick(now)
    assert 10 < asked < 20


def test_a_refused_change_is_owed_and_the_cursor_goes_on():
    peer = level(10)
    work = one_work(grow(peer, 12))
    peer.was_read(work.number, 12, 50, 2, 0.0)
    bad = Address("b", b"bad")
    ack(peer, work, refused=[bad], why="BytesMissing")
    assert (peer.acked_lsn, peer.owed) == (12, (bad,))
    assert peer.cursor(5).owed == (bad,)
    assert peer.acked_stamp == stamp_of(10), "an object that is owed must not pass for replicated"
    assert not peer.has(12)
    work = one_work(grow(peer, 13))
    peer.was_read(work.number, 13, 50, 1, 0.0)
    ack(peer, work)
    assert peer.has(13), "one refused key must not hold up the answers of all others"
    owed = one_work(peer.tick(peer.wake_at))
    assert owed.addresses == (bad,)
    peer.was_read(owed.number, 1, 50, 1, 1.0)
    ack(peer, owed, 1.0)
    assert peer.owed == ()
    assert peer.acked_stamp == stamp_of(13)
    assert peer.has(12)


def test_a_batch_of_changes_none_of_which_can_be_applied_does_not_stop_what_follows():
    peer = level(10)
    work = one_work(grow(peer, 12))
    peer.was_read(work.number, 12, 50, 2, 0.0)
    ack(peer, work, refused=[Address("b", b"1"), Address("b", b"2")], why="BytesMissing")
    assert (peer.acked_lsn, len(peer.owed), peer.state) == (12, 2, PeerState.SHIPPING)


def test_a_peer_that_refuses_everything_is_not_owed_it_all():
    peer = level(10)
    work = one_work(grow(peer, 12))
    peer.was_read(work.number, 12, 50, 2, 0.0)
    ack(peer, work, refused=[Address("b", b"1"), Address("b", b"2")], why="StorageFull")
    assert (peer.acked_lsn, peer.owed, peer.state) == (10, (), PeerState.REFUSING)
    assert "StorageFull" in peer.reason


def test_what_is_owed_is_bounded():
    peer, now = level(10), 0.0
    for lsn in range(11, 11 + shipping.OWED_MAX):
        work = one_work(grow(peer, lsn, now))
        peer.was_read(work.number, lsn, 50, 1, now)
        ack(peer, work, now, refused=[Address("b", b"%d" % lsn)], why="BytesMissing")
    assert peer.owed_room == 0
    head = 11 + shipping.OWED_MAX
    work = one_work(grow(peer, head, now))
    peer.was_read(work.number, head, 50, 1, now)
    ack(peer, work, now, refused=[Address("b", b"one more")], why="BytesMissing")
    assert peer.acked_lsn == head - 1
    assert peer.state is PeerState.REFUSING


def test_a_new_peer_is_sent_everything_and_the_log_beside_it():
    peer = shipping_of(10)
    peer.start(0.0)
    page = one_work(peer.met(PEER, PEER_LOG, 0, 0.0))
    assert (peer.state, peer.scan_reason) == (PeerState.RESYNCING, shipping.NEW_PEER)
    assert (peer.acked_lsn, peer.acked_stamp, peer.has(10)) == (10, 0, False)
    assert grow(peer, 12) == []
    work = one_work(peer.was_read(page.number, Position("b", b"k"), 50, 5, 0.0))
    assert work[1:] == (11, 12)
    rest = one_work(peer.was_read(work.number, 12, 50, 2, 0.0))
    assert (rest.after, rest.upto) == (Position("b", b"k"), None)
    ack(peer, work)
    assert peer.has(12)
    assert peer.scan_after == START
    peer.was_read(rest.number, None, 50, 3, 0.0)
    ack(peer, rest)
    assert peer.scan_after == START, "the first page is not acknowledged yet"
    ack(peer, page)
    assert (peer.state, peer.scan_reason, peer.acked_stamp) == (PeerState.SHIPPING, "", stamp_of(12))
    assert peer.has(10)


def test_a_scan_goes_on_after_a_restart_behind_what_was_acknowledged():
    peer = shipping_of(10)
    peer.start(0.0)
    page = one_work(peer.met(PEER, PEER_LOG, 0, 0.0))
    rest = one_work(peer.was_read(page.number, Position("b", b"k"), 50, 5, 0.0))
    peer.was_read(rest.number, Position("c", b"k"), 50, 5, 0.0)
    ack(peer, page)
    kept = peer.cursor(1)
    assert (kept.scan_after, kept.lsn) == (Position("b", b"k"), 10)
    again = shipping_of(12, kept)
    again.start(0.0)
    found = {type(work): work for work in works(again.met(PEER, PEER_LOG, 0, 0.0))}
    if LogRange in found:
        found |= {type(work): work for work in works(again.was_read(found[LogRange].number, 12, 0, 0, 0.0))}
    assert found[ScanPage].after == Position("b", b"k")
    assert again.state is PeerState.RESYNCING
    assert again.acked_stamp == 0


@pytest.mark.parametrize("where", ["status", "answer"])
def test_a_peer_with_another_log_is_sent_everything(where):
    peer = level(10)
    work = one_work(grow(peer, 12))
    peer.was_read(work.number, 12, 50, 2, 0.0)
    if where == "answer":
        actions = peer.acked(work.number, (), "", PEER, OTHER_LOG, 0.0)
        assert peer.acked_lsn == 10
        assert Meet() in actions
    page = one_work(peer.met(PEER, OTHER_LOG, 0, 0.0))
    assert isinstance(page, ScanPage)
    assert peer.scan_reason == shipping.NEW_LOG_THERE
    assert ack(peer, work) == [], "an answer of its former life counts no more"
    assert peer.acked_stamp == 0


def test_a_node_with_another_log_sends_everything():
    kept = level(10).cursor(1)
    peer = shipping_of(3, kept._replace(log_uuid=OTHER_LOG))
    peer.start(0.0)
    assert isinstance(one_work(peer.met(PEER, PEER_LOG, 0, 0.0)), ScanPage)
    assert peer.scan_reason == shipping.NEW_LOG_HERE


def test_a_peer_whose_entries_are_gone_is_sent_everything_from_the_head_of_the_log():
    kept = level(10).cursor(1)
    peer = shipping_of(1000, kept)
    peer.start(0.0)
    work = one_work(peer.met(PEER, PEER_LOG, 0, 0.0))
    assert work[1:] == (11, 1000)
    page = one_work(peer.log_gone(work.number, 0.0))
    assert isinstance(page, ScanPage)
    assert (peer.scan_reason, peer.acked_lsn) == (shipping.LOG_GONE, 1000)


def test_a_peer_that_was_away_for_longer_than_tombstones_are_kept_is_sent_everything():
    kept = level(10).cursor(1)
    late = shipping_of(20, kept, behind_secs=100.0)
    late.start(0.0)
    late.met(PEER, PEER_LOG, -99.0, 0.0)
    assert late.scan_reason == shipping.TOO_LATE
    in_time = shipping_of(20, kept, behind_secs=100.0)
    in_time.start(0.0)
    in_time.met(PEER, PEER_LOG, -101.0, 0.0)
    assert in_time.scan_reason == ""
    idle = level(10)
    idle.met(PEER, PEER_LOG, 5.0, 5.0)
    assert idle.scan_reason == "", "a peer that has everything lacks no tombstone"


def test_a_peer_that_stays_away_too_long_while_it_is_sent_everything_is_sent_everything_anew():
    peer = shipping_of(10)
    peer.start(0.0)
    page = one_work(peer.met(PEER, PEER_LOG, 0, 0.0))
    peer.was_read(page.number, Position("b", b"k"), 100, 1, 0.0)
    peer.acked(page.number, (), "", PEER, PEER_LOG, 0.0)
    assert peer.scan_after == Position("b", b"k")
    peer.head_moved(11, stamp_of(11), 100, 1.0)
    peer.met(PEER, PEER_LOG, 0.5, 2.0)
    assert peer.scan_after == Position("b", b"k")
    peer.met(PEER, PEER_LOG, 1.5, 3.0)
    assert (peer.scan_reason, peer.scan_after) == (shipping.TOO_LATE, START)


def test_a_copy_of_this_node_is_no_peer():
    peer = shipping_of(10)
    peer.start(0.0)
    assert works(peer.met(NODE, PEER_LOG, 0, 0.0)) == []
    assert peer.state is PeerState.REFUSING
    assert "own id" in peer.reason


def test_a_peer_that_goes_on_from_its_cursor_after_a_restart_is_sent_only_what_is_above():
    kept = level(10).cursor(77)
    assert (kept.lsn, kept.level_ms, kept.acked_stamp) == (10, 77, stamp_of(10))
    peer = shipping_of(14, kept, behind_secs=60.0, backlog_bytes=400)
    peer.start(0.0)
    assert (peer.lag(0.0).entries, peer.lag(0.0).bytes, peer.lag(0.0).secs) == (4, 400, 60.0)
    assert one_work(peer.met(PEER, PEER_LOG, -100.0, 0.0))[1:] == (11, 14)
    assert peer.cursor(99).level_ms == 77


def test_a_resync_on_demand_waits_for_the_peer():
    peer = level(10)
    assert isinstance(one_work(peer.resync("on demand", 0.0)), ScanPage)
    away = level(10)
    away.not_met("refused connection", 0.0)
    assert works(away.resync("on demand", 0.0)) == []
    away.tick(away.wake_at)
    assert isinstance(one_work(away.met(PEER, PEER_LOG, 0, 1.0)), ScanPage)


def test_few_entries_wait_a_moment_for_company_and_many_do_not():
    peer = level(10, linger_secs=0.05)
    assert works(grow(peer, 11, 1.0)) == []
    assert peer.wake_at == 1.05
    assert one_work(peer.tick(1.05))[1:] == (11, 11)
    many = level(10, linger_secs=0.05)
    assert one_work(grow(many, 10 + shipping.FULL_ENTRIES, 1.0))


def test_what_is_on_its_way_is_bounded_and_big_objects_do_not_hold_up_small_ones():
    peer, heavy, light = level(10), 0, 0
    lsn, actions = 10, []
    for _ in range(100):
        lsn += 1
        actions = grow(peer, lsn)
        if not works(actions):
            break
        is_heavy = lsn % 2 == 0
        peer.was_read(one_work(actions).number, lsn, 100, 1, 0.0, heavy=is_heavy)
        heavy, light = heavy + is_heavy, light + (not is_heavy)
    assert light == flights.LIGHT_FLIGHTS_MAX
    assert heavy == light - 1
    wide = level(10)
    work = one_work(grow(wide, 20))
    assert works(wide.was_read(work.number, 11, flights.WINDOW_BYTES, 1, 0.0)) == []
    assert one_work(ack(wide, work))[1:] == (12, 20)


def test_an_idle_peer_is_asked_who_it_is_now_and_then_and_not_more():
    peer, asked, now = level(10), 0, 0.0
    while now < 100:
        now = peer.wake_at
        if Meet() in peer.tick(now):
            asked += 1
            peer.met(PEER, PEER_LOG, 0, now)
    assert asked == 100 / shipping.HEARTBEAT_SECS


def test_lag_counts_from_the_oldest_entry_that_is_not_acknowledged():
    peer = level(10)
    first = one_work(grow(peer, 12, 1.0))
    peer.was_read(first.number, 12, 50, 2, 1.0)
    grow(peer, 15, 2.0)
    assert peer.lag(5.0) == (5, 500, 4.0)
    ack(peer, first, 5.0)
    assert peer.lag(5.0) == (3, 300, 3.0)


def test_what_differs_is_sent_too_and_until_then_it_does_not_count_as_replicated():
    peer = level(10)
    work = one_work(peer.owe([Address("b", b"k")], 1.0))
    assert work.addresses == (Address("b", b"k"),)
    assert peer.acked_stamp == stamp_of(10)
    peer.was_read(work.number, 1, 50, 1, 1.0)
    ack(peer, work, 1.0)
    assert peer.owed == ()


# ---- crashes, losses and doubles at random ----


class World:
    """A log whose entry `lsn` changes a key, a peer that holds key -> lsn, and a machine between them that may crash at any moment."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.keys = [b"%02d" % number for number in range(12)]
        self.log, self.rows, self.start_lsn = [], {}, 1
        self.peer, self.peer_log = {}, PEER_LOG
        self.kept, self.now, self.calm = None, 0.0, False
        self.sent = []
        self.begin()

    def begin(self):
        self.machine = shipping_of(len(self.log), self.kept, self.now, linger_secs=self.chance.choice([0.0, 0.05]))
        self.inbox = []
        self.do(self.machine.start(self.now))

    def do(self, actions):
        for action in actions:
            if isinstance(action, Save):
                if self.calm or self.chance.random() < 0.5:
                    self.keep()
            else:
                self.inbox.append(action)

    def keep(self):
        cursor = self.machine.cursor(round(self.now * 1000))
        if cursor is not None:
            self.check(cursor)
            self.kept = cursor

    def check(self, cursor):
        """Whatever a cursor leaves out, the peer has, or it is owed."""
        if cursor.peer_log != self.peer_log:
            return
        missing = {key for key, lsn in self.rows.items() if self.peer.get(key, 0) < lsn}
        later = set(self.log[cursor.lsn :]) | {address.key for address in cursor.owed}
        if cursor.scan_reason:
            later |= {key for key in self.keys if Position("b", key) > cursor.scan_after}
        assert missing <= later

    def change(self):
        for _ in range(self.chance.choice([1, 1, 2, 5])):
            key = self.chance.choice(self.keys)
            self.log.append(key)
            self.rows[key] = len(self.log)
        self.do(self.machine.head_moved(len(self.log), stamp_of(len(self.log)), len(self.log), self.now))

    def read(self, work):
        number, machine = work.number, self.machine
        if isinstance(work, LogRange):
            if work.first_lsn < self.start_lsn:
                return machine.log_gone(number, self.now)
            reached = min(work.last_lsn, work.first_lsn + self.chance.choice([0, 3, 300]))
            keys = set(self.log[work.first_lsn - 1 : reached])
        elif isinstance(work, ScanPage):
            inside = [key for key in self.keys if work.after < Position("b", key) and (not work.upto or Position("b", key) <= work.upto)]
            some = inside[: self.chance.choice([1, 4, 100])]
            reached = None if some == inside else Position("b", some[-1])
            keys = {key for key in some if key in self.rows}
        else:
            assert isinstance(work, OwedKeys)
            keys = {address.key for address in work.addresses}
            reached = len(work.addresses)
        state = {key: self.rows[key] for key in keys}
        heavy = self.chance.random() < 0.2
        actions = machine.was_read(number, reached, 10 * len(state), len(state), self.now, heavy=heavy)
        if state:
            self.sent.append((number, state, machine))
        return actions

    def deliver(self):
        number, state, machine = self.sent.pop(self.chance.randrange(len(self.sent)))
        fate = 1.0 if self.calm else self.chance.random()
        refused = [] if self.calm else [key for key in state if self.chance.random() < 0.05]
        if fate > 0.15:
            for key, lsn in state.items():
                if key not in refused:
                    self.peer[key] = max(self.peer.get(key, 0), lsn)
        if 0.3 < fate < 0.4:
            self.sent.append((number, state, machine))
        if machine is not self.machine:
            return
        if fate > 0.3:
            names = [Address("b", key) for key in refused]
            self.do(machine.acked(number, names, "BytesMissing", PEER, self.peer_log, self.now))
        else:
            self.do(machine.failed(number, "lost", self.now))

    def step(self):
        self.now += self.chance.choice([0.0, 0.01, 0.3])
        what = 1.0 if self.calm else self.chance.random()
        if what < 0.2:
            self.change()
        elif what < 0.22:
            self.begin()
        elif what < 0.23:
            self.peer, self.peer_log = {}, self.chance.randbytes(16)
        elif what < 0.24:
            self.start_lsn = len(self.log) + 1
        elif self.inbox and self.chance.random() < 0.7:
            action = self.inbox.pop(0)
            if isinstance(action, Read):
                self.do(self.read(action.work))
            elif self.calm or self.chance.random() < 0.8:
                self.do(self.machine.met(PEER, self.peer_log, 0, self.now))
            else:
                self.do(self.machine.not_met("away", self.now))
        elif self.sent:
            self.deliver()
        elif self.machine.wake_at is not None:
            self.now = max(self.now, min(self.machine.wake_at, self.now + 1.0))
            self.do(self.machine.tick(self.now))
        if self.machine.cursor(0) is not None:
            self.check(self.machine.cursor(0))

    def settled(self):
        return self.peer == self.rows and self.machine.acked_lsn == len(self.log) and not self.machine.scan_reason and not self.machine.owed


@pytest.mark.parametrize("seed", range(60))
def test_after_losses_doubles_refusals_and_crashes_the_peer_has_everything_and_no_cursor_ever_promised_more(seed):
    world = World(seed)
    for _ in range(400):
        world.step()
    world.calm = True
    world.do(world.machine.tick(world.now + 20))
    for _ in range(2000):
        if world.settled():
            break
        world.step()
    assert world.settled(), (world.machine.state, world.machine.reason, world.machine.cursor(0))


def test_the_random_world_catches_a_cursor_that_moves_before_the_ack(monkeypatch):
    honest = Shipping.was_read

    def hasty(self, number, reached, size_bytes, changes, now, *, heavy=False):
        return honest(self, number, reached, size_bytes, 0, now)

    monkeypatch.setattr(Shipping, "was_read", hasty)
    with pytest.raises(AssertionError):
        for seed in range(20):
            world = World(seed)
            for _ in range(400):
                world.step()
