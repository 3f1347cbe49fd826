"""Percentiles of measured times, by nearest rank: every figure printed is one that was measured, none is interpolated."""

from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` (above 0, up to 100) of all values do not exceed; `ordered` ascends, not empty."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]
