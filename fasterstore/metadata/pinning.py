"""Making a pin, in steps that a caller may run in different threads: everything but the roll and the journal's head.

    1  begin      a folder NAME.tmp with links to every segment file there is: from now on none of them can go
    2  the caller asks the journal for its durable head
    3  base       the newest kept copy of the index, its bytes copied
    4  the caller folds the log into it up to that head (`roll.bring_upto`)
    5  finish     links to segments that were opened since, none to those that the index does not name; documents; sync; the name

A segment that was opened after 1 and is gone again before 5 cannot be linked: `finish` raises SegmentGone, and 2 to 5 are done again
with a later head, whose rows name the new places of what was moved. The live index is not involved.
"""

import os
from collections.abc import Iterator

from fasterstore.errors import StoreError
from fasterstore.metadata import index_file
from fasterstore.metadata.roll import Places, Progress, file_bytes, require_room, sync_file
from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.datadir import FORMAT, DataDir
from fasterstore.storage.disk import read_file
from fasterstore.storage.kept_copies import copy_file, list_copies, whole
from fasterstore.storage.pins import (
    INDEX_NAME,
    KEYS_NAME,
    SEGMENTS_NAME,
    Pin,
    PinRefused,
    check_name,
    pins_dir,
    remove_folder,
    write_document,
)
from fasterstore.storage.segment import parse_segment_name, segment_name


class SegmentGone(StoreError):
    """A segment that the index names was retired before it could be linked: take a later head."""


class Pinning:
    """One pin on its way. Blocking; each step in turn."""

    def __init__(self, places: Places, datadir: DataDir, name: str) -> None:
        """Raises PinRefused: a bad name, or one that is taken."""
        self._places = places
        self._datadir = datadir
        self._name = check_name(name)
        self._final = os.path.join(pins_dir(places.snapshots), name)
        self._path = self._final + ".tmp"
        if places.disk.exists(self._final):
            raise PinRefused(f"there is a snapshot {name!r} already")
        self._segments = os.path.join(self._path, SEGMENTS_NAME)

    @property
    def index_path(self) -> str:
        """Where the pin's index is being made."""
        return os.path.join(self._path, INDEX_NAME)

    def begin(self) -> None:
        """Step 1. Raises OSError."""
        disk = self._places.disk
        if not disk.exists(pins_dir(self._places.snapshots)):
            disk.mkdir(pins_dir(self._places.snapshots))
            disk.fsync_dir(self._places.snapshots)
        self.abandon()
        disk.mkdir(self._path)
        disk.mkdir(self._segments)
        for name in disk.listdir(self._datadir.segments_dir):
            if parse_segment_name(name) is not None:
                self._link(name)

    def base(self, keep_free_bytes: int) -> Iterator[Progress]:
        """Step 3. Raises StorageFull; PinRefused: there is no copy yet; OSError."""
        disk = self._places.disk
        kept = whole(list_copies(disk, self._places.snapshots, self._places.log_uuid))
        if not kept:
            raise PinRefused("there is no copy of the index yet")
        source = os.path.join(self._places.snapshots, kept[-1].name)
        require_room(disk, self._path, keep_free_bytes + file_bytes(disk, source))
        for done, total in copy_file(disk, source, self.index_path):
            yield Progress("copying the index's copy", done, total)

    def finish(self, now_ms: int) -> Pin:
        """Step 5. Raises SegmentGone, OSError."""
        disk = self._places.disk
        wanted = {segment_name(row.segment_id) for row in index_file.segments_of(self.index_path)}
        linked = set(disk.listdir(self._segments))
        for name in sorted(wanted - linked):
            if not self._link(name):
                raise SegmentGone(f"segment {name} was retired meanwhile")
        for name in linked - wanted:
            disk.unlink(os.path.join(self._segments, name))
        sizes = [file_bytes(disk, os.path.join(self._segments, name)) for name in wanted]
        write_atomically(disk, os.path.join(self._path, KEYS_NAME), read_file(disk, os.path.join(self._datadir.path, KEYS_NAME)))
        sync_file(disk, self.index_path)
        for folder in (self._segments, self._path):
            disk.fsync_dir(folder)
        lsn = index_file.describe_file(self.index_path).applied_lsn
        pin = Pin(
            self._name, self._path, lsn, self._datadir.log_uuid, self._datadir.node_id, FORMAT, now_ms,
            file_bytes(disk, self.index_path), len(sizes), sum(sizes),
        )  # fmt: skip
        write_document(disk, pin)
        disk.rename(self._path, self._final)
        disk.fsync_dir(pins_dir(self._places.snapshots))
        return pin._replace(path=self._final)

    def abandon(self) -> None:
        """Remove what there is of it. Raises OSError."""
        if self._places.disk.exists(self._path):
            remove_folder(self._places.disk, self._path)

    def _link(self, name: str) -> bool:
        """Link a segment file into the pin; return False if there is none."""
        try:
            os.link(os.path.join(self._datadir.segments_dir, name), os.path.join(self._segments, name))
        except FileNotFoundError:
            return False
        return True
