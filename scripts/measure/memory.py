"""Our node's memory under the small presigned load: `python -m scripts.measure.memory [--workers 2]`.

The cache is off unless --cache-mb says otherwise: what it holds is the operator's choice. Prints one JSON line; the memory is the
highest sum of proportional set sizes (PSS) of all the node's processes, sampled while the load runs. For a node that runs already:
`python -m scripts.measure.process_tree PID`.
"""

import argparse
import json
import tempfile
from pathlib import Path

from scripts.measure.against_minio import measure
from scripts.measure.presigned_load import Load
from scripts.measure.process_tree import tree_pss_bytes
from scripts.measure.servers import Node


def idle_mib(node: Node) -> float:
    """Memory of a node that has just become ready."""
    node.start()
    try:
        return round(tree_pss_bytes(node.pid) / (1 << 20), 1)
    finally:
        node.stop()


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache-mb", type=int, default=0)
    parser.add_argument("--secs", type=int, default=6)
    parser.add_argument("--folder", default=".", help="where the temporary data dir is made")
    arguments = parser.parse_args()
    settings = {"FS_WORKERS": str(arguments.workers), "FS_CACHE_CAPACITY_MB": str(arguments.cache_mb)}
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as folder:
        node = Node(Path(folder).resolve(), settings)
        print(json.dumps({"idle_memory_mib": idle_mib(node), **measure(node, Load(secs=arguments.secs))}))


if __name__ == "__main__":
    main()
