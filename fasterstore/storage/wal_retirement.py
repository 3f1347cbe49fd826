"""Which log files are no longer needed: the rule as a pure function (design, section 6, "Checkpoint and retirement").

An entry is needed by the index until a completed checkpoint has it (`durable_applied`), by the older of the two kept index copies,
from which the index is rebuilt, and by peers and pins that are behind. The first two are never overruled: without them a damaged
index is lost. Peers and pins hold back the newest `retention_bytes` of log at most.
"""

from collections.abc import Iterable, Sequence

from fasterstore.storage.wal import LogFile


def retirable_below(
    files: Sequence[LogFile], *, durable_applied: int, copy_lsn: int, wanted_after: Iterable[int], retention_bytes: int
) -> int:
    """The first LSN of the oldest file that must stay; whatever lies below it may go. 0 if there is no file.

    `durable_applied`: the index file holds every entry up to it, on stable storage. `copy_lsn`: so does the older kept copy; 0 if
    fewer than two are kept. `wanted_after`: LSNs of pins and cursors of peers; the entries above each are wanted.
    """
    if not files:
        return 0
    limit = min(durable_applied, copy_lsn) + 1
    wanted = min(wanted_after, default=limit) + 1
    if wanted < limit:
        limit = min(limit, max(wanted, _retained_from(files, retention_bytes)))
    below = files[0].first_lsn
    for file in files:
        if file.first_lsn <= limit:
            below = file.first_lsn
    return below


def _retained_from(files: Sequence[LogFile], retention_bytes: int) -> int:
    """The LSN with which the newest files of at most `retention_bytes` begin; the current file is always among them."""
    start, kept_bytes = files[-1].first_lsn, files[-1].size_bytes
    for file in reversed(files[:-1]):
        kept_bytes += file.size_bytes
        if kept_bytes > retention_bytes:
            break
        start = file.first_lsn
    return start
