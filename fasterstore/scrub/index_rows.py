"""The part of a round that reads the whole index through its checksums: rows of every table, entries of every secondary index.

What fails is read once more, in a transaction of its own, before it is called damage. Behind a page that cannot be read the rest of
that table is left out: it is damage all the same, and the index is made again as a whole.
"""

from collections.abc import Iterator

from fasterstore.errors import DamagedRow, VolumeSuspect
from fasterstore.metadata.index import IndexView, says_damage
from fasterstore.metadata.table_scan import INDEXES, TABLES, Index, Slice, Table, bad_rows
from fasterstore.scrub.damage import Damage, Step, What
from fasterstore.scrub.progress import Counts, Position

ROWS = 256
PHASE = "index"
_ROW_OVERHEAD_BYTES = 16
"""About what SQLite adds to a row."""


class IndexScrub:
    """See the module. `view` is used by this alone, in the caller's thread."""

    def __init__(self, view: IndexView) -> None:
        self._view = view

    def steps(self, position: Position) -> Iterator[Step]:
        """Read on, from the beginning of the table or index that `position` names.

        Raises DamagedRow, VolumeSuspect for what is no damage: this process could not read.
        """
        parts: list[Table | Index] = [part for part in (*TABLES, *INDEXES) if part.since <= self._view.schema_version]
        if not position.at:
            self._view.forget_cached_pages()
        names = [part.name for part in parts]
        for part in parts[names.index(position.at) if position.at in names else 0 :]:
            yield from self._scan(part)

    def _scan(self, part: Table | Index) -> Iterator[Step]:
        here = Position(PHASE, part.name)
        after: tuple | None = None
        more = True
        while more:
            try:
                found, reason = self._read(part, after), ""
            except (DamagedRow, VolumeSuspect) as error:
                if not says_damage(error):
                    raise
                found, reason = Slice([], None), error.detail
            if isinstance(part, Table) and (bad := bad_rows(part, found.rows)):
                reason = "; ".join(row.reason for row in bad[:3])
            size_bytes = sum(_ROW_OVERHEAD_BYTES + len(field) for row in found.rows for field in row if isinstance(field, bytes))
            damage = (Damage(What.INDEX, f"{part.name}: {reason}"),) if reason else ()
            yield Step(here, Counts(bytes=size_bytes, rows=len(found.rows), damaged=len(damage)), damage)
            after = found.after
            more = after is not None

    def _read(self, part: Table | Index, after: tuple | None) -> Slice:
        """A slice; one that fails is read again."""
        try:
            found = self._slice(part, after)
        except (DamagedRow, VolumeSuspect):
            return self._slice(part, after)
        if isinstance(part, Table) and bad_rows(part, found.rows):
            return self._slice(part, after)
        return found

    def _slice(self, part: Table | Index, after: tuple | None) -> Slice:
        scan = self._view.scan
        return scan.slice(part, after, ROWS) if isinstance(part, Table) else scan.index_slice(part, after, ROWS)
