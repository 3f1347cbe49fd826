"""A process and all its descendants: their CPU time and their memory (Linux, /proc).

Run as a script it prints the memory of a tree: `python -m scripts.measure.process_tree PID`.
"""

import argparse
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAMPLE_INTERVAL_SECS = 0.25
_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")


def members(pid: int) -> list[int]:
    """`pid` and all its descendants, parents first; those that are gone are left out."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat_fields(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_secs(pid: int) -> float:
    """User and system time of the living members of the tree since each one's start."""
    every = (_stat_fields(member) for member in members(pid))
    return sum((int(fields[11]) + int(fields[12])) / _TICKS_PER_SEC for fields in every if fields)


def pss_bytes(pid: int) -> int:
    """Proportional set size of one process: its own pages, and its share of each page that it shares. 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def tree_pss_bytes(pid: int) -> int:
    """Sum of the proportional set sizes of the tree: what its end would give back."""
    return sum(map(pss_bytes, members(pid)))


class Peak:
    """The highest memory seen while `watch_memory` watched."""

    pss_bytes = 0


@contextmanager
def watch_memory(pid: int) -> Iterator[Peak]:
    """Sample the tree's memory a few times a second, from now until the end of the block."""
    peak, done = Peak(), threading.Event()

    def sample() -> None:
        while True:
            peak.pss_bytes = max(peak.pss_bytes, tree_pss_bytes(pid))
            if done.wait(SAMPLE_INTERVAL_SECS):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5) counts that one as 3); empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def main() -> None:
    """Print one line for each process, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pid", type=int)
    pid = parser.parse_args().pid
    for member in members(pid):
        command = Path(f"/proc/{member}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        print(f"{pss_bytes(member) / (1 << 20):8.1f} MiB  {member}  {command}")
    print(f"{tree_pss_bytes(pid) / (1 << 20):8.1f} MiB  in total")


if __name__ == "__main__":
    main()
