"""Many asks of one storage actor under way at once, as many as storage grants: answers that are awaited together cost one wait."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from actors.messages import Refused
from actors.runtime import ActorDeadError, ActorFailure, Reply, sleep
from web.worker import Worker

RETRY_SECS = 0.02


def ask_all(worker: Worker, actor: str, messages: Sequence[Any]) -> list[Any]:
    """The answer to each message, in order: values, refusals among them.

    What storage does not admit because too much is in flight was not sent, and is sent when there is room.
    """
    answers: list[Any] = [None] * len(messages)
    under_way: deque[tuple[int, Reply]] = deque()
    waited_secs = 0.0
    for place, message in enumerate(messages):
        while True:
            try:
                reply: Reply = worker.directory.get(actor).ask(message, block=False)
            except (ActorDeadError, ActorFailure):
                answers[place] = Refused("Unavailable", f"{actor} is not there")
                break
            if not _was_not_admitted(reply) or waited_secs >= worker.settings.request_timeout_secs:
                under_way.append((place, reply))
                break
            if under_way:
                earlier, pending = under_way.popleft()
                answers[earlier] = worker.awaited(actor, messages[earlier], pending)
            else:
                sleep(RETRY_SECS)
                waited_secs += RETRY_SECS
    for place, reply in under_way:
        answers[place] = worker.awaited(actor, messages[place], reply)
    return answers


def _was_not_admitted(reply: Reply) -> bool:
    if not reply.done():
        return False
    try:
        answer = reply.get()
    except (ActorDeadError, ActorFailure):
        return False
    return isinstance(answer, Refused) and answer.error == "Overloaded"
