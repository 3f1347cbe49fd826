"""One line on a terminal that says what is under way and how far; silence where nobody watches."""

import sys
from time import monotonic
from typing import TextIO

WIDTH = 30
INTERVAL_SECS = 0.1


class ProgressBar:
    """Draws on `stream` (stderr) if it is a terminal. `close` leaves an empty line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._drawn_at = 0.0
        self._drawn = False

    def show(self, what: str, done: int, total: int) -> None:
        """`done` of `total` (0: unknown) of `what`."""
        now = monotonic()
        if not self._shown or (now - self._drawn_at < INTERVAL_SECS and done != total):
            return
        self._drawn_at, self._drawn = now, True
        if total:
            filled = min(done, total) * WIDTH // total
            line = f"{what} [{'#' * filled}{'.' * (WIDTH - filled)}] {min(done, total) * 100 // total:3d}%"
        else:
            line = f"{what} ..." if not done else f"{what} {done:,}"
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()

    def close(self) -> None:
        """Clear the line."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False
