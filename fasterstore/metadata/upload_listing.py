"""One page of a bucket's open uploads, rolled up by a delimiter, by key and for one key in the order in which they began.

Those in which a peer's objects are put together are passed over. As `listing.py`, whose bounds hold here too: a common prefix is passed by
a seek, and no more than one row past the page is read.
Source: S3 API page ListMultipartUploads.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fasterstore.metadata.listing import successor
from fasterstore.model import UploadRow
from fasterstore.replication.hidden_upload import is_hidden

BATCH_ROWS = 256
NUMBER_MAX = 2**63 - 1
"""Above every upload's number."""

Read = Callable[[bytes, int, int], Sequence[UploadRow]]
"""read(key, number, limit): at most `limit` uploads after (`key`, `number`); fewer only where the bucket ends."""


class Place(NamedTuple):
    """Behind which entry a page begins: an upload of `key`, or a common prefix; `number` is 0 for all uploads of that key."""

    key: bytes
    number: int


class UploadPage(NamedTuple):
    """One page: an upload or a common prefix is one entry. `last` is the last entry's place if more follow, else None."""

    uploads: list[UploadRow]
    common_prefixes: list[bytes]
    last: Place | None


def list_uploads(read: Read, prefix: bytes, delimiter: bytes, after: Place, limit: int) -> UploadPage:
    """Return the first `limit` entries under `prefix` that come after `after` (b"" for the first page).

    When `after` is a common prefix or lies under one, that whole prefix is passed. A limit of 0 gives an empty page that is not truncated.
    Raises what `read` raises.
    """
    page = UploadPage([], [], None)
    last: Place | None = None
    room = limit
    position = _first_position(prefix, delimiter, after)
    while limit and position is not None:
        asked = min(BATCH_ROWS, room + 1)
        rows = read(*position, asked)
        for row in rows:
            if (row.key, row.number) <= position:
                # Under the common prefix that was just given, and cheaper to pass here than by a seek.
                continue
            if is_hidden(row.token):
                position = Place(row.key, row.number)
                continue
            if not row.key.startswith(prefix):
                return page
            if not room:
                return page._replace(last=last)
            room -= 1
            end = row.key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                page.uploads.append(row)
                last = position = Place(row.key, row.number)
                continue
            common = row.key[: end + len(delimiter)]
            page.common_prefixes.append(common)
            last = Place(common, 0)
            behind = successor(common)
            if behind is None:
                return page
            position = Place(behind, 0)
        if len(rows) < asked:
            break
    return page


def _first_position(prefix: bytes, delimiter: bytes, after: Place) -> Place | None:
    """(key, number) behind which the first entry may lie, None if nowhere."""
    if not after.key or after.key < prefix:
        return Place(prefix, 0)
    if delimiter and after.key.startswith(prefix):
        end = after.key.find(delimiter, len(prefix))
        if end >= 0:
            behind = successor(after.key[: end + len(delimiter)])
            return None if behind is None else Place(behind, 0)
    return Place(after.key, after.number or NUMBER_MAX)
