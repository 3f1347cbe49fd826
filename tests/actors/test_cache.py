"""cache: what is told is kept within its bytes, and nothing outlives the index whose numbers it is filed under."""

import pykka
import pytest

from actors.cache import Cache
from actors.messages import Admit, ForgetAll
from fasterstore.cache import ENTRY_OVERHEAD_BYTES, BlobCache


@pytest.fixture
def blobs():
    return BlobCache(10 * (100 + ENTRY_OVERHEAD_BYTES), 100)


@pytest.fixture
def cache(blobs):
    ref = Cache.start(blobs)
    yield ref
    for left in pykka.ActorRegistry.get_all():
        left.kill()


def handled(ref):
    """Return once everything told so far has been handled."""
    ref.ask(Admit(0, b""))


def test_an_admitted_blob_is_found(cache, blobs):
    cache.tell(Admit(1, b"verified"))
    handled(cache)
    assert blobs.get(1) == b"verified"


def test_it_stays_within_its_bytes(cache, blobs):
    for blob in range(1, 100):
        cache.tell(Admit(blob, bytes(100)))
    cache.tell(Admit(100, bytes(101)))
    handled(cache)
    assert blobs.held_bytes <= blobs.capacity_bytes
    assert blobs.get(99) is not None
    assert blobs.get(100) is None
    assert blobs.evictions > 80


def test_another_index_empties_it_and_the_same_one_does_not(cache, blobs):
    cache.tell(ForgetAll(b"a" * 16))
    cache.tell(Admit(1, b"of the first index"))
    cache.tell(ForgetAll(b"a" * 16))
    handled(cache)
    assert blobs.get(1) == b"of the first index"
    cache.tell(ForgetAll(b"b" * 16))
    handled(cache)
    assert blobs.get(1) is None
    cache.tell(Admit(1, b"of the second index"))
    handled(cache)
    assert blobs.get(1) == b"of the second index"
