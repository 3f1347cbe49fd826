"""Where new records go: the active segments of this epoch, their ends, and the extents granted in them. Owned by segment-writer.

Placing is pure bookkeeping; `write`, `prepare`, `finish` and `seal` block and belong in a native thread. Small records share one
segment, extents written by workers another, so that the write-back of large bodies does not slow the syncs of small ones; what the
compactor moves goes into a third kind; a record larger than the target has a segment of its own. A segment is only ever appended to by
the epoch that created it (O_EXCL, ids from a logged lease), so nothing that an earlier life acknowledged can be overwritten.

Promise of `write` and `finish`: when they return, the records' bytes, and the names of their files, survive power loss.
One descriptor per segment is kept from creation to seal, so that no write-back error is lost by reopening.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fasterstore.errors import InvariantError, StorageFull, VolumeSuspect
from fasterstore.keyring import NO_KEYS, Keyring
from fasterstore.model import BlobLocation, Epoch, SegmentId
from fasterstore.storage.disk import Buffer, Disk
from fasterstore.storage.record import PLAIN_KEY, pack_header, record_bytes
from fasterstore.storage.sealed_record import build, stored_bytes
from fasterstore.storage.segment import ALIGNMENT_BYTES, HEADER_BYTES, segment_name
from fasterstore.storage.segment import pack_header as pack_segment_header

EXTENT_LANES = 4
"""Extents take turns in so many segments: writes into one file wait for each other in the kernel."""
COMPACTOR = -1
"""The worker number of regions, which no web worker has."""
COMPACTION_RESERVE_SHARE = 2
PREALLOCATE_MIN_BYTES = 1 << 20
PREALLOCATE_MAX_BYTES = 16 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
"""Want of a descriptor says nothing about the volume: this one request is refused."""


class ActiveSegment:
    """A segment of this epoch that is not sealed yet. `end` is where the next record goes, `allocated` how far the file reaches."""

    __slots__ = ("allocated", "announced", "end", "fd", "file_uuid", "open_extents", "retired", "segment_id")

    def __init__(self, segment_id: SegmentId, file_uuid: bytes) -> None:
        self.segment_id = segment_id
        self.file_uuid = file_uuid
        self.fd = -1
        self.end = HEADER_BYTES
        self.allocated = 0
        self.open_extents = 0
        self.announced = False
        """The journal has been told that the file exists."""
        self.retired = False
        """No longer the target of new records; sealed once its last extent is finished or aborted."""


class Extent:
    """A granted place, `length_bytes` from the location's offset on, until it is finished or aborted: for one record, or for a region."""

    __slots__ = ("finishing", "length_bytes", "location", "number", "segment", "worker")

    def __init__(self, number: int, segment: ActiveSegment, location: BlobLocation, length_bytes: int, worker: int) -> None:
        self.number = number
        self.segment = segment
        self.location = location
        self.length_bytes = length_bytes
        self.worker = worker
        self.finishing = False


class Run(NamedTuple):
    """Neighbouring records to be written at once: `buffers` go to `offset` of `segment`."""

    segment: ActiveSegment
    offset: int
    buffers: list[Buffer]


class Finished(NamedTuple):
    """An extent whose header is to be written, with the 32-byte digest of its chunk table and, if it is encrypted, its wrapped key."""

    extent: Extent
    table_digest: bytes
    key_epoch: int = 0
    wrapped_key: bytes = PLAIN_KEY


