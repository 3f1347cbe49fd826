"""The node's one wall clock: passed as a value to whatever stamps a change."""

import time


def now_ms() -> int:
    """Wall time, Unix milliseconds."""
    return time.time_ns() // 1_000_000
