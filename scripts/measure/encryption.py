"""What encryption at rest costs: our node with and without a master key under the presigned load, in turns on the same disk.

`python -m scripts.measure.encryption [--load small|large] [--rounds 3] [--cache-mb 0]`

Small load: 4 KiB over 32 connections. Large load: 10 MiB over 16. With a cache (of decrypted bytes) a GET shows little of the cost, so by
default there is none. Prints JSON lines: each run, then the medians of rate and CPU time a request, with the ratio encrypted / plain.
"""

import argparse
import json
import secrets
import tempfile
from base64 import b64encode
from pathlib import Path
from statistics import median
from typing import Any

from scripts.measure.presigned_load import Load, run
from scripts.measure.servers import Node

LARGE_BYTES = 10 << 20
KINDS = ("plain", "encrypted")


def measure(kind: str, folder: Path, settings: dict[str, str], load: Load) -> dict[str, Any]:
    """Start a node of that kind on an empty folder, put the load on, stop it; the figures."""
    key = {"FS_ENCRYPTION_KEY_BASE64": b64encode(secrets.token_bytes(32)).decode()} if kind == "encrypted" else {}
    node = Node(folder, settings | key)
    node.start()
    try:
        return {"kind": kind, **run(node.endpoint, node.access_key, node.secret_key, load, node.pid)}
    finally:
        node.stop()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of each kind, and the encrypted node's rate as a share of the plain one's."""
    found: dict[str, Any] = {"errors": sum(row["put_errors"] + row["get_errors"] for row in rows)}
    for operation in ("put", "get"):
        for name in (operation, f"{operation}_cpu_us"):
            found[name] = {kind: median(row[name] for row in rows if row["kind"] == kind) for kind in KINDS}
        rates = found[operation]
        found[f"{operation}_ratio"] = round(rates["encrypted"] / rates["plain"], 2)
    return found


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", choices=("small", "large"), default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache-mb", type=int, default=0)
    parser.add_argument("--folder", default=".", help="where the temporary data dirs are made: its disk is what is measured")
    arguments = parser.parse_args()
    settings = {"FS_WORKERS": str(arguments.workers), "FS_CACHE_CAPACITY_MB": str(arguments.cache_mb)}
    load = Load(secs=arguments.secs) if arguments.load == "small" else Load(LARGE_BYTES, arguments.secs, connections=16, keys=32)
    rows = []
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as folder:
        for turn in range(arguments.rounds):
            for kind in KINDS if turn % 2 == 0 else reversed(KINDS):
                place = Path(folder, f"{kind}-{turn}")
                place.mkdir()
                rows.append(measure(kind, place, settings, load))
                print(json.dumps(rows[-1]), flush=True)
    print(json.dumps(summary(rows)), flush=True)


if __name__ == "__main__":
    main()
