"""The blob cache: bounded in bytes whatever comes, and the blob that was looked at survives the one that was not."""

import random

import pytest

from fasterstore.cache import ENTRY_OVERHEAD_BYTES, BlobCache


def room_for(count: int, size: int) -> int:
    return count * (size + ENTRY_OVERHEAD_BYTES)


def test_a_body_is_found_until_it_is_evicted():
    cache = BlobCache(room_for(2, 100), 100)
    cache.admit(1, b"a" * 100)
    assert cache.get(1) == b"a" * 100
    assert cache.get(2) is None
    assert (cache.hits, cache.misses, len(cache)) == (1, 1, 1)


def test_the_oldest_goes_first_unless_it_was_looked_at():
    cache = BlobCache(room_for(3, 100), 100)
    for blob in (1, 2, 3):
        cache.admit(blob, bytes(100))
    cache.get(1)
    cache.admit(4, bytes(100))
    assert [blob for blob in (1, 2, 3, 4) if cache.get(blob) is not None] == [1, 3, 4]
    assert cache.evictions == 1


def test_a_mark_counts_once():
    cache = BlobCache(room_for(2, 100), 100)
    cache.admit(1, bytes(100))
    cache.get(1)
    for blob in (2, 3, 4):
        cache.admit(blob, bytes(100))
    assert cache.get(1) is None


def test_it_never_holds_more_than_its_bytes_and_counts_them_exactly():
    rng = random.Random(1)
    cache = BlobCache(10_000, 3_000)
    kept: dict[int, int] = {}
    for _ in range(3000):
        blob = rng.randrange(60)
        size = kept.setdefault(blob, rng.choice((0, 1, 500, 2999, 3000)))
        if rng.random() < 0.5:
            cache.get(blob)
        else:
            cache.admit(blob, bytes(size))
        assert cache.held_bytes <= 10_000
        held = [blob for blob in kept if blob in cache._entries]
        assert cache.held_bytes == sum(kept[blob] + ENTRY_OVERHEAD_BYTES for blob in held)
    assert cache.evictions > 100


@pytest.mark.parametrize("capacity", [0, 1, ENTRY_OVERHEAD_BYTES - 1, ENTRY_OVERHEAD_BYTES, ENTRY_OVERHEAD_BYTES + 1])
def test_a_body_that_can_never_fit_is_ignored_and_evicts_nobody(capacity):
    cache = BlobCache(capacity, 1 << 20)
    cache.admit(1, b"xx")
    assert (len(cache), cache.held_bytes, cache.evictions) == (0, 0, 0)
    cache.admit(2, b"")
    assert cache.held_bytes <= capacity


def test_a_body_above_the_object_limit_is_ignored():
    cache = BlobCache(1 << 20, 1000)
    cache.admit(1, bytes(1001))
    cache.admit(2, bytes(1000))
    assert cache.get(1) is None
    assert cache.get(2) is not None


def test_admitting_a_blob_twice_counts_it_once():
    cache = BlobCache(1000, 500)
    cache.admit(1, b"abc")
    cache.admit(1, b"abc")
    assert cache.held_bytes == 3 + ENTRY_OVERHEAD_BYTES


def test_clear_forgets_everything():
    cache = BlobCache(1000, 500)
    cache.admit(1, b"abc")
    cache.clear()
    assert (cache.get(1), cache.held_bytes, len(cache)) == (None, 0, 0)
    cache.admit(1, b"def")
    assert cache.get(1) == b"def"
