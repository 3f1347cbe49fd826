"""What an expression of Prometheus asks for, and what of it nobody exports. Reads as Prometheus does, types included."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import promql_parser as promql

Exported = Mapping[str, Mapping[str, set[str]]]

OF_PROMETHEUS: Exported = {"up": {}}
"""Series that Prometheus makes itself for each target."""
TARGET_LABELS = {"job", "instance"}
"""Labels that it adds to every series of one."""
ENUMERATED = {"state", "le", "result"}
"""Labels with a closed set of values, all of which are exported from the start."""

_GRAFANA = re.compile(r"\$__rate_interval\b")


class Selector(NamedTuple):
    """Series that are asked for: their name, and (label, value) of each matcher; the value is None unless it must be equal."""

    name: str
    matchers: list[tuple[str, str | None]]


def parse(expression: str) -> tuple[list[Selector], set[str]]:
    """The selectors of an expression, and the labels by which it groups and joins. Raises ValueError for one that Prometheus refuses."""
    selectors: list[Selector] = []
    labels: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, promql.VectorSelector):
            matchers = [(m.name, m.value if m.op == promql.MatchOp.Equal else None) for m in node.matchers.matchers]
            selectors.append(Selector(node.name or "", matchers))
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            labels.update(node.modifier.labels)
        elif isinstance(node, promql.BinaryExpr) and node.modifier is not None:
            if node.modifier.matching is not None:
                labels.update(node.modifier.matching.labels)
            labels.update(node.modifier.group_labels or ())

    promql.walk(promql.parse(_GRAFANA.sub("5m", expression)), visit)
    return selectors, labels


def trouble(expression: str, exported: Exported, used_labels: frozenset[str] = frozenset()) -> Iterator[str]:
    """Say what of it, or of the labels that its text shows, is not exported; nothing if all is."""
    known = {**exported, **OF_PROMETHEUS}
    selectors, labels = parse(expression)
    here: set[str] = set(TARGET_LABELS)
    for name, matchers in selectors:
        if name not in known:
            yield f"no metric {name}"
            continue
        here |= known[name].keys()
        for label, value in matchers:
            if label not in known[name].keys() | TARGET_LABELS:
                yield f"{name} has no label {label}"
            elif label in ENUMERATED and value is not None and value not in known[name][label]:
                yield f"{name} is never {label}={value}"
    for label in (labels | used_labels) - here:
        yield f"no series of {expression} has a label {label}"
