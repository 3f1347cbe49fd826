"""Reading many short records at once: those that lie side by side in one read, each verified and decrypted by itself.

What was written together lies together, so a batch of small objects costs one or two reads. That matters less for the disk than for the
interpreter: each call that leaves its lock has to win it back from a busy loop. Owns no file.
"""

from collections.abc import Callable, Sequence

from fasterstore.errors import DamagedRecord
from fasterstore.keyring import Keyring
from fasterstore.model import BlobLocation, SegmentId
from fasterstore.storage.disk import BAD_MEDIUM, Disk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.record import record_bytes
from fasterstore.storage.sealed_record import plaintext_of

GAP_MAX_BYTES = 16 * 1024
"""A gap of this length between two records is read, too."""
RUN_MAX_BYTES = 1 << 20


class RecordRuns:
    """`file_uuid` gives the uuid of a segment's file, None if there is no such segment."""

    def __init__(
        self, disk: Disk, segments: OpenSegments, keyring: Keyring, file_uuid: Callable[[SegmentId], bytes | None]
    ) -> None:
        self._disk = disk
        self._segments = segments
        self._keyring = keyring
        self._file_uuid = file_uuid

    def read(self, places: Sequence[BlobLocation]) -> dict[BlobLocation, bytes]:
        """The plaintext of each record, without those that cannot be read or are not what their place says. Raises OSError."""
        found: dict[BlobLocation, bytes] = {}
        for run in _runs(sorted(places)):
            start = run[0].offset
            data = self._bytes(run[0].segment_id, start, _end(run[-1]) - start)
            for place in run:
                try:
                    record = data[place.offset - start : _end(place) - start]
                    found[place] = bytes(plaintext_of(record, place, self._keyring))
                except DamagedRecord:
                    continue
        return found

    def _bytes(self, segment_id: SegmentId, offset: int, length: int) -> memoryview:
        try:
            file_uuid = self._file_uuid(segment_id)
            if file_uuid is None:
                return memoryview(b"")
            return memoryview(self._disk.pread(self._segments.reader(segment_id, file_uuid).fd, length, offset))
        except (DamagedRecord, FileNotFoundError):
            return memoryview(b"")
        except OSError as error:
            if error.errno in BAD_MEDIUM:
                return memoryview(b"")
            raise


def _end(place: BlobLocation) -> int:
    return place.offset + record_bytes(place.stored_bytes)


def _runs(places: Sequence[BlobLocation]) -> list[list[BlobLocation]]:
    runs: list[list[BlobLocation]] = []
    for place in places:
        if runs:
            last = runs[-1][-1]
            near = place.segment_id == last.segment_id and place.offset - _end(last) <= GAP_MAX_BYTES
            if near and _end(place) - runs[-1][0].offset <= RUN_MAX_BYTES:
                runs[-1].append(place)
                continue
        runs.append([place])
    return runs
