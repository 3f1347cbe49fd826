"""What other nodes, or who claims to be one, do wrong: a warning of each kind once a minute at most, and a count of all.

A hostile peer may call ten thousand times a second; the log must neither hide it nor drown in it. Owns counts and the time of the last
line of each kind. Kinds are a fixed few, named by us, so nothing that a caller sends makes this grow.
"""

import logging
from collections import Counter
from collections.abc import Callable

logger = logging.getLogger("fasterstore.internal")

QUIET_MS = 60_000
_TEXT_MAX_CHARS = 200


class RefusalLog:
    """One for each web process. `now_ms` gives Unix milliseconds."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._logged_ms: dict[str, int] = {}
        self._unlogged: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        """How often each kind was refused since the start."""

    def refused(self, kind: str, text: str) -> None:
        """Count a refusal of that kind; `text` says what, without secrets, for the line that may be written."""
        self.counts[kind] += 1
        now = self._now_ms()
        last = self._logged_ms.get(kind)
        # A clock that was set back does not silence it for longer than the minute.
        if last is not None and 0 <= now - last < QUIET_MS:
            self._unlogged[kind] += 1
            return
        self._logged_ms[kind] = now
        more = self._unlogged.pop(kind, 0)
        logger.warning("%s: %s%s", kind, _in_one_line(text), f" (and {more} more since the last such line)" if more else "")


def _in_one_line(text: str) -> str:
    """What a stranger sent may hold anything: visible ASCII stays, and not too much of it."""
    visible = "".join(character if " " <= character <= "~" else "?" for character in text)
    return visible if len(visible) <= _TEXT_MAX_CHARS else f"{visible[:_TEXT_MAX_CHARS]}..."
