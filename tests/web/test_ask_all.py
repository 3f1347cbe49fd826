"""Many asks under way at once, over an actor that admits only so many."""

from types import SimpleNamespace

import pytest

from actors.directory import Directory
from actors.messages import Refused
from actors.runtime import ActorDeadError, Reply, spawn_later
from web.ask_all import ask_all
from web.worker import Worker


class Narrow:
    """A ref that admits `room` asks at a time, answers each a moment later with its double, and refuses what it dislikes."""

    def __init__(self, room):
        self.room, self.most, self.under_way = room, 0, 0

    def ask(self, message, *, block=True, timeout=None):
        reply = Reply()
        if message == "dead":
            raise ActorDeadError("it is gone")
        if self.under_way >= self.room:
            reply.set(Refused("Overloaded", "too many requests in flight"))
            return reply
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        spawn_later(0.001, self._answer, reply, message)
        return reply

    def _answer(self, reply, message):
        self.under_way -= 1
        if message == "fails":
            reply.fail(ActorDeadError("it died meanwhile"))
        else:
            reply.set(Refused("Superseded") if message is None else message * 2)


@pytest.fixture
def ask():
    def make(ref, messages):
        directory = Directory()
        directory.register("narrow", ref)
        settings = SimpleNamespace(request_timeout_secs=5)
        worker = SimpleNamespace(directory=directory, settings=settings)
        worker.awaited = lambda *arguments: Worker.awaited(worker, *arguments)
        return ask_all(worker, "narrow", messages)

    return make


@pytest.mark.parametrize("room", [1, 3, 100])
def test_every_answer_is_its_messages_however_few_are_admitted_at_once(ask, room):
    ref = Narrow(room)
    assert ask(ref, list(range(40))) == [2 * number for number in range(40)]
    assert ref.most == min(room, 40)


def test_refusals_and_ends_are_answers_of_their_own_message_only(ask):
    answers = ask(Narrow(2), [1, None, "dead", "fails", 5])
    assert answers[0] == 2
    assert answers[1] == Refused("Superseded")
    assert [answer.error for answer in answers[2:4]] == ["Unavailable", "OutcomeUnknown"]
    assert answers[4] == 10


def test_none_is_asked_of_nobody(ask):
    assert ask(Narrow(1), []) == []
