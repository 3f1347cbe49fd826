"""When a warning of each kind of refusal between nodes was last logged, in memory that the workers share: a line a minute for the node.

Each worker reads and writes without a lock: two that refuse the first call of a minute at the same moment may both write their line.
"""

import mmap

KINDS_MAX = 32


class RefusalBoard:
    """Made before the fork. `last_logged_ms` has a Unix time in milliseconds for each kind, by its number; 0 for never."""

    def __init__(self) -> None:
        self.last_logged_ms = memoryview(mmap.mmap(-1, 8 * KINDS_MAX)).cast("q")
