"""What replication costs and how fast it is, on two nodes on loopback: `python -m scripts.measure.replication [--resync-mb 200]`.

Prints JSON lines, one for each of:

- lag: at 2,000 PUTs of 1 KiB a second (`--rate`) to one node, the time from the answer until the other node answers a HEAD of the same
  key with 200, of 50 sampled PUTs a second. Wanted: p99 at most 1 s. With it the memory of each node, and what the PUTs took.
- rate: the sender's PUTs of 4 KiB a second under the presigned load, alone and with a peer in turns, medians. Wanted: at least 0.75. Both
  nodes share this machine's cores, so beside the rate stands the sender's own CPU time a PUT.
- resync: a node with so many MB (objects of 1 MiB and of 4 KiB) gets an empty peer; MB a second until that one holds all of it, beside
  what the same objects' PUTs came to, and the memory of both.
"""

import argparse
import json
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from fasterstore.s3.signer import Credentials
from scripts.measure import open_loop, presigned_load
from scripts.measure.closed_loop import Objects
from scripts.measure.fdatasync import fdatasync_ms
from scripts.measure.node_pair import Pair, client_of, make_pair
from scripts.measure.process_tree import watch_memory
from scripts.measure.resync import measure_resync
from scripts.measure.servers import Node
from tools.client import Client
from tools.percentiles import percentile

LAG_BODY_BYTES = 1024
SAMPLES_PER_SEC = 50
VISIBLE_WITHIN_SECS = 60.0
BUCKET = "measure"
_MIB = 1 << 20


# ---- lag ---------------------------------------------------------------------------------------------------------------------------


def wait_visible(receiver: Client, sampled: "deque[tuple[str, float]]", done: list[bool], deadline_secs: float) -> list[float]:
    """Ask for the oldest sampled key until it is there, then for the next: seconds from each one's answer until it was seen.

    A key behind one that is late is charged with that too, so the figure is never too good. Raises TimeoutError.
    """
    lags = []
    while sampled or not done[0]:
        if not sampled:
            time.sleep(0.001)
            continue
        path, answered_at = sampled[0]
        if receiver.send("HEAD", path).status_code == 200:
            lags.append(time.perf_counter() - answered_at)
            sampled.popleft()
        elif time.perf_counter() - answered_at > deadline_secs:
            raise TimeoutError(f"{path} is not on the other node {deadline_secs:.0f} s after its answer")
    return lags


