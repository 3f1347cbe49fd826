"""Our node beside MinIO under the presigned load, in turns on the same disk: `python -m scripts.measure.against_minio --minio PROGRAM`.

Small load: 4 KiB over 32 connections. Large load: 10 MiB over 16. Prints JSON lines: the machine's fdatasync time,
each run, and the medians with their ratios. A MinIO comes from `go install github.com/minio/minio@latest` (Go 1.24 or newer).
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from scripts.measure.fdatasync import fdatasync_ms
from scripts.measure.presigned_load import Load, run
from scripts.measure.servers import MinIO, Node, Server

LARGE_BYTES = 10 << 20


def measure(server: Server, load: Load) -> dict[str, Any]:
    """Start the server, put the load on, stop it; the figures with its name."""
    server.start()
    try:
        return {"server": server.name, **run(server.endpoint, server.access_key, server.secret_key, load, server.pid)}
    finally:
        server.stop()


def ratios(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of each server's rates, and ours as a multiple of MinIO's."""
    summary: dict[str, Any] = {}
    for operation in ("put", "get"):
        rates = {name: median(row[operation] for row in rows if row["server"] == name) for name in (Node.name, MinIO.name)}
        summary[operation] = rates
        summary[f"{operation}_ratio"] = round(rates[Node.name] / rates[MinIO.name], 2) if rates[MinIO.name] else None
    summary["errors"] = sum(row["put_errors"] + row["get_errors"] for row in rows)
    return summary


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minio", type=Path, required=True, help="the program to compare with")
    parser.add_argument("--load", choices=("small", "large", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2, help="of our node")
    parser.add_argument("--folder", default=".", help="where the temporary data dirs are made: its disk is what is measured")
    arguments = parser.parse_args()
    settings = {"FS_WORKERS": str(arguments.workers)}
    loads = {"small": Load(secs=arguments.secs), "large": Load(LARGE_BYTES, arguments.secs, connections=16, keys=32)}
    print(json.dumps(fdatasync_ms(arguments.folder)), flush=True)
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as folder:
        for name in ("small", "large") if arguments.load == "both" else (arguments.load,):
            rows = []
            for turn in range(arguments.rounds):
                ours = Node(_fresh(folder, f"node-{name}-{turn}"), settings)
                theirs = MinIO(_fresh(folder, f"minio-{name}-{turn}"), arguments.minio.resolve())
                for server in (ours, theirs):
                    rows.append({"load": name, **measure(server, loads[name])})
                    print(json.dumps(rows[-1]), flush=True)
            print(json.dumps({"load": name, **ratios(rows)}), flush=True)


def _fresh(parent: str, name: str) -> Path:
    folder = Path(parent, name).resolve()
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
