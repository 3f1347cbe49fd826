"""What an operation costs in a large store against a small one: `python -m scripts.measure.cost_by_size [--scale 0.02] [--limit 1.3]`.

Two nodes run at once, one with 1,000,000 objects and one with 10,000 (times --scale), and take turns under the same load, so that
whatever else the machine does meets both: PUT of new keys, GET of keys drawn evenly from all, DELETE of the new keys again. The cache
is off unless --cache-mb says otherwise: with it, its hit rate would be what is compared. Before each turn the store's files are read once,
so that both are in the page cache: some machines drop pages that were not used for a minute, and then a disk read is what is measured
(--cold leaves that out). Cost is the CPU time of the node's processes
per operation; wall time per operation stands beside it, with the client's share in it. Prints a JSON line for each measurement, then
the means over all turns with their ratios, and the large node's times to ready.

Ends with 1 if --limit is given and a ratio of CPU costs is above it, or if --ready-limit is and a start of the large node took longer.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from fasterstore.s3.signer import Credentials
from scripts.measure import closed_loop
from scripts.measure.fdatasync import fdatasync_ms
from scripts.measure.process_tree import cpu_secs
from scripts.measure.servers import Node
from scripts.measure.time_to_ready import restarts
from tools.percentiles import percentile

LARGE_OBJECTS, SMALL_OBJECTS = 1_000_000, 10_000
READY_ROUNDS = 3
OPERATIONS = ("PUT", "GET", "DELETE")
COSTS = ("cpu_us", "wall_us")

Row = dict[str, Any]


class Store(NamedTuple):
    """A running node and how many objects it was given."""

    label: str
    node: Node
    object_count: int


def seed(store: Store, objects: closed_loop.Objects) -> Row:
    """Put objects 0 .. count - 1."""
    run = closed_loop.run(store.node.port, _credentials(store), objects.puts(range(store.object_count)))
    return {"store": store.label, "seeded": store.object_count, "per_sec": round(store.object_count / run.secs)}


def measure(store: Store, objects: closed_loop.Objects, operations: int, turn: int) -> Iterator[Row]:
    """One turn of all operations; the store holds as many objects after it as before."""
    new = range(store.object_count, store.object_count + operations)
    drawn = random.Random(turn)
    requests = {
        "PUT": objects.puts(new),
        "GET": objects.gets([drawn.randrange(store.object_count) for _ in range(operations)]),
        "DELETE": objects.deletes(new),
    }
    for operation in OPERATIONS:
        cpu_before = cpu_secs(store.node.pid)
        run = closed_loop.run(store.node.port, _credentials(store), requests[operation])
        cpu = cpu_secs(store.node.pid) - cpu_before
        yield {
            "store": store.label,
            "operation": operation,
            "cpu_us": round(cpu / operations * 1e6, 1),
            "wall_us": round(run.secs / operations * 1e6, 1),
            "p50_ms": round(percentile(run.latencies_secs, 50) * 1000, 2),
            "p99_ms": round(percentile(run.latencies_secs, 99) * 1000, 2),
        }


def read_all(folder: Path) -> None:
    """Read every file below `folder` into the page cache."""
    buffer = bytearray(1 << 20)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def ratios(rows: list[Row]) -> Row:
    """For each operation the means of both stores, and large divided by small."""
    summary: Row = {}
    for operation in OPERATIONS:
        for cost in COSTS:
            of = {
                label: round(fmean(row[cost] for row in rows if row["store"] == label and row["operation"] == operation), 1)
                for label in ("small", "large")
            }
            name = f"{operation.lower()}_{cost}"
            summary[name] = of
            summary[f"{name}_ratio"] = round(of["large"] / of["small"], 2)
    return summary


def failures(summary: Row, limit: float | None, ready_limit_secs: float | None) -> list[str]:
    """What is above a limit, in words."""
    found = []
    for operation in OPERATIONS:
        ratio = summary[f"{operation.lower()}_cpu_us_ratio"]
        if limit is not None and ratio > limit:
            found.append(f"{operation}: {ratio} times the CPU time of a small store; {limit} is allowed")
    for name in ("ready_after_stop_secs", "ready_after_kill_secs"):
        slowest = max(start.ready_secs for start in summary[name])
        if ready_limit_secs is not None and slowest > ready_limit_secs:
            found.append(f"{name}: {slowest} s; {ready_limit_secs} s are allowed")
    return found


def main() -> int:
    """Parse the arguments, measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times 1,000,000 and 10,000 objects")
    parser.add_argument("--size", type=int, default=1024, help="bytes of an object")
    parser.add_argument("--operations", type=int, default=5_000, help="of each kind, in each turn")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--cache-mb", type=int, default=0, help="FS_CACHE_CAPACITY_MB of both nodes")
    parser.add_argument("--cold", action="store_true", help="do not bring the stores' files into the page cache before each turn")
    parser.add_argument("--limit", type=float, help="highest ratio of CPU costs")
    parser.add_argument("--ready-limit", type=float, help="highest time to ready of the large node, in seconds")
    parser.add_argument("--folder", default=".", help="where the temporary data dirs are made (2.5 GB at full scale)")
    arguments = parser.parse_args()
    print(json.dumps(fdatasync_ms(arguments.folder)), flush=True)
    objects = closed_loop.Objects(arguments.size)
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as parent:
        stores = []
        for label, full in (("small", SMALL_OBJECTS), ("large", LARGE_OBJECTS)):
            folder = Path(parent, label).resolve()
            folder.mkdir()
            node = Node(folder, {"FS_CACHE_CAPACITY_MB": str(arguments.cache_mb)})
            stores.append(Store(label, node, max(round(full * arguments.scale), 1)))
        try:
            summary = _measure_all(stores, objects, arguments.operations, arguments.rounds, arguments.cold)
        finally:
            for store in stores:
                store.node.stop()
    print(json.dumps(summary))
    found = failures(summary, arguments.limit, arguments.ready_limit)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


def _measure_all(stores: list[Store], objects: closed_loop.Objects, operations: int, rounds: int, cold: bool) -> Row:
    for store in stores:
        store.node.start()
        print(json.dumps(seed(store, objects)), flush=True)
    rows = []
    for turn in range(rounds):
        for store in stores:
            if not cold:
                read_all(store.node.folder)
            for row in measure(store, objects, operations, turn):
                rows.append(row)
                print(json.dumps(row), flush=True)
    small, large = stores
    small.node.stop()
    return {
        "objects": {store.label: store.object_count for store in stores},
        **ratios(rows),
        **restarts(large.node, objects, large.object_count + operations, READY_ROUNDS),
    }


def _credentials(store: Store) -> Credentials:
    return Credentials(store.node.access_key, store.node.secret_key)


if __name__ == "__main__":
    sys.exit(main())
