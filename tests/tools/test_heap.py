"""The C heap gives back what it has kept in its middle."""

import ctypes
import os

import pytest

from scripts.measure.process_tree import pss_bytes
from tools import heap

_MIB = 1 << 20


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library gives memory back by itself")
def test_memory_freed_in_the_middle_of_the_heap_goes_back_to_the_system() -> None:
    blocks = [bytes(60_000) for _ in range(1000)]
    kept = blocks[::50]
    del blocks
    before = pss_bytes(os.getpid())
    heap.give_back()
    assert pss_bytes(os.getpid()) < before - 20 * _MIB
    assert len(kept) == 20
