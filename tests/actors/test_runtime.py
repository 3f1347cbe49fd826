import gc
import logging
import time
import traceback

import pykka
import pytest
from gevent import GreenletExit, Timeout, sleep, spawn

from actors import vitals
from actors.messages import Refused
from actors.runtime import ActorDeadError, ActorFailure, AskTimeout, Event, GeventActor, NativeThread, ask, offload, tell
from fasterstore.errors import InvariantError


@pytest.fixture(autouse=True)
def no_actor_outlives_its_test():
    yield
    for ref in reversed(pykka.ActorRegistry.get_all()):
        ref.kill()
    assert pykka.ActorRegistry.get_all() == []


class Echo(GeventActor):
    """Calls a message that can be called, and answers with the result; else answers the message."""

    def on_receive(self, message):
        return message() if callable(message) else message


class Batcher(GeventActor):
    """Remembers the sizes of its batches; answers all at the end of a batch."""

    max_batch = 4

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.batches = []

    def on_batch(self, envelopes):
        self.batches.append([envelope.message for envelope in envelopes])
        for envelope in envelopes:
            if envelope.message == "sizes":
                envelope.reply([len(batch) for batch in self.batches])
            elif envelope.message == "forget me":
                continue
            elif envelope.message == "twice":
                envelope.reply("first")
                envelope.reply("second")
            else:
                envelope.reply(envelope.message)


class Forwarder(GeventActor):
    max_batch = 8

    def __init__(self, target, **kwargs):
        super().__init__(**kwargs)
        self.target = target

    def on_batch(self, envelopes):
        for envelope in envelopes:
            envelope.forward(self.target, ("forwarded", envelope.message))


class Keeper(GeventActor):
    """Answers what it kept when told to."""

    max_batch = 8

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.kept = []

    def on_batch(self, envelopes):
        for envelope in envelopes:
            if envelope.message == "answer":
                for kept in self.kept:
                    kept.reply(f"late {kept.message}")
                envelope.reply(len(self.kept))
            else:
                self.keep(envelope)
                self.kept.append(envelope)


def raiser(error):
    def run():
        raise error

    return run


def test_an_ask_returns_what_the_handler_returns():
    assert ask(Echo.start(), "hello", 5) == "hello"


def test_a_tell_is_handled_in_the_order_it_was_sent():
    seen = []
    ref = Echo.start()
    for number in range(1000):
        assert tell(ref, lambda number=number: seen.append(number))
    ask(ref, "all handled", 5)
    assert seen == list(range(1000))


def test_an_exception_in_a_handler_reaches_the_asker_by_value_and_the_actor_lives_on():
    ref = Echo.start(name="clumsy")
    with pytest.raises(ActorFailure, match="clumsy: KeyError: 'lost'") as caught:
        ask(ref, raiser(KeyError("lost")), 5)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert "on_receive" not in {frame.name for frame in traceback.extract_tb(caught.tb)}
    assert ask(ref, "still here", 5) == "still here"
    (mine,) = [entry for entry in vitals.snapshot() if entry["name"] == "clumsy"]
    assert (mine["failed"], mine["last_error"], mine["state"]) == (1, "KeyError: 'lost'", "idle")


def test_an_exception_keeps_no_frame_of_the_handler_alive(monkeypatch):
    # pytest's log capture would keep the record, and with it the traceback.
    monkeypatch.setattr(logging.getLogger("actors.runtime"), "disabled", True)

    class Big:
        pass

    def handler():
        big = Big()
        raise ValueError(type(big).__name__)

    ref = Echo.start()
    reply = ref.ask(handler, block=False)
    with pytest.raises(ActorFailure):
        reply.get(timeout=5)
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found) is Big]


def test_the_traceback_of_a_reply_does_not_grow_when_it_is_read_again():
    reply = Echo.start().ask(raiser(ValueError("x")), block=False)
    depths = []
    for _ in range(5):
        try:
            reply.get(timeout=5)
        except ActorFailure as error:
            depths.append(len(traceback.extract_tb(error.__traceback__)))
    assert len(set(depths)) == 1


