"""What the clients of a node know: which values each key may hold, by what was acknowledged. Judges every answer against it.

A value is the MD5 of a body, None is "no such key"; its ETag is the same, or that of the parts it was put together from. A key has one
writer, which sends its next request after the answer to the one before: so an acknowledged key holds exactly one value, and a key whose
last outcome is unknown holds either of two and is written no more. Owns no connection and starts nothing.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Key:
    """`possible`: what it may hold now; `sent`: each value it was ever asked to hold, with its ETags; `pending`: a request is in flight;
    `judged`: not known to be lost yet."""

    name: str
    possible: set[str | None] = field(default_factory=lambda: {None})
    sent: dict[str, set[str]] = field(default_factory=dict)
    pending: bool = False
    settled: bool = True
    """No outcome of this key is unknown."""
    judged: bool = True
    acknowledged_at: float = 0.0
    """When the last acknowledged request was sent, in Unix seconds, where whoever sends keeps that."""


@dataclass(slots=True)
class Counts:
    """What happened, for the report that a run prints."""

    acknowledged: int = 0
    copied: int = 0
    in_parts: int = 0
    """Of those acknowledged: by CopyObject, and by CompleteMultipartUpload."""
    refused: int = 0
    unknown: int = 0
    reads: int = 0
    verified: int = 0
    lost: int = 0
    """Acknowledged, and afterwards another value or none was there, or no answer was to be had."""
    wrong: int = 0
    """Bytes that nobody has written there."""


class Ledger:
    """All keys of one node's life, and each answer that contradicts what was acknowledged (`violations`)."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.counts = Counts()
        self.violations: list[str] = []

    def key(self, name: str) -> Key:
        """The key of that name, new if it was never used."""
        return self.keys.setdefault(name, Key(name))

    def begin(self, key: Key, value: str | None, etags: Iterable[str] = ()) -> None:
        """What makes the key hold `value`, or a DELETE (None), is about to be sent. `etags`: what its ETag may be, if not the value."""
        key.pending = True
        if value is not None:
            key.sent.setdefault(value, set()).update(etags or (value,))

    def acknowledged(self, key: Key, value: str | None) -> None:
        """It was answered with success."""
        key.possible, key.pending = {value}, False
        self.counts.acknowledged += 1

    def refused(self, key: Key) -> None:
        """It was refused by an answer that says that nothing was changed, or was never sent."""
        key.pending = False
        self.counts.refused += 1

    def unknown(self, key: Key, value: str | None) -> None:
        """Nobody can say whether it happened."""
        key.possible.add(value)
        key.pending = key.settled = False
        self.counts.unknown += 1

    def judge(self, key: Key, etag: str | None, body: bytes, *, exact: bool) -> str | None:
        """Compare a GET's answer (`etag` None: 404) with what may be; return the value seen.

        `exact`: the key had no request in flight while it was read, so its last acknowledged value is the only right one.
        """
        self.counts.reads += 1
        value = None if etag is None else hashlib.md5(body).hexdigest()
        bare = "" if etag is None else etag.strip('"')
        if value is not None and value != bare and not (value in key.sent and "-" in bare):
            self.counts.wrong += 1
            self.violations.append(f"{key.name}: a half-written value: {len(body)} bytes that are not those of ETag {bare}")
        elif value is not None and value not in key.sent:
            self.counts.wrong += 1
            self.violations.append(f"{key.name}: holds {value}, which nobody has written there")
        elif value is not None and bare not in key.sent[value]:
            self.violations.append(f"{key.name}: holds {value} with the ETag {bare}, not one of {key.sent[value]}")
        elif exact and value not in key.possible:
            self.violations.append(f"{key.name}: holds {value}, acknowledged was {sorted(map(str, key.possible))}")
            self._count_lost(key)
        return value

    def unreadable(self, key: Key, error: Exception) -> None:
        """No answer was to be had about a key, long after the store said that it is ready."""
        self.violations.append(f"{key.name}: cannot be read after the restart: {error}")
        self._count_lost(key)

    def _count_lost(self, key: Key) -> None:
        """Once: it is neither written nor judged any more."""
        self.counts.lost += 1
        key.settled, key.judged = False, False

    def settle(self, key: Key, value: str | None) -> None:
        """Every process that could still carry out an unknown request is gone, and the key was seen to hold `value`: so it stays."""
        key.possible = {value}
        key.settled = True
