import json

import msgpack
import pytest

from actors import vitals
from actors.runtime import ActorFailure, GeventActor, ask, sleep


class Worker(GeventActor):
    def on_receive(self, message):
        return message()


def of(name):
    return next((entry for entry in vitals.snapshot() if entry["name"] == name), None)


def test_handled_messages_busy_and_queued_time_are_counted():
    ref = Worker.start(name="counted")
    slow = ref.ask(lambda: sleep(0.02), block=False)
    ask(ref, lambda: None, 5)
    slow.get(timeout=5)
    mine = of("counted")
    assert (mine["handled"], mine["failed"], mine["mailbox"], mine["state"]) == (2, 0, 0, "idle")
    assert mine["busy_secs"] >= 0.019
    assert mine["queued_secs_sum"] >= mine["queued_secs_max"] >= 0.019
    ref.stop(timeout=5)


def test_a_busy_actor_shows_its_message_type_and_its_mailbox():
    ref = Worker.start(name="busy one")
    for _ in range(3):
        ref.tell(lambda: sleep(60))
    sleep(0.01)
    mine = of("busy one")
    assert (mine["state"], mine["current"], mine["mailbox"]) == ("busy", "function", 2)
    assert mine["current_secs"] > 0
    ref.kill()


def test_a_failure_is_counted_with_its_text_and_time():
    ref = Worker.start(name="failing")
    with pytest.raises(ActorFailure):
        ask(ref, lambda: 1 // 0, 5)
    mine = of("failing")
    assert (mine["failed"], mine["last_error"]) == (1, "ZeroDivisionError: integer division or modulo by zero")
    assert mine["last_error_at_ms"] >= mine["started_at_ms"] > 0
    ref.stop(timeout=5)


def test_an_orderly_stop_leaves_the_list_and_a_kill_stays_until_the_next_start():
    Worker.start(name="orderly").stop(timeout=5)
    assert of("orderly") is None
    Worker.start(name="killed").kill()
    assert of("killed")["state"] == "dead"
    again = Worker.start(name="killed")
    assert (of("killed")["state"], of("killed")["restarts"]) == ("idle", 1)
    again.stop(timeout=5)


def test_a_snapshot_crosses_the_wire_and_renders_as_json():
    ref = Worker.start(name="plain")
    taken = vitals.snapshot()
    assert msgpack.unpackb(msgpack.packb(taken)) == taken
    assert json.loads(json.dumps(taken)) == taken
    ref.stop(timeout=5)
