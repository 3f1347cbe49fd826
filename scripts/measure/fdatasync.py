"""The machine's fdatasync time, as named beside every figure: `python -m scripts.measure.fdatasync [FOLDER]`.

Prints one JSON line: milliseconds for 4 KiB written and made durable, at the end of a growing file and inside a preallocated one.
"""

import argparse
import json

from tools.fdatasync_probe import measure
from tools.percentiles import percentile


def fdatasync_ms(folder: str, rounds: int = 500) -> dict[str, float]:
    """The figures by name, in milliseconds. Raises OSError if the folder cannot be written to."""
    row = {}
    for kind, preallocated in (("append", False), ("preallocated", True)):
        times = measure(folder, rounds, preallocated=preallocated)
        for percent in (50, 99):
            row[f"fdatasync_{kind}_p{percent}_ms"] = round(percentile(times, percent) * 1000, 3)
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=".")
    parser.add_argument("--rounds", type=int, default=500)
    arguments = parser.parse_args()
    print(json.dumps(fdatasync_ms(arguments.folder, arguments.rounds)))


if __name__ == "__main__":
    main()
