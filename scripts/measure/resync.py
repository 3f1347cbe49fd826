"""How fast a node with data fills a peer that has none, beside what the same objects' PUTs came to."""

import time
from collections.abc import Iterator
from typing import Any

from fasterstore.s3.signer import Credentials
from scripts.measure import closed_loop
from scripts.measure.closed_loop import Objects, Request
from scripts.measure.node_pair import Pair, client_of
from scripts.measure.process_tree import cpu_secs, watch_memory
from scripts.measure.servers import Node

BUCKET = "resync"
LARGE_BYTES, SMALL_BYTES = 1 << 20, 4096
SMALL_SHARE = 0.1
"""Of the bytes."""
LIMIT_SECS = 3600.0
_MIB = 1 << 20


def puts_of(total_bytes: int) -> Iterator[Request]:
    """PUTs of large objects and then of small ones, of so many bytes together."""
    small_bytes = int(total_bytes * SMALL_SHARE)
    yield from Objects(LARGE_BYTES, BUCKET).puts(range(max(1, (total_bytes - small_bytes) // LARGE_BYTES)))
    first = 500_000_000
    yield from Objects(SMALL_BYTES, BUCKET).puts(range(first, first + max(1, small_bytes // SMALL_BYTES)))


def bytes_of(node: Node) -> tuple[int, int]:
    """(objects, bytes) of the bucket, by Ceph's counters; zeros before it is there."""
    with client_of(node) as client:
        headers = client.request("HEAD", BUCKET, "", (("read-stats", "true"),)).headers
    return int(headers.get("x-rgw-object-count", 0)), int(headers.get("x-rgw-bytes-used", 0))


def measure_resync(pair: Pair, total_bytes: int) -> dict[str, Any]:
    """Fill the sender while its peer is not there, start that one, and wait until it holds as much."""
    pair.sender.start()
    credentials = Credentials(pair.sender.access_key, pair.sender.secret_key)
    try:
        filled = closed_loop.run(pair.sender.port, credentials, puts_of(total_bytes), connections=16)
        wanted = bytes_of(pair.sender)
        cpu_before = cpu_secs(pair.sender.pid)
        pair.receiver.start()
        with watch_memory(pair.sender.pid) as memory, watch_memory(pair.receiver.pid) as peers_memory:
            started = time.perf_counter()
            while (held := bytes_of(pair.receiver)) != wanted:
                if time.perf_counter() - started > LIMIT_SECS:
                    raise TimeoutError(f"after {LIMIT_SECS:.0f} s the peer holds {held} of {wanted}")
                time.sleep(0.05)
            took_secs = time.perf_counter() - started
        return {
            "measured": "resync", "objects": wanted[0], "mb": round(wanted[1] / 1e6), "secs": round(took_secs, 1),
            "mb_per_sec": round(wanted[1] / 1e6 / took_secs, 1), "put_mb_per_sec": round(wanted[1] / 1e6 / filled.secs, 1),
            "objects_per_sec": round(wanted[0] / took_secs), "sender_mib": round(memory.pss_bytes / _MIB, 1),
            "receiver_mib": round(peers_memory.pss_bytes / _MIB, 1),
            "sender_cpu_secs": round(cpu_secs(pair.sender.pid) - cpu_before, 1), "receiver_cpu_secs": round(cpu_secs(pair.receiver.pid), 1),
        }  # fmt: skip
    finally:
        pair.sender.stop()
        pair.receiver.stop()
