"""What is stored: a few contents that come again and again, and others that nobody has seen."""

import random

from hypothesis import strategies as st

from tests.faults.engine import SEGMENT_TARGET_BYTES

pool = st.integers(0, 3).map(lambda number: random.Random(number).randbytes((17, 700, 5000, 1)[number]))
fresh = st.tuples(st.integers(0, 1 << 32), st.sampled_from([1, 100, 511, 4096, SEGMENT_TARGET_BYTES])).map(
    lambda drawn: random.Random(drawn[0]).randbytes(drawn[1])
)
bodies = st.one_of(st.just(b""), pool, pool, fresh)
two_chunks = st.just(1100).map(lambda times: bytes(range(256)) * times)
large_bodies = st.one_of(pool, fresh, two_chunks)