def test_a_timeout_that_a_handler_lets_through_stops_no_actor():
    bystander, ref = Echo.start(), Echo.start()

    def too_slow():
        with Timeout(0.01):
            sleep(5)

    with pytest.raises(ActorFailure, match="Timeout"):
        ask(ref, too_slow, 5)
    assert ask(ref, 1, 5) == 1
    assert ask(bystander, 2, 5) == 2


def test_a_timeout_left_running_by_a_handler_does_not_end_the_actor_while_it_is_idle():
    ref = Echo.start()
    ask(ref, lambda: Timeout.start_new(0.01) and None, 5)
    sleep(0.05)
    assert ask(ref, 1, 5) == 1


@pytest.mark.parametrize("error", [GreenletExit("inside"), GreenletExit()])
def test_a_greenlet_exit_raised_in_a_handler_ends_that_actor_only(error):
    bystander, ref = Echo.start(), Echo.start()
    with pytest.raises(ActorDeadError):
        ask(ref, raiser(error), 5)
    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()
    assert ask(bystander, 2, 5) == 2


def test_a_kill_while_handling_fails_the_message_in_hand_and_those_behind_it():
    bystander, ref = Echo.start(), Echo.start()
    in_hand = ref.ask(lambda: sleep(60), block=False)
    behind = [ref.ask(number, block=False) for number in range(3)]
    sleep(0)
    ref.kill()
    for reply in [in_hand, *behind]:
        with pytest.raises(ActorDeadError):
            reply.get(timeout=5)
    assert ref not in pykka.ActorRegistry.get_all()
    assert ask(bystander, 2, 5) == 2


def test_an_actor_killed_while_idle_is_no_zombie():
    ref = Echo.start(name="idle one")
    assert ask(ref, 1, 5) == 1
    ref.kill()
    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()
    with pytest.raises(ActorDeadError):
        ask(ref, 2, 5)
    assert tell(ref, 3) is False
    assert [entry["state"] for entry in vitals.snapshot() if entry["name"] == "idle one"] == ["dead"]


@pytest.mark.parametrize("kill", [lambda ref: ref.kill(), lambda ref: ref.actor_inbox.consumer.kill()], ids=["ref", "greenlet"])
def test_an_actor_killed_before_its_first_turn_fails_what_was_sent_to_it(kill):
    ref = Echo.start()
    reply = ref.ask(1, block=False)
    kill(ref)
    with pytest.raises(ActorDeadError):
        reply.get(timeout=5)
    assert ref not in pykka.ActorRegistry.get_all()


def test_a_kill_runs_on_failure_and_not_on_stop():
    seen = []

    class Watched(Echo):
        def on_stop(self):
            seen.append("stop")

        def on_failure(self, exception_type, exception_value, traceback):
            seen.append(exception_type)

    ref = Watched.start()
    ask(ref, 1, 5)
    ref.kill()
    assert seen == [GreenletExit]


def test_an_actor_whose_start_fails_is_dead_and_answers_so():
    class Stillborn(Echo):
        def on_start(self):
            raise OSError("no disk")

    ref = Stillborn.start(name="stillborn")
    with pytest.raises(ActorDeadError):
        ask(ref, 1, 5)
    assert ref not in pykka.ActorRegistry.get_all()
    assert [entry["last_error"] for entry in vitals.snapshot() if entry["name"] == "stillborn"] == ["OSError: no disk"]


def test_a_stop_comes_after_what_was_sent_before_it_and_before_what_was_sent_after_it():
    done = []
    ref = Echo.start()
    before = ref.ask(lambda: done.append("before"), block=False)
    stopped = ref.stop(block=False)
    after = ref.ask(lambda: done.append("after"), block=False)
    assert stopped.get(timeout=5) is True
    assert before.get(timeout=5) is None
    with pytest.raises(ActorDeadError):
        after.get(timeout=5)
    assert done == ["before"]
    assert ref.stop(timeout=5) is False


def test_a_stop_in_the_middle_of_a_full_mailbox_is_not_drained_into_a_batch():
    ref = Batcher.start()
    replies = [ref.ask(number, block=False) for number in range(2)]
    stopped = ref.stop(block=False)
    late = ref.ask("late", block=False)
    assert [reply.get(timeout=5) for reply in replies] == [0, 1]
    assert stopped.get(timeout=5) is True
    with pytest.raises(ActorDeadError):
        late.get(timeout=5)