class SegmentAppender:
    """Places and writes records. One caller at a time, except that `finish` may run beside `write` and `prepare`."""

    def __init__(
        self,
        disk: Disk,
        folder: str,
        epoch: Epoch,
        *,
        target_bytes: int,
        min_free_bytes: int,
        extent_lanes: int = EXTENT_LANES,
        random_bytes: Callable[[int], bytes] = os.urandom,
        keyring: Keyring = NO_KEYS,
    ) -> None:
        """`folder` holds the segment files; below `min_free_bytes` of free space nothing is placed any more.

        Extents take turns in `extent_lanes` segments.
        """
        self._disk = disk
        self._folder = folder
        self.epoch = epoch
        self._target_bytes = target_bytes
        self._min_free_bytes = min_free_bytes
        self._random_bytes = random_bytes
        self._keyring = keyring
        self._ids: deque[SegmentId] = deque()
        self._small: ActiveSegment | None = None
        self._extent_lanes = extent_lanes
        self._large: dict[int, ActiveSegment] = {}
        self._cold: ActiveSegment | None = None
        self._retired: list[ActiveSegment] = []
        self.extents: dict[int, Extent] = {}
        self._last_extent = 0

    # ---- ids ----

    def add_ids(self, first: SegmentId, count: int) -> None:
        """Take a logged lease of segment ids."""
        self._ids.extend(SegmentId(number) for number in range(first, first + count))

    @property
    def ids_left(self) -> int:
        """How many segments may be opened before the next lease."""
        return len(self._ids)

    # ---- placing ----

    def place_small(self, payloads: Iterable[bytes]) -> tuple[list[Run], list[BlobLocation]]:
        """Give each payload a place and build its record; return the runs to write and the locations, in order."""
        runs: list[Run] = []
        locations: list[BlobLocation] = []
        buffers: list[Buffer] = []
        segment = self._small
        for payload in payloads:
            length = len(payload)
            stored_length = stored_bytes(self._keyring, length)
            size_bytes = record_bytes(stored_length)
            if segment is None or segment.end + size_bytes > self._target_bytes:
                segment = self._small = self._roll(segment)
                buffers = []
            if not buffers:
                runs.append(Run(segment, segment.end, buffers))
            record_id = self._random_bytes(16)
            locations.append(BlobLocation(segment.segment_id, segment.end, length, stored_length, record_id))
            buffers.extend(build(payload, record_id, self._keyring))
            segment.end += size_bytes
        return runs, locations

    def place_extent(self, plaintext_bytes: int, stored_bytes: int, worker: int) -> Extent:
        """Give one record of a worker a place; call prepare() before granting it."""
        size_bytes = record_bytes(stored_bytes)
        if HEADER_BYTES + size_bytes > self._target_bytes:
            segment = self._roll(None)
            self._retire(segment)
        else:
            lane = self._last_extent % self._extent_lanes
            current = self._large.get(lane)
            if current is None or _align(current.end) + size_bytes > self._target_bytes:
                current = self._large[lane] = self._roll(current)
            segment = current
        offset = _align(segment.end)
        location = BlobLocation(segment.segment_id, offset, plaintext_bytes, stored_bytes, self._random_bytes(16))
        segment.end = offset + size_bytes
        segment.open_extents += 1
        self._last_extent += 1
        extent = self.extents[self._last_extent] = Extent(self._last_extent, segment, location, size_bytes, worker)
        return extent

    def place_region(self, length_bytes: int) -> Extent:
        """Give the compactor a place for records of `length_bytes` together; call prepare() before granting it.

        In a segment apart: what has lived long lies with its like, which will die as late.
        """
        if HEADER_BYTES + length_bytes > self._target_bytes:
            segment = self._roll(None)
            self._retire(segment)
        else:
            if self._cold is None or _align(self._cold.end) + length_bytes > self._target_bytes:
                self._cold = self._roll(self._cold)
            segment = self._cold
        offset = _align(segment.end)
        segment.end = offset + length_bytes
        segment.open_extents += 1
        self._last_extent += 1
        location = BlobLocation(segment.segment_id, offset, length_bytes, length_bytes, b"")
        extent = self.extents[self._last_extent] = Extent(self._last_extent, segment, location, length_bytes, COMPACTOR)
        return extent

    def drop_extent(self, number: int) -> Extent | None:
        """Forget an aborted or lost extent and return it; its bytes are dead. An extent that is being finished stays: None."""
        extent = self.extents.get(number)
        if extent is None or extent.finishing:
            return None
        del self.extents[number]
        extent.segment.open_extents -= 1
        return extent

    def undo_extent(self, extent: Extent) -> None:
        """Take back the place of the extent placed last, which prepare() refused with StorageFull."""
        self.drop_extent(extent.number)
        extent.segment.end = extent.location.offset

    def drop_worker(self, worker: int) -> list[Extent]:
        """Forget all open extents of a worker whose process has ended; return them."""
        numbers = [extent.number for extent in self.extents.values() if extent.worker == worker]
        return [extent for number in numbers if (extent := self.drop_extent(number)) is not None]

    def active(self) -> list[ActiveSegment]:
        """The segments that take new records."""
        return [segment for segment in (self._small, *self._large.values(), self._cold) if segment is not None]

    def retire_active(self, segment_ids: Iterable[int]) -> None:
        """Let these take no new records; each is sealed once its last extent is finished or given back."""
        wanted = set(segment_ids)
        for segment in self.active():
            if segment.segment_id in wanted and segment.announced:
                self._retire(segment)
        if self._small is not None and self._small.retired:
            self._small = None
        if self._cold is not None and self._cold.retired:
            self._cold = None
        self._large = {lane: segment for lane, segment in self._large.items() if not segment.retired}

    def _roll(self, old: ActiveSegment | None) -> ActiveSegment:
        if not self._ids:
            raise InvariantError("no segment id left: the lease must be renewed before")
        if old is not None:
            self._retire(old)
        return ActiveSegment(self._ids.popleft(), self._random_bytes(16))

    def _retire(self, segment: ActiveSegment) -> None:
        segment.retired = True
        self._retired.append(segment)

    # ---- blocking ----

    def write(self, runs: list[Run]) -> None:
        """Write and sync placed records. Raises StorageFull with nothing written, VolumeSuspect."""
        self._room_for([run.segment for run in runs], self._min_free_bytes)
        synced = False
        try:
            for run in runs:
                self._disk.pwritev(run.segment.fd, run.buffers, run.offset)
            synced = True
            for segment in {id(run.segment): run.segment for run in runs}.values():
                self._disk.fdatasync(segment.fd)
        except OSError as error:
            if error.errno in _NO_ROOM and not synced:  # a copy-on-write file system has no room for what it had promised
                raise StorageFull(f"segment write: {error.strerror}") from error
            raise VolumeSuspect(f"segment write: {error}") from error

    def undo(self, runs: list[Run]) -> None:
        """Take back the places of runs that write() refused with StorageFull."""
        for run in reversed(runs):
            run.segment.end = run.offset

    def check_reserve(self) -> int:
        """Return the free bytes. Raises StorageFull below the reserve."""
        return self._free_above(self._min_free_bytes)

    def _free_above(self, reserve_bytes: int) -> int:
        try:
            free_bytes = self._disk.free_bytes(self._folder)
        except OSError as error:
            raise VolumeSuspect(f"free space: {error}") from error
        if free_bytes < reserve_bytes:
            raise StorageFull(f"{free_bytes >> 20} MiB free, {reserve_bytes >> 20} MiB are kept in reserve (FS_MIN_FREE_MB)")
        return free_bytes

    def prepare(self, extents: list[Extent]) -> None:
        """Create files and allocate space for placed extents. Raises StorageFull (drop them then), VolumeSuspect."""
        self._room_for([extent.segment for extent in extents], self._min_free_bytes)

    def prepare_region(self, extent: Extent) -> None:
        """The same for a region, which may use half of the reserve: on a full disk only compaction makes room. Raises as prepare."""
        self._room_for([extent.segment], self._min_free_bytes // COMPACTION_RESERVE_SHARE)

    def sync_region(self, extent: Extent) -> None:
        """On return the region's records are on stable storage. Raises VolumeSuspect."""
        try:
            self._disk.fdatasync(extent.segment.fd)
        except OSError as error:
            raise VolumeSuspect(f"segment write: {error}") from error

    def finish(self, group: list[Finished]) -> None:
        """Write the headers of records whose payload and table are in place, and sync. Raises VolumeSuspect."""
        try:
            for extent, table_digest, key_epoch, wrapped_key in group:
                place = extent.location
                header = pack_header(place.plaintext_bytes, place.stored_bytes, place.record_id, table_digest, key_epoch, wrapped_key)
                self._disk.pwrite(extent.segment.fd, header, place.offset)
            for segment in {id(extent.segment): extent.segment for extent, *_ in group}.values():
                self._disk.fdatasync(segment.fd)
        except OSError as error:
            raise VolumeSuspect(f"segment write: {error}") from error

    def finished(self, extent: Extent) -> None:
        """The record is on stable storage: the extent is no more."""
        del self.extents[extent.number]
        extent.segment.open_extents -= 1

    def seal(self) -> list[ActiveSegment]:
        """Close retired segments that have no open extent, giving back what was preallocated past their end; return them."""
        # Looked at once: beside this native thread an extent may be finished between two looks, and its segment be in neither list.
        done = [segment for segment in self._retired if not segment.open_extents]
        self._retired = [segment for segment in self._retired if segment not in done]
        for segment in done:
            self._close(segment)
        return done

    @property
    def has_sealable(self) -> bool:
        """Whether seal() has anything to do."""
        return any(not segment.open_extents for segment in self._retired)

    def close(self) -> None:
        """Stop: give back what was preallocated past the ends. The next epoch seals the files."""
        for segment in (*self.active(), *self._retired):
            self._close(segment)
        self._small = self._cold = None
        self._large.clear()
        self._retired = []

    def _close(self, segment: ActiveSegment) -> None:
        if segment.fd < 0:
            return
        try:
            self._disk.truncate(segment.fd, segment.end)
            self._disk.fdatasync(segment.fd)
        except OSError as error:
            raise VolumeSuspect(f"segment seal: {error}") from error
        self._disk.close(segment.fd)
        segment.fd = -1

    def _room_for(self, segments: list[ActiveSegment], reserve_bytes: int) -> None:
        """Have every file exist, synced with its name, and reach its end. Raises StorageFull, VolumeSuspect."""
        free_bytes = self._free_above(reserve_bytes)
        for segment in segments:
            need_bytes = segment.end - segment.allocated
            if need_bytes <= 0:
                continue
            if free_bytes - need_bytes < reserve_bytes:
                raise StorageFull(f"{need_bytes} bytes do not fit above the reserve of {reserve_bytes >> 20} MiB (FS_MIN_FREE_MB)")
            before_bytes = segment.allocated
            self._allocate(segment, need_bytes, free_bytes - reserve_bytes)
            free_bytes -= segment.allocated - before_bytes

    def _allocate(self, segment: ActiveSegment, need_bytes: int, room_bytes: int) -> None:
        """Allocate what is needed and, ahead of that, no more than `room_bytes` in all: the reserve is not for preallocation."""
        ahead_bytes = min(max(segment.allocated, PREALLOCATE_MIN_BYTES), PREALLOCATE_MAX_BYTES, room_bytes)
        if segment.retired:
            ahead_bytes = 0
        goal_bytes = max(segment.end, min(segment.allocated + max(need_bytes, ahead_bytes), self._target_bytes))
        try:
            if segment.fd < 0:
                self._create(segment)
            self._disk.fallocate(segment.fd, segment.allocated, goal_bytes - segment.allocated)
        except OSError as error:
            if error.errno in _NO_ROOM or error.errno in _NO_DESCRIPTOR:
                raise StorageFull(f"segment allocation: {error.strerror}") from error
            raise VolumeSuspect(f"segment allocation: {error}") from error
        segment.allocated = goal_bytes

    def _create(self, segment: ActiveSegment) -> None:
        path = f"{self._folder}/{segment_name(segment.segment_id)}"
        fd = self._disk.open(path, create=True, exclusive=True)
        try:
            self._disk.pwrite(fd, pack_segment_header(segment.segment_id, self.epoch, segment.file_uuid), 0)
            self._disk.fsync(fd)
            self._disk.fsync_dir(self._folder)
        except OSError as error:
            self._disk.close(fd)
            if error.errno in _NO_ROOM:
                # The id is used up: O_EXCL would refuse the file that now exists.
                if not self._ids:
                    raise InvariantError("no segment id left: the lease must be renewed before") from error
                segment.segment_id = self._ids.popleft()
            raise
        segment.fd = fd
        segment.allocated = HEADER_BYTES


def _align(offset: int) -> int:
    """Extents start on a page of their own: two workers never write the same page of the cache."""
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
