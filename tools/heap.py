"""The C heap: freed memory goes back to the system only from its end, so that a burst of buffers can leave a process large for ever."""

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; other C libraries give memory back by themselves."""


def give_back() -> None:
    """Return the free pages of the heap, from its middle too, to the system. Takes milliseconds."""
    if _trim is not None:
        _trim(0)
