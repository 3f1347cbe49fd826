"""observer: the state of every actor here and in every peer; a peer that hangs or died is reported, and holds nobody up for long."""

import os
import time

import msgpack
import pykka
import pytest

from actors import messages as m
from actors.observer import PEER_TIMEOUT_SECS, Observer
from actors.runtime import GeventActor, sleep
from actors.samples import Histogram, counter, metric


@pytest.fixture(autouse=True)
def no_actor_outlives_its_test():
    yield
    for ref in reversed(pykka.ActorRegistry.get_all()):
        ref.kill()


class Hanging(GeventActor):
    name = "hanging"

    def on_receive(self, message):
        sleep(30)


class Refusing(GeventActor):
    name = "refusing"

    def on_receive(self, message):
        return m.Refused("Unavailable", "no connection")


def own_samples():
    return [counter("fasterstore_things", "Things.", 3)]


def test_it_tells_every_actor_of_its_process_with_pid():
    ref = Observer.start("storage", own_samples)
    rows = ref.ask(m.CollectVitals())
    row = next(row for row in rows if row["name"] == "observer")
    assert (row["process"], row["pid"], row["state"], row["current"]) == ("storage", os.getpid(), "busy", "CollectVitals")
    assert msgpack.unpackb(msgpack.packb(rows)) == rows


def test_it_asks_its_peers_along_and_passes_their_answers_on():
    peer = Observer.start("worker-1", lambda: [counter("fasterstore_peer_things", "Things.", 4)])
    ref = Observer.start("storage", own_samples, lambda: [("worker-1", peer)])
    assert {row["process"] for row in ref.ask(m.CollectVitals())} == {"storage", "worker-1"}
    names = {sample["name"] for sample in ref.ask(m.CollectMetrics())}
    assert {"fasterstore_things", "fasterstore_peer_things", "fasterstore_actor_mailbox_depth"} <= names


def test_a_peer_that_hangs_died_or_is_gone_is_reported_and_several_cost_one_timeout():
    dead = Refusing.start()
    dead.kill()
    peers = [("hanging-1", Hanging.start()), ("hanging-2", Hanging.start()), ("dead", dead), ("gone", Refusing.start())]
    ref = Observer.start("storage", own_samples, lambda: peers)
    started = time.monotonic()
    rows = ref.ask(m.CollectVitals())
    assert time.monotonic() - started < 2 * PEER_TIMEOUT_SECS
    silent = {row["process"]: row for row in rows if row["state"] == "no answer"}
    assert silent.keys() == {"hanging-1", "hanging-2", "dead", "gone"}
    assert "Unavailable" in silent["gone"]["last_error"]
    assert any(row["process"] == "storage" and row["name"] == "observer" for row in rows)


def test_metrics_without_a_peers_answer_are_those_of_the_others():
    ref = Observer.start("storage", own_samples, lambda: [("gone", Refusing.start())])
    answer = ref.ask(m.CollectMetrics())
    assert {"fasterstore_things", "fasterstore_actor_messages"} <= {sample["name"] for sample in answer}
    assert all(set(sample) == {"name", "kind", "help", "samples"} for sample in answer)


def test_a_message_that_it_does_not_know_is_answered_with_nothing():
    assert Observer.start("storage", own_samples).ask(m.Done()) == []


def test_a_histogram_is_cumulative_and_counts_bounds_as_within():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.observe(value)
    lines = histogram.samples({"a": "b"})
    assert [(line[0], line[1].get("le"), line[2]) for line in lines] == [
        ("_bucket", "1.0", 2), ("_bucket", "2.0", 4), ("_bucket", "+Inf", 5), ("_count", None, 5), ("_sum", None, 104.0),
    ]  # fmt: skip
    assert metric("n", "gauge", "t", lines)["samples"] is lines
