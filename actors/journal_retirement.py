"""How the journal gives up its log, between batches: what may go is logged like any change, and only then removed."""

import logging
from collections.abc import Callable

from actors.native_thread import NativeThread
from actors.snapshot_messages import LogState, ReadLogState, RetireLog
from fasterstore.metadata.journal import Journal

logger = logging.getLogger("fasterstore.journal")


class LogRetirement:
    """`checkpoint` folds the index's own log into its file; `write` puts the running batch on stable storage, False if it could not."""

    def __init__(self, journal: Journal, thread: NativeThread, checkpoint: Callable[[], object], write: Callable[[], bool]) -> None:
        self._journal = journal
        self._thread = thread
        self._checkpoint = checkpoint
        self._write = write

    def state(self, _message: ReadLogState, _now_ms: int) -> LogState:
        """What copies of the index may be brought up to."""
        return LogState(self._journal.head_lsn, self._journal.log_start)

    def retire(self, message: RetireLog) -> None:
        """Log what is given up, then remove those files; what an earlier life logged and did not get to remove goes with it.

        Raises VolumeSuspect, FoldFailed, the index's errors.
        """
        if self._journal.durable_applied < message.copy_lsn:
            self._checkpoint()
        below = self._thread.run(self._journal.retirable_below, message.copy_lsn, message.wanted_after, message.retention_bytes)
        if below > self._journal.log_start:
            self._journal.begin()
            self._journal.retire_log(below)
            if not self._write():
                return
        removed = self._thread.run(self._journal.remove_retired)
        if removed:
            logger.info("removed %d log files below LSN %d", removed, self._journal.log_start)
