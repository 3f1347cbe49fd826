"""The checker of histories itself: it finds an order where there is one, and none where a store was wrong."""

import random

import pytest

from tests.s3.linearizability import (
    CREATE,
    DELETE,
    MISSING,
    PUT,
    READ,
    REFUSED,
    REMOVE,
    REPLACE,
    Operation,
    serial_order,
)

# Times are (sent, answered).
POSSIBLE = {
    "nothing": [],
    "one after the other": [Operation(0, 1, CREATE, value="a"), Operation(2, 3, REPLACE, "a", "b"), Operation(4, 5, READ, value="b")],
    "the later answer first": [Operation(0, 9, CREATE, value="a"), Operation(1, 2, CREATE, value="b", outcome=REFUSED)],
    "a read of either": [Operation(0, 9, PUT, value="a"), Operation(1, 2, READ, value="a"), Operation(3, 4, READ, value="a")],
    "created again after a removal": [
        Operation(0, 1, CREATE, value="a"),
        Operation(2, 9, REMOVE, "a"),
        Operation(3, 8, CREATE, value="b"),
        Operation(10, 11, READ, value="b"),
    ],
    "removed twice": [Operation(0, 1, CREATE, value="a"), Operation(2, 5, REMOVE, "a"), Operation(2, 5, REMOVE, "a")],
    "removed before it was there": [Operation(0, 5, REMOVE, "b"), Operation(0, 5, CREATE, value="a"), Operation(6, 7, READ, value="a")],
    "missing between two": [Operation(0, 5, REPLACE, "a", "b", MISSING), Operation(0, 5, CREATE, value="a")],
    "a plain delete that found something": [
        Operation(0, 9, DELETE),
        Operation(0, 9, CREATE, value="a"),
        Operation(0, 9, CREATE, value="b"),
    ],
}
IMPOSSIBLE = {
    "two creations": [Operation(0, 5, CREATE, value="a"), Operation(1, 6, CREATE, value="b")],
    "a lost update": [
        Operation(0, 1, CREATE, value="a"),
        Operation(2, 5, REPLACE, "a", "b"),
        Operation(2, 5, REPLACE, "a", "c"),
    ],
    "removed though it was another": [Operation(0, 1, CREATE, value="a"), Operation(2, 5, REMOVE, "b")],
    "a removal that found nothing": [Operation(0, 1, CREATE, value="a"), Operation(2, 5, REMOVE, "a", outcome=MISSING)],
    "an old value read": [Operation(0, 1, CREATE, value="a"), Operation(2, 3, REPLACE, "a", "b"), Operation(4, 5, READ, value="a")],
    "not yet visible at its answer": [Operation(0, 1, CREATE, value="a"), Operation(2, 3, READ)],
    "read before it was sent": [Operation(0, 1, READ, value="a"), Operation(2, 3, PUT, value="a")],
    "refused without reason": [Operation(0, 1, CREATE, value="a", outcome=REFUSED)],
    "gone without a delete": [Operation(0, 1, PUT, value="a"), Operation(2, 3, REPLACE, "a", "b", MISSING)],
    "there and back": [
        Operation(0, 9, PUT, value="a"),
        Operation(0, 9, PUT, value="b"),
        Operation(1, 2, READ, value="a"),
        Operation(3, 4, READ, value="b"),
        Operation(5, 6, READ, value="a"),
    ],
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_a_history_that_some_order_explains(name) -> None:
    order = serial_order(POSSIBLE[name])
    assert order is not None
    assert sorted(order, key=repr) == sorted(POSSIBLE[name], key=repr)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_history_that_no_order_explains(name) -> None:
    assert serial_order(IMPOSSIBLE[name]) is None


def _random_history(seed: int, broken: bool) -> list[Operation]:
    """What 20 clients see of a register that is right, or one whose writers sometimes judge by an older state (`broken`)."""
    choose = random.Random(seed)
    state: str | None = None
    before: str | None = None
    history = []
    for number in range(200):
        at = float(number)
        sent, answered = at - choose.random() * 20, at + choose.random() * 20
        seen = before if broken and choose.random() < 0.05 else state
        kind = choose.choice((CREATE, REPLACE, REMOVE, READ, REPLACE))
        condition = choose.choice((state, before, "other")) or "other"
        if kind == READ:
            history.append(Operation(sent, answered, READ, value=seen))
            continue
        nothing = "done" if kind in (CREATE, REMOVE) else MISSING
        outcome = nothing if seen is None else "done" if seen == condition and kind != CREATE else REFUSED
        history.append(Operation(sent, answered, kind, condition, str(number) if kind != REMOVE else None, outcome))
        if outcome == "done" and not (kind == REMOVE and seen is None):
            before, state = state, None if kind == REMOVE else str(number)
    return history


@pytest.mark.parametrize("seed", range(10))
def test_long_histories_are_decided(seed) -> None:
    assert serial_order(_random_history(seed, broken=False)) is not None


def test_a_store_that_judges_by_old_states_is_found_out() -> None:
    assert sum(serial_order(_random_history(seed, broken=True)) is None for seed in range(10)) >= 5
