"""A socket with a deadline: what an expired one does whatever the peer sends."""

import socket

import gevent
import pytest

from web.http_counters import HttpCounters
from web.http_limits import HttpLimits
from web.wire import HEAD, DeadlinePassed, PeerGone, Wire


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    counters = HttpCounters()
    yield Wire(ours, ("127.0.0.1", 1), HttpLimits(), counters), theirs, counters
    ours.close()
    theirs.close()


def test_a_peer_that_sends_without_pause_cannot_outlive_its_deadline(pair):
    wire, theirs, counters = pair
    theirs.sendall(b"x" * 1000)
    wire.phase = HEAD
    wire.expire()
    with pytest.raises(DeadlinePassed):
        wire.receive(10)
    with pytest.raises(DeadlinePassed):
        wire.receive_body(memoryview(bytearray(10)))
    assert counters.deadlines_passed == 1


def test_an_expired_wire_can_still_say_why(pair):
    wire, theirs, _ = pair
    wire.phase = HEAD
    wire.expire()
    wire.send(b"408")
    assert theirs.recv(10) == b"408"


def test_a_wake_leaves_bytes_that_have_come_to_be_served(pair):
    wire, theirs, _ = pair
    theirs.sendall(b"GET")
    wire.wake()
    assert not wire.woken
    assert wire.receive(10) == b"GET"
    wire.wake()
    assert wire.woken
    assert wire.receive(10) == b""


def test_a_closed_peer_is_gone_for_body_and_response(pair):
    wire, theirs, _ = pair
    theirs.close()
    with pytest.raises(PeerGone):
        wire.receive_body(memoryview(bytearray(10)))
    with pytest.raises(PeerGone):
        wire.send(b"x")
        wire.send(b"x")


def test_others_get_a_turn_while_a_refused_peer_sends_on(pair):
    wire, theirs, _ = pair
    theirs.sendall(b"x" * 100_000)
    theirs.close()
    others = gevent.spawn(wire.socket.fileno)
    wire.linger_and_close()
    assert others.value is not None
    assert others.value >= 0
