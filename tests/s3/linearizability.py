"""Is there a serial order that explains what clients saw of one key? A checker for histories of a register with conditions.

Each operation has the time at which it was sent and the time at which its answer was there; in a serial order every operation takes
effect at one moment between the two. The search is Wing and Gong's with Lowe's memory of what was tried ("Testing for linearizability",
2017). Two rules keep it short, and neither loses an order: an operation that changes nothing is taken as soon as it fits; and an object is
not replaced while somebody still has to meet it whom no later write could serve.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

CREATE, REPLACE, REMOVE, PUT, DELETE, READ = "create", "replace", "remove", "put", "delete", "read"
DONE, REFUSED, MISSING = "done", "refused", "missing"


class Operation(NamedTuple):
    """One request and its answer. `sent` and `answered` are seconds of one clock.

    `kind`: CREATE is a PUT with If-None-Match: *, REPLACE one with If-Match, PUT one without; REMOVE is a DELETE with If-Match, DELETE one
    without, both done where there is no object; READ a GET. `condition` is the ETag in If-Match, `value` the ETag that was written,
    or read (None: there was no object). `outcome`: REFUSED is 412, MISSING 404 to a condition.
    """

    sent: float
    answered: float
    kind: str
    condition: str | None = None
    value: str | None = None
    outcome: str = DONE


def serial_order(history: Sequence[Operation], state: str | None = None) -> list[Operation] | None:
    """An order that explains the history of a key whose ETag was `state` at first (None: no object); None if there is none."""
    everything = (1 << len(history)) - 1
    tried: set[tuple[int, str | None]] = set()
    # Each frame: what has been taken, the state after it, and how many of `order` it stands on.
    frames: list[tuple[int, str | None, list[int]]] = [(0, state, [])]
    while frames:
        taken, state, order = frames.pop()
        taken, order = _take_what_changes_nothing(history, taken, state, order)
        if taken == everything:
            return [history[place] for place in order]
        if (taken, state) in tried:
            continue
        tried.add((taken, state))
        # The frame that is added last is looked at first: that of the earliest answer.
        for place in sorted(_next_places(history, taken), key=lambda place: -history[place].answered):
            if _fits(history[place], state) and not _is_needed(history, taken | 1 << place, state):
                frames.append((taken | 1 << place, _after(history[place]), [*order, place]))
    return None


def _is_needed(history: Sequence[Operation], taken: int, state: str | None) -> bool:
    """Must somebody who is left still meet the object with that ETag, though nobody who is left writes it again?"""
    if state is None:
        return False
    left = [operation for place, operation in enumerate(history) if not taken >> place & 1]
    met = any(state == (operation.value if operation.kind == READ else operation.condition) for operation in left if _meets(operation))
    return met and not any(_changes(operation) and operation.value == state for operation in left)


def _meets(operation: Operation) -> bool:
    """Does the operation say which object it met?"""
    return operation.kind == READ or (operation.kind == REPLACE and operation.outcome == DONE)


def _take_what_changes_nothing(history: Sequence[Operation], taken: int, state: str | None, order: list[int]) -> tuple[int, list[int]]:
    order = list(order)
    found = True
    while found:
        found = False
        for place in _next_places(history, taken):
            if not _changes(history[place]) and _fits(history[place], state):
                taken |= 1 << place
                order.append(place)
                found = True
                break
    return taken, order


def _next_places(history: Sequence[Operation], taken: int) -> Iterator[int]:
    """Those that may come next: nothing that is left was answered before they were sent."""
    left = [place for place in range(len(history)) if not taken >> place & 1]
    first_answer = min((history[place].answered for place in left), default=0.0)
    return (place for place in left if history[place].sent <= first_answer)


def _changes(operation: Operation) -> bool:
    return operation.kind != READ and operation.outcome == DONE


def _fits(operation: Operation, state: str | None) -> bool:
    kind, outcome = operation.kind, operation.outcome
    if kind == READ:
        return operation.value == state
    if kind in (PUT, DELETE):
        return outcome == DONE
    if kind == CREATE:
        return outcome == (DONE if state is None else REFUSED)
    if state is None:
        return outcome == (DONE if kind == REMOVE else MISSING)
    return outcome == (DONE if operation.condition == state else REFUSED)


def _after(operation: Operation) -> str | None:
    return None if operation.kind in (REMOVE, DELETE) else operation.value
