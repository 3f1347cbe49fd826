"""Windows of a record, the next one being read in a native thread while the last one is sent, and who may do so. Knows no format.

Two windows for each of two thousand readers would be gigabytes. So in one process PLACES_BYTES are read ahead at a time; the other answers
read what they send when the socket has room for it (`CheckedRegion`), and look for a place after each window. Such a reader is
served about as fast, but costs more processor time where it takes less than was read.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any
from weakref import WeakSet

from actors.runtime import Semaphore, offload, spawn
from fasterstore.errors import DamagedRecord
from web.regions import CheckedRegion

PLACES_BYTES = 8 * 1024 * 1024
"""What all answers of one process together hold that read ahead: four of plain records with FS_VERIFY_READS=strict, eight of encrypted
ones, whose decryption is worth more of it."""
READS_MAX = 4
"""Reads of those without a place at once in one process: more would finish faster than they are sent."""


class Place:
    """The right to read ahead, until it is given back, or nobody refers to it any more: a body may be dropped before it is begun."""

    __slots__ = ("__weakref__", "held_bytes")

    def __init__(self, held_bytes: int) -> None:
        self.held_bytes = held_bytes


class Places:
    """As many places as hold PLACES_BYTES together."""

    def __init__(self) -> None:
        self._taken: WeakSet[Place] = WeakSet()

    def take(self, held_bytes: int) -> Place | None:
        """One for who holds that much with it, None if there is not room for it."""
        if sum(place.held_bytes for place in self._taken) + held_bytes > PLACES_BYTES:
            return None
        place = Place(held_bytes)
        self._taken.add(place)
        return place

    def give_back(self, place: Place | None) -> None:
        """More than once does no harm."""
        if place is not None:
            self._taken.discard(place)


places = Places()
_reads = Semaphore(READS_MAX)


def read_in_turn(read: Callable[..., Any], *arguments: Any) -> Any:
    """`read(*arguments)` in a native thread, in the order in which it was asked for. For answers without a place. Raises as `read` does."""
    with _reads:
        return offload(read, *arguments)


def regions_until_place(
    read: Callable[[int, int], memoryview], window_end: Callable[[int], int], first: int, end: int, held_bytes: int
) -> Generator[CheckedRegion, None, tuple[int, Place | None]]:
    """The windows from `first` on as regions that are read when they are sent, until there is a place for `held_bytes`.

    Returns: where the first window begins that was not yielded, and the place to read ahead from there on; `end` and None at the end.
    """
    while first < end:
        place = places.take(held_bytes)
        if place is not None:
            return first, place
        stop = min(window_end(first), end)
        yield CheckedRegion(read, first, stop)
        first = stop
    return end, None


def read_ahead(
    read: Callable[[int, int], Any], window_end: Callable[[int], int], first: int, end: int
) -> Iterator[tuple[int, int, Any]]:
    """(start, stop, what `read(start, stop)` returned) for each window from `first` to `end`.

    Args: `read` runs in a native thread; `window_end(start)` says where the window that begins at `start` ends.
    Raises: DamagedRecord, OSError, as `read` does.
    """
    stop = min(window_end(first), end)
    ahead = None
    while first < end:
        outcome = ahead.get() if ahead is not None else _outcome(read, first, stop)
        if isinstance(outcome, Exception):
            raise outcome
        following, following_stop = stop, min(window_end(stop), end)
        ahead = spawn(_outcome, read, following, following_stop) if following < end else None
        yield first, stop, outcome
        first, stop = following, following_stop


def _outcome(read: Callable[[int, int], Any], first: int, end: int) -> Any:
    """The window, or its error as a value: a greenlet that raises would print a traceback besides."""
    try:
        return offload(read, first, end)
    except (DamagedRecord, OSError) as error:
        return error
