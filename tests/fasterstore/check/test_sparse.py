"""Numbers by number: as a dict with 0 for what is not there, near and far."""

import random
from collections import Counter

from fasterstore.check.sparse import SparseInts


def test_it_is_a_counter():
    rng = random.Random(3)
    made, model = SparseInts(), Counter()
    for _ in range(20_000):
        number, change = rng.choice((rng.randrange(10_000), rng.randrange(1 << 60))), rng.randrange(-5, 1 << 40)
        made.add(number, change)
        model[number] += change
    assert all(made.get(number) == value for number, value in model.items())
    assert [made.get(number) for number in range(20_000, 20_010)] == [model[number] for number in range(20_000, 20_010)]
    assert SparseInts().get(5) == 0, "a page that was filled is not shared"
