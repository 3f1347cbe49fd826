"""Pulls from peers: a few at a time from each, each thing once."""

import gevent
from gevent.event import Event

from web.pulls import PULLS_MAX, Pulled, Pulls

A, B = "http://127.0.0.2:9000", "http://127.0.0.3:9000"


def test_a_few_at_a_time_from_one_peer_whatever_another_does():
    pulls, held = Pulls(), Event()
    begun = []

    def job(number):
        begun.append(number)
        held.wait()
        return number

    waiting = [gevent.spawn(pulls.run, A, number, lambda number=number: job(number)) for number in range(PULLS_MAX + 2)]
    gevent.sleep(0)
    gevent.sleep(0)
    assert begun == list(range(PULLS_MAX))
    assert gevent.spawn(pulls.run, B, "other", lambda: "done").get(timeout=1) == Pulled("done", True)
    held.set()
    assert [one.get(timeout=1).outcome for one in waiting] == list(range(PULLS_MAX + 2))
    assert len(pulls) == 0


def test_the_same_thing_is_pulled_once_and_goes_on_without_who_began_it():
    pulls, held = Pulls(), Event()
    first = gevent.spawn(pulls.run, A, "thing", lambda: held.wait() and "brought")
    gevent.sleep(0)
    second = gevent.spawn(pulls.run, A, "thing", lambda: "brought twice")
    gevent.sleep(0)
    first.kill()
    held.set()
    assert second.get(timeout=1) == Pulled("brought", False)
