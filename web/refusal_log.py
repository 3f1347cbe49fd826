"""What other nodes, or who claims to be one, do wrong: a warning of each kind once a minute at most, and a count of all.

A hostile peer may call ten thousand times a second; the log must neither hide it nor drown in it. Owns counts and the time of the last
line of each kind. Kinds are a fixed few, so nothing that a caller sends makes this grow.
"""

import logging
from collections import Counter
from collections.abc import Callable, MutableSequence

logger = logging.getLogger("fasterstore.internal")

QUIET_MS = 60_000
_TEXT_MAX_CHARS = 200


KINDS = (
    "wrong-token", "clock-skew", "token-in-the-clear", "foreign-source", "endless-body", "oversized-body", "short-body", "wrong-hash",
    "unreadable", "same-node", "wrong-bytes", "cannot-pull", "plain-http",
)  # fmt: skip
"""A kind's place in this tuple is its number."""


class RefusalLog:
    """One for each web process. `now_ms` gives Unix milliseconds."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._unlogged: Counter[str] = Counter()
        self.last_logged_ms: MutableSequence[int] | memoryview = [0] * len(KINDS)
        """By a kind's number; the composition root may put memory here that the node's processes share."""
        self.counts: Counter[str] = Counter()
        """How often each kind was refused by this process."""

    def refused(self, kind: str, text: str) -> None:
        """Count a refusal of that kind; `text` says what, without secrets, for the line that may be written."""
        self.counts[kind] += 1
        number, now = KINDS.index(kind), self._now_ms()
        # A clock that was set back does not silence it for longer than the minute.
        if 0 <= now - self.last_logged_ms[number] < QUIET_MS:
            self._unlogged[kind] += 1
            return
        self.last_logged_ms[number] = now
        more = self._unlogged.pop(kind, 0)
        logger.warning("%s: %s%s", kind, _in_one_line(text), f" (and {more} more since the last such line)" if more else "")


def _in_one_line(text: str) -> str:
    """What a stranger sent may hold anything: visible ASCII stays, and not too much of it."""
    visible = "".join(character if " " <= character <= "~" else "?" for character in text)
    return visible if len(visible) <= _TEXT_MAX_CHARS else f"{visible[:_TEXT_MAX_CHARS]}..."
