"""Two columns on a terminal that are drawn over and over; where nobody watches, a plain line each time something has changed."""

import shutil
from collections.abc import Sequence
from time import monotonic
from typing import TextIO

PLAIN_INTERVAL_SECS = 1.0
PLAIN_LINES = 2
"""Of each column, where there is no terminal: the first ones say most."""
_GAP = "  |  "
_MIN_COLUMNS = 60


class SideBySide:
    """Owns the lines it has drawn on `stream`; `say` writes above them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._drawn_lines = 0
        self._shown: tuple[str, ...] = ()
        self._shown_at = float("-inf")

    def say(self, text: str) -> None:
        """A line of the story, which stays."""
        self._wipe()
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self._shown_at = float("-inf")

    def show(self, left: Sequence[str], right: Sequence[str]) -> None:
        """Draw both columns, each a list of lines, in place of what was there."""
        if not self._live:
            left, right = left[:PLAIN_LINES], right[:PLAIN_LINES]
        rows = max(len(left), len(right))
        both = tuple(column[row] if row < len(column) else "" for column in (left, right) for row in range(rows))
        if self._live:
            self._draw(both, rows)
        elif both != self._shown and monotonic() - self._shown_at >= PLAIN_INTERVAL_SECS:
            self._shown, self._shown_at = both, monotonic()
            self._stream.write("    " + _GAP.join(", ".join(filter(None, column)) for column in (left, right)) + "\n")
            self._stream.flush()

    def _draw(self, both: tuple[str, ...], rows: int) -> None:
        width = (max(shutil.get_terminal_size().columns, _MIN_COLUMNS) - len(_GAP) - 1) // 2
        self._wipe()
        for row in range(rows):
            self._stream.write(f"{both[row][:width]:{width}}{_GAP}{both[rows + row][:width]}\n")
        self._stream.flush()
        self._drawn_lines = rows

    def _wipe(self) -> None:
        if self._drawn_lines:
            self._stream.write(f"\x1b[{self._drawn_lines}A\x1b[J")
            self._drawn_lines = 0