def measure_lag(pair: Pair, rate_per_sec: int, secs: float) -> dict[str, Any]:
    """PUTs at that rate for so long, and how long after its answer each sampled one is seen on the other node."""
    objects, every = Objects(LAG_BODY_BYTES, BUCKET), max(1, rate_per_sec // SAMPLES_PER_SEC)
    credentials = Credentials(pair.sender.access_key, pair.sender.secret_key)
    sampled: deque[tuple[str, float]] = deque()
    done = [False]

    def answered(number: int, at: float) -> None:
        if number % every == 0:
            sampled.append((objects.path(number), at))

    with client_of(pair.sender) as sender, client_of(pair.receiver) as receiver:
        sender.create_bucket(BUCKET)
        with ThreadPoolExecutor(1) as pool, watch_memory(pair.sender.pid) as memory, watch_memory(pair.receiver.pid) as peers_memory:
            lags = pool.submit(wait_visible, receiver, sampled, done, VISIBLE_WITHIN_SECS)
            try:
                requests = objects.puts(range(int(rate_per_sec * secs)))
                sent = open_loop.run(pair.sender.port, credentials, requests, rate_per_sec, answered=answered)
            finally:
                done[0] = True
            found = sorted(lags.result())
    return {
        "measured": "lag", "puts_per_sec": round(len(sent.latencies_secs) / sent.secs), "wanted_per_sec": rate_per_sec, "late": sent.late,
        "samples": len(found), "lag_p50_ms": _ms(found, 50), "lag_p99_ms": _ms(found, 99), "lag_max_ms": round(found[-1] * 1000, 1),
        "put_p50_ms": _ms(sent.latencies_secs, 50), "put_p99_ms": _ms(sent.latencies_secs, 99),
        "sender_mib": round(memory.pss_bytes / _MIB, 1), "receiver_mib": round(peers_memory.pss_bytes / _MIB, 1),
    }  # fmt: skip


def _ms(ascending_secs: list[float], percent: int) -> float:
    return round(percentile(ascending_secs, percent) * 1000, 1)


# ---- the sender's rate -------------------------------------------------------------------------------------------------------------


def measure_rate(kind: str, folder: Path, settings: Mapping[str, str], secs: int) -> dict[str, Any]:
    """The presigned load on a new node, "alone" or "with peer"."""
    pair = make_pair(folder, settings) if kind == "with peer" else None
    node = pair.sender if pair else Node(folder, settings)
    node.start()
    try:
        if pair:
            pair.receiver.start()
        load = presigned_load.Load(secs=secs, bucket=BUCKET)
        figures = presigned_load.run(node.endpoint, node.access_key, node.secret_key, load, node.pid)
        return {"measured": "rate", "kind": kind, **{name: figures[name] for name in figures if name.startswith("put")}}
    finally:
        node.stop()
        if pair:
            pair.receiver.stop()


def rate_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of both kinds, and the rate with a peer as a share of the one without."""
    found: dict[str, Any] = {"measured": "rate", "errors": sum(row["put_errors"] for row in rows)}
    for name in ("put", "put_p99_ms", "put_cpu_us"):
        found[name] = {kind: median(row[name] for row in rows if row["kind"] == kind) for kind in ("alone", "with peer")}
    found["put_ratio"] = round(found["put"]["with peer"] / found["put"]["alone"], 2)
    return found


# ---- all of it ---------------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("lag", "rate", "resync"), help="one of the three")
    parser.add_argument("--rate", type=int, default=2000, help="PUTs a second")
    parser.add_argument("--secs", type=int, default=20, help="of the lag's load; the rate's turns take a third of it each")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the rate")
    parser.add_argument("--resync-mb", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2, help="of each node")
    parser.add_argument("--folder", default=".", help="where the temporary data dirs are made: its disk is what is measured")
    arguments = parser.parse_args()
    settings = {"FS_WORKERS": str(arguments.workers), "FS_CACHE_CAPACITY_MB": "0"}
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as name:
        folder = Path(name).resolve()
        print(json.dumps(fdatasync_ms(str(folder))), flush=True)
        if arguments.only in (None, "lag"):
            print(json.dumps(lag_of_new_nodes(_fresh(folder, "lag"), settings, arguments.rate, arguments.secs)), flush=True)
        if arguments.only in (None, "rate"):
            rows = []
            for turn in range(arguments.rounds):
                for kind in ("alone", "with peer")[:: 1 if turn % 2 == 0 else -1]:
                    rows.append(measure_rate(kind, _fresh(folder, f"{kind}-{turn}"), settings, max(2, arguments.secs // 3)))
                    print(json.dumps(rows[-1]), flush=True)
            print(json.dumps(rate_summary(rows)), flush=True)
        if arguments.only in (None, "resync"):
            print(json.dumps(measure_resync(make_pair(_fresh(folder, "resync"), settings), arguments.resync_mb * 1_000_000)), flush=True)


def lag_of_new_nodes(folder: Path, settings: Mapping[str, str], rate_per_sec: int, secs: float) -> dict[str, Any]:
    """`measure_lag` of a pair that is started for it and stopped afterwards."""
    pair = make_pair(folder, settings)
    try:
        for node in pair:
            node.start()
        return measure_lag(pair, rate_per_sec, secs)
    finally:
        for node in pair:
            node.stop()


def _fresh(parent: Path, name: str) -> Path:
    folder = parent / name.replace(" ", "-")
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
