"""Extents: granted, written, finished or given back; and what a failed write does."""

import errno
import os
from time import monotonic

import pytest
from gevent.monkey import get_original

from actors.directory import Directory
from actors.messages import AbortExtent, BlobFoundDamaged, FinishExtent, ReserveExtent, WriteFailed
from actors.runtime import AskTimeout, sleep
from fasterstore.storage.disk import RealDisk
from web.request_body import RequestBodyDisconnected
from web.upload import STREAMED_UPLOADS_MAX

native_sleep = get_original("time", "sleep")


class Tap:
    """Stands before a real actor and notes what passes; a WriteFailed goes no further, for it would end the process."""

    def __init__(self, ref, events):
        self._ref, self._events = ref, events

    def ask(self, message, *, block=True, timeout=None):
        self._events.append(message)
        return self._ref.ask(message, block=block, timeout=timeout)

    def tell(self, message):
        self._events.append(message)
        if not isinstance(message, WriteFailed):
            self._ref.tell(message)


class SlowDisk(RealDisk):
    """Writes take their time, and say when they are done."""

    def __init__(self, events):
        self._events = events

    def pwrite(self, fd, data, offset):
        native_sleep(0.02)
        super().pwrite(fd, data, offset)
        self._events.append("written")


class FailingDisk(RealDisk):
    """The write of the chunk table or of the second piece fails."""

    def __init__(self, fail_at):
        self._left = fail_at

    def pwrite(self, fd, data, offset):
        if not self._left:
            raise OSError(errno.EIO, "planted")
        self._left -= 1
        super().pwrite(fd, data, offset)


class Leaving:
    """A client that goes away after `have` bytes."""

    def __init__(self, have):
        self._have = have

    def read(self, size=-1):
        raise NotImplementedError

    def readinto(self, buffer):
        if self._have <= 0:
            raise RequestBodyDisconnected("gone")
        count = min(len(buffer), self._have, 100_000)
        self._have -= count
        return count


@pytest.fixture
def tapped(store):
    events = []
    # A directory of the worker's own: the actors reach each other past the tap.
    store.worker.directory = Directory()
    for name in ("segment-writer", "metadata-journal"):
        store.worker.directory.register(name, Tap(store.directory.get(name), events))
    store.events = events
    return store


class Late:
    """An answer that does not come while anybody waits for it with a time limit."""

    def __init__(self, reply):
        self._reply = reply

    def get(self, timeout=None):
        if timeout is not None:
            raise AskTimeout("later")
        return self._reply.get()


class SlowToGrant(Tap):
    """Stands before segment-writer, whose grants come after the asker's time is over."""

    def ask(self, message, *, block=True, timeout=None):
        reply = super().ask(message, block=block, timeout=timeout)
        return Late(reply) if isinstance(message, ReserveExtent) else reply


def of_type(store, kind):
    return [event for event in store.events if isinstance(event, kind)]


def settle(store):
    deadline = monotonic() + 20
    while not of_type(store, AbortExtent) and monotonic() < deadline:
        sleep(0.01)


@pytest.mark.parametrize("have", [0, 500_000, 2 * 1048576 + 5, 4 * 1048576 - 1])
def test_an_extent_is_given_back_after_its_last_write_returned(tapped, have):
    tapped.worker.disk = SlowDisk(tapped.events)
    answer = tapped.send("PUT", "/box/k", headers={"content-length": str(4 * 1048576)}, source=Leaving(have))
    assert answer.status == 400
    settle(tapped)
    sleep(0.1)
    assert isinstance(tapped.events[-1], AbortExtent)
    assert tapped.events.count("written") == have // 1048576
    assert not of_type(tapped, FinishExtent)
    assert tapped.send("GET", "/box/k").status == 404


def test_a_body_that_is_collected_reserves_nothing_until_it_has_verified(tapped):
    answer = tapped.send("PUT", "/box/k", os.urandom(100_000), {"x-amz-checksum-crc32": "AAAAAA=="})
    assert answer.status == 400
    assert tapped.events == []


def test_a_streamed_body_that_is_not_what_was_said_gives_its_extent_back(tapped):
    assert tapped.send("PUT", "/box/k", os.urandom(2 * 1048576), payload="0" * 64).status == 400
    settle(tapped)
    assert of_type(tapped, AbortExtent)
    assert not of_type(tapped, FinishExtent)


@pytest.mark.parametrize(("size", "fail_at"), [(100_000, 0), (100_000, 1), (3 * 1048576, 0), (3 * 1048576, 1), (3 * 1048576, 3)])
def test_a_failed_write_is_reported_as_a_failed_volume_and_never_acknowledged(tapped, size, fail_at):
    tapped.worker.disk = FailingDisk(fail_at)
    answer = tapped.send("PUT", "/box/k", os.urandom(size))
    assert answer.status == 503
    assert len(of_type(tapped, WriteFailed)) == 1
    assert not of_type(tapped, FinishExtent)
    assert tapped.send("GET", "/box/k").status == 404


def test_a_body_that_is_stored_already_is_claimed_after_its_bytes_were_read(tapped):
    body = os.urandom(2 * 1048576)
    tapped.send("PUT", "/box/one", body)
    tapped.send("PUT", "/box/two", body)
    first, second = of_type(tapped, FinishExtent)
    one, two = (tapped.worker.index.locate("box", key).blob for key in (b"one", b"two"))
    assert (first.claim, second.claim) == (0, one.number)
    assert two.location == one.location
    assert tapped.send("GET", "/box/two").body == body


def test_a_stored_body_that_fails_verification_is_no_dedup_target(tapped):
    body = os.urandom(100_000)
    tapped.send("PUT", "/box/one", body)
    blob = tapped.worker.index.locate("box", b"one").blob
    with open(f"{tapped.datadir.segments_dir}/{blob.location.segment_id:016x}.seg", "r+b") as file:
        file.seek(blob.location.offset + 200)
        file.write(bytes(5))
    tapped.send("PUT", "/box/two", body)
    assert of_type(tapped, FinishExtent)[-1].claim == 0
    assert of_type(tapped, BlobFoundDamaged) == [BlobFoundDamaged.of(blob)]
    assert tapped.send("GET", "/box/two").body == body


def test_a_grant_that_comes_too_late_is_given_back(tapped):
    tapped.worker.directory.register("segment-writer", SlowToGrant(tapped.directory.get("segment-writer"), tapped.events))
    assert tapped.send("PUT", "/box/k", os.urandom(2 * 1048576)).status == 503
    settle(tapped)
    assert len(of_type(tapped, AbortExtent)) == 1
    assert tapped.send("GET", "/box/k").status == 404


def test_past_the_bound_of_streamed_uploads_a_client_is_told_to_slow_down_before_it_sends(tapped):
    tapped.worker.streamed_uploads = STREAMED_UPLOADS_MAX
    answer = tapped.send("PUT", "/box/k", headers={"content-length": str(4 * 1048576)}, source=Leaving(0))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert tapped.events == []
    assert tapped.send("PUT", "/box/small", b"x").status == 200
    tapped.worker.streamed_uploads = 0
    body = os.urandom(2 * 1048576)
    assert tapped.send("PUT", "/box/k", body).status == 200
    assert tapped.worker.streamed_uploads == 0
