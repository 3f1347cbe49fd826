"""What a compaction round gives back and what it costs others: `python -m scripts.measure.compaction [--gib 10]`.

Fills a node with objects of 4 KiB, 64 KiB and 512 KiB, deletes 90 % of them at random, and asks for one round. Prints one JSON line: the
segment files' blocks over the live bytes, before and after (wanted: at most 1.25); and the p99 of small PUTs and GETs over 16
connections without a round and during it (wanted: at most twice as long). The round goes at its ordinary pace, of a share of the disk.
The read grace is 0, or there would be nothing to give back for ten minutes.
"""

import argparse
import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

from fasterstore.s3.signer import Credentials
from scripts.measure.closed_loop import Objects, Request, Run, run
from scripts.measure.fdatasync import fdatasync_ms
from scripts.measure.servers import Node
from tools.client import Client
from tools.percentiles import percentile

SIZES_BYTES = (4096, 65_536, 524_288)
DELETED_SHARE = 0.9
CONNECTIONS = 16
FOREGROUND_REQUESTS = 4000
SETTINGS = {"FS_READ_GRACE_SECS": "0", "FS_STORAGE_COMPACT_INTERVAL_SECS": "3600", "FS_CACHE_CAPACITY_MB": "0"}


def segment_bytes(folder: Path) -> int:
    """What the segment files of a data dir take on the disk, in bytes."""
    return sum(os.stat(path).st_blocks * 512 for path in folder.rglob("*.seg"))


class Filled:
    """A node's objects of each size, and which of them live."""

    def __init__(self, node: Node, total_bytes: int) -> None:
        self.port = node.port
        self.credentials = Credentials(node.access_key, node.secret_key, "us-east-1")
        self.count = total_bytes // sum(SIZES_BYTES)
        self.kinds = [Objects(size_bytes, f"size-{size_bytes}") for size_bytes in SIZES_BYTES]
        self.foreground = Objects(4096, "foreground")
        self._last = 0

    def send(self, requests: Iterator[Request]) -> Run:
        """Send them, each once. Raises RequestFailed."""
        return run(self.port, self.credentials, requests, CONNECTIONS)

    def fill(self) -> None:
        """Store all; large and small in turns, so that they share their segments' time."""
        for first in range(0, self.count, 100):
            for kind in self.kinds:
                self.send(kind.puts(range(first, min(first + 100, self.count))))

    def delete(self, rng: random.Random) -> int:
        """Delete at random; return the bytes of the bodies that live."""
        live_bytes = 0
        for kind, size_bytes in zip(self.kinds, SIZES_BYTES, strict=True):
            gone = rng.sample(range(self.count), int(self.count * DELETED_SHARE))
            self.send(kind.deletes(gone))
            live_bytes += (self.count - len(gone)) * size_bytes
        return live_bytes

    def foreground_p99_ms(self) -> tuple[float, float]:
        """The p99 of small PUTs and of GETs of the same objects, in milliseconds."""
        numbers = range(self._last, self._last + FOREGROUND_REQUESTS)
        self._last += FOREGROUND_REQUESTS
        puts = self.send(self.foreground.puts(numbers)).latencies_secs
        gets = self.send(self.foreground.gets(numbers)).latencies_secs
        return percentile(puts, 99) * 1000, percentile(gets, 99) * 1000


def status(client: Client, method: str = "GET") -> dict:
    """What `/_admin/compaction` answers."""
    return json.loads(client.send(method, "/_admin/compaction").content)


def medians(rows: list[tuple[float, float]]) -> tuple[float, float]:
    """The median of PUT's and of GET's figures."""
    return tuple(percentile(sorted(column), 50) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def measure(folder: Path, total_bytes: int) -> dict:
    """Fill, delete, compact; the row that is printed."""
    node = Node(folder, SETTINGS)
    node.start()
    try:
        filled = Filled(node, total_bytes)
        filled.fill()
        filled.foreground_p99_ms()
        live_bytes = filled.delete(random.Random(1))
        quiet = [filled.foreground_p99_ms() for _ in range(5)]
        before_bytes = segment_bytes(folder)
        client = Client(node.endpoint, node.access_key, node.secret_key)
        started = monotonic()
        status(client, "POST")
        during = []
        while (found := status(client))["state"] == "running":
            during.append(filled.foreground_p99_ms())
        took_secs = monotonic() - started
        sleep(6)  # the workers let go of unlinked files
        live_bytes += (len(quiet) + len(during) + 1) * FOREGROUND_REQUESTS * 4096
        after_bytes = segment_bytes(folder)
        client.close()
    finally:
        node.stop()
    (quiet_put, quiet_get), (busy_put, busy_get) = medians(quiet), medians(during or quiet)
    return {
        "live_mib": live_bytes >> 20, "before_mib": before_bytes >> 20, "after_mib": after_bytes >> 20,
        "held_over_live": round(after_bytes / live_bytes, 3), "round_secs": round(took_secs, 1), "last_round": found["last_round"],
        "put_p99_ms": [round(quiet_put, 2), round(busy_put, 2)], "put_p99_ratio": round(busy_put / quiet_put, 2),
        "get_p99_ms": [round(quiet_get, 2), round(busy_get, 2)], "get_p99_ratio": round(busy_get / quiet_get, 2),
        "looks_during_the_round": len(during), **fdatasync_ms(str(folder)),
    }  # fmt: skip


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=10)
    parser.add_argument("--folder", default=".", help="where the temporary data dir is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as folder:
        print(json.dumps(measure(Path(folder).resolve(), int(arguments.gib * (1 << 30)))))


if __name__ == "__main__":
    main()
