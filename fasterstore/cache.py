"""Hot blobs in memory: verified plaintext by blob number, bounded in bytes. A plain value; the cache actor owns one.

Eviction is the clock, or second chance (Corbato, 1968): a hit only sets a mark, so looking up changes no order and needs no message;
the oldest entry is evicted unless it is marked, and then it loses the mark and goes to the young end. Blobs never change under a
number, so nothing here is ever stale; another index uuid empties it.
"""

from collections import OrderedDict

ENTRY_OVERHEAD_BYTES = 200
"""What one entry costs beside its body: the objects that hold it."""


class _Entry:
    __slots__ = ("body", "visited")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.visited = False


class BlobCache:
    """At most `capacity_bytes` of bodies (with overhead), none larger than `object_max_bytes`."""

    def __init__(self, capacity_bytes: int, object_max_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.object_max_bytes = min(object_max_bytes, capacity_bytes - ENTRY_OVERHEAD_BYTES)
        self.held_bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self._entries: OrderedDict[int, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, blob: int) -> bytes | None:
        """Return the body of that blob number, or None. Changes nothing but a mark and a count."""
        entry = self._entries.get(blob)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        entry.visited = True
        return entry.body

    def admit(self, blob: int, body: bytes) -> None:
        """Keep a verified body, evicting as many as it needs; one that is too large is ignored."""
        if len(body) > self.object_max_bytes or blob in self._entries:
            return
        need_bytes = len(body) + ENTRY_OVERHEAD_BYTES
        while self.held_bytes + need_bytes > self.capacity_bytes:
            self._evict()
        self._entries[blob] = _Entry(body)
        self.held_bytes += need_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.held_bytes = 0

    def _evict(self) -> None:
        while True:
            blob, entry = next(iter(self._entries.items()))
            if not entry.visited:
                break
            entry.visited = False
            self._entries.move_to_end(blob)
        del self._entries[blob]
        self.held_bytes -= len(entry.body) + ENTRY_OVERHEAD_BYTES
        self.evictions += 1
