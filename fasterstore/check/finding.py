"""What a check can find, and how each kind is called in reports. Values; owns nothing.

A *finding* says that something is wrong; a *note* says what an operator may want to know of a sound store (an unfinished batch at the
end of the log, a file that no row names). Only what can be derived from the rest of the store can be repaired by a check: everything
else is evidence, and stays as it is.
"""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The kinds, by what they are about."""

    LOG_DAMAGED = "log-damaged"
    """A journal file's header, frame, entry or place in the chain is not what was written."""
    LOG_SHORT = "log-short"
    """The log ends below what was durable: acknowledged entries are gone."""
    INDEX_UNREADABLE = "index-unreadable"
    """A page of the index fails its checksum or cannot be read."""
    INDEX_ROW = "index-row"
    """A row fails its checksum, or a plain column differs from it."""
    INDEX_STRUCTURE = "index-structure"
    """SQLite's own check: b-trees, freelist, a secondary index that differs from its table."""
    COPY_DAMAGED = "copy-damaged"
    """A kept copy of the index fails its checksums: a rebuild takes the other one."""
    DANGLING = "dangling"
    """Something names a blob, manifest, segment or bucket that is not there."""
    WRONG_SIZE = "wrong-size"
    """An object, a manifest or a part is not as long as the bytes that it names."""
    STRAY_ROW = "stray-row"
    """Rows of an upload, a manifest or a release that belong to nothing."""
    REFS = "refs"
    """The references of a blob are not what objects and parts add up to."""
    MANIFEST_REFS = "manifest-refs"
    """The references of a manifest are not what objects add up to."""
    USAGE = "usage"
    """What a bucket is said to hold is not what its objects add up to."""
    LIVE_BYTES = "live-bytes"
    """A segment's live bytes are not what its records add up to."""
    DAMAGED_COUNT = "damaged-count"
    """The count of damaged blobs is not how many there are."""
    TOMBSTONE_COUNT = "tombstone-count"
    """The count of tombstones is not how many there are."""
    REGISTERS = "registers"
    """A bucket's row and its registers, which peers are sent, say different things."""
    COUNTER = "counter"
    """A counter of the log is below a number that is in use: it would be used twice."""
    SEGMENT_MISSING = "segment-missing"
    SEGMENT_HEADER = "segment-header"
    """The file's header is unreadable, or is that of another file."""
    SEGMENT_LENGTH = "segment-length"
    """A sealed file is not as long as it was, or a record reaches behind the end."""
    RECORD_DAMAGED = "record-damaged"
    RECORD_OVERLAP = "record-overlap"
    """Two records claim the same bytes."""
    BLOB_DAMAGED = "blob-damaged"
    """A blob that was found damaged before, and has not been put again."""
    UNNAMED_FILE = "unnamed-file"
    """A file in segments/ that no row names. It is never deleted."""
    TORN_TAIL = "torn-tail"
    """An unfinished batch at the end of the log, which nobody was told had been written."""
    LOG_AHEAD = "log-ahead"
    """Entries that are not in the index yet: the next start folds them."""


NOTES = frozenset((Kind.UNNAMED_FILE, Kind.TORN_TAIL, Kind.LOG_AHEAD))
COUNTED = frozenset((Kind.REFS, Kind.MANIFEST_REFS, Kind.USAGE, Kind.LIVE_BYTES, Kind.DAMAGED_COUNT, Kind.TOMBSTONE_COUNT))
"""Derivable: `--repair` writes what was counted."""
REBUILT = frozenset((Kind.INDEX_UNREADABLE, Kind.INDEX_ROW))
"""Derivable from a kept copy and the log: `--repair` makes the next start build the index anew."""
REINDEXED = frozenset((Kind.INDEX_STRUCTURE,))
"""Derivable as far as secondary indexes go: `--repair` makes them anew."""
OF_A_MOMENT = COUNTED | {Kind.STRAY_ROW, Kind.DANGLING, Kind.WRONG_SIZE, Kind.COUNTER, Kind.REGISTERS}
"""Comparisons of rows that were read at different moments while others write: to be confirmed."""


class Finding(NamedTuple):
    """One thing found.

    `where` names file, table or row (never a secret); `subject` is what a row is about, as (kind of thing, its number), for those of
    `OF_A_MOMENT`; `stored` and `counted` are the two figures of a counter, each a tuple because usage has two.
    """

    kind: Kind
    where: str
    detail: str
    subject: tuple[str, int] = ("", 0)
    stored: tuple[int, ...] = ()
    counted: tuple[int, ...] = ()

    @property
    def is_note(self) -> bool:
        """It says nothing against the store."""
        return self.kind in NOTES

    @property
    def repairable(self) -> bool:
        """`--repair` can put it right."""
        return self.kind in COUNTED | REBUILT | REINDEXED