def test_asks_that_arrive_while_on_stop_waits_fail_when_it_is_over():
    stopping, go_on = Event(), Event()

    class Slow(Echo):
        def on_stop(self):
            stopping.set()
            go_on.wait()

    ref = Slow.start()
    stopped = ref.stop(block=False)
    stopping.wait(5)
    reply = ref.ask(1, block=False)
    go_on.set()
    with pytest.raises(ActorDeadError):
        reply.get(timeout=5)
    assert stopped.get(timeout=5) is True


def test_a_kill_during_on_stop_answers_whoever_asked_for_the_stop():
    class Slow(GeventActor):
        def on_stop(self):
            sleep(60)

    ref = Slow.start()
    stopped = ref.stop(block=False)
    sleep(0.01)
    ref.kill()
    assert stopped.get(timeout=5) is True
    assert not ref.is_alive()


def test_actors_stop_in_the_reverse_order_of_their_start():
    order = []

    class Ordered(Echo):
        def on_stop(self):
            order.append(self.name)

    for name in ("lower", "middle", "upper"):
        Ordered.start(name=name)
    assert pykka.ActorRegistry.stop_all(timeout=5) == [True, True, True]
    assert order == ["upper", "middle", "lower"]


def test_a_batch_takes_all_that_waits_up_to_max_batch():
    ref = Batcher.start()
    replies = [ref.ask(number, block=False) for number in range(6)]
    assert [reply.get(timeout=5) for reply in replies] == list(range(6))
    assert ask(ref, "sizes", 5) == [4, 2, 1]


@pytest.mark.parametrize("error", [ValueError("bad batch"), Timeout(1, "bad batch")])
def test_an_exception_in_a_batch_fails_those_without_an_answer_and_only_those(error):
    class Failing(Batcher):
        def on_batch(self, envelopes):
            envelopes[0].reply(envelopes[0].message)
            if len(envelopes) > 1:
                raise error

    ref = Failing.start()
    first, second, third = (ref.ask(message, block=False) for message in ("fine", "in hand", "behind"))
    assert first.get(timeout=5) == "fine"
    for reply in (second, third):
        with pytest.raises(ActorFailure, match="bad batch"):
            reply.get(timeout=5)
    assert ask(ref, "alive", 5) == "alive"


def test_a_handler_of_single_messages_that_fails_in_a_batch_fails_that_one_only():
    class Several(Echo):
        max_batch = 8

    ref = Several.start()
    replies = [ref.ask(message, block=False) for message in (raiser(Timeout(1)), raiser(KeyError(1)), "fine")]
    for reply in replies[:2]:
        with pytest.raises(ActorFailure):
            reply.get(timeout=5)
    assert replies[2].get(timeout=5) == "fine"


def test_a_message_that_a_batch_leaves_unanswered_fails_instead_of_hanging():
    with pytest.raises(ActorFailure, match="without an answer"):
        ask(Batcher.start(), "forget me", 5)


def test_a_tell_may_be_left_unanswered():
    ref = Batcher.start(name="told")
    tell(ref, "forget me")
    ask(ref, "x", 5)
    assert [entry["failed"] for entry in vitals.snapshot() if entry["name"] == "told"] == [0]


def test_a_forwarded_ask_is_answered_by_the_target():
    ref = Forwarder.start(Echo.start())
    assert ask(ref, "to whom", 5) == ("forwarded", "to whom")


def test_a_forward_to_a_stopped_actor_fails_the_asker_at_once():
    target = Echo.start()
    ref = Forwarder.start(target)
    target.stop(timeout=5)
    reply = ref.ask("anyone", block=False)
    with pytest.raises(ActorDeadError):
        reply.get(timeout=5)


def test_a_target_killed_with_forwarded_asks_fails_their_askers():
    target = Echo.start()
    ref = Forwarder.start(target)
    tell(target, lambda: sleep(60))
    reply = ref.ask("anyone", block=False)
    sleep(0.01)
    target.kill()
    with pytest.raises(ActorDeadError):
        reply.get(timeout=5)


def test_a_second_reply_is_ignored_and_logged(caplog):
    with caplog.at_level(logging.ERROR):
        assert ask(Batcher.start(), "twice", 5) == "first"
    assert "reply after the answer" in caplog.text


