"""Metric samples as plain values: what a process counts, in a form that travels to whoever renders `/metrics`.

One metric: {"name": str, "kind": "counter" | "gauge" | "histogram", "help": str, "samples": [[suffix, {label: value}, number], ...]}.
`name` is without `_total`; suffixes are `_total` for counters, "" for gauges, `_bucket` (cumulative, label `le`), `_sum` and `_count`
for histograms. Gauges that must not be summed over processes carry the label `process`.

Recording is on the hot path, so it is a few additions: prometheus-client's own counters take a lock per call. Only one process's
greenlets write the numbers. Must never hold a key, a client's address or a secret.
"""

from bisect import bisect_left
from typing import Any

SECONDS_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
SIZE_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

MetricSamples = dict[str, Any]


class Histogram:
    """Counts of values by upper bound. `observe` costs one bisection."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS_BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def samples(self, labels: dict[str, str]) -> list[list[Any]]:
        """The histogram's lines under `labels`."""
        lines: list[list[Any]] = []
        seen = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            seen += count
            lines.append(["_bucket", {**labels, "le": str(bound)}, seen])
        lines.append(["_count", labels, seen])
        lines.append(["_sum", labels, self.total])
        return lines


def metric(name: str, kind: str, text: str, samples: list[list[Any]]) -> MetricSamples:
    """One metric in the form above."""
    return {"name": name, "kind": kind, "help": text, "samples": samples}


def counter(name: str, text: str, value: float) -> MetricSamples:
    """A counter without labels."""
    return metric(name, "counter", text, [["_total", {}, value]])
