"""What the web processes of a node share about calls between nodes, in memory made before the fork: times, in Unix milliseconds.

Each worker reads and writes without a lock: two that refuse the first call of a minute at the same moment may both log it.
"""

import mmap
import time

KINDS_MAX = 31


class InternalBoard:
    """`last_logged_ms` has for each kind of refusal, by its number, when its last line was written, 0 for never: a line a minute for the
    node. `scan_heard_ms` has one time: when a peer last sent a piece of all it has, or when this node was started.
    """

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, 8 * (KINDS_MAX + 1))).cast("q")
        self.last_logged_ms = memory[:KINDS_MAX]
        self.scan_heard_ms = memory[KINDS_MAX:]
        self.scan_heard_ms[0] = time.time_ns() // 1_000_000
