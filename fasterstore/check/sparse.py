"""Numbers by number: a compact map from blob numbers to 64-bit integers, for stores of millions of blobs. Pure; owns its memory.

Blob numbers are handed out in order and live in clusters, so pages of plain arrays take about 8 bytes a blob where a dict takes 100.
"""

from array import array

_PAGE = 4096
_EMPTY = array("q", bytes(8 * _PAGE))


class SparseInts:
    """Every number has a value; it is 0 until it is changed."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def add(self, number: int, change: int) -> None:
        """Add to a number's value."""
        page = self._pages.get(number // _PAGE)
        if page is None:
            page = self._pages[number // _PAGE] = _EMPTY[:]
        page[number % _PAGE] += change

    def get(self, number: int) -> int:
        """A number's value."""
        page = self._pages.get(number // _PAGE)
        return 0 if page is None else page[number % _PAGE]
