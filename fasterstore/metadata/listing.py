"""One page of a bucket's keys, rolled up by a delimiter, found by seeking through the rows in byte order.

Pure over one reading function. A common prefix is passed by one seek to the first key behind it, never by reading what lies under it,
so a page costs the same in a small bucket and a huge one, and whatever a prefix holds. Must never ask for more rows than these bounds:
a batch is at most twice as large as the number of entries that the batch before it gave, so a page of n entries reads at most
FIRST_BATCH_ROWS + 2 * n rows in at most n + 1 batches.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fasterstore.model import ObjectRow

Read = Callable[[bytes, int], Sequence[tuple[bytes, ObjectRow]]]
"""read(key, limit): at most `limit` objects in byte order of their keys, from `key` on (inclusive); fewer only where the bucket ends."""

FIRST_BATCH_ROWS = 64


class Page(NamedTuple):
    """One page: an object or a common prefix is one entry, and both lists are in byte order.

    `last` is the name of the last entry if more follow, and b"" otherwise: given as `after`, it leads to the next page.
    """

    objects: list[tuple[bytes, ObjectRow]]
    common_prefixes: list[bytes]
    last: bytes


def list_page(read: Read, prefix: bytes, delimiter: bytes, after: bytes, limit: int) -> Page:
    """Return the first `limit` entries under `prefix` that come after `after` in byte order.

    A key that holds `delimiter` behind `prefix` is represented by the common prefix that ends with it; b"" rolls up nothing. When
    `after` is a common prefix or lies under one, that whole prefix is passed. A limit of 0 gives an empty page that is not truncated.
    Raises what `read` raises. Source: S3 API pages ListObjects and ListObjectsV2.
    """
    objects: list[tuple[bytes, ObjectRow]] = []
    common_prefixes: list[bytes] = []
    last = b""
    room = limit
    start = _first_position(prefix, delimiter, after)
    batch_rows = FIRST_BATCH_ROWS
    while limit and start is not None:
        asked = min(batch_rows, room + 1)
        rows = read(start, asked)
        room_before = room
        for key, row in rows:
            if key < start:
                # Under the common prefix that was just given, and cheaper to pass here than by a seek.
                continue
            if not key.startswith(prefix):
                return Page(objects, common_prefixes, b"")
            if not room:
                return Page(objects, common_prefixes, last)
            room -= 1
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                last = key
                objects.append((key, row))
                continue
            last = key[: end + len(delimiter)]
            common_prefixes.append(last)
            start = successor(last)
            if start is None:
                return Page(objects, common_prefixes, b"")
        if len(rows) < asked:
            break
        start = max(start, rows[-1][0] + b"\0")
        batch_rows = 2 * (room_before - room)
    return Page(objects, common_prefixes, b"")


def successor(prefix: bytes) -> bytes | None:
    """The first byte string behind all that start with `prefix`; None if there is none: the prefix is empty or all 0xff."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


def _first_position(prefix: bytes, delimiter: bytes, after: bytes) -> bytes | None:
    """Where the first entry may lie, None if nowhere."""
    if not after or after < prefix:
        return prefix
    if delimiter and after.startswith(prefix):
        end = after.find(delimiter, len(prefix))
        if end >= 0:
            return successor(after[: end + len(delimiter)])
    return after + b"\0"
