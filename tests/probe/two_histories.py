"""What the clients of two nodes know about each key: which states it may have once the nodes agree, by what was acknowledged where.

A state is the MD5 of a body with a mark (metadata) and tags, or a mark alone (settings); None is "not there". Each side has one writer
for a key, which sends its next request after the answer to the one before. So on one side a later write has the later stamp; between the
sides the stamps decide, and of each side only the last acknowledged write can be what is left. A key whose outcome is unknown on a side
is not written there again before the next comparison. After each acknowledged write its stamp is looked up, where that can be done: what
is left in the end may have no earlier one. Owns no connection.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple


class Version(NamedTuple):
    """An object's state: `mark` is its metadata "mark", `tags` its tag set as sorted pairs."""

    md5: str
    mark: str
    tags: tuple[tuple[str, str], ...] = ()


State = Hashable | None
Stamp = tuple[int, bytes]
"""The hybrid clock's value and the node id: the higher pair wins."""


@dataclass(slots=True)
class Side:
    """One side's writes since the last comparison."""

    left: set[State] = field(default_factory=set)
    """What its last writes may have left: the last acknowledged one, and any later one of which nobody knows; empty before the first."""
    acknowledged: bool = False
    unknown: bool = False
    pending: bool = False
    floor: Stamp | None = None
    """The key's stamp here, looked up after the last acknowledged write."""


@dataclass(slots=True)
class Key:
    """`agreed`: what both nodes held at the last comparison, under the stamp `agreed_stamp`. `name` is whatever names it."""

    name: tuple[str, ...]
    agreed: State = None
    agreed_stamp: Stamp | None = None
    sides: dict[str, Side] = field(default_factory=dict)

    def side(self, side: str) -> Side:
        """What that side has done, nothing yet if it is new."""
        return self.sides.setdefault(side, Side())

    def possible(self) -> set[State]:
        """The states that it may have once the nodes agree: what was agreed before only if nothing was acknowledged since."""
        left = {state for side in self.sides.values() for state in side.left}
        return left if any(side.acknowledged for side in self.sides.values()) else left | {self.agreed}


@dataclass(slots=True)
class Counts:
    """What happened, for the report that a run prints."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    read: int = 0
    stamped: int = 0
    """Acknowledged writes whose stamp was looked up."""
    contended: int = 0
    """Keys that both sides wrote between two comparisons."""
    superseded: int = 0
    """Of those, how often the last acknowledged write of one side gave way."""
    judged: int = 0


class Histories:
    """All keys, and each observation that contradicts what was acknowledged (`violations`)."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, ...], Key] = {}
        self.counts = Counts()
        self.violations: list[str] = []

    def key(self, *name: str) -> Key:
        """The key of that name, new if it was never used."""
        return self.keys.setdefault(name, Key(name))

    def free(self, key: Key, side: str) -> bool:
        """Whether that side may write it: nothing in flight, no outcome unknown."""
        found = key.sides.get(side)
        return found is None or not (found.pending or found.unknown)

    def begin(self, key: Key, side: str) -> None:
        """A write is about to be sent."""
        key.side(side).pending = True

    def acknowledged(self, key: Key, side: str, state: State, stamp: Stamp | None = None) -> None:
        """It was answered with success. `stamp`: the one that the key has there now, the write's own or a later one."""
        found = key.side(side)
        found.left, found.pending, found.acknowledged = {state}, False, True
        self.counts.acknowledged += 1
        if stamp is not None:
            self.counts.stamped += 1
            if found.floor is not None and stamp < found.floor:
                self.violations.append(f"{key.name}: on {side} the stamp went back from {found.floor} to {stamp}")
            found.floor = max(stamp, found.floor or stamp)

    def refused(self, key: Key, side: str) -> None:
        """It was refused by an answer that says that nothing was changed, or was never sent."""
        key.side(side).pending = False
        self.counts.refused += 1

    def unknown(self, key: Key, side: str, state: State) -> None:
        """Nobody can say whether it happened."""
        found = key.side(side)
        found.left.add(state)
        found.pending, found.unknown = False, True
        self.counts.unknown += 1

    def read(self, key: Key, side: str, state: State) -> None:
        """A key that only this side writes was read there, with no request in flight."""
        self.counts.read += 1
        if state not in (possible := key.possible()):
            self.violations.append(f"{key.name}: {side} answers {state}, possible were {sorted(map(str, possible))}")

    def judge(self, key: Key, state: State, stamp: Stamp | None = None) -> None:
        """Both nodes hold `state` under `stamp` (None: not known); forget what led to it."""
        self.counts.judged += 1
        wrote = [side for side in key.sides.values() if side.left]
        if state not in (possible := key.possible()):
            self.violations.append(f"{key.name}: both hold {state}, possible were {sorted(map(str, possible))}; before {key.agreed}")
        floors = [side.floor for side in wrote if side.floor is not None]
        if key.agreed_stamp is not None:
            floors.append(key.agreed_stamp)
        if stamp is not None and floors and stamp < max(floors):
            self.violations.append(f"{key.name}: both hold {state} under {stamp}, acknowledged was one under {max(floors)}")
        if len(wrote) > 1:
            self.counts.contended += 1
            self.counts.superseded += any(side.acknowledged and state not in side.left for side in wrote)
        key.agreed, key.agreed_stamp = state, stamp
        key.sides.clear()
