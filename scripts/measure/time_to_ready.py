"""From the start of the process to ready: on an empty data dir, or with objects: `python -m scripts.measure.time_to_ready [--objects N]`.

With objects, the node is started again after an orderly stop and after a kill -9 right behind more writes. Prints one JSON line:
pairs of seconds, to the first answer that says ready and until all worker processes serve, in the order measured.
"""

import argparse
import json
import tempfile
from pathlib import Path

from fasterstore.s3.signer import Credentials
from scripts.measure import closed_loop
from scripts.measure.servers import Node, Start

WRITES_BEFORE_KILL = 2000


def empty_starts(parent: Path, rounds: int) -> list[Start]:
    """Starts on a new data dir, each time."""
    times = []
    for turn in range(rounds):
        folder = parent / f"empty-{turn}"
        folder.mkdir()
        node = Node(folder)
        times.append(_rounded(node.start()))
        node.stop()
    return times


def restarts(node: Node, objects: closed_loop.Objects, next_number: int, rounds: int) -> dict[str, list[Start]]:
    """Starts of a running node, after an orderly stop and after a kill.

    Writes objects from `next_number` on before each kill, so that there is something to replay; leaves the node running.
    """
    after_stop, after_kill = [], []
    for turn in range(rounds):
        node.stop()
        after_stop.append(_rounded(node.start()))
        first = next_number + turn * WRITES_BEFORE_KILL
        writes = objects.puts(range(first, first + WRITES_BEFORE_KILL))
        closed_loop.run(node.port, Credentials(node.access_key, node.secret_key), writes)
        node.kill()
        after_kill.append(_rounded(node.start()))
    return {"ready_after_stop_secs": after_stop, "ready_after_kill_secs": after_kill}


def _rounded(start: Start) -> Start:
    return Start(*(round(secs, 3) for secs in start))


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=0, help="0: only on an empty data dir")
    parser.add_argument("--size", type=int, default=1024, help="bytes of an object")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=".", help="where the temporary data dirs are made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as parent:
        figures: dict[str, object] = {"ready_empty_secs": empty_starts(Path(parent).resolve(), arguments.rounds)}
        if arguments.objects:
            folder = Path(parent, "objects").resolve()
            folder.mkdir()
            node, objects = Node(folder), closed_loop.Objects(arguments.size)
            node.start()
            try:
                closed_loop.run(node.port, Credentials(node.access_key, node.secret_key), objects.puts(range(arguments.objects)))
                figures["objects"] = arguments.objects
                figures |= restarts(node, objects, arguments.objects, arguments.rounds)
            finally:
                node.stop()
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
