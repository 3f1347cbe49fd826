"""Put an S3 store through power cuts under load, and count what it had acknowledged and lost. Root only: it mounts a loop volume.

    python -m scripts.power_cut                                     # our node
    python -m scripts.power_cut --kill-first                        # kill -9, restart, read everything, then the cut
    python -m scripts.power_cut --name minio --ready /minio/health/ready \\
        --env MINIO_ROOT_USER={access_key} --env MINIO_ROOT_PASSWORD={secret_key} \\
        --start "minio server --quiet --address 127.0.0.1:{port} {data}"

The store is started with its data on a file system in a file; eight writers put, overwrite, copy, delete and put together from parts; the
file system is shut down without a flush of its log, which is what a power cut leaves of it; the store is killed, the volume
mounted again, the store started, and every key that was ever written is read. Ends with 1 if anything acknowledged was lost.
"""

import argparse
import os
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from gevent import monkey

monkey.patch_all()

from fasterstore.s3.signer import Credentials
from scripts.measure.servers import Node, Server
from tests.probe.ledger import Ledger
from tests.probe.loop_volume import LoopVolume
from tests.probe.power_cuts import run_cuts

TITLES = "| store | file system | cuts | acknowledged | lost | wrong bytes | other complaints |\n|---|---|---:|---:|---:|---:|---:|"


class Started(Server):
    """The store of a command line. `{data}`, `{port}`, `{access_key}` and `{secret_key}` stand for what it is given."""

    def __init__(self, folder: Path, data: Path, command: str, environment: Sequence[str], ready_path: str, name: str) -> None:
        super().__init__(folder)
        self.name = name
        self.ready_path = ready_path
        self._data = data
        self._command = command
        self._environment = environment

    @property
    def credentials(self) -> Credentials:
        """The keys that it was given."""
        return Credentials(self.access_key, self.secret_key)

    def command(self) -> list[str]:
        """Program and arguments, filled in."""
        return [self._fill(word) for word in shlex.split(self._command)]

    def environment(self) -> Mapping[str, str]:
        """The variables that were given, filled in."""
        return {name: self._fill(value) for name, _, value in (pair.partition("=") for pair in self._environment)}

    def _fill(self, text: str) -> str:
        return text.format(data=self._data, port=self.port, access_key=self.access_key, secret_key=self.secret_key)


class StartedNode(Node):
    """Our node, all defaults, its data on the volume."""

    def __init__(self, folder: Path, data: Path) -> None:
        super().__init__(folder, {"FS_DATA_DIR": str(data)})

    @property
    def credentials(self) -> Credentials:
        """The keys that it was given."""
        return Credentials(self.access_key, self.secret_key)


def run(options: argparse.Namespace, folder: Path) -> Ledger:
    """The rounds that the command line asks for. Raises OSError where there is no loop volume, NotReady for a store that does not start."""
    volume = LoopVolume(folder, options.file_system)
    try:
        data = volume.path / "data"
        data.mkdir(mode=0o700)
        os.sync()
        store: Server
        if options.start:
            store = Started(folder, data, options.start, options.env, options.ready, options.name)
        else:
            store = StartedNode(folder, data)
        try:
            return run_cuts(store, volume, options.cuts, options.seed, kill_first=options.kill_first)
        finally:
            store.kill()
    finally:
        volume.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run, print one row of a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="", help="the store's command line; our node if none is given")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable for it, as often as needed")
    parser.add_argument("--ready", default="/", help="the path that answers 200 when it is ready")
    parser.add_argument("--name", default="fasterstore", help="what the row calls it")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--kill-first", action="store_true", help="kill -9, restart, read everything, then cut")
    parser.add_argument("--file-system", choices=("ext4", "xfs"), default="ext4")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    options = parser.parse_args(arguments)
    # Ended from outside, it must still unmount.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        ledger = run(options, Path(folder))
    counts = ledger.counts
    other = len(ledger.violations) - counts.lost - counts.wrong
    how = f"{options.cuts}, each after kill -9" if options.kill_first else str(options.cuts)
    print(TITLES)
    print(f"| {options.name} | {options.file_system} | {how} | {counts.acknowledged} | {counts.lost} | {counts.wrong} | {other} |")
    for violation in ledger.violations[:10]:
        print(f"  {violation}", file=sys.stderr)
    return 1 if ledger.violations else 0


if __name__ == "__main__":
    sys.exit(main())
