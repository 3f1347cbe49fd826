"""The part of a round that reads the kept copies of the index through their checksums, as the index itself is read: `snapshots/*.copy`,
from which a damaged index is built anew, and the index of every pinned snapshot, `snapshots/pins/NAME/index.db`.

A whole copy never changes; one that goes meanwhile has been brought up to date under another name, which is no damage. The copies are
SQLite files out of WAL mode: reading one leaves nothing beside it.
"""

import os
from collections.abc import Iterator

from fasterstore.errors import DamagedRow, StoreError, UnsupportedFormat, VolumeSuspect
from fasterstore.metadata.index import open_view, says_damage
from fasterstore.scrub.damage import Damage, Step, What
from fasterstore.scrub.index_rows import IndexScrub
from fasterstore.scrub.progress import Counts, Position

PHASE = "copies"
SUFFIX = ".copy"
PINS, PINNED_INDEX, UNFINISHED = "pins", "index.db", (".tmp", ".drop")
_VIEW_CACHE_KIB = 2048


def list_copies(folder: str) -> list[str]:
    """The whole copies in and below `folder`, as names relative to it, in a fixed order. Raises OSError."""
    names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
    pins = os.path.join(folder, PINS)
    if os.path.isdir(pins):
        whole = [name for name in os.listdir(pins) if not name.endswith(UNFINISHED)]
        names += [os.path.join(PINS, name, PINNED_INDEX) for name in whole if os.path.exists(os.path.join(pins, name, PINNED_INDEX))]
    return sorted(names)


class CopyScrub:
    """See the module. `folder` is on the real disk, as all files of SQLite are."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def steps(self, position: Position) -> Iterator[Step]:
        """Read the copies from the one that `position` names on. Raises DamagedRow, VolumeSuspect for what is no damage, OSError."""
        if not os.path.isdir(self._folder):
            return
        for name in list_copies(self._folder):
            if name >= position.at:
                yield from self._copy(name)

    def _copy(self, name: str) -> Iterator[Step]:
        here = Position(PHASE, name)
        path = os.path.join(self._folder, name)
        try:
            view = open_view(path, _VIEW_CACHE_KIB)
        except UnsupportedFormat as error:
            yield _damaged(here, error)
            return
        except (DamagedRow, VolumeSuspect) as error:
            if says_damage(error):
                yield _damaged(here, error)
            elif os.path.exists(path):
                raise
            return
        try:
            for step in IndexScrub(view).steps(Position()):
                damage = tuple(found._replace(what=What.COPY, reason=f"snapshots/{name}: {found.reason}") for found in step.damage)
                yield Step(here, step.counts, damage)
        except (DamagedRow, VolumeSuspect):
            if os.path.exists(path):
                raise
        finally:
            view.close()


def _damaged(here: Position, error: StoreError) -> Step:
    return Step(here, Counts(damaged=1), (Damage(What.COPY, f"snapshots/{here.at}: {error.detail}"),))
