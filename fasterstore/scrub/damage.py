"""What a scrub finds and what a step of one has done. Values; owns nothing."""

from enum import StrEnum
from typing import NamedTuple

from fasterstore.model import BlobRow
from fasterstore.scrub.progress import Counts, Position


class What(StrEnum):
    """What is damaged."""

    RECORD = "record"
    """A blob's stored bytes: not served, repaired by a new PUT of the same bytes."""
    INDEX = "index"
    """A row or page of the index: made again from a kept copy and the log at the next start."""
    LOG = "log"
    """A finished journal file: what was folded from it is in the index; a rebuild that needs it will be refused."""
    COPY = "copy"
    """A kept copy of the index: the other one and the log remain."""


class Damage(NamedTuple):
    """Something that failed its checksums twice. `blob` is the record's row, and `kept` says why there is no copy in quarantine, or ""."""

    what: What
    reason: str
    blob: BlobRow | None = None
    kept: str = ""


class Step(NamedTuple):
    """One step of a round: where it stands behind it, what was read and what was found."""

    position: Position
    counts: Counts = Counts()
    damage: tuple[Damage, ...] = ()
