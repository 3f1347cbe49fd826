"""The segment files that a process has open: by segment id, the least recently used forgotten first.

A file is only handed out after its header said the file uuid that the caller expects, so a descriptor never belongs to another life
of that name. Forgetting a file closes it once nobody reads it any more. Must never create, extend or remove a segment.
"""

import os
from collections import OrderedDict

from fasterstore.errors import DamagedRecord
from fasterstore.model import SegmentId
from fasterstore.storage.disk import Disk
from fasterstore.storage.segment import HEADER_BYTES, segment_name, unpack_header

OPEN_FILES_MAX = 512


class OpenSegment:
    """One open segment file. `fd` stays open for as long as anybody holds this object.

    Whoever reads (a download, a job in a native thread) holds a reference; the last one gone closes the descriptor. Counting them by
    hand would be one more thing for every error path to get right.
    """

    __slots__ = ("_disk", "fd", "file_uuid")

    def __init__(self, disk: Disk, fd: int, file_uuid: bytes) -> None:
        self._disk = disk
        self.fd = fd
        self.file_uuid = file_uuid

    def __del__(self) -> None:
        self._disk.close(self.fd)


class OpenSegments:
    """Descriptors by segment id: one for reading, and one for writing where an extent was granted."""

    def __init__(self, disk: Disk, folder: str, limit: int = OPEN_FILES_MAX) -> None:
        self._disk = disk
        self._folder = folder
        self._limit = limit
        self._readers: OrderedDict[SegmentId, OpenSegment] = OrderedDict()
        self._writers: OrderedDict[SegmentId, OpenSegment] = OrderedDict()

    def reader(self, segment_id: SegmentId, file_uuid: bytes) -> OpenSegment:
        """The segment, open for reading.

        Raises: FileNotFoundError if there is no such file, DamagedRecord if the file there is not the one with `file_uuid` (both mean
        that the index row may be outdated: look the key up again), OSError.
        """
        return self._get(self._readers, segment_id, file_uuid, read_only=True)

    def writer(self, segment_id: SegmentId, file_uuid: bytes) -> OpenSegment:
        """The segment, open for writing into an extent that was granted. Raises as `reader` does."""
        return self._get(self._writers, segment_id, file_uuid, read_only=False)

    def forget_all(self) -> None:
        """Start anew: called when the storage process has."""
        self._readers.clear()
        self._writers.clear()

    def forget(self, segment_id: SegmentId) -> None:
        """Let go of one segment: its file is about to be unlinked."""
        self._readers.pop(segment_id, None)
        self._writers.pop(segment_id, None)

    def forget_unlinked(self) -> int:
        """Let go of every file that has no name any more, so that its space is given back; return how many. A few µs a file."""
        gone = [
            (files, segment_id)
            for files in (self._readers, self._writers)
            for segment_id, opened in files.items()
            if self._has_no_name(opened)
        ]
        for files, segment_id in gone:
            del files[segment_id]
        return len(gone)

    def _has_no_name(self, opened: OpenSegment) -> bool:
        try:
            return not self._disk.link_count(opened.fd)
        except OSError:  # a volume that fails: kept until it can say
            return False

    def _get(self, files: OrderedDict[SegmentId, OpenSegment], segment_id: SegmentId, file_uuid: bytes, read_only: bool) -> OpenSegment:
        found = files.get(segment_id)
        if found is not None and found.file_uuid == file_uuid:
            files.move_to_end(segment_id)
            return found
        files.pop(segment_id, None)
        opened = self._open(segment_id, file_uuid, read_only)
        files[segment_id] = opened
        if len(files) > self._limit:
            files.popitem(last=False)
        return opened

    def _open(self, segment_id: SegmentId, file_uuid: bytes, read_only: bool) -> OpenSegment:
        path = os.path.join(self._folder, segment_name(segment_id))
        fd = self._disk.open(path, read_only=read_only)
        opened = OpenSegment(self._disk, fd, file_uuid)
        header = unpack_header(self._disk.pread(fd, HEADER_BYTES, 0))
        if header.segment_id != segment_id or header.file_uuid != file_uuid:
            raise DamagedRecord(f"{path}: not the segment file that the index names")
        return opened