def test_a_reply_after_a_forward_is_ignored():
    class Greedy(GeventActor):
        max_batch = 2

        def on_batch(self, envelopes):
            for envelope in envelopes:
                envelope.forward(target, "of the target")
                envelope.reply("of the forwarder")

    target = Echo.start()
    assert ask(Greedy.start(), "x", 5) == "of the target"


def test_kept_asks_are_answered_later():
    ref = Keeper.start()
    kept = [ref.ask(name, block=False) for name in ("a", "b")]
    sleep(0.01)
    assert not any(reply.done() for reply in kept)
    assert ask(ref, "answer", 5) == 2
    assert [reply.get(timeout=5) for reply in kept] == ["late a", "late b"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_kept_asks_fail_when_the_actor_ends(end):
    ref = Keeper.start()
    kept = ref.ask("a", block=False)
    sleep(0.01)
    getattr(ref, end)()
    with pytest.raises(ActorDeadError):
        kept.get(timeout=5)


def test_an_ask_whose_time_is_over_is_an_unknown_outcome_and_a_late_answer_harms_nobody():
    ref = Echo.start()
    outcome = ask(ref, lambda: sleep(0.05), 0.01)
    assert isinstance(outcome, Refused) and outcome.error == "OutcomeUnknown"
    with pytest.raises(AskTimeout):
        ref.ask(lambda: sleep(0.05), timeout=0.01)
    assert ask(ref, "next", 5) == "next"


def test_an_asker_that_is_killed_is_not_woken_by_a_late_answer():
    ref = Echo.start()
    asker = spawn(ask, ref, lambda: sleep(0.02), 5)
    sleep(0.01)
    asker.kill()
    sleep(0.05)
    assert isinstance(asker.value, GreenletExit)
    assert ask(ref, 1, 5) == 1


def test_an_asker_that_goes_on_after_a_timeout_of_its_own_is_not_woken_by_the_answer():
    ref = Echo.start()
    with Timeout(0.01, False):
        ask(ref, lambda: sleep(0.03), 5)
    started = time.perf_counter()
    sleep(0.1)
    assert time.perf_counter() - started >= 0.05, "woken by the answer, which came after 0.03"


def test_an_actor_that_asks_itself_is_refused():
    class Narcissus(GeventActor):
        def on_receive(self, message):
            return self.actor_ref.ask(message)

    with pytest.raises(ActorFailure, match="asks itself"):
        ask(Narcissus.start(), 1, 5)


def test_an_actor_that_keeps_telling_itself_lets_others_run():
    class Restless(GeventActor):
        def on_receive(self, message):
            self.actor_ref.tell(message)

    ref = Restless.start()
    tell(ref, "again")
    assert ask(Echo.start(), 1, 5) == 1
    ref.kill()


def test_a_native_thread_cannot_touch_an_actor_ref():
    ref = Echo.start()
    for send in (ref.tell, lambda message: ref.ask(message, timeout=1)):
        with pytest.raises(InvariantError, match="native thread"):
            offload(send, 1)
    assert ask(ref, 1, 5) == 1


def test_a_native_thread_runs_one_call_at_a_time_in_one_thread_while_greenlets_go_on():
    from gevent.monkey import get_original

    thread_id, native_sleep = get_original("_thread", "get_ident"), get_original("time", "sleep")
    thread = NativeThread("single")
    spans = []

    def work():
        begin = time.perf_counter()
        native_sleep(0.02)
        spans.append((begin, time.perf_counter()))
        return thread_id()

    turns = []
    ticker = spawn(lambda: [turns.append(sleep(0.001)) for _ in range(5)])
    workers = [spawn(thread.run, work) for _ in range(3)]
    for worker in workers:
        worker.join(5)
    ticker.join(5)
    assert len({worker.value for worker in workers}) == 1 and workers[0].value != thread_id()
    assert all(end <= begin for (_, end), (begin, _) in zip(spans, spans[1:], strict=False))
    assert len(turns) == 5
    thread.close()


@pytest.mark.parametrize("run", [offload, NativeThread("raiser").run])
def test_an_exception_in_a_native_thread_is_raised_in_the_calling_greenlet_only(run, capfd):
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
    assert "Traceback" not in capfd.readouterr().err
    assert run(max, 1, 2) == 2
