"""Under which stamp a node holds a key: read from its index while it runs, as the offline checker reads it.

Owns a read-only connection for each side; what cannot be read just now (the node is being restarted) is None.
"""

import contextlib
from pathlib import Path

import apsw

from fasterstore.errors import StoreError
from fasterstore.metadata.index import IndexView
from tests.probe.two_histories import Stamp

_CACHE_KIB = 256


class Stamps:
    """Of the data dirs of each side."""

    def __init__(self, data_dirs: dict[str, Path]) -> None:
        self._paths = {side: str(path / "index" / "index.db") for side, path in data_dirs.items()}
        self._views: dict[str, IndexView] = {}

    def of(self, side: str, bucket: str, key: str) -> Stamp | None:
        """The pair of a key's object or tombstone on that side; None without either, or if the index cannot be read."""
        try:
            if side not in self._views:
                self._views[side] = IndexView(self._paths[side], _CACHE_KIB)
            found = self._views[side].replication.key_state(bucket, key.encode())
        except (StoreError, apsw.Error):
            self.forget(side)
            return None
        held = found.object or found.tombstone
        return None if held is None else (held.stamp, held.origin)

    def forget(self, side: str) -> None:
        """Open that side's index anew at the next question: it may be another file."""
        view = self._views.pop(side, None)
        if view is not None:
            with contextlib.suppress(apsw.Error):
                view.close()

    def close(self) -> None:
        """Close every connection."""
        for side in list(self._views):
            self.forget(side)
