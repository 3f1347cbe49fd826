"""Entries about the log itself. Part of `entries.py`, which owns their bytes."""

from typing import NamedTuple


class LogRetired(NamedTuple):
    """Local: log files all of whose entries are below `below_lsn` may be gone from here on; a file begins there.

    Deletion by a logged decision: whoever finds the log beginning above the last such LSN has lost a file that was not given up.
    """

    below_lsn: int
