"""A response body that is made while it is sent: what the application and the connection handler know of every such body.

A handler that can sendfile uses `regions()`; any other WSGI server iterates and gets bytes. Owns only what is the same for all: the end.
"""

from collections.abc import Callable, Iterator

from web.regions import Piece


class StreamedBody:
    """Base of large answers. `finished`, if set, is called once by `close()`."""

    __slots__ = ("finished",)

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory while a reader is waited for, beside the piece that is being sent: windows that were read ahead."""
        return 0

    def __init__(self) -> None:
        self.finished: Callable[[], None] | None = None

    def regions(self) -> Iterator[Piece]:
        """Pieces of files and byte strings, each verified before it is yielded and valid until the next one is asked for.

        Raises: DamagedRecord (already logged and counted), OSError: the answer cannot be completed, reset the connection.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[bytes]:
        """Verified bytes. Raises as `regions()` does."""
        raise NotImplementedError

    def close(self) -> None:
        """The answer was sent or given up."""
        finished, self.finished = self.finished, None
        if finished is not None:
            finished()
