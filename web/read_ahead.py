"""Windows of a record, the next one being read in a native thread while the last one is sent. Owns no buffer and knows no format."""

from collections.abc import Callable, Iterator
from typing import Any

from actors.runtime import offload, spawn
from fasterstore.errors import DamagedRecord


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
